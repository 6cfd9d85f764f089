// Drives an example as a browser would: what it counts, keeps over a login, and forgets at a logout.
import { CookieJar } from 'tough-cookie'
import { expect } from 'vitest'
import type { Program } from './programs.ts'

/** A browser that keeps its cookies when the server is another one: what a page says, or the status of a redirect. */
export function browser(jar = new CookieJar()) {
  const site = 'http://localhost/'
  return async ({ url }: Program, path = '/', method = 'GET'): Promise<any> => {
    const response = await fetch(url + path, {
      method,
      redirect: 'manual',
      headers: { cookie: await jar.getCookieString(site) },
    })
    for (const line of response.headers.getSetCookie()) await jar.setCookie(line, site)
    if (response.status >= 300 && response.status < 400) {
      // To its end: express-session sends the headers before it has saved.
      await response.text()
      return response.status
    }
    expect(response.status).toBe(200)
    return response.json()
  }
}

/** Visits are counted; a login keeps them, under a new key; after a logout nothing is left. */
export async function drive(program: Program): Promise<void> {
  const jar = new CookieJar()
  const key = () => jar.getCookieString('http://localhost/')
  const visit = browser(jar)
  expect(await visit(program)).toEqual({ visits: 1 })
  expect(await visit(program)).toEqual({ visits: 2 })
  const before = await key()
  expect(await visit(program, '/login', 'POST')).toBe(302)
  expect(await key()).not.toBe(before)
  expect(await visit(program)).toEqual({ visits: 3, user: 'ann' })
  expect(await visit(program, '/logout', 'POST')).toBe(302)
  expect(await visit(program)).toEqual({ visits: 1 })
}

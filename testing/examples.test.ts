// Every example is started and driven, as a browser would.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CookieJar } from 'tough-cookie'
import { afterAll, afterEach, expect, test, vi } from 'vitest'
import { browser, drive } from './drive.ts'
import { need } from './needs.ts'
import { startProgram, stopPrograms } from './programs.ts'
import { runtimes } from './runtimes/runtimes.ts'

/** A build and its servers take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-examples-'))
afterEach(stopPrograms)
afterAll(() => rmSync(folder, { recursive: true }))
const example = (file: string) => join(import.meta.dirname, '../examples', file)

test.each(['express', 'fastify', 'koa', 'hono'])('%s', async (name) => {
  await drive(
    await startProgram(example(`${name}/server.ts`), [], {
      PORT: '0',
      SESSIONS: join(folder, name),
    }),
  )
})

test('fetch on Node', async () => {
  await drive(await startProgram(example('fetch/node.ts'), [], { PORT: '0' }))
})

test.for(['Bun', 'Deno'])('fetch on %s', async (name, context) => {
  const how = 'use Linux on x64, for which npm has its build'
  const { command } = need(context, runtimes[name], name, how)
  const file = example(`fetch/${name.toLowerCase()}.ts`)
  await drive(await startProgram(file, [], { PORT: '0' }, command))
})

test('from express-session: logged in before the move, logged in after it, and logged out for good', async () => {
  const env = { PORT: '0', SESSIONS: join(folder, 'from-express-session') }
  const visit = browser()
  const before = await startProgram(example('from-express-session/before.ts'), [], env)
  expect(await visit(before)).toEqual({ visits: 1 })
  await visit(before, '/login', 'POST')
  expect(await visit(before)).toEqual({ visits: 2, user: 'ann' })
  await before.stop()

  const after = await startProgram(example('from-express-session/after.ts'), [], env)
  expect(await visit(after)).toEqual({ visits: 3, user: 'ann' })
  await visit(after, '/login', 'POST')
  expect(await visit(after)).toEqual({ visits: 4, user: 'ann' })
  expect(await visit(after, '/logout', 'POST')).toBe(302)
  expect(await visit(after)).toEqual({ visits: 1 })
})

test('react-router: built, started, and driven through its page', async () => {
  const cwd = example('react-router')
  execFileSync(join(cwd, 'node_modules/.bin/react-router'), ['build'], { cwd, stdio: 'pipe' })
  const env = { PORT: '0', SESSIONS: join(folder, 'react-router') }
  const { url } = await startProgram(join(cwd, 'server.ts'), [], env)
  const jar = new CookieJar()
  const visit = async (form?: Record<string, string>) => {
    // A form on an index route posts to itself, not to the layout above it.
    const response = await fetch(form ? `${url}/?index` : url, {
      redirect: 'manual',
      headers: { cookie: await jar.getCookieString(url), origin: url },
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) await jar.setCookie(line, url)
    const text = (await response.text()).replaceAll('<!-- -->', '')
    return /Hello [^.]*/.exec(text)?.[0] ?? response.status
  }
  expect(await visit()).toBe('Hello stranger, visit number 1')
  expect(await visit()).toBe('Hello stranger, visit number 2')
  expect(await visit({ user: 'Ann' })).toBe(302)
  expect(await visit()).toBe('Hello Ann, visit number 3')
  expect(await visit({ user: '' })).toBe(302)
  expect(await visit()).toBe('Hello stranger, visit number 1')
})

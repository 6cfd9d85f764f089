// The settings that docs/security.md recommends, taken from the page, do what it says of them.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runInNewContext, runInThisContext } from 'node:vm'
import type { Session, SessionsOptions } from '@coatcheck/core'
import { lruStore } from '@coatcheck/cache/lru'
import { getSession, session } from '@coatcheck/express'
import express from 'express'
import { expect, onTestFinished, test } from 'vitest'
import { openSite, type Any } from './visitors.ts'

const page = readFileSync(join(import.meta.dirname, '../docs/security.md'), 'utf8')

/** The settings of this name, as the page has them. */
function settings(name: string): Partial<SessionsOptions> {
  const [, literal] = page.match(new RegExp(`const ${name} = (\\{[^]*?\\n\\})`))!
  return runInNewContext(`(${literal})`)
}

/** The last handler under a heading of the page: given a session, it tells the answer, or undefined where it lets the request pass. */
function code(heading: string) {
  const [section] = page.split(`### ${heading}\n`)[1]!.split('\n## ')[0]!.split('\n### ')
  const block = Array.from(section!.matchAll(/```ts\n([^]*?)```/g)).at(-1)![1]!
  const run = runInThisContext(`((app, express, accountOf) => {${block}})`)
  return async (
    opened: Session<Any>,
    body: Any = {},
    accountOf?: (id: number) => Any | undefined,
  ) => {
    let handler: (...args: unknown[]) => unknown = () => {}
    const keep = (...args: any[]) => void (handler = args.at(-1))
    run({ use: keep, post: keep, listen() {} }, express, accountOf)
    let answer: unknown
    const tell = (told: unknown) => void (answer = told)
    const response = { sendStatus: tell, redirect: tell, send: () => {} }
    await handler({ method: 'POST', session: opened, body }, response, () => {})
    return answer
  }
}

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Whether somebody who comes back each `every` seconds is still logged in so many `seconds` after the login. */
async function staysLoggedIn(
  options: Partial<SessionsOptions>,
  every: number,
  seconds: number,
): Promise<boolean> {
  const site = openSite(options)
  const visitor = await site.visitor({ user: 'ann' })
  for (let past = every; past < seconds; past += every) {
    site.pass(every)
    await visitor.visit(() => {})
  }
  site.pass(seconds % every || every)
  return (await visitor.data())['user'] === 'ann'
}

/** The line of a cookie that these settings make. */
async function lineOf(options: Partial<SessionsOptions>): Promise<string> {
  const { setCookie } = await openSite(options)
    .browser()
    .visit((one) => one.set('user', 'ann'))
  return setCookie!.replace(/=[^;]+/, '=KEY')
}

test('the settings for a usual site', async () => {
  const usual = settings('usual')
  expect(await lineOf(usual)).toBe(
    '__Host-id=KEY; Max-Age=1209600; Path=/; HttpOnly; Secure; SameSite=Lax',
  )
  expect(await staysLoggedIn(usual, 13 * DAY, 13 * DAY)).toBe(true)
  expect(await staysLoggedIn(usual, 14 * DAY, 14 * DAY)).toBe(false)
  expect(await staysLoggedIn(usual, DAY, 30 * DAY - 1)).toBe(true)
  expect(await staysLoggedIn(usual, DAY, 30 * DAY)).toBe(false)
})

test('the settings for AAL2', async () => {
  const strict = settings('strict')
  expect(await lineOf(strict)).toBe('__Host-id=KEY; Path=/; HttpOnly; Secure; SameSite=Strict')
  expect(await staysLoggedIn(strict, HOUR - 1, HOUR - 1)).toBe(true)
  expect(await staysLoggedIn(strict, HOUR, HOUR)).toBe(false)
  expect(await staysLoggedIn(strict, 10 * MINUTE, DAY - 1)).toBe(true)
  expect(await staysLoggedIn(strict, 10 * MINUTE, DAY)).toBe(false)
})

test('the settings for AAL3', async () => {
  const [, maxAge, absoluteMaxAge] = page.match(
    /AAL3 is the same with `maxAge: (\w+)` and `absoluteMaxAge: (\w+)`/,
  )!
  const strict = {
    ...settings('strict'),
    maxAge: Number(maxAge!.replaceAll('_', '')),
    absoluteMaxAge: Number(absoluteMaxAge!.replaceAll('_', '')),
  }
  expect(await staysLoggedIn(strict, 15 * MINUTE - 1, 15 * MINUTE - 1)).toBe(true)
  expect(await staysLoggedIn(strict, 15 * MINUTE, 15 * MINUTE)).toBe(false)
  expect(await staysLoggedIn(strict, 5 * MINUTE, 12 * HOUR - 1)).toBe(true)
  expect(await staysLoggedIn(strict, 5 * MINUTE, 12 * HOUR)).toBe(false)
})

test.each([
  ['that is trusted', 1, 'https', true],
  ['that is trusted, over HTTP', 1, 'http', false],
  ['that is not trusted', false, 'https', false],
])("behind a proxy %s, secure: 'auto' is right", async (_, trusted, protocol, isSecure) => {
  const app = express()
  app.set('trust proxy', trusted)
  app.use(session({ store: lruStore() }))
  app.get('/', async (request, response) => {
    const visitor: Session = await getSession(request)
    visitor.set('user', 'ann')
    response.end()
  })
  const server = app.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { headers } = await fetch(`http://127.0.0.1:${port}/`, {
    headers: { 'x-forwarded-proto': protocol },
  })
  expect(headers.getSetCookie()[0]!.includes('; Secure')).toBe(isSecure)
})

test('the token against forged requests: refused without one, with another, and where the session has none', async () => {
  const check = code('Against forged requests')
  const site = openSite()
  const without = await site.visitor({ user: 'ann' })
  await without.visit(async (one) => expect(await check(one)).toBe(403))
  const visitor = await site.visitor({ user: 'ann', csrf: 'token' })
  await visitor.visit(async (one) => {
    expect(await check(one)).toBe(403)
    expect(await check(one, { csrf: 'another' })).toBe(403)
    expect(await check(one, { csrf: 'token' })).toBeUndefined()
  })
})

test('all sessions of an account: ended once it is closed or its number counted up', async () => {
  const compare = code('All sessions of an account')
  const accounts: Record<string, Any | undefined> = {
    'as it was': { epoch: 1 },
    'counted up': { epoch: 2 },
    closed: undefined,
  }
  for (const [name, account] of Object.entries(accounts)) {
    const user = { id: 7, epoch: 1 }
    const visitor = await openSite().visitor({ user })
    await visitor.visit((one) => compare(one, {}, () => account))
    expect(await visitor.data(), name).toEqual(name === 'as it was' ? { user } : {})
  }
})

test('asking again: five minutes after the login, and without one', async () => {
  const ask = code('Asking again')
  const minutes = (n: number) => ({ user: { at: Date.now() - n * 60_000 } })
  for (const [data, answer] of [
    [minutes(4), undefined],
    [minutes(6), '/login?again'],
    [{ cart: [1] }, '/login?again'],
  ] as const) {
    const visitor = await openSite().visitor(data)
    await visitor.visit(async (one) => expect(await ask(one)).toBe(answer))
  }
})

test('a new key from time to time: once in fifteen minutes, for who is logged in', async () => {
  const renew = code('A new key from time to time')
  const stranger = await openSite().visitor({ cart: [1] })
  const visitor = await openSite().visitor({ user: 'ann' })
  const keys = [stranger.cookie, visitor.cookie]
  await stranger.visit((one) => renew(one))
  expect(stranger.cookie).toBe(keys[0])
  await visitor.visit((one) => renew(one))
  expect(visitor.cookie).not.toBe(keys[1])
  keys[1] = visitor.cookie
  await visitor.visit((one) => renew(one))
  expect(visitor.cookie).toBe(keys[1])
  await visitor.visit((one) => one.set('renewed', Date.now() - 16 * 60_000))
  await visitor.visit((one) => renew(one))
  expect(visitor.cookie).not.toBe(keys[1])
})

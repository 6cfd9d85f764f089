// The settings that docs/security.md recommends, taken from the page, do what it says of them.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import type { SessionsOptions } from '@coatcheck/core'
import { lruStore } from '@coatcheck/cache/lru'
import { session } from '@coatcheck/express'
import express from 'express'
import { expect, onTestFinished, test } from 'vitest'
import { openSite } from './visitors.ts'

const page = readFileSync(join(import.meta.dirname, '../docs/security.md'), 'utf8')

/** The settings of this name, as the page has them. */
function settings(name: string): Partial<SessionsOptions> {
  const [, literal] = page.match(new RegExp(`const ${name} = (\\{[^]*?\\n\\})`))!
  return runInNewContext(`(${literal})`)
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
  app.get('/', (request, response) => {
    request.session.set('user', 'ann')
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

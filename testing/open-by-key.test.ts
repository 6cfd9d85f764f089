// A session opened by its key, where there are no cookies: a WebSocket's messages, a job, a native client; over every kind of engine.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions, hashKeys, type Sessions, type SessionsOptions } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { djangoDb, djangoSessions } from '@coatcheck/django'
import { connectCookie } from '@coatcheck/express-session'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import { expect, test } from 'vitest'
import { slow } from './wrappers.ts'

function sqlite() {
  const store = sqliteStore(':memory:')
  store.migrate()
  return store
}

const SECRET = 'a secret for tests, of 32 characters or more'
const kinds: Record<string, () => SessionsOptions<any>> = {
  lru: () => ({ store: lruStore() }),
  sqlite: () => ({ store: sqlite() }),
  'an asynchronous store': () => ({ store: slow(lruStore(), { load: 1 }) }),
  'an asynchronous store, lazy': () => ({ store: slow(lruStore(), { load: 1 }), lazy: true }),
  'hashed keys': () => ({ store: hashKeys(lruStore()) }),
  'a signed cookie': () => ({ store: signedCookieStore({ secrets: [SECRET] }) }),
  'a cookie in another format': () => ({
    store: lruStore(),
    cookie: connectCookie({ secrets: [SECRET] }),
  }),
  django: () => djangoSessions({ secretKey: SECRET, engine: djangoDb(sqlite()) }),
}

async function loaded(sessions: Sessions<any>, key: unknown) {
  return sessions.load(await sessions.open({ key: key as string }))
}

test.each(Object.entries(kinds))(
  '%s: a session is opened by the key that it had after a save, and written by save()',
  async (_, make) => {
    const sessions = createSessions<any>(make())
    const first = await loaded(sessions, undefined)
    await first.set('n', 1).save()
    const second = await loaded(sessions, first.key)
    expect(second.get('n')).toBe(1)
    await second.set('n', 2).save()
    const third = await loaded(sessions, second.key)
    expect(third.get('n')).toBe(2)
    third.cycleKey()
    await third.save()
    // A token of the same data, signed in the same second, is the same.
    if (!sessions.store.traits?.stateless) expect(third.key).not.toBe(second.key)
    expect((await loaded(sessions, third.key)).get('n')).toBe(2)
    third.flush()
    await third.save()
    if (!sessions.store.traits?.stateless) {
      expect((await loaded(sessions, third.key)).isEmpty()).toBe(true)
    }
    await sessions.close()
  },
)

test.each(Object.entries(kinds))(
  '%s: a key that is missing, malformed, unknown or no text gives an empty session, which can be saved',
  async (_, make) => {
    const sessions = createSessions<any>(make())
    const keys = [
      undefined,
      null,
      '',
      'short',
      'k'.repeat(32),
      'k'.repeat(5000),
      5,
      {},
      ['a'],
      true,
    ]
    for (const key of keys) {
      const session = await loaded(sessions, key)
      expect([session.isEmpty(), session.key]).toEqual([true, undefined])
      await session.set('n', 1).save()
      expect((await loaded(sessions, session.key)).get('n')).toBe(1)
    }
    await sessions.close()
  },
)

test('a key opens what the cookie opens, and the cookie is no key', async () => {
  const sessions = createSessions<any>({
    store: lruStore(),
    cookie: connectCookie({ secrets: [SECRET] }),
  })
  const session = await sessions.open(undefined)
  session.set('n', 1)
  const { setCookie } = await sessions.commit(session)
  const [pair] = setCookie!.split(';')
  expect((await sessions.open(pair)).get('n')).toBe(1)
  expect((await loaded(sessions, session.key)).get('n')).toBe(1)
  expect((await loaded(sessions, decodeURIComponent(pair!.split('=')[1]!))).isEmpty()).toBe(true)
})

test('a native client’s Authorization header opens its session', async () => {
  const sessions = createSessions<{ visits: number }>({ store: sqlite() })
  const server = createServer(async (request, response) => {
    const key = request.headers.authorization?.replace(/^Bearer /, '')
    const session = await sessions.open({ key })
    session.update('visits', (visits = 0) => visits + 1)
    await session.save()
    response.setHeader('Cache-Control', 'no-store')
    response.end(JSON.stringify({ key: session.key, visits: session.get('visits') }))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const call = async (key?: string) => {
    const headers = key ? { authorization: `Bearer ${key}` } : {}
    return (await (await fetch(url, { headers })).json()) as { key: string; visits: number }
  }
  const { key, visits } = await call()
  expect(visits).toBe(1)
  expect(await call(key)).toEqual({ key, visits: 2 })
  expect((await call('forged')).visits).toBe(1)
  server.close()
})

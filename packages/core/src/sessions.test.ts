// The manager: what it asks of the store, what it sends, and what happens when two requests meet.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { counting, slow } from '../../../testing/wrappers.ts'
import {
  createSessions,
  jsonCodec,
  SessionStoreError,
  type Codec,
  type SessionsOptions,
  type SessionStore,
} from './index.ts'

type Any = Record<string, any>

function setUp(options: Partial<SessionsOptions> = {}, wrap = (store: SessionStore) => store) {
  const calls: string[] = []
  const store = counting(wrap(mapStore()), calls)
  const sessions = createSessions<Any>({ store, ...options })
  return {
    calls,
    sessions,
    store,
    /** The Cookie header of a new session that holds `data`. */
    async start(data: Any): Promise<string> {
      const session = await sessions.open(undefined)
      session.update(data)
      const { setCookie } = await sessions.commit(session)
      calls.length = 0
      return setCookie!.split(';', 1)[0]!
    },
    async data(cookie: string): Promise<Any> {
      return Object.fromEntries(await sessions.open(cookie))
    },
  }
}

/** What was published on a diagnostics channel while `run` ran. */
async function published(name: string, run: () => unknown): Promise<Any[]> {
  const messages: Any[] = []
  const listener = (message: unknown) => void messages.push(message as Any)
  subscribe(name, listener)
  try {
    await run()
  } finally {
    unsubscribe(name, listener)
  }
  return messages
}

test('no cookie and an untouched session: no store call, no header', async () => {
  for (const wrap of [(store: SessionStore) => store, slow]) {
    const { sessions, calls } = setUp({}, wrap)
    const session = await sessions.open('other=1')
    expect(await sessions.commit(session)).toEqual({ vary: false })
    expect(calls).toEqual([])
  }
})

test('a cookie and an untouched session: a sync store is not asked at all', async () => {
  const { sessions, start, calls } = setUp()
  const session = await sessions.open(await start({ a: 1 }))
  expect(await sessions.commit(session)).toEqual({ vary: false })
  expect(calls).toEqual([])
})

test('a cookie: one load, however much is read; nothing written', async () => {
  for (const wrap of [(store: SessionStore) => store, slow]) {
    const { sessions, start, calls } = setUp({}, wrap)
    const session = await sessions.open(await start({ a: 1, b: [1] }))
    expect([session.get('a'), session.get('b'), session.size]).toEqual([1, [1], 2])
    expect(await sessions.commit(session)).toEqual({ vary: true, private: true })
    expect(calls).toEqual(['load'])
  }
})

test('a change: one load, one save', async () => {
  const { sessions, start, calls, data } = setUp()
  const cookie = await start({ a: 1 })
  const session = await sessions.open(cookie)
  session.set('a', 2).set('b', 3).delete('a')
  await sessions.commit(session)
  expect(calls).toEqual(['load', 'save'])
  expect(await data(cookie)).toEqual({ b: 3 })
})

test('a sync store is served without a promise in between', async () => {
  const { sessions, start } = setUp()
  const cookie = await start({ a: 1 })
  const session = sessions.open(cookie)
  expect(session).not.toBeInstanceOf(Promise)
  if (session instanceof Promise) return
  session.set('a', 2)
  expect(sessions.commit(session)).toMatchObject({ vary: true, setCookie: expect.any(String) })
})

test('the same value set again renews the session, on the condition that it still is what was read', async () => {
  const { sessions, start, calls } = setUp()
  const session = await sessions.open(await start({ a: 1 }))
  session.set('a', 1)
  expect((await sessions.commit(session)).setCookie).toBeDefined()
  expect(calls).toEqual(['load', 'save'])
})

test('the same value set again is compared with what is there, where the end stays as it was', async () => {
  for (const end of [new Date(Date.now() + 60_000), new Date(Date.now() + 90_000)]) {
    const { sessions, start, data } = setUp()
    const cookie = await start({ role: 'guest' })
    const first = await sessions.open(cookie)
    first.setExpiry(end)
    await sessions.commit(first)
    const [guest, admin] = [await sessions.open(cookie), await sessions.open(cookie)]
    guest.set('role', 'guest')
    admin.set('role', 'admin')
    await sessions.commit(admin)
    await sessions.commit(guest)
    expect(await data(cookie)).toEqual({ role: 'guest' })
  }
})

test('modified = true saves an unchanged session', async () => {
  const { sessions, start, calls } = setUp()
  const session = await sessions.open(await start({ a: 1 }))
  session.modified = true
  await sessions.commit(session)
  expect(calls).toEqual(['load', 'touch'])
})

test('nothing is saved, and no cookie sent, on a response of status 500 and above', async () => {
  const { sessions, start, calls } = setUp()
  const cookie = await start({ a: 1 })
  for (const status of [500, 503, 599]) {
    const session = await sessions.open(cookie)
    session.set('a', 2)
    expect(await sessions.commit(session, { status })).toEqual({ vary: true, private: true })
  }
  expect(calls).toEqual(['load', 'load', 'load'])
  const session = await sessions.open(cookie)
  session.set('a', 3)
  expect(await sessions.commit(session, { status: 499 })).toHaveProperty('setCookie')
})

test.each([
  ['a path', '../../../../etc/passwd'],
  ['1 MB', 'x'.repeat(1_000_000)],
  ['NUL bytes', 'abcdefgh%00abcdefgh'],
  ['a forged signature', 's%3Aabcdefghijklmnop.AAAAAAAAAAAAAAAAAAAAAAAA'],
  ['too short', 'abc'],
  ['nothing', ''],
])(
  'a malformed key (%s) is an empty session, a warning event, and a deleted cookie',
  async (_, value) => {
    const { sessions, calls } = setUp()
    let headers
    const warnings = await published('coatcheck:warning', async () => {
      const session = await sessions.open(`sessionid=${value}`)
      expect(session.isEmpty()).toBe(true)
      headers = await sessions.commit(session)
    })
    expect(headers).toMatchObject({ setCookie: expect.stringContaining('sessionid=; Max-Age=0') })
    expect(warnings).toMatchObject([{ code: 'MALFORMED_COOKIE' }])
    expect(calls).toEqual([])
  },
)

test('data that cannot be decoded is an empty session and a warning event, and is not overwritten', async () => {
  const { sessions, store } = setUp()
  const key = 'k'.repeat(32)
  await store.create(key, { data: 'not JSON', expiresAt: Date.now() + 60_000 })
  const warnings = await published('coatcheck:warning', async () => {
    const session = await sessions.open(`sessionid=${key}`)
    expect(session.isEmpty()).toBe(true)
    session.set('a', 1)
    const { setCookie } = await sessions.commit(session)
    expect(setCookie).not.toContain(key)
  })
  expect(warnings).toMatchObject([{ code: 'CORRUPT_DATA' }])
  expect(await store.load(key)).toMatchObject({ data: 'not JSON' })
})

test('merge: two requests change different keys, and both changes are kept', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ a: 1, b: 1, gone: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.set('a', 2).set('new', 1)
  one.delete('gone')
  two.set('b', 2)
  two.get('a')
  await sessions.commit(one)
  const conflicts = await published('coatcheck:conflict', () => sessions.commit(two))
  expect(conflicts).toEqual([{ attempt: 1 }])
  expect(await data(cookie)).toEqual({ a: 2, b: 2, new: 1 })
})

test('merge: update functions run again on the newest value', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ n: 1, list: ['a'] })
  const open = await Promise.all([1, 2, 3].map(() => sessions.open(cookie)))
  for (const [at, session] of open.entries()) {
    session.update('n', (n) => n + 1).update('n', (n) => n * 2)
    session.update('list', (list) => {
      list.push(at)
      return list
    })
    expect(session.get('list')).toEqual(['a', at])
  }
  for (const session of open) await sessions.commit(session)
  expect(await data(cookie)).toEqual({ n: 22, list: ['a', 0, 1, 2] })
})

test('merge: an in-place change wins on its key and leaves the others alone', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ cart: [1], theme: 'light' })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.set('theme', 'dark')
  two.get('cart').push(2)
  two.get('theme')
  await sessions.commit(one)
  await sessions.commit(two)
  expect(await data(cookie)).toEqual({ cart: [1, 2], theme: 'dark' })
})

test('merge: a value read in place before update is not overwritten by it', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ cart: [1] })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  two.get('cart')
  two.update('cart', (cart) => [...cart, 3])
  one.update('cart', (cart) => [...cart, 2])
  await sessions.commit(one)
  await sessions.commit(two)
  expect(await data(cookie)).toEqual({ cart: [1, 2, 3] })
})

test('merge: clear takes everything, whatever it is by now', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ a: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  two.clear()
  two.set('mine', 1)
  one.set('b', 1)
  await sessions.commit(one)
  await sessions.commit(two)
  expect(await data(cookie)).toEqual({ mine: 1 })
})

test('merge: flash of two requests at once reaches the next one whole', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ a: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.flash('x', 1)
  two.flash('y', 2)
  await sessions.commit(one)
  await sessions.commit(two)
  const next = await sessions.open(cookie)
  expect(Object.fromEntries(next)).toEqual({ a: 1, x: 1, y: 2 })
  await sessions.commit(next)
  expect(await data(cookie)).toEqual({ a: 1 })
})

test('merge: 200 updates at once in one process, by an asynchronous store: none lost, none twice', async () => {
  const { sessions, start, data } = setUp({}, slow)
  const cookie = await start({ cart: [] })
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const session = await sessions.open(cookie)
      session.update('cart', (cart) => [...cart, n])
      await sessions.commit(session)
    }),
  )
  const { cart } = await data(cookie)
  expect(cart.toSorted((a: number, b: number) => a - b)).toEqual(
    Array.from({ length: 200 }, (_, n) => n),
  )
})

test('overwrite: the last save wins', async () => {
  const { sessions, start, data } = setUp({ concurrency: 'overwrite' })
  const cookie = await start({ a: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.set('b', 1)
  two.set('c', 1)
  await sessions.commit(one)
  await sessions.commit(two)
  expect(await data(cookie)).toEqual({ a: 1, c: 1 })
})

test('reject: the later save fails with SessionConflictError, and the first one stands', async () => {
  const { sessions, start, data } = setUp({ concurrency: 'reject' })
  const cookie = await start({ a: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.set('b', 1)
  two.set('c', 1)
  await sessions.commit(one)
  await expect(async () => sessions.commit(two)).rejects.toMatchObject({
    code: 'ERR_SESSION_CONFLICT',
    status: 409,
  })
  expect(await data(cookie)).toEqual({ a: 1, b: 1 })
})

test('a failed login leaves no second session behind', async () => {
  const made: string[] = []
  const { sessions, start, store } = setUp({ concurrency: 'reject' }, (below) => ({
    ...below,
    async create(key, record) {
      made.push(key)
      return below.create(key, record)
    },
  }))
  const cookie = await start({ a: 1 })
  const [one, two] = [await sessions.open(cookie), await sessions.open(cookie)]
  two.cycleKey()
  one.set('b', 1)
  await sessions.commit(one)
  await expect(async () => sessions.commit(two)).rejects.toThrow('Another request')
  expect(made).toHaveLength(2)
  expect(await store.load(made[1]!)).toBeUndefined()
  expect(await store.load(cookie.slice('sessionid='.length))).toBeDefined()
})

test('a request that only looked is not failed by a logout meanwhile, rolling or not', async () => {
  const { sessions, start, store } = setUp({ saveEveryRequest: true })
  const cookie = await start({ a: 1 })
  const session = await sessions.open(cookie)
  expect(session.get('a')).toBe(1)
  await store.delete(session.key!)
  expect(await sessions.commit(session)).toEqual({ vary: true, private: true })
})

test('save() writes now; the commit then sends the cookie', async () => {
  const { sessions, calls, data } = setUp()
  const session = await sessions.open(undefined)
  session.set('a', 1)
  await session.save()
  expect(session.key).toMatch(/^[a-z0-9]{32}$/)
  expect(calls).toEqual(['create'])
  const { setCookie } = await sessions.commit(session)
  expect(calls).toEqual(['create'])
  expect(await data(setCookie!)).toEqual({ a: 1 })
})

test('saves of one session at the same time follow one another', async () => {
  const { sessions, calls, data } = setUp({}, (store) => slow(store, { create: 20, save: 5 }))
  const session = await sessions.open(undefined)
  session.set('a', 1)
  const first = session.save()
  session.set('b', 2)
  const [{ setCookie }] = await Promise.all([sessions.commit(session), first])
  expect(calls.filter((call) => call === 'create')).toHaveLength(1)
  expect(await data(setCookie!)).toEqual({ a: 1, b: 2 })
})

test('after the headers, save() works for a session that the client knows', async () => {
  const { sessions, start, data } = setUp()
  const cookie = await start({ a: 1 })
  const session = await sessions.open(cookie)
  await sessions.commit(session)
  session.set('a', 2)
  await session.save()
  expect(await data(cookie)).toEqual({ a: 2 })
})

test('after the headers, save() of a new session or a new key is a clear error', async () => {
  const { sessions, start } = setUp()
  const fresh = await sessions.open(undefined)
  await sessions.commit(fresh)
  fresh.set('a', 1)
  await expect(fresh.save()).rejects.toMatchObject({ code: 'ERR_SESSION_HEADERS_SENT' })
  const known = await sessions.open(await start({ a: 1 }))
  await sessions.commit(known)
  known.cycleKey()
  await expect(known.save()).rejects.toMatchObject({ code: 'ERR_SESSION_HEADERS_SENT' })
})

test('a change after the headers that nobody saves is a warning event; one that is saved is not', async () => {
  const { sessions, start } = setUp({}, slow)
  const cookie = await start({ a: 1, list: [1] })
  const late = async (change: (session: any) => unknown) =>
    published('coatcheck:warning', async () => {
      const session = await sessions.open(cookie)
      session.get('a')
      await sessions.commit(session)
      await change(session)
      await setTimeout(20)
    })
  expect(await late((session) => session.set('a', 2))).toMatchObject([
    { code: 'CHANGED_AFTER_HEADERS', message: expect.stringContaining('await session.save()') },
  ])
  expect(await late((session) => session.get('list').push(2))).toHaveLength(1)
  expect(await late((session) => session.get('list'))).toEqual([])
  expect(await late((session) => session.set('a', 3).save())).toEqual([])
})

test('lazy: an unloaded session says what to do; load() loads it once', async () => {
  const { sessions, start, calls } = setUp({ lazy: true }, slow)
  const cookie = await start({ a: 1 })
  const untouched = await sessions.open(cookie)
  expect(await sessions.commit(untouched)).toEqual({ vary: false })
  expect(calls).toEqual([])
  const session = await sessions.open(cookie)
  expect(() => session.get('a')).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_NOT_LOADED',
      message: expect.stringContaining('await getSession(request)'),
    }),
  )
  await Promise.all([sessions.load(session), sessions.load(session)])
  expect(session.get('a')).toBe(1)
})

test('a failing store is an error, never an empty session', async () => {
  const broken = createSessions({
    store: { ...mapStore(), load: () => Promise.reject(new Error('down')), traits: {} },
  })
  await expect(async () => broken.open(`sessionid=${'k'.repeat(32)}`)).rejects.toThrow(
    'The store failed to load a session.',
  )
})

test('ifUnavailable: anonymous gives an empty session that can be read and not saved', async () => {
  const down = new SessionStoreError('The backend is down.')
  const load = (): never => {
    throw down
  }
  for (const store of [
    { ...mapStore(), load },
    { ...mapStore(), traits: {}, load: async () => load() },
  ]) {
    const sessions = createSessions<Any>({ store, ifUnavailable: 'anonymous' })
    const cookie = `sessionid=${'k'.repeat(32)}`
    const warnings = await published('coatcheck:warning', async () => {
      const reading = await sessions.open(cookie)
      expect(reading.get('a')).toBeUndefined()
      expect(await sessions.commit(reading)).toEqual({ vary: true })
      const writing = await sessions.open(cookie)
      writing.set('a', 1)
      await expect(async () => sessions.commit(writing)).rejects.toBe(down)
    })
    expect(warnings).toMatchObject([{ code: 'STORE_UNAVAILABLE' }, { code: 'STORE_UNAVAILABLE' }])
  }
})

test('a key collision is tried again under another key', async () => {
  const store = mapStore()
  let collisions = 2
  const { KeyExistsError } = await import('./index.ts')
  const sessions = createSessions<Any>({
    store: {
      ...store,
      create(key, record) {
        if (collisions-- > 0) throw new KeyExistsError()
        return store.create(key, record)
      },
    },
  })
  const session = await sessions.open(undefined)
  session.set('a', 1)
  expect(await sessions.commit(session)).toHaveProperty('setCookie')
})

test.each([
  ['no store', {}],
  ['maxAge 0', { store: mapStore(), maxAge: 0 }],
  ['maxAge NaN', { store: mapStore(), maxAge: Number.NaN }],
  ['a negative touchAfter', { store: mapStore(), touchAfter: -1 }],
  ['an unknown concurrency', { store: mapStore(), concurrency: 'last' }],
  ['maxBytes as text', { store: mapStore(), maxBytes: '4 KB' }],
])('createSessions refuses %s', (_, options) => {
  expect(() => createSessions(options as unknown as SessionsOptions)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
  )
})

test('maxAge beyond 400 days is a warning when the manager is made: the cookie has 400 days, the stored session all of it', async () => {
  const year = 365 * 86_400
  const make = (options: Partial<SessionsOptions>) =>
    published('coatcheck:warning', async () => {
      setUp(options)
    })
  expect(await make({ maxAge: 2 * year })).toMatchObject([
    { code: 'COOKIE_AGE', message: expect.stringContaining('63072000') },
  ])
  expect(await make({ maxAge: 400 * 86_400 })).toEqual([])
  expect(await make({ maxAge: 2 * year, absoluteMaxAge: year })).toEqual([])
  expect(await make({ maxAge: 2 * year, expireAtBrowserClose: true })).toEqual([])

  const { sessions, store } = setUp({ maxAge: 2 * year })
  for (const change of [
    (session: any) => session.set('a', 1),
    (session: any) => session.setExpiry(2 * year),
    (session: any) => session.setExpiry(new Date(Date.now() + 2000 * year)),
  ]) {
    const session = await sessions.open(undefined)
    session.set('b', 1)
    change(session)
    const { setCookie } = await sessions.commit(session)
    expect(setCookie).toContain('Max-Age=34560000;')
    const { expiresAt } = (await store.load(/=(\w+)/.exec(setCookie!)![1]!))!
    expect(expiresAt).toBeGreaterThan(Date.now() + (2 * year - 60) * 1000)
  }
})

test('attributes for one response follow the rules too: SameSite=None is Secure, and what browsers drop is refused before anything is stored', async () => {
  const { sessions, calls } = setUp()
  const send = async (cookie: object) => {
    const session = await sessions.open(undefined)
    session.set('a', 1)
    return sessions.commit(session, { cookie, secure: false })
  }
  expect((await send({ sameSite: 'none' })).setCookie).toMatch(/; Secure; SameSite=None$/)
  calls.length = 0
  for (const cookie of [{ sameSite: 'None' }, { path: 'app' }, { domain: 'a:80' }]) {
    await expect(send(cookie)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
    )
  }
  expect(calls).toEqual([])
})

test('a change made while a save is under way is not lost, and a flush then is not undone', async () => {
  const { sessions, start, data, store } = setUp({}, (inner) =>
    slow(inner, { save: 20, create: 20 }),
  )
  const change = async (cookie: string | undefined, during: (session: any) => void) => {
    const session = await sessions.open(cookie)
    session.set('n', 1).update('list', (list = []) => [...list, 'first'])
    const saving = session.save()
    await setTimeout(5)
    during(session)
    await saving
    return (await sessions.commit(session)).setCookie?.split(';', 1)[0]
  }
  for (const cookie of [undefined, await start({ old: 1 })]) {
    const kept = await change(cookie, (session) => {
      session.set('n', 2).update('list', (list: string[]) => [...list, 'second'])
      session.get('list')
    })
    expect(await data(kept!)).toMatchObject({ n: 2, list: ['first', 'second'] })
    const cleared = await change(kept, (session) => session.clear())
    expect(await data(cleared!)).toEqual({})
  }
  const cookie = await start({ old: 1 })
  await change(cookie, (session) => session.flush())
  expect(await data(cookie)).toEqual({})
  expect(await store.load(cookie.slice('sessionid='.length))).toBeUndefined()
  const first = await change(undefined, (session) => {
    session.flush()
    session.set('other', 1)
  })
  expect(await data(first!)).toEqual({ other: 1 })
  const cycled = await change(await start({ old: 1 }), (session) => session.cycleKey())
  expect(await data(cycled!)).toMatchObject({ old: 1, n: 1 })
})

/** Seals text anew each time, as a signature over the time does. */
function sealingCodec() {
  let seals = 0
  const codec: Codec = {
    ...jsonCodec,
    seal: (text) => `${seals++}:${text}`,
    open(stored) {
      const colon = stored.indexOf(':')
      if (colon < 1) throw new Error('not sealed')
      return stored.slice(colon + 1)
    },
  }
  return { codec, seals: () => seals }
}

test('a codec that seals: what is unchanged is neither sealed nor saved, and what is changed costs one save', async () => {
  const { codec, seals } = sealingCodec()
  const { sessions, calls, start } = setUp({ codec })
  const cookie = await start({ cart: [1] })
  expect(seals()).toBe(1)

  const reader = await sessions.open(cookie)
  expect(reader.get('cart')).toEqual([1])
  await sessions.commit(reader)
  expect(calls).toEqual(['load'])
  expect(seals()).toBe(1)

  const writer = await sessions.open(cookie)
  writer.get('cart').push(2)
  await sessions.commit(writer)
  expect(calls).toEqual(['load', 'load', 'save'])
  const marked = await sessions.open(cookie)
  marked.modified = true
  await sessions.commit(marked)
  expect(calls.slice(3)).toEqual(['load', 'touch'])
  expect(seals()).toBe(2)
})

test('a codec that seals: two requests at once are merged, and save() can follow save()', async () => {
  const { codec } = sealingCodec()
  const { sessions, start, data } = setUp({ codec })
  const cookie = await start({ a: 1 })
  const [one, other] = [await sessions.open(cookie), await sessions.open(cookie)]
  one.set('b', 2)
  other.update('a', (a = 0) => a + 1)
  await one.save()
  one.set('c', 3)
  await sessions.commit(one)
  await sessions.commit(other)
  expect(await data(cookie)).toEqual({ a: 2, b: 2, c: 3 })
  const last = await sessions.open(cookie)
  last.delete('a')
  last.delete('b')
  last.delete('c')
  expect((await sessions.commit(last)).setCookie).toContain('Max-Age=0')
})

test('a codec that seals: data that it did not seal is an empty session', async () => {
  const { codec } = sealingCodec()
  const { sessions, store } = setUp({ codec })
  const key = 'k'.repeat(32)
  await store.create(key, { data: '{"a":1}', expiresAt: Date.now() + 60_000 })
  expect((await sessions.open(`sessionid=${key}`)).size).toBe(0)
})

describe('a store that throws errors of its own', () => {
  const boom = new Error('backend boom')
  const breaking = (method: 'load' | 'create' | 'save', sync: boolean) => {
    const fail = () => {
      if (sync) throw boom
      return Promise.reject(boom)
    }
    const store = mapStore()
    return { ...store, traits: { sync }, [method]: fail } as SessionStore
  }
  const failed = expect.objectContaining({
    code: 'ERR_SESSION_STORE',
    status: 503,
    cause: boom,
  })

  test.each([true, false])(
    'fails as a SessionStoreError with that cause: synchronous %s',
    async (sync) => {
      const cookie = 'sessionid=abcdefghijklmnopqrstuvwxyz012345'
      const loading = createSessions<any>({ store: breaking('load', sync) })
      await expect(async () => (await loading.open(cookie)).get('a')).rejects.toEqual(failed)
      const creating = createSessions<any>({ store: breaking('create', sync) })
      const fresh = await creating.open(undefined)
      fresh.set('a', 1)
      await expect(async () => creating.commit(fresh)).rejects.toEqual(failed)
      const saving = breaking('save', sync)
      saving.create(cookie.slice(10), { data: '{"a":1}', expiresAt: Date.now() + 1e6 })
      const leaving = createSessions<any>({ store: saving })
      const session = await leaving.open(cookie)
      session.flush()
      await expect(async () => leaving.commit(session)).rejects.toEqual(failed)
    },
  )

  test('may be done without: ifUnavailable `anonymous` holds for it too', async () => {
    const sessions = createSessions<any>({
      store: breaking('load', false),
      ifUnavailable: 'anonymous',
    })
    expect((await sessions.open('sessionid=abcdefghijklmnopqrstuvwxyz012345')).size).toBe(0)
  })
})

test('a store that says `sync` and answers with a promise is refused at first use: nothing is lost in silence', async () => {
  const store = mapStore()
  const wrapper: SessionStore = { ...store, load: async (key) => store.load(key) }
  expect(wrapper.traits).toMatchObject({ sync: true })
  const sessions = createSessions<any>({ store: wrapper })
  const first = await sessions.open(undefined)
  first.set('a', 1)
  const cookie = (await sessions.commit(first)).setCookie!.split(';', 1)[0]
  const session = await sessions.open(cookie)
  expect(() => session.flush()).toThrow(/has the trait `sync`.*promise.*wrapper/)
})

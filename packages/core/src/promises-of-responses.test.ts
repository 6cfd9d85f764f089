// What a response tells browsers and caches of its session, and what is told of keys that open nothing.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { controlled } from '../../../testing/controlled-store.ts'
import { mapStore } from '../../../testing/map-store.ts'
import type { Any } from '../../../testing/visitors.ts'
import { slow } from '../../../testing/wrappers.ts'
import { createSessions, type Session, type SessionsOptions } from './index.ts'

/** An application, and the cookie of a visitor who has a session. */
async function openSite(options: Partial<SessionsOptions> = {}, sync = true) {
  const store = mapStore()
  const calls = controlled(sync ? store : slow(store))
  const sessions = createSessions<Any>({ store: calls.store, ...options })
  const first = await sessions.open(undefined)
  first.set('user', 'ann')
  const cookie = (await sessions.commit(first)).setCookie!.split(';', 1)[0]!
  calls.made.length = 0
  return { ...calls, sessions, cookie }
}

describe.each([
  ['a synchronous store', true, {}],
  ['an asynchronous store', false, {}],
  ['a lazy session', false, { lazy: true }],
])('saveEveryRequest, a response that shared caches may keep, over %s', (_name, sync, more) => {
  const options = { saveEveryRequest: true, ...more }

  test('does not renew a session that nobody looked at, nor load it', async () => {
    const { sessions, cookie, made } = await openSite(options, sync)
    const session = await sessions.open(cookie)
    const opening = [...made]
    expect(opening).toEqual(sync || 'lazy' in more ? [] : ['load'])
    expect(await sessions.commit(session, { isShared: () => true })).toEqual({ vary: false })
    expect(made).toEqual(opening)
  })

  test('renews one that was read', async () => {
    const { sessions, cookie } = await openSite(options, sync)
    const session = await sessions.load(await sessions.open(cookie))
    session.get('user')
    const isShared = vi.fn<() => boolean>(() => true)
    const { setCookie } = await sessions.commit(session, { isShared })
    expect(setCookie).toContain('Max-Age=1209600')
    expect(isShared).not.toHaveBeenCalled()
  })

  test('is asked for once; any other response renews', async () => {
    const { sessions, cookie } = await openSite(options, sync)
    const session = await sessions.open(cookie)
    const isShared = vi.fn<() => boolean>(() => false)
    const { setCookie } = await sessions.commit(session, { isShared })
    expect(setCookie).toContain('Max-Age=1209600')
    expect(isShared).toHaveBeenCalledTimes(1)
  })

  test('carries the cookie of what save() has stored', async () => {
    const { sessions, cookie } = await openSite(options, sync)
    const session = await sessions.load(await sessions.open(cookie))
    session.set('user', 'bob')
    await session.save()
    const { setCookie } = await sessions.commit(session, { isShared: () => true })
    expect(setCookie).toBeDefined()
  })
})

test('whether a response is shared is not asked where no cookie could go out', async () => {
  const isShared = vi.fn<() => boolean>(() => true)
  const { sessions, cookie } = await openSite()
  await sessions.commit(await sessions.open(cookie), { isShared })
  const rolling = await openSite({ saveEveryRequest: true })
  await rolling.sessions.commit(await rolling.sessions.open(undefined), { isShared })
  expect(isShared).not.toHaveBeenCalled()
})

test('a malformed cookie is deleted by the first response that shared caches may not keep', async () => {
  const { sessions } = await openSite()
  const junk = 'sessionid=junk'
  const commit = async (isShared: boolean) =>
    sessions.commit(await sessions.open(junk), { isShared: () => isShared })
  expect(await commit(true)).toEqual({ vary: false })
  expect((await commit(false)).setCookie).toContain('Max-Age=0')
})

describe('a response that may show a session is told to be private', () => {
  const visit = async (handle: (session: Session<Any>) => unknown, status = 200, known = true) => {
    const { sessions, cookie } = await openSite()
    const session = await sessions.open(known ? cookie : undefined)
    await handle(session)
    return (await sessions.commit(session, { status })).private ?? false
  }
  test.each([
    ['one that was read', (session: Session<Any>) => session.get('user'), 200, true],
    ['one that was changed', (session: Session<Any>) => session.set('user', 'bob'), 200, true],
    [
      'one that was read, in an answer of 500',
      (session: Session<Any>) => session.get('user'),
      500,
      true,
    ],
    [
      'one that was read and flushed, in an answer of 500',
      (session: Session<Any>) => session.flush(),
      500,
      true,
    ],
  ])('%s', async (_name, handle, status) => {
    expect(await visit(handle, status)).toBe(true)
  })
  test('and not where nobody looked, or it is empty', async () => {
    expect(await visit(() => {})).toBe(false)
    expect(await visit((session) => session.get('user'), 200, false)).toBe(false)
    expect(await visit((session) => session.set('user', 'ann'), 500, false)).toBe(false)
  })
})

describe('clearSiteData', () => {
  const clearSiteData = ['cache', 'storage'] as const
  const HEADER = '"cache", "storage"'
  const logOutOf = async (
    handle: (session: Session<Any>) => unknown,
    {
      status = 200,
      cookie,
      ...options
    }: Partial<SessionsOptions> & { status?: number; cookie?: any } = {},
  ) => {
    const site = await openSite({ clearSiteData, ...options })
    const session = await site.sessions.open(cookie ?? site.cookie)
    await handle(session)
    return (await site.sessions.commit(session, { status })).clearSiteData
  }

  test('a logout tells the browser what to throw away', async () => {
    expect(await logOutOf((session) => session.flush())).toBe(HEADER)
  })

  test('also where another user logs in by the same request', async () => {
    const logIn = (session: Session<Any>) => {
      session.flush()
      session.set('user', 'bob')
    }
    expect(await logOutOf(logIn)).toBe(HEADER)
  })

  test('also where save() has stored it and the answer is an error', async () => {
    const logOut = async (session: Session<Any>) => {
      session.flush()
      await session.save()
    }
    expect(await logOutOf(logOut, { status: 500 })).toBe(HEADER)
  })

  test('also of a session that had ended before: the visitor logs out all the same', async () => {
    const cookie = `sessionid=${'k'.repeat(32)}`
    expect(await logOutOf((session) => session.flush(), { cookie })).toBe(HEADER)
  })

  test('also where the answer to a commit that failed is told what save() had ended', async () => {
    const { sessions, cookie } = await openSite({ clearSiteData, maxBytes: 1000 })
    const session = await sessions.open(cookie)
    session.flush()
    await session.save()
    session.set('text', 'x'.repeat(2000))
    await expect((async () => sessions.commit(session))()).rejects.toThrow()
    expect(sessions.headers(session).clearSiteData).toBe(HEADER)
  })

  test.each<[string, (session: Session<Any>) => unknown, object?]>([
    [
      'a flush that an answer of 500 does not carry out',
      (session) => session.flush(),
      { status: 500 },
    ],
    ['an emptied session', (session) => session.clear()],
    ['a login', (session) => session.cycleKey()],
    ['a change', (session) => session.set('user', 'bob')],
    ['a malformed cookie', (session) => session.get('user'), { cookie: 'sessionid=junk' }],
    ['a flush without a session', (session) => session.flush(), { cookie: 'other=1' }],
    ['a flush without the option', (session) => session.flush(), { clearSiteData: undefined }],
  ])('%s tells nothing', async (_name, handle, options = {}) => {
    expect(await logOutOf(handle, options)).toBeUndefined()
  })

  test('a flush that failed tells nothing', async () => {
    const { sessions, cookie, ...calls } = await openSite({ clearSiteData })
    const session = await sessions.open(cookie)
    session.flush()
    calls.fail('save')
    await expect((async () => sessions.commit(session))()).rejects.toThrow()
    expect(sessions.headers(session).clearSiteData).toBeUndefined()
  })

  test("cookies are left out where a new session's cookie goes out", async () => {
    const logIn = (session: Session<Any>) => {
      session.flush()
      session.set('user', 'bob')
    }
    const logOut = (session: Session<Any>) => session.flush()
    const both = { clearSiteData: ['cookies', 'cache'] as const }
    expect(await logOutOf(logOut, both)).toBe('"cookies", "cache"')
    expect(await logOutOf(logIn, both)).toBe('"cache"')
    expect(await logOutOf(logIn, { clearSiteData: ['cookies'] })).toBeUndefined()
    expect(await logOutOf(logOut, { clearSiteData: ['*'] })).toBe('"*"')
    const all = await logOutOf(logIn, { clearSiteData: ['*'] })
    expect(all).toContain('"storage"')
    expect(all).not.toMatch(/\*|cookies/)
  })

  test.each([
    [['cookie'], "Did you mean 'cookies'?"],
    [['localStorage'], "Did you mean 'storage'?"],
    [['"cache"'], "Did you mean 'cache'?"],
    [['Execution-Contexts'], "Did you mean 'executionContexts'?"],
    [['everything'], 'There are cache, clientHints, cookies'],
    [[''], 'There are cache, clientHints, cookies'],
    [[], 'must be a list with some of cache, clientHints'],
    ['cache', 'must be a list with some of cache, clientHints'],
  ])('%j is refused at the start: %s', (given, words) => {
    const make = () => createSessions({ store: mapStore(), clearSiteData: given as never })
    expect(make).toThrow(words)
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
  })
})

describe('coatcheck:unknown-key', () => {
  let heard: { key: string; suppressed: number }[] = []
  const listen = (event: unknown) => void heard.push(event as { key: string; suppressed: number })
  afterEach(() => {
    unsubscribe('coatcheck:unknown-key', listen)
    vi.useRealTimers()
    heard = []
  })
  const cookieOf = (n: number) => `sessionid=${String(n).padStart(32, 'k')}`

  /** Core as a process has it that has heard of no key yet. */
  async function freshSite() {
    vi.resetModules()
    vi.useFakeTimers({ toFake: ['Date'], now: 1_000_000 })
    const core = await import('./index.ts')
    const sessions = core.createSessions<Any>({ store: mapStore() })
    return {
      look: async (cookie: string) => void (await sessions.open(cookie)).get('user'),
      sessions,
    }
  }

  test('a key that the store does not know is told of by a hash, the same for the same key', async () => {
    const { look } = await freshSite()
    await look(cookieOf(1))
    subscribe('coatcheck:unknown-key', listen)
    await look(cookieOf(1))
    await look(cookieOf(2))
    await look(cookieOf(1))
    expect(heard).toEqual(
      Array.from({ length: 3 }, () => ({
        key: expect.stringMatching(/^[0-9a-f]{16}$/),
        suppressed: 0,
      })),
    )
    expect(heard[2]!.key).toBe(heard[0]!.key)
    expect(heard[1]!.key).not.toBe(heard[0]!.key)
    const { createHash } = await import('node:crypto')
    const plain = createHash('sha256').update(cookieOf(1).slice(10)).digest('hex')
    expect(plain).not.toContain(heard[0]!.key)
    const other = await freshSite()
    await other.look(cookieOf(1))
    expect(heard[3]!.key).not.toBe(heard[0]!.key)
  })

  test('neither a live key, nor no key, nor a malformed one', async () => {
    const { look, sessions } = await freshSite()
    const session = await sessions.open(undefined)
    session.set('user', 'ann')
    const { setCookie } = await sessions.commit(session)
    subscribe('coatcheck:unknown-key', listen)
    for (const cookie of [setCookie!.split(';', 1)[0]!, 'other=1', 'sessionid=junk'])
      await look(cookie)
    expect(heard).toEqual([])
  })

  test('ten a second are told, and how many were left out by the next one', async () => {
    const { look } = await freshSite()
    subscribe('coatcheck:unknown-key', listen)
    for (let n = 0; n < 25; n++) await look(cookieOf(n))
    expect(heard).toHaveLength(10)
    vi.setSystemTime(1_001_000)
    for (let n = 0; n < 2; n++) await look(cookieOf(n))
    expect(heard.slice(10).map(({ suppressed }) => suppressed)).toEqual([15, 0])
  })
})

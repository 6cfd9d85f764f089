// A browser sends every cookie of a name, from whatever path or domain: the first that opens a session counts, and no other harms it.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, test } from 'vitest'
import {
  everywhere,
  openBrowser,
  openSite,
  opens,
  type Any,
  type Browser,
  type Process,
  type Site,
  type SiteOptions,
} from '../../../testing/visitors.ts'
import { controlled } from '../../../testing/controlled-store.ts'
// By its path, as core itself depends on no engine.
import { signedCookieStore } from '../../signed-cookie/src/index.ts'
import { createSessions, type Session } from './index.ts'
import { createKey } from './key.ts'
import { MOST_KEYS } from './standing.ts'

/** Registers a test for each way that a store answers, an application runs, and a session is loaded. */
function inEveryWay(
  title: string,
  run: (site: Site) => Promise<void>,
  options: SiteOptions = {},
): void {
  everywhere(title, run, options)
  everywhere(`${title} › lazy`, run, { ...options, lazy: true })
}

const named = (...values: string[]) => values.map((value) => `sessionid=${value}`).join('; ')
const keyIn = (cookie: string | undefined) => cookie!.split('=')[1]!

/** A browser that has other cookies of the name besides its own: such as a page of another path or domain has set. */
function among({ one }: Site, before: string[], own?: string, after: string[] = []): Browser {
  const { sessions, calls } = one
  const header = (cookie: string | undefined) =>
    [named(...before), cookie, named(...after)].filter(Boolean).join('; ')
  const process: Process = {
    calls,
    sessions: {
      ...sessions,
      open: (from, info) =>
        sessions.open(header(typeof from === 'string' ? from : undefined), info),
    },
  }
  const browser = openBrowser(process, own)
  return {
    ...browser,
    get cookie() {
      return browser.cookie
    },
    // As the adapters' `getSession` does, where it is not loaded yet.
    visit: (handle, response) =>
      browser.visit(async (session) => {
        await sessions.load(session)
        return handle(session)
      }, response),
  }
}

/** The warnings of a piece of work. */
async function warningsOf(work: () => Promise<unknown>): Promise<string[]> {
  const codes: string[] = []
  const listen = (message: unknown) => void codes.push((message as { code: string }).code)
  subscribe('coatcheck:warning', listen)
  await work().finally(() => unsubscribe('coatcheck:warning', listen))
  return codes
}

const logIn = (session: Session<Any>) => {
  session.cycleKey()
  session.set('user', 'ann')
}
/** Has a session's record live on, as a manager without `absoluteMaxAge` would. */
function outlive({ records }: Site, { cookie }: Browser): void {
  const key = keyIn(cookie)
  records.set(key, { ...records.get(key)!, expiresAt: Date.now() + 1e7 })
}
const inAMinute = () => Date.now() + 60_000

describe('another cookie of the name before the live one', () => {
  const others: Record<string, (site: Site) => string> = {
    'whose session has ended': createKey,
    'that is malformed': () => 'no',
    'that is empty': () => '',
    'that is quoted': () => '"abcdefghijklmnop"',
    'of another application': () => 's:abcdefghijklmnopqrstuvwxyz012345.c2lnbmF0dXJl',
    'that a login has replaced': ({ records }) => {
      records.set('replaced-replaced', { data: '', expiresAt: inAMinute() })
      return 'replaced-replaced'
    },
    'that cannot be read': ({ records }) => {
      records.set('unreadable-unreadable', { data: 'no JSON', expiresAt: inAMinute() })
      return 'unreadable-unreadable'
    },
    'that tells of a login in doubt long ago': () =>
      `${createKey()}.${createKey()}.${(Date.now() - 1e7).toString(36)}`,
  }
  for (const [which, make] of Object.entries(others)) {
    inEveryWay(
      `${which}: the live session is found, changed and kept, and no cookie is deleted`,
      async (site) => {
        const { cookie } = await site.visitor({ cart: [1] })
        const browser = among(site, [make(site)], cookie)
        const warnings = await warningsOf(async () => {
          const read = await browser.visit((session) =>
            expect(Object.fromEntries(session)).toEqual({ cart: [1] }),
          )
          expect(read).toMatchObject({ status: 200, setCookie: undefined })
          const changed = await browser.visit((session) => session.set('more', 2))
          expect(changed).toMatchObject({ status: 200 })
          expect(changed.setCookie).toContain(keyIn(cookie))
        })
        expect(await browser.data()).toEqual({ cart: [1], more: 2 })
        expect(warnings).toEqual([])
      },
    )

    inEveryWay(`${which}: who logs in stays logged in, and the old key is dead`, async (site) => {
      const { cookie } = await site.visitor({ cart: [1] })
      const browser = among(site, [make(site)], cookie)
      expect((await browser.visit(logIn)).status).toBe(200)
      expect(browser.cookie).not.toBe(cookie)
      expect(await browser.data()).toEqual({ cart: [1], user: 'ann' })
      expect(await opens(site.one.sessions, cookie)).toEqual({})
    })

    inEveryWay(`${which}: who logs out has ended the live session`, async (site) => {
      const { cookie } = await site.visitor({ user: 'ann' })
      const browser = among(site, [make(site)], cookie)
      const { status, setCookie } = await browser.visit((session) => session.flush())
      expect(status).toBe(200)
      expect(setCookie).toContain('Max-Age=0;')
      expect(await opens(site.one.sessions, cookie)).toEqual({})
    })
  }

  inEveryWay('that opens a session too: the first one counts', async (site) => {
    const first = await site.visitor({ user: 'ann' })
    const second = await site.visitor({ user: 'ben' })
    const browser = among(site, [keyIn(first.cookie)], second.cookie)
    expect(await browser.data()).toEqual({ user: 'ann' })
    expect(site.one.calls.made).toEqual(['load'])
    await browser.visit((session) => session.flush())
    expect(await opens(site.one.sessions, first.cookie)).toEqual({})
    expect(await opens(site.one.sessions, second.cookie)).toEqual({ user: 'ben' })
  })

  inEveryWay(
    'whose absolute lifetime is over: the live session is found, and that one is left alone',
    async (site) => {
      const old = await site.visitor({ user: 'ann' })
      outlive(site, old)
      site.pass(90)
      const browser = among(site, [keyIn(old.cookie)], (await site.visitor({ user: 'ben' })).cookie)
      site.pass(20)
      const before = site.records.get(keyIn(old.cookie))
      const { status } = await browser.visit((session) => session.set('more', 1))
      expect(status).toBe(200)
      expect(site.records.get(keyIn(old.cookie))).toEqual(before)
      expect(await browser.data()).toEqual({ user: 'ben', more: 1 })
    },
    { absoluteMaxAge: 100 },
  )

  test('behind it: after the response has begun the live session is still saved, as its client has the key', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const { cookie } = await site.visitor({ cart: [1] })
      const session = await site.one.sessions.open(`${named(createKey())}; ${cookie}`)
      expect(session.get('cart')).toEqual([1])
      await site.one.sessions.commit(session)
      session.set('late', 1)
      await session.save()
      expect(await opens(site.one.sessions, cookie)).toEqual({ cart: [1], late: 1 })
    }
  })

  test('of a login in doubt: it is settled by the new key, also behind a stale one, and the client is told', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const { cookie: from } = await site.visitor({ cart: [1] })
      const to = await site.visitor({ cart: [1], user: 'ann' })
      site.records.set(keyIn(from), { data: '', expiresAt: inAMinute() })
      const doubt = `${keyIn(to.cookie)}.${keyIn(from)}.${Date.now().toString(36)}`
      const browser = among(site, [createKey(), doubt, 'no'], undefined)
      const { setCookie } = await browser.visit((session) =>
        expect(session.get('user')).toBe('ann'),
      )
      expect(setCookie).toContain(keyIn(to.cookie))
    }
  })
})

describe('what must die', () => {
  test('a login in doubt whose session was ended meanwhile is ended for good, also beside a live session', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const ended = await site.visitor({ user: 'ann' })
      const live = await site.visitor({ user: 'ben' })
      const doubt = `${keyIn(ended.cookie)}.${createKey()}.${Date.now().toString(36)}`
      const browser = among(site, [doubt], live.cookie)
      const { status } = await browser.visit((session) => expect(session.get('user')).toBe('ben'))
      expect(status).toBe(200)
      site.pass(120)
      expect(await opens(site.one.sessions, named(doubt))).toEqual({})
      expect(await browser.data()).toEqual({ user: 'ben' })
    }
  })
})

describe('several cookies of the name, none of which opens a session', () => {
  inEveryWay('a login begins one that stays', async (site) => {
    const browser = among(site, [createKey(), 'no', createKey()], undefined, ['', createKey()])
    expect((await browser.visit(logIn)).status).toBe(200)
    expect(await browser.data()).toEqual({ user: 'ann' })
  })

  for (const [what, end] of Object.entries({
    'a logout': (session: Session<Any>) => session.flush(),
    'a login': logIn,
    'a login by flush() and set()': (session: Session<Any>) => {
      session.flush()
      session.set('user', 'ann')
    },
  })) {
    test(`${what} is acknowledged when it is certain of each of them that nobody believes a copy of it`, async () => {
      for (const sync of [true, false]) {
        const certain: string[] = []
        const site = openSite({
          sync,
          wrap: (store) => ({
            ...store,
            load(key, latest) {
              if (latest) certain.push(key)
              return store.load(key, latest)
            },
          }),
        })
        const gone = [createKey(), createKey()]
        const browser = among(site, [gone[0]!, 'no', gone[1]!])
        expect((await browser.visit(end)).status).toBe(200)
        expect(certain.toSorted()).toEqual(gone.toSorted())

        // And is not acknowledged if it cannot be certain of the last.
        const calls = site.one.calls
        const fault = calls.fail(4)
        expect((await among(site, gone).visit(end)).status).toBe(503)
        expect(fault.came).toBe(true)
        calls.forget()
      }
    })
  }

  for (const order of ['first', 'last'] as const) {
    const beside = (one: string) => (order === 'first' ? [one, createKey()] : [createKey(), one])

    inEveryWay(
      `one of them replaced by a login (the ${order}): what only writes, or only logs out, is refused, and no cookie is deleted`,
      async (site) => {
        site.records.set('replaced-replaced', { data: '', expiresAt: inAMinute() })
        const browser = among(site, [...beside('replaced-replaced'), 'no'])
        for (const handle of [
          (session: Session<Any>) => session.set('cart', [1]),
          (session: Session<Any>) => session.flush(),
        ]) {
          const { status, setCookie } = await browser.visit(handle)
          expect({ status, setCookie }).toEqual({ status: 400, setCookie: undefined })
        }
        expect(await browser.visit((session) => session.get('cart'))).toMatchObject({
          status: 200,
          setCookie: undefined,
        })
        expect((await browser.visit(logIn)).status).toBe(200)
        expect(await browser.data()).toEqual({ user: 'ann' })
      },
    )

    inEveryWay(
      `one of them unreadable (the ${order}): nothing is taken out of it, and flush() ends it`,
      async (site) => {
        site.records.set('unreadable-unreadable', { data: 'no JSON', expiresAt: inAMinute() })
        const browser = among(site, beside('unreadable-unreadable'))
        expect((await browser.visit((session) => session.delete('user'))).status).toBe(503)
        expect(site.records.has('unreadable-unreadable')).toBe(true)
        expect((await browser.visit((session) => session.flush())).status).toBe(200)
        expect(await opens(site.one.sessions, named('unreadable-unreadable'))).toEqual({})
        expect(site.records.get('unreadable-unreadable')?.data).not.toBe('no JSON')
      },
    )
  }

  for (const ifUnavailable of ['error', 'anonymous'] as const) {
    test(`a backend that fails is ${ifUnavailable === 'error' ? 'an error' : 'an empty session that is not saved'}, also at the second one, and is asked no more`, async () => {
      for (const sync of [true, false]) {
        const site = openSite({ sync, ifUnavailable })
        const { cookie } = await site.visitor({ cart: [1] })
        const { calls } = site.one
        const browser = among(site, [createKey(), createKey()], cookie)
        calls.fail(2)
        const write = async () => browser.visit((session) => session.set('a', 1))
        if (ifUnavailable === 'error') await expect(write()).rejects.toThrow('away')
        else expect((await write()).status).toBe(503)
        expect(calls.made).toEqual(['load', 'load'])
        calls.forget()
        expect(await browser.data()).toEqual({ cart: [1] })
      }
    })
  }

  inEveryWay('malformed ones alone are deleted, with one warning and no call', async (site) => {
    const browser = among(site, ['', 'no', '"', 'a.b.c', 'x'.repeat(65)])
    const warnings = await warningsOf(async () => {
      const { status, setCookie } = await browser.visit((session) => session.get('a'))
      expect(status).toBe(200)
      expect(setCookie).toContain('Max-Age=0;')
    })
    expect(warnings).toEqual(['MALFORMED_COOKIE'])
    expect(site.one.calls.made).toEqual([])
  })

  inEveryWay(
    'malformed ones beside a key that has ended are left: the cookie that would be deleted may have been given anew',
    async (site) => {
      const browser = among(site, ['no', createKey()])
      const warnings = await warningsOf(async () => {
        const { setCookie } = await browser.visit((session) => session.get('a'))
        expect(setCookie).toBeUndefined()
      })
      expect(warnings).toEqual([])
    },
  )

  inEveryWay(
    'one whose absolute lifetime is over is ended',
    async (site) => {
      const old = await site.visitor({ user: 'ann' })
      outlive(site, old)
      site.pass(110)
      const browser = among(site, [createKey(), keyIn(old.cookie)])
      const { setCookie } = await browser.visit((session) =>
        expect(session.get('user')).toBeUndefined(),
      )
      expect(setCookie).toContain('Max-Age=0;')
      expect(site.records.get(keyIn(old.cookie))?.expiresAt).toBe(0)
    },
    { absoluteMaxAge: 100 },
  )
})

describe('what many cookies of the name cost', () => {
  const planted = Array.from({ length: 100 }, createKey)

  inEveryWay(
    `a hundred planted before the live one: ${MOST_KEYS} calls at the most, and the session is found`,
    async (site) => {
      const { cookie } = await site.visitor({ user: 'ann' })
      const browser = among(site, planted, cookie)
      const { made } = site.one.calls
      expect(await browser.data()).toEqual({ user: 'ann' })
      expect(made).toEqual(Array.from({ length: MOST_KEYS }, () => 'load'))
      expect((await browser.visit(logIn)).status).toBe(200)
      expect(await browser.data()).toMatchObject({ user: 'ann' })
    },
  )

  test('a hundred that tell of a login in doubt: no more keys are asked for either', async () => {
    for (const sync of [true, false]) {
      const asked = new Set<string>()
      const site = openSite({
        sync,
        wrap: (store) => ({
          ...store,
          load: (key, latest) => (asked.add(key), store.load(key, latest)),
        }),
      })
      const time = Date.now().toString(36)
      const browser = among(
        site,
        planted.map((key) => `${key}.${createKey()}.${time}`),
      )
      expect(await browser.data()).toEqual({})
      expect(asked.size).toBe(MOST_KEYS)
    }
  })

  test('malformed ones cost no call, and one value is asked for once', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const { cookie } = await site.visitor({ user: 'ann' })
      const stale = createKey()
      const browser = among(site, ['', stale, 'no', stale, stale], cookie)
      expect(await browser.data()).toEqual({ user: 'ann' })
      expect(site.one.calls.made).toEqual(['load', 'load'])
    }
  })

  test('a synchronous store is asked without a promise, when the session is first looked at; so it is with lazy', async () => {
    const site = openSite({ sync: true })
    const { cookie } = await site.visitor({ user: 'ann' })
    const header = `${named(...planted.slice(0, 3))}; ${cookie}`
    const session = site.one.sessions.open(header) as Session<Any>
    expect(site.one.calls.made).toEqual([])
    expect(session.get('user')).toBe('ann')
    expect(site.one.calls.made).toHaveLength(4)

    const later = openSite({ lazy: true })
    const waiting = await later.one.sessions.open(header)
    expect(later.one.calls.made).toEqual([])
    await Promise.all([later.one.sessions.load(waiting), later.one.sessions.load(waiting)])
    expect(later.one.calls.made).toHaveLength(4)
  })

  test('two who wait for one session while its keys are looked for get the same, and nobody gets it half-way', async () => {
    const site = openSite()
    const { cookie } = await site.visitor({ user: 'ann' })
    const lazy = createSessions<Any>({ store: site.one.calls.store, lazy: true })
    const session = await lazy.open(`${named(createKey(), createKey())}; ${cookie}`)
    const held = site.one.calls.hold(2)
    const first = lazy.load(session) as Promise<Session<Any>>
    await held.reached(first)
    const second = lazy.load(session) as Promise<Session<Any>>
    expect(() => session.get('user')).toThrow(/not loaded/)
    held.release()
    expect((await second).get('user')).toBe('ann')
    await first
    expect(site.one.calls.made).toEqual(['load', 'load', 'load'])
  })
})

describe('signed cookies', () => {
  test('every value of the name is tried: forged, foreign and expired ones before the live one change nothing', async () => {
    const secrets = ['a secret for tests, of 32 characters or more']
    const foreign = ['another secret for tests, of 32 characters']
    for (const encrypt of [false, true]) {
      const { store } = controlled(signedCookieStore({ secrets, encrypt }))
      const sessions = createSessions<Any>({ store })
      const ticket = async (of: string[], at = Date.now(), data = '{"user":"ann"}') => {
        const now = () => at
        const theirs = signedCookieStore({ secrets: of, encrypt, now })
        return theirs.create('', { data, expiresAt: at + 1e6 })
      }
      const live = await ticket(secrets)
      const dead = ['', 'no', await ticket(foreign), await ticket(secrets, Date.now() - 1e7)]
      const many = Array.from({ length: 50 }, (_, n) => `planted${n}`)
      const session = await sessions.open(named(...dead, live, ...many))
      expect(session.get('user')).toBe('ann')
      expect((await sessions.commit(session)).setCookie).toBeUndefined()

      const none = await sessions.open(named(...dead))
      expect(none.get('user')).toBeUndefined()
      expect((await sessions.commit(none)).setCookie).toContain('Max-Age=0;')

      // What another version of the application may read is not deleted for what is forged beside it.
      const unreadable = await ticket(secrets, Date.now(), 'no JSON')
      const left = await sessions.open(named(...dead, unreadable))
      expect(left.get('user')).toBeUndefined()
      expect((await sessions.commit(left)).setCookie).toBeUndefined()
    }
  })
})

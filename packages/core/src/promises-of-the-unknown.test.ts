// What is not known is not acknowledged: a session whose store is away, whose data cannot be decoded, whose load failed.
import { describe, expect, test } from 'vitest'
import { storeIsAway } from '../../../testing/controlled-store.ts'
import {
  atEachCall,
  everywhere,
  openBrowser,
  openSite,
  type Any,
} from '../../../testing/visitors.ts'
import { createJsonCodec, type Codec, type Session } from './index.ts'

describe("ifUnavailable: 'anonymous', while the store is away", () => {
  everywhere(
    'a request reads an empty session and is answered, and the session is there once the store is back',
    async (site) => {
      const browser = await site.visitor({ user: 'ann' })
      site.one.calls.away = true
      const answer = await browser.visit((session) => expect(session.size).toBe(0))
      expect(answer).toEqual({ status: 200, setCookie: undefined, error: undefined })
      site.one.calls.away = false
      expect(await browser.data()).toEqual({ user: 'ann' })
    },
    { ifUnavailable: 'anonymous' },
  )

  const changes: Record<string, (session: Session<Any>) => unknown> = {
    'flush(), as a logout does': (session) => session.flush(),
    'clear()': (session) => session.clear(),
    'delete()': (session) => session.delete('user'),
    'pop()': (session) => session.pop('user'),
    'set()': (session) => session.set('a', 1),
    'flush() and set()': (session) => {
      session.flush()
      session.set('user', 'bob')
    },
    'cycleKey() and set()': (session) => {
      session.cycleKey()
      session.set('user', 'bob')
    },
    'setExpiry()': (session) => session.setExpiry(60),
  }
  for (const [name, handle] of Object.entries(changes)) {
    everywhere(
      `${name} is the store's error, 503, and ends nothing`,
      async (site) => {
        const browser = await site.visitor({ user: 'ann' })
        const { calls } = site.one
        const load = calls.fail('load')
        const { status, setCookie, error } = await browser.visit(handle)
        expect(load.came).toBe(true)
        expect({ status, setCookie, error }).toMatchObject({
          status: 503,
          setCookie: undefined,
          error: { code: 'ERR_SESSION_STORE', message: storeIsAway().message },
        })
        expect(await browser.data()).toEqual({ user: 'ann' })
      },
      { ifUnavailable: 'anonymous' },
    )
  }
})

describe('data that cannot be decoded, as another version wrote it', () => {
  /** What this version writes begins with its number, and it reads nothing else. */
  const versioned = (version: string): Codec => {
    const codec = createJsonCodec()
    return {
      ...codec,
      encode: (data, suspects) => version + codec.encode(data, suspects),
      decode(text) {
        if (!text.startsWith(version)) throw new Error('written by another version')
        return codec.decode(text.slice(version.length))
      },
    }
  }
  /** A browser whose session another version of the application has made. */
  async function upgraded(sync: boolean) {
    const site = openSite({ sync, codec: versioned('2:') })
    const browser = site.browser(`sessionid=${'k'.repeat(32)}`)
    site.records.set('k'.repeat(32), { data: '1:{"user":"ann"}', expiresAt: Date.now() + 1e9 })
    return { site, browser, stored: () => site.records.get('k'.repeat(32))?.data }
  }
  for (const sync of [true, false]) {
    describe(sync ? 'a synchronous store' : 'an asynchronous store', () => {
      const ends: Record<string, (session: Session<Any>) => unknown> = {
        'flush()': (session) => session.flush(),
        'clear()': (session) => session.clear(),
        'flush() and set()': (session) => {
          session.flush()
          session.set('fresh', 1)
        },
      }
      for (const [name, end] of Object.entries(ends)) {
        test(`${name} ends the stored session, for the version that can read it too`, async () => {
          const { browser, stored } = await upgraded(sync)
          const { status } = await browser.visit(end)
          expect(status).toBe(200)
          expect(stored() ?? '').toBe('')
          expect(await browser.data()).toEqual(name === 'flush() and set()' ? { fresh: 1 } : {})
        })
      }

      test('reads as empty; a set() makes a new session under another key and leaves the unreadable one alone', async () => {
        const { browser, stored } = await upgraded(sync)
        const old = browser.cookie
        const { status } = await browser.visit((session) => {
          expect(session.size).toBe(0)
          session.set('a', 1)
        })
        expect(status).toBe(200)
        expect(browser.cookie).not.toBe(old)
        expect(await browser.data()).toEqual({ a: 1 })
        expect(stored()).toBe('1:{"user":"ann"}')
      })

      for (const [name, take] of Object.entries({
        'delete()': (session: Session<Any>) => session.delete('user'),
        'pop()': (session: Session<Any>) => session.pop('user'),
      })) {
        test(`${name} of a key that nobody can see is an error, not an answer that it is gone`, async () => {
          const { browser, stored } = await upgraded(sync)
          const { status, error } = await browser.visit(take)
          expect(status).toBeGreaterThanOrEqual(400)
          expect(error).toBeInstanceOf(Error)
          expect(stored()).toBe('1:{"user":"ann"}')
        })
      }
    })
  }
})

describe('lazy: two loads of one request at once', () => {
  for (const ifUnavailable of ['error', 'anonymous'] as const) {
    test(`of which the second fails at the store do not poison the first (ifUnavailable: '${ifUnavailable}')`, async () => {
      const { one, visitor } = openSite({ lazy: true, ifUnavailable })
      const browser = await visitor({ user: 'ann' })
      const { session, answer } = await browser.open()
      const [first, second] = [one.calls.hold('load'), one.calls.hold('load')]
      const loads = [one.sessions.load(session), one.sessions.load(session)].map(async (load) => {
        try {
          await load
        } catch {
          // The one that fails, if it is a call of its own.
        }
      })
      await first.reached(loads[0]!)
      first.release()
      await loads[0]
      second.fail()
      await loads[1]
      one.calls.forget()
      expect(session.get('user')).toBe('ann')
      session.set('a', 1)
      expect((await answer()).status).toBe(200)
      expect(await browser.data()).toEqual({ user: 'ann', a: 1 })
    })
  }

  test('that failed can be tried again', async () => {
    const { one, visitor } = openSite({ lazy: true })
    const browser = await visitor({ user: 'ann' })
    const { session, answer } = await browser.open()
    one.calls.away = true
    const loads = await Promise.allSettled([one.sessions.load(session), one.sessions.load(session)])
    expect(loads.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    one.calls.away = false
    await one.sessions.load(session)
    session.set('a', 1)
    expect((await answer()).status).toBe(200)
    expect(await browser.data()).toEqual({ user: 'ann', a: 1 })
  })
})

test('of two requests with a login in doubt, none takes away what the other has stored since, wherever it stands', () =>
  atEachCall(async (call, effect) => {
    const site = openSite({ processes: 2 })
    const browser = await site.visitor({ cart: [1] })
    site.one.calls.fail('save', { lasting: true })
    await browser.visit((session) => session.cycleKey())
    site.one.calls.forget()
    expect(browser.cookie).toMatch(/\..*\./)
    const held = site.other.calls.hold(call, { effect })
    const opening = openBrowser(site.other, browser.cookie).open()
    const reached = await held.reached(opening)
    await browser.visit((session) => session.set('cart', [1, 2]))
    held.release()
    await (await opening).answer()
    expect(await browser.data()).toEqual({ cart: [1, 2] })
    return reached
  }))

// The client holds the key of what was acknowledged, and nothing is destroyed on a doubt.
import { describe, expect, test } from 'vitest'
import {
  atEachCall,
  everywhere,
  openBrowser,
  openSite,
  opens,
  type Any,
} from '../../../testing/visitors.ts'
import { controlled } from '../../../testing/controlled-store.ts'
// By its path, as core itself depends on no engine.
import { signedCookieStore } from '../../signed-cookie/src/index.ts'
import { createSessions, type CookieOptions, type Session } from './index.ts'

/** A login as the README teaches it. */
const logIn = (session: Session<Any>) => {
  session.cycleKey()
  session.set('user', 'ann')
}

describe('what save() has stored is told to the client', () => {
  /** How a request ends that has saved before. */
  const failures: Record<string, (session: Session<Any>) => { status?: number }> = {
    'by a response of status 500': () => ({ status: 500 }),
    'by a commit that fails for a value that cannot be stored': (session) => {
      session.set('bad', { at: 1n })
      return {}
    },
    'by a commit that fails for its size': (session) => {
      session.set('bad', 'x'.repeat(2000))
      return {}
    },
  }
  for (const [name, fail] of Object.entries(failures)) {
    everywhere(
      `a new session, ${name}, without what came after the save`,
      async (site) => {
        const browser = site.browser()
        const { status, setCookie } = await browserFails(browser, fail, async (session) => {
          session.set('cart', [1])
          await session.save()
        })
        expect(status).toBe(500)
        expect(setCookie).toBeDefined()
        expect(await browser.data()).toEqual({ cart: [1] })
      },
      { maxBytes: 1000 },
    )

    everywhere(
      `a new key after cycleKey(), ${name}, and the old key opens nothing`,
      async (site) => {
        const browser = await site.visitor({ cart: [1] })
        const old = browser.cookie
        const { status, setCookie } = await browserFails(browser, fail, async (session) => {
          logIn(session)
          await session.save()
          session.delete('cart')
        })
        expect(status).toBe(500)
        expect(setCookie).toBeDefined()
        expect(await browser.data()).toEqual({ cart: [1], user: 'ann' })
        expect(await opens(site.one.sessions, old)).toEqual({})
      },
      { maxBytes: 1000 },
    )

    everywhere(
      `an ended session, ${name}: the cookie is deleted`,
      async (site) => {
        const browser = await site.visitor({ cart: [1] })
        const old = browser.cookie
        const { setCookie } = await browserFails(browser, fail, async (session) => {
          session.flush()
          await session.save()
        })
        expect(setCookie ?? 'none').toContain('Max-Age=0;')
        expect(browser.cookie).toBeUndefined()
        expect(await opens(site.one.sessions, old)).toEqual({})
      },
      { maxBytes: 1000 },
    )
  }

  everywhere('and a store that fails at the commit changes nothing about it', async (site) => {
    const browser = await site.visitor({ cart: [1] })
    const answer = await browser.visit(async (session) => {
      logIn(session)
      await session.save()
      session.set('late', 1)
      site.one.calls.away = true
    })
    site.one.calls.away = false
    expect(answer.status).toBe(503)
    expect(answer.setCookie).toBeDefined()
    expect(await browser.data()).toEqual({ cart: [1], user: 'ann' })
  })

  test('while a save() that nobody awaited is under way: a response of 500 tells what it has stored', async () => {
    const { one, visitor } = openSite()
    const browser = await visitor({ cart: [1] })
    const { session, answer } = await browser.open()
    logIn(session)
    const held = one.calls.hold(1)
    const saving = session.save()
    await held.reached(saving)
    const answering = answer({ status: 500 })
    held.release()
    await saving
    await answering
    expect(await browser.data()).toEqual({ cart: [1], user: 'ann' })
  })

  test('what nobody has saved is neither stored nor told by a response of 500', async () => {
    const { browser, records } = openSite()
    const answer = await browser().visit((session) => session.set('cart', [1]), { status: 500 })
    expect(answer.setCookie).toBeUndefined()
    expect(records.size).toBe(0)
  })

  async function browserFails(
    browser: ReturnType<typeof openBrowser>,
    fail: (session: Session<Any>) => { status?: number },
    handle: (session: Session<Any>) => Promise<void>,
  ) {
    const { session, answer } = await browser.open()
    await handle(session)
    return answer(fail(session))
  }
})

describe('a store call that fails, or whose answer is lost', () => {
  const logins: Record<string, (session: Session<Any>) => void> = {
    'cycleKey() and set()': logIn,
    'cycleKey() alone': (session) => session.cycleKey(),
  }
  for (const [name, login] of Object.entries(logins)) {
    for (const sync of [true, false]) {
      for (const lasting of [false, true]) {
        const how = `${lasting ? 'and the store stays away for the rest of the request, ' : ''}whether it took effect or not`
        test(`in a login by ${name}, ${how}: what the client holds opens the session, and the next login works › ${sync ? 'a synchronous store' : 'an asynchronous store'}`, () =>
          atEachCall(async (call, effect) => {
            const { one, visitor } = openSite({ sync })
            const browser = await visitor({ cart: [1] })
            const { session, answer } = await browser.open()
            expect(session.get('cart')).toEqual([1])
            login(session)
            const fault = one.calls.fail(call, { effect, lasting })
            const { status } = await answer()
            one.calls.forget()
            expect(status, `call ${call}`).toBeOneOf([200, 503])
            const held = await browser.data()
            expect(held, `call ${call}, answered ${status}`).toHaveProperty('cart', [1])
            if (status === 200 && login === logIn) expect(held).toHaveProperty('user', 'ann')
            const again = await browser.visit(logIn)
            expect(again.status, `call ${call}, the next login`).toBe(200)
            expect(await browser.data()).toEqual({ cart: [1], user: 'ann' })
            return fault.came
          }))
      }
    }
  }

  test('in a login: the old key opens nothing if it is acknowledged, and the cart is never lost', () =>
    atEachCall(async (call, effect) => {
      const { one, visitor } = openSite()
      const browser = await visitor({ cart: [1] })
      const old = browser.cookie
      const { session, answer } = await browser.open()
      logIn(session)
      const fault = one.calls.fail(call, { effect })
      const { status, setCookie } = await answer()
      one.calls.forget()
      expect(await browser.data()).toHaveProperty('cart', [1])
      if (status === 200) {
        expect(setCookie).toBeDefined()
        expect(await opens(one.sessions, old)).toEqual({})
      }
      return fault.came
    }))

  test('in a new session: the client is never left with a cookie that opens nothing', () =>
    atEachCall(async (call, effect) => {
      const { one, browser } = openSite()
      const visitor = browser()
      const { session, answer } = await visitor.open()
      session.set('user', 'ann')
      const fault = one.calls.fail(call, { effect })
      const { setCookie } = await answer()
      one.calls.forget()
      if (setCookie !== undefined) expect(await visitor.data()).toEqual({ user: 'ann' })
      return fault.came
    }))

  const retried: Record<string, (session: Session<Any>) => void> = {
    'a change': (session) => void session.update('cart', (cart = []) => [...cart, 2]),
    'a login': logIn,
    'a login by flush() and set()': (session) => {
      session.flush()
      session.set('user', 'ann')
    },
  }
  for (const [name, handle] of Object.entries(retried)) {
    for (const start of ['a new session', 'one that is there'] as const) {
      test(`in save() of ${name} to ${start}: when a second try resolves, by save() or by the commit, the client's cookie opens it all, once`, async () => {
        for (const again of ['save()', 'the commit'] as const) {
          for (const sync of [true, false]) {
            await atEachCall(async (call, effect) => {
              const what = `call ${call}, ${effect ? 'answer lost' : 'failed'}, then ${again}`
              const site = openSite({ sync })
              const isNew = start === 'a new session'
              const browser = isNew ? site.browser() : await site.visitor({ cart: [1] })
              const { session, answer } = await browser.open()
              session.get('cart')
              handle(session)
              const fault = site.one.calls.fail(call, { effect })
              await session.save().catch(() => (again === 'save()' ? session.save() : undefined))
              site.one.calls.forget()
              expect((await answer()).status, what).toBe(200)
              const cart = isNew ? {} : { cart: [1] }
              expect(await browser.data(), what).toEqual(
                {
                  'a change': { cart: isNew ? [2] : [1, 2] },
                  'a login': { ...cart, user: 'ann' },
                  'a login by flush() and set()': { user: 'ann' },
                }[name],
              )
              return fault.came
            })
          }
        }
      })
    }
  }

  test('in a save: a change that was made is made once', () =>
    atEachCall(async (call, effect) => {
      const { one, visitor } = openSite()
      const browser = await visitor({ visits: 1 })
      const { session, answer } = await browser.open()
      session.update('visits', (visits = 0) => visits + 1)
      const fault = one.calls.fail(call, { effect })
      const { status } = await answer()
      one.calls.forget()
      const { visits } = await browser.data()
      if (status === 200) expect(visits).toBe(2)
      // An error leaves open whether it was done, and never that it was done twice.
      else expect(visits).toBeOneOf([1, 2])
      return fault.came
    }))
})

describe('a cookie line that cannot be sent', () => {
  /** How a line goes wrong by what the response says of it. */
  const lines: Record<string, Omit<CookieOptions, 'name' | 'format'>> = {
    'a domain that makes it too long': { domain: `${'x'.repeat(5000)}.example.org` },
    'a path that makes it too long': { path: `/${'x'.repeat(5000)}` },
    'a domain that is none': { domain: 'not a domain;' },
    'rules that a browser would enforce': { sameSite: 'none', secure: false },
  }
  for (const [name, cookie] of Object.entries(lines)) {
    const kinds: Record<string, (session: Session<Any>) => void> = {
      'a login': logIn,
      'a change': (session) => void session.set('a', 1),
      'a login by flush() and set()': (session) => {
        session.flush()
        session.set('user', 'ann')
      },
    }
    for (const [kind, handle] of Object.entries(kinds)) {
      everywhere(
        `because of ${name}, fails ${kind} before anything is stored: the old session is as it was`,
        async ({ records, visitor }) => {
          const browser = await visitor({ cart: [1] })
          const { cookie: old } = browser
          const before = new Map(records)
          const answer = await browser.visit(handle, { cookie })
          expect(answer).toMatchObject({ status: 500, setCookie: undefined })
          expect(records).toEqual(before)
          expect(browser.cookie).toBe(old)
          expect(await browser.data()).toEqual({ cart: [1] })
        },
      )
    }

    everywhere(`because of ${name}, fails a new session: nothing is stored`, async (site) => {
      const browser = site.browser()
      const { status } = await browser.visit((session) => session.set('a', 1), { cookie })
      expect(status).toBe(500)
      expect(site.records.size).toBe(0)
    })
  }

  for (const [name, write] of Object.entries({
    'is too long': (key: string) => key.repeat(200),
    throws: (): string => {
      throw new Error('no key for the format')
    },
  })) {
    test(`because the manager's own format ${name}, fails save() before anything is stored`, async () => {
      for (const sync of [true, false]) {
        let broken = false
        const { visitor, records } = openSite({
          sync,
          cookie: {
            format: { read: (value) => value, write: (key) => (broken ? write(key) : key) },
          },
        })
        const browser = await visitor({ cart: [1] })
        const before = new Map(records)
        broken = true
        const { session } = await browser.open()
        session.get('cart')
        logIn(session)
        await expect(session.save()).rejects.toThrow()
        expect(records).toEqual(before)
        broken = false
        expect(await browser.data()).toEqual({ cart: [1] })
      }
    })
  }

  test("fails save() of an asynchronous store's new session before anything is stored", async () => {
    let broken = false
    const { browser, records } = openSite({
      cookie: {
        format: { read: (value) => value, write: (key) => (broken ? key.repeat(200) : key) },
      },
    })
    broken = true
    const { session } = await browser().open()
    session.set('a', 1)
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_TOO_LARGE' })
    expect(records.size).toBe(0)
  })
})

describe('signed cookies', () => {
  /** Text that does not compress. */
  const noise = (length: number) =>
    Array.from({ length }, () => Math.random().toString(36).at(-1)).join('')

  for (const sync of [true, false]) {
    test(`save() rejects with SessionTooLargeError what the cookie's line has no room for, and the old session stays › ${sync ? 'as it is' : 'behind promises'}`, async () => {
      const { store } = controlled(
        signedCookieStore({ secrets: ['a secret for tests, of 32 characters or more'] }),
      )
      const later = {
        ...store,
        traits: { ...store.traits, sync },
        load: async (key: string) => store.load(key),
        create: async (...args: Parameters<typeof store.create>) => store.create(...args),
        save: async (...args: Parameters<typeof store.save>) => store.save(...args),
      }
      const sessions = createSessions<Any>({
        store: sync ? store : later,
        cookie: { path: `/${'p'.repeat(1000)}` },
      })
      const browser = openBrowser({ sessions, calls: controlled(store) })
      await browser.visit((session) => session.set('small', 1))
      const { session, answer } = await browser.open()
      expect(session.get('small')).toBe(1)
      session.set('large', noise(4000))
      await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_TOO_LARGE' })
      const { status } = await answer()
      expect(status).toBe(500)
      expect(await browser.data()).toEqual({ small: 1 })
    })
  }
})

test('cookieFor changes attributes alone: by name and format the next request finds the session', async () => {
  const site = openSite()
  const browser = site.browser()
  const format = { read: (value: string) => value.slice(1), write: (key: string) => `x${key}` }
  const cookie = { path: '/a', name: 'other', format } as Omit<CookieOptions, 'name' | 'format'>
  const { setCookie } = await browser.visit((session) => session.set('a', 1), { cookie })
  expect(setCookie).toMatch(/^sessionid=\w{32}; .*Path=\/a/)
  expect(await browser.data()).toEqual({ a: 1 })
})

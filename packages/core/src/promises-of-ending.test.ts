// Ended is ended, and acknowledged only when true: what a key opens after a flush, a clear, a cycleKey.
import { describe, expect, test } from 'vitest'
import {
  asFarAsItGets,
  asynchronously,
  atEachCall,
  everywhere,
  openBrowser,
  openSite,
  opens,
  type Any,
} from '../../../testing/visitors.ts'
import type { Session } from './index.ts'

/** The ways by which a session ends under its key. */
const ends: Record<string, (session: Session<Any>) => void> = {
  'flush()': (session) => session.flush(),
  'flush() and set()': (session) => {
    session.flush()
    session.set('fresh', 1)
  },
  'clear()': (session) => session.clear(),
  'delete() of all there is': (session) => {
    for (const key of session.keys()) session.delete(key)
  },
  'cycleKey()': (session) => session.cycleKey(),
}

describe('the expiry that another request has set', () => {
  const handlers: Record<string, (session: Session<Any>) => unknown> = {
    'only reads': (session) => session.get('cart'),
    'sets what is there already': (session) => session.set('cart', [1]),
  }
  for (const [name, handle] of Object.entries(handlers)) {
    everywhere(
      `is not undone by a request that ${name} and was opened before: after setExpiry(60) nothing is there after 61 s`,
      async (site) => {
        const browser = await site.visitor({ cart: [1] })
        const { session, answer } = await browser.open(site.other)
        handle(session)
        const setting = await browser.visit((short) => short.setExpiry(60))
        expect(setting.status).toBe(200)
        expect((await answer()).status).toBe(200)
        site.pass(59)
        expect(await browser.data()).toHaveProperty('cart', [1])
        site.pass(2)
        expect(await browser.data()).toEqual({})
      },
      { saveEveryRequest: true },
    )

    test(`is not undone by a request that ${name}, wherever in its commit it comes`, () =>
      atEachCall(async (call, effect) => {
        const site = openSite({ processes: 2, saveEveryRequest: true })
        const browser = await site.visitor({ cart: [1] })
        const { session, answer } = await browser.open(site.other)
        handle(session)
        const held = site.other.calls.hold(call, { effect })
        const answering = answer()
        const reached = await held.reached(answering)
        await browser.visit((short) => short.setExpiry(60))
        held.release()
        expect((await answering).status).toBe(200)
        site.pass(61)
        expect(await browser.data()).toEqual({})
        return reached
      }))
  }
})

for (const concurrency of ['overwrite', 'merge', 'reject'] as const) {
  describe(`concurrency: '${concurrency}'`, () => {
    everywhere(
      'a session that ended, by whichever way, is not brought back by a request that was opened before: SessionGoneError',
      async (site) => {
        for (const [name, end] of Object.entries(ends)) {
          const owner = await site.visitor({ cart: [1], user: 'ann' })
          const late = site.browser(owner.cookie)
          const old = owner.cookie
          const { session, answer } = await late.open(site.other)
          expect(session.get('user')).toBe('ann')
          session.set('late', 1)
          expect((await owner.visit(end)).status).toBe(200)
          const { status, setCookie, error } = await answer()
          expect({ status, setCookie, error }, name).toMatchObject({
            status: 400,
            setCookie: undefined,
            error: { code: 'ERR_SESSION_GONE' },
          })
          expect(await opens(site.one.sessions, old), name).toEqual({})
        }
      },
      { concurrency },
    )

    test('a logout beside a login or a save, wherever in either it comes: when it is answered with 200, no key opens the session', async () => {
      const others: Record<string, (session: Session<Any>) => unknown> = {
        cycleKey: (session) => {
          session.cycleKey()
          session.set('user', 'bob')
        },
        set: (session) => session.set('a', 1),
        update: (session) => session.update('cart', (cart) => [...cart, 2]),
      }
      const outs = { flush: ends['flush()']!, clear: ends['clear()']! }
      for (const processes of [1, 2] as const) {
        for (const [name, handle] of Object.entries(others)) {
          for (const [outName, end] of Object.entries(outs)) {
            for (const stopped of ['the other one', 'the logout'] as const) {
              await atEachCall(async (call, effect) => {
                const what = `${processes} process(es), ${outName} beside ${name}, call ${call} of ${stopped} stopped`
                const site = openSite({ processes, concurrency })
                const home = await site.visitor({ cart: [1], user: 'ann' })
                const [out, busy] = [
                  site.browser(home.cookie),
                  openBrowser(site.other, home.cookie),
                ]
                const [leaving, working] = [await out.open(), await busy.open()]
                end(leaving.session)
                handle(working.session)
                const [first, second, process] =
                  stopped === 'the logout'
                    ? [leaving, working, site.one]
                    : [working, leaving, site.other]
                const held = process.calls.hold(call, { effect })
                const one = first.answer()
                const reached = await held.reached(one)
                const two = second.answer()
                await asFarAsItGets(two)
                held.release()
                const [oneAnswer, twoAnswer] = [await one, await two]
                const [ended, worked] =
                  stopped === 'the logout' ? [oneAnswer, twoAnswer] : [twoAnswer, oneAnswer]
                const left = JSON.stringify([...site.records.values()].map(({ data }) => data))
                const seen = await Promise.all([home, out, busy].map((browser) => browser.data()))
                if (ended.status === 200) {
                  if (outName === 'flush') {
                    // A login that came afterwards may have a session of its own, without what was ended.
                    expect(left, what).not.toMatch(/ann|cart/)
                  }
                  expect(seen.slice(0, 2), what).toEqual([{}, {}])
                } else {
                  expect(ended.status, what).toBeOneOf([400, 409])
                  expect(worked.status, what).toBe(200)
                  expect(await busy.data(), what).toHaveProperty('cart')
                }
                return reached
              })
            }
          }
        }
      }
    })
  })
}

describe('a store that fails', () => {
  for (const [name, end] of Object.entries(ends)) {
    test(`once during save() after ${name}, before or after it did its work: when a second save() resolves, the old key is dead`, async () => {
      for (const sync of [true, false]) {
        await atEachCall(async (call, effect) => {
          const site = openSite({ sync })
          const browser = await site.visitor({ cart: [1] })
          const old = browser.cookie
          const { session, answer } = await browser.open()
          session.get('cart')
          end(session)
          const fault = site.one.calls.fail(call, { effect })
          await session.save().catch(() => session.save())
          site.one.calls.forget()
          expect(await opens(site.one.sessions, old)).toEqual({})
          expect((await answer()).status).toBe(200)
          const after = await browser.data()
          if (name === 'cycleKey()') expect(after).toEqual({ cart: [1] })
          else if (name === 'flush() and set()') expect(after).toEqual({ fresh: 1 })
          else expect(after).toEqual({})
          return fault.came
        })
      }
    })
  }

  test('for every call from some point of a logout on: the answer is no 200 unless the key is dead', async () => {
    for (const [name, end] of Object.entries(ends)) {
      for (const sync of [true, false]) {
        await atEachCall(async (call, effect) => {
          const site = openSite({ sync })
          const browser = await site.visitor({ cart: [1] })
          const old = browser.cookie
          const { session, answer } = await browser.open()
          session.get('cart')
          end(session)
          const fault = site.one.calls.fail(call, { effect, lasting: true })
          const { status } = await answer()
          site.one.calls.forget()
          const opened = await opens(site.one.sessions, old)
          if (status === 200) expect(opened, name).toEqual({})
          else expect(status, name).toBe(503)
          return fault.came
        })
      }
    }
  })
})

describe('flush() while a save() that nobody awaited is under way', () => {
  const logins: Record<string, (session: Session<Any>) => unknown> = {
    'set()': (session) => session.set('secret', 'ann'),
    'cycleKey() and set()': (session) => {
      session.cycleKey()
      session.set('secret', 'ann')
    },
    'update()': (session) => session.update('secret', () => 'ann'),
  }
  for (const [name, login] of Object.entries(logins)) {
    for (const start of [
      'a new session',
      'one that is there',
      'one that another process has changed since it was opened',
    ] as const) {
      for (const sets of [true, false]) {
        test(`of ${name} to ${start}: afterwards no key opens what it held${sets ? ', and what is set after it stands alone' : ''}`, () =>
          atEachCall(async (call, effect) => {
            const site = openSite({ processes: 2 })
            const browser =
              start === 'a new session' ? site.browser() : await site.visitor({ secret: 'old' })
            const cookies = [browser.cookie]
            const { session, answer } = await browser.open()
            login(session)
            if (start.startsWith('one that another')) {
              const elsewhere = openBrowser(site.other, browser.cookie)
              await elsewhere.visit((other) => other.set('elsewhere', 1))
            }
            const held = site.one.calls.hold(call, { effect })
            const saving = session.save()
            const reached = await held.reached(saving)
            session.flush()
            if (sets) session.set('theme', 'dark')
            held.release()
            const { status, setCookie, error } = await answer()
            await saving.catch(() => {})
            cookies.push(browser.cookie, setCookie?.split(';', 1)[0])
            expect({ status, error }).toEqual({ status: 200, error: undefined })
            expect(JSON.stringify([...site.records.values()])).not.toContain('secret')
            for (const cookie of cookies) {
              expect(await opens(site.one.sessions, cookie)).not.toHaveProperty('secret')
            }
            expect(await browser.data()).toEqual(sets ? { theme: 'dark' } : {})
            return reached
          }))
      }
    }
  }
})

asynchronously(
  'a logout with a key that the store does not know asks the store once more: a cache in front of it may know more',
  async (site) => {
    const browser = await site.visitor({ cart: [1] })
    const { cookie } = browser
    await browser.visit((session) => session.flush())
    site.one.calls.made.length = 0
    const { status, setCookie } = await openBrowser(site.one, cookie).visit((session) => {
      session.flush()
      session.flush()
    })
    expect(status).toBe(200)
    expect(setCookie).toContain('Max-Age=0')
    expect(site.one.calls.made).toEqual(['load', 'load'])
    site.one.calls.made.length = 0
    const login = openBrowser(site.one, cookie)
    await login.visit((session) => {
      session.flush()
      session.cycleKey()
      session.set('user', 'ann')
    })
    expect(site.one.calls.made).toEqual(['load', 'create', 'load'])
    site.one.calls.made.length = 0
    await openBrowser(site.one, cookie).visit((session) => {
      session.cycleKey()
      session.set('user', 'ann')
    })
    expect(site.one.calls.made).toEqual(['load', 'load', 'create'])
  },
)

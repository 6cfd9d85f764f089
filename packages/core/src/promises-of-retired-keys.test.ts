// A key that was replaced: who comes with it is told so, and can log in.
import { describe, expect } from 'vitest'
import {
  asynchronously,
  everywhere,
  opens,
  type Any,
  type Site,
} from '../../../testing/visitors.ts'
import type { Session } from './index.ts'

/** A browser with the key of a session that was given another one at a login a moment ago. */
async function straggler({ browser, visitor }: Site) {
  const owner = await visitor({ cart: [1] })
  const late = browser(owner.cookie)
  await owner.visit((session) => {
    session.cycleKey()
    session.set('user', 'ann')
  })
  return { owner, late }
}

/** The key in a Cookie header. */
const keyIn = (cookie: string | undefined) => cookie!.slice(cookie!.indexOf('=') + 1)

describe('a request with a retired key', () => {
  everywhere('reads an empty session, and gets no cookie', async (site) => {
    const { late } = await straggler(site)
    const answer = await late.visit((session) => {
      expect(Object.fromEntries(session)).toEqual({})
      expect(session.get('cart', 'none')).toBe('none')
    })
    expect(answer).toEqual({ status: 200, setCookie: undefined, error: undefined })
  })

  const refused: Record<string, Record<string, (session: Session<Any>) => unknown>> = {
    'only writes': {
      set: (session) => session.set('a', 1),
      update: (session) => session.update('visits', (visits = 0) => visits + 1),
      flash: (session) => session.flash('notice', 'x'),
      setExpiry: (session) => session.setExpiry(60),
    },
    'only logs out': {
      flush: (session) => session.flush(),
      clear: (session) => session.clear(),
    },
    'takes something away, though it finds nothing': {
      delete: (session) => session.delete('cart'),
      pop: (session) => session.pop('cart'),
    },
  }
  for (const [what, handlers] of Object.entries(refused)) {
    everywhere(
      `that ${what} is refused with SessionGoneError, without a cookie, and the session lives on under its new key`,
      async (site) => {
        for (const [name, handle] of Object.entries(handlers)) {
          const { owner, late } = await straggler(site)
          const { status, setCookie, error } = await late.visit(handle)
          expect({ status, setCookie, error }, name).toMatchObject({
            status: 400,
            setCookie: undefined,
            error: { code: 'ERR_SESSION_GONE' },
          })
          expect(await owner.data()).toEqual({ cart: [1], user: 'ann' })
        }
      },
    )
  }

  const logins: Record<string, (session: Session<Any>) => unknown> = {
    'cycleKey() and set()': (session) => {
      session.cycleKey()
      session.set('user', 'bob')
    },
    'flush() and set()': (session) => {
      session.flush()
      session.set('user', 'bob')
    },
  }
  for (const [name, login] of Object.entries(logins)) {
    everywhere(
      `that logs in, by ${name}, gets a session of its own, with what it has set and nothing else`,
      async (site) => {
        const { owner, late } = await straggler(site)
        const { status, setCookie } = await late.visit(login)
        expect(status).toBe(200)
        expect(setCookie).toBeDefined()
        expect(late.cookie).not.toBe(owner.cookie)
        expect(await late.data()).toEqual({ user: 'bob' })
        expect(await owner.data()).toEqual({ cart: [1], user: 'ann' })
      },
    )

    everywhere(
      `a double click on "Log in", by ${name}, both opened before either commits: both are answered, each with a cookie that opens a session with the user`,
      async ({ other, visitor, browser }) => {
        const visit = await visitor({ cart: [1] })
        const windows = [browser(visit.cookie), browser(visit.cookie)]
        const requests = [await windows[0]!.open(), await windows[1]!.open(other)]
        for (const { session } of requests) {
          session.get('cart')
          login(session)
        }
        for (const { answer } of requests) {
          const { status, setCookie } = await answer()
          expect(status).toBe(200)
          expect(setCookie).toBeDefined()
        }
        for (const window of windows) expect(await window.data()).toMatchObject({ user: 'bob' })
        expect(await visit.data()).toEqual({})
      },
    )

    asynchronously(
      `a double click on "Log in", by ${name}, answered at the same time: each cookie opens a session with the user`,
      async ({ other, visitor, browser }) => {
        const visit = await visitor({ cart: [1] })
        const windows = [browser(visit.cookie), browser(visit.cookie)]
        const requests = [await windows[0]!.open(), await windows[1]!.open(other)]
        for (const { session } of requests) login(session)
        const answers = await Promise.all(requests.map(({ answer }) => answer()))
        expect(answers.map(({ status }) => status)).toEqual([200, 200])
        for (const window of windows) expect(await window.data()).toMatchObject({ user: 'bob' })
        expect(await visit.data()).toEqual({})
      },
    )
  }

  const renewals: Record<string, (session: Session<Any>) => unknown> = {
    'only reads': () => {},
    'sets what is there already': (session) => session.set('cart', [1]),
    'marks itself as modified': (session) => (session.modified = true),
  }
  for (const [name, handle] of Object.entries(renewals)) {
    everywhere(
      `that was opened before the login and ${name}, with saveEveryRequest: it is not sent the old key, which is gone for good after a minute`,
      async (site) => {
        const owner = await site.visitor({ cart: [1] })
        const late = site.browser(owner.cookie)
        const old = keyIn(owner.cookie)
        const { session, answer } = await late.open(site.other)
        expect(session.get('cart')).toEqual([1])
        handle(session)
        await owner.visit((logged) => {
          logged.cycleKey()
          logged.set('user', 'ann')
        })
        const { setCookie } = await answer()
        expect(setCookie ?? '').not.toContain(old)
        expect(await opens(site.one.sessions, `sessionid=${old}`)).toEqual({})
        site.pass(61)
        expect(await site.one.calls.store.load(old)).toBeUndefined()
        const again = await late.visit((fresh) => fresh.set('user', 'ann'))
        expect(again.status).toBe(200)
        expect(await late.data()).toEqual({ user: 'ann' })
      },
      { saveEveryRequest: true },
    )
  }
})

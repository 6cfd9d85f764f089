// The session's own bookkeeping is out of the application's reach, and what earlier versions stored is still understood.
import { describe, expect, test } from 'vitest'
import { everywhere, openSite, type Any, type Site } from '../../../testing/visitors.ts'
import type { Session } from './index.ts'

const KEY = 'k'.repeat(32)
const DAY = 86_400

/** A browser whose session was stored as the version before this one stores it. */
function stored(site: Site, data: Any) {
  site.records.set(KEY, { data: JSON.stringify(data), expiresAt: Date.now() + 10 * DAY * 1000 })
  return site.browser(`sessionid=${KEY}`)
}

describe('names that begin with _session_', () => {
  const names = [
    '_session_created',
    '_session_flash',
    '_session_expiry',
    '_session_moved',
    '_session_',
    '_session_of_a_later_version',
  ]
  const calls: Record<string, (session: Session<Any>, name: string) => unknown> = {
    set: (session, name) => session.set(name, 1),
    'update with a function': (session, name) => session.update(name, () => 1),
    'update with an object': (session, name) => session.update({ a: 2, [name]: 1 }),
    delete: (session, name) => session.delete(name),
    pop: (session, name) => session.pop(name),
    setDefault: (session, name) => session.setDefault(name, 1),
    flash: (session, name) => session.flash(name, 1),
  }
  for (const [call, change] of Object.entries(calls)) {
    everywhere(
      `are refused by ${call} with SessionUsageError, and the session is as it was`,
      async ({ visitor }) => {
        const browser = await visitor({ a: 1 })
        const { session, answer } = await browser.open()
        for (const name of names) {
          expect(() => change(session, name), name).toThrow(
            expect.objectContaining({ name: 'SessionUsageError' }),
          )
        }
        expect(session.modified).toBe(false)
        await answer()
        expect(await browser.data()).toEqual({ a: 1 })
      },
    )
  }

  everywhere(
    'are hidden: get gives the fallback, has is false, and they are not counted or listed',
    async ({ visitor }) => {
      const browser = await visitor({ a: 1 })
      await browser.visit((session) => {
        session.setExpiry(3600)
        session.flash('notice', 'x')
      })
      const { session } = await browser.open()
      expect(session.getExpiryAge()).toBe(3600)
      for (const name of names) {
        expect(session.get(name)).toBeUndefined()
        expect(session.get(name, 'none')).toBe('none')
        expect(session.has(name)).toBe(false)
      }
      expect(session.size).toBe(2)
      expect([...session.keys()]).toEqual(['a', 'notice'])
      expect([...session.values()]).toEqual([1, 'x'])
      expect([...session.entries()]).toEqual([...session])
      expect(Object.fromEntries(session)).toEqual({ a: 1, notice: 'x' })
    },
    { absoluteMaxAge: DAY },
  )

  const lifts: Record<string, (session: Session<Any>) => unknown> = {
    'set()': (session) => session.set('_session_created', Date.now() + 100 * DAY * 1000),
    'update()': (session) => session.update({ _session_created: Date.now() + 100 * DAY * 1000 }),
    'delete()': (session) => session.delete('_session_created'),
  }
  for (const [name, lift] of Object.entries(lifts)) {
    everywhere(
      `cannot lift absoluteMaxAge by ${name}: a session ends so long after its creation, whatever is set`,
      async (site) => {
        const browser = await site.visitor({ a: 1 })
        site.pass(DAY / 2)
        await browser.visit((session) => {
          try {
            lift(session)
          } catch {
            // Refused.
          }
          session.set('a', 2)
        })
        site.pass(DAY / 2 - 1)
        expect(await browser.data()).toEqual({ a: 2 })
        await browser.visit((session) => session.set('a', 3))
        site.pass(2)
        expect(await browser.data()).toEqual({})
      },
      { absoluteMaxAge: DAY },
    )
  }

  everywhere('cannot remove other keys: none but flash() makes a flash', async ({ visitor }) => {
    const browser = await visitor({ csrf: 'token', a: 1 })
    await browser.visit((session) => {
      try {
        session.set('_session_flash', ['csrf'])
      } catch {
        // Refused.
      }
      session.set('a', 2)
    })
    await browser.visit((session) => expect(session.get('a')).toBe(2))
    expect(await browser.data()).toEqual({ csrf: 'token', a: 2 })
  })

  everywhere(
    'cannot make a session that nobody can read: one that holds _session_moved is refused, not stored',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => {
        try {
          session.set('_session_moved', true)
        } catch {
          session.set('refused', true)
        }
      })
      expect(await visitor.data()).toEqual({ refused: true })
    },
  )
})

describe('an upgrade', () => {
  everywhere(
    'finds the marker of a moved session, and takes its key for a retired one: a login gets a session of its own',
    async (site) => {
      const browser = stored(site, { _session_moved: true })
      expect(await browser.data()).toEqual({})
      const { status, setCookie } = await browser.visit((session) => {
        session.cycleKey()
        session.set('user', 'ann')
      })
      expect(status).toBe(200)
      expect(setCookie).toBeDefined()
      expect(await browser.data()).toEqual({ user: 'ann' })
    },
  )

  const refused: Record<string, (session: Session<Any>) => unknown> = {
    'a write': (session) => session.set('a', 1),
    'a logout': (session) => session.flush(),
    'a delete()': (session) => session.delete('a'),
  }
  for (const [name, handle] of Object.entries(refused)) {
    everywhere(
      `finds the marker of a moved session, and refuses ${name} with its key`,
      async (site) => {
        const { status, setCookie, error } = await stored(site, { _session_moved: true }).visit(
          handle,
        )
        expect({ status, setCookie, error }).toMatchObject({
          status: 400,
          setCookie: undefined,
          error: { code: 'ERR_SESSION_GONE' },
        })
      },
    )
  }

  everywhere(
    'finds the marker of a moved session, which no request renews, rolling or not',
    async (site) => {
      const browser = stored(site, { _session_moved: true })
      const { expiresAt } = site.records.get(KEY)!
      const { setCookie } = await browser.visit((session) => session.get('a'))
      expect(setCookie).toBeUndefined()
      expect(site.records.get(KEY)?.expiresAt ?? 0).toBeLessThanOrEqual(expiresAt)
    },
    { saveEveryRequest: true },
  )

  test('understands the expiry that a session was given before', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const browser = stored(site, { a: 1, _session_expiry: 3600 })
      const { session, answer } = await browser.open()
      expect(session.getExpiryAge()).toBe(3600)
      expect(Object.fromEntries(session)).toEqual({ a: 1 })
      session.set('a', 2)
      await answer()
      site.pass(3599)
      expect(await browser.data()).toEqual({ a: 2 })
      site.pass(2)
      expect(await browser.data()).toEqual({})
    }
  })

  test('understands when a session was created before', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync, absoluteMaxAge: DAY })
      const browser = stored(site, { a: 1, _session_created: Date.now() - (DAY - 60) * 1000 })
      expect(await browser.data()).toEqual({ a: 1 })
      await browser.visit((session) => session.set('a', 2))
      site.pass(61)
      expect(await browser.data()).toEqual({})
    }
  })

  test('understands a flash that was set before: shown once, then gone', async () => {
    for (const sync of [true, false]) {
      const site = openSite({ sync })
      const browser = stored(site, { a: 1, notice: 'saved', _session_flash: ['notice'] })
      await browser.visit((session) =>
        expect(Object.fromEntries(session)).toEqual({ a: 1, notice: 'saved' }),
      )
      expect(await browser.data()).toEqual({ a: 1 })
    }
  })
})

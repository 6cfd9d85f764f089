// Saved is saved: what a response or a save() has acknowledged stays, whatever this request and all others do meanwhile.
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import {
  asFarAsItGets,
  asynchronously,
  atEachCall,
  everywhere,
  openSite,
  opens,
} from '../../../testing/visitors.ts'
import { controlled } from '../../../testing/controlled-store.ts'
import { effort } from '../../../testing/effort.ts'
import { mapStore } from '../../../testing/map-store.ts'
import { slow } from '../../../testing/wrappers.ts'
import { createSessions, type Sessions, type SessionStore } from './index.ts'

describe("a save() beside its own request's commit", () => {
  asynchronously(
    'with a session that is there: when both have resolved, what was set after the response began is stored',
    async ({ one, visitor }) => {
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      session.set('early', 1)
      const answering = answer()
      session.set('late', 1)
      await session.save()
      expect((await answering).status).toBe(200)
      expect(await opens(one.sessions, browser.cookie)).toEqual({ cart: [1], early: 1, late: 1 })
    },
  )

  test('the same, wherever in the commit the change comes', () =>
    atEachCall(async (call, effect) => {
      const { one, visitor } = openSite()
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      session.set('early', 1)
      const held = one.calls.hold(call, { effect })
      const answering = answer()
      const reached = await held.reached(answering)
      session.set('late', 1)
      const saving = session.save()
      held.release()
      await saving
      expect((await answering).status).toBe(200)
      expect(await browser.data()).toEqual({ cart: [1], early: 1, late: 1 })
      return reached
    }))

  test('the same while another process writes, so that it has to be merged', () =>
    atEachCall(async (call, effect) => {
      const { one, other, visitor } = openSite({ processes: 2 })
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      session.set('early', 1)
      const held = one.calls.hold(call, { effect })
      const answering = answer()
      const reached = await held.reached(answering)
      await browser.visit((elsewhere) => elsewhere.set('elsewhere', 1), {}, other)
      session.set('late', 1)
      const saving = session.save()
      held.release()
      await saving
      expect((await answering).status).toBe(200)
      expect(await browser.data()).toEqual({ cart: [1], early: 1, elsewhere: 1, late: 1 })
      return reached
    }))

  test('with a new session: there is one record, and the cookie that was sent opens it with the change', async () => {
    const { browser, records } = openSite()
    const visitor = browser()
    const { session, answer } = await visitor.open()
    session.set('early', 1)
    const answering = answer()
    session.set('late', 1)
    await session.save()
    expect((await answering).setCookie).toBeDefined()
    expect(records.size).toBe(1)
    expect(await visitor.data()).toEqual({ early: 1, late: 1 })
  })
})

describe('in-place changes', () => {
  everywhere(
    'made after a save() that had to merge are kept, where the application still holds the object from before',
    async ({ other, visitor }) => {
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      const cart = session.get('cart')
      cart.push(2)
      await browser.visit((elsewhere) => elsewhere.set('elsewhere', 1), {}, other)
      await session.save()
      cart.push(3)
      expect((await answer()).status).toBe(200)
      expect(await browser.data()).toEqual({ cart: [1, 2, 3], elsewhere: 1 })
    },
  )

  everywhere(
    'made after a save() that had to merge are kept, where another request changed the same key and this one had only read it',
    async ({ other, visitor }) => {
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      const cart = session.get('cart')
      await browser.visit((elsewhere) => elsewhere.get('cart').push('theirs'), {}, other)
      session.set('mine', 1)
      await session.save()
      cart.push('mine')
      await answer()
      expect((await browser.data())['cart']).toContain('mine')
    },
  )

  everywhere(
    'made after a save() in which update() ran again are kept, where the application holds what it made the first time',
    async ({ other, visitor }) => {
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      session.update('cart', (cart) => [...cart, 'mine'])
      const cart = session.get('cart')
      await browser.visit((elsewhere) => elsewhere.get('cart').push('theirs'), {}, other)
      await session.save()
      expect((await browser.data())['cart']).toEqual([1, 'theirs', 'mine'])
      cart.push('again')
      await answer()
      expect((await browser.data())['cart']).toContain('again')
    },
  )

  everywhere(
    'made in what get() gives after a save() that had to merge are kept',
    async ({ other, visitor }) => {
      const browser = await visitor({ cart: [1] })
      const { session, answer } = await browser.open()
      session.get('cart').push(2)
      await browser.visit((elsewhere) => elsewhere.set('elsewhere', 1), {}, other)
      await session.save()
      session.get('cart').push(3)
      await session.save()
      session.get('cart').push(4)
      await answer()
      expect(await browser.data()).toEqual({ cart: [1, 2, 3, 4], elsewhere: 1 })
    },
  )

  asynchronously('made while a save() is under way are kept by the next one', async (site) => {
    const browser = await site.visitor({ cart: [1], list: [1] })
    const { session, answer } = await browser.open()
    const { cart, list } = Object.fromEntries(session)
    cart.push(2)
    const held = site.one.calls.hold('save')
    const saving = session.save()
    await held.reached(saving)
    const theirs = browser.visit((elsewhere) => elsewhere.set('elsewhere', 1), {}, site.other)
    await asFarAsItGets(theirs)
    cart.push(3)
    list.push(2)
    held.release()
    await saving
    cart.push(4)
    await answer()
    await theirs
    expect(await browser.data()).toEqual({ cart: [1, 2, 3, 4], list: [1, 2], elsewhere: 1 })
  })

  /** 2,000 nested values, 146 KB of JSON. */
  const nested = () =>
    Object.fromEntries(
      Array.from({ length: 2000 }, (_, n) => [
        `key ${n}`,
        { number: n, text: 'x'.repeat(24), list: [n] },
      ]),
    )

  test('looking for them takes a time in proportion to the session: 2,000 nested values, all read', async () => {
    const browser = await openSite({ sync: true }).visitor(nested())
    const read = async () => {
      const { session, answer } = await browser.open()
      for (const [, value] of session) expect(value).toBeTypeOf('object')
      expect(session.modified).toBe(false)
      await answer()
    }
    expect(await effort(nested(), read)).toBeLessThan(60)
  })

  test('one of 2,000 nested values, all read, is changed: found in a time in proportion, too', async () => {
    const browser = await openSite({ sync: true }).visitor(nested())
    let run = 0
    const change = async () => {
      const { session, answer } = await browser.open()
      run++
      for (const value of session.values()) if (value.number === 1000) value.list.push(run)
      expect(session.modified).toBe(true)
      await answer()
      expect((await browser.data())['key 1000'].list.at(-1)).toBe(run)
    }
    expect(await effort(nested(), change)).toBeLessThan(60)
  })
})

describe('flash', () => {
  for (const text of ['the same', 'another'] as const) {
    for (const order of ['the fading one', 'the flashing one'] as const) {
      everywhere(
        `set anew beside a request that fades an older one of the same name: the next request sees it (${text} text, ${order} commits first)`,
        async ({ other, visitor }) => {
          const browser = await visitor({ user: 7 })
          await browser.visit((session) => session.flash('notice', 'the same'))
          const fading = await browser.open(other)
          expect(fading.session.get('notice')).toBe('the same')
          const flashing = await browser.open()
          flashing.session.flash('notice', text)
          const both = [fading, flashing]
          if (order === 'the flashing one') both.reverse()
          for (const { answer } of both) expect((await answer()).status).toBe(200)
          expect(await browser.data()).toEqual({ user: 7, notice: text })
          const next = await browser.visit((session) => expect(session.get('notice')).toBe(text))
          expect(next.status).toBe(200)
          expect(await browser.data()).toEqual({ user: 7 })
        },
      )
    }
  }
})

describe('writers that conflict', () => {
  /** A store that takes as long as one in the same building. */
  const nearby = (store: SessionStore) => slow(store, { load: 3, create: 3, save: 3, touch: 3 })

  /**
   * A session that `count` requests update, of which one comes every `pause` ms; how it went, and what each has waited for:
   * how many saves were begun, and how many others arrived.
   */
  async function updatedAtOnce(count: number, processes: 1 | 2, pause: number) {
    const site = openSite({ processes, wrap: nearby })
    const browser = await site.visitor({ visits: [] })
    const saves = () =>
      [site.one, site.other].flatMap(({ calls }) => calls.made).filter((name) => name === 'save')
        .length
    let arrived = 0
    const waits: { saves: number; arrivals: number }[] = []
    const visit = async (n: number) => {
      arrived++
      const { session, answer } = await browser.open(n % 2 ? site.other : site.one)
      session.update('visits', (visits: number[]) => [...visits, n])
      const before = { saves: saves(), arrived }
      const answered = await answer()
      waits[n] = { saves: saves() - before.saves, arrivals: arrived - before.arrived }
      return answered
    }
    const answering: ReturnType<typeof visit>[] = []
    for (let n = 0; n < count; n++) {
      answering.push(visit(n))
      // A machine that stands still lets nobody arrive.
      if (pause > 0) await setTimeout(pause)
    }
    const answers = await Promise.all(answering)
    const { visits } = await browser.data()
    return {
      site,
      statuses: new Set(answers.map(({ status }) => status)),
      visits: visits.toSorted((a: number, b: number) => a - b),
      all: Array.from({ length: count }, (_, n) => n),
      waits,
    }
  }

  test('300 of two processes at once: none fails, none is lost, none waits for more than 20 saves', async () => {
    const { statuses, visits, all, waits } = await updatedAtOnce(300, 2, 0)
    expect(statuses).toEqual(new Set([200]))
    expect(visits).toEqual(all)
    expect(Math.max(...waits.map((wait) => wait.saves))).toBeLessThanOrEqual(20)
  })

  test('300 of two processes, one after the other in quick succession: none fails, none is lost, and the first ones do not wait for the last', async () => {
    const { statuses, visits, all, waits } = await updatedAtOnce(300, 2, 3)
    expect(statuses).toEqual(new Set([200]))
    expect(visits).toEqual(all)
    expect(Math.max(...waits.slice(0, 20).map(({ arrivals }) => arrivals))).toBeLessThan(150)
  })

  test('100 of one process at once go together: in at most 10 saves, with no load but the one that each was opened by', async () => {
    const { site, visits, all } = await updatedAtOnce(100, 1, 0)
    expect(visits).toEqual(all)
    const made = (method: string) => site.one.calls.made.filter((name) => name === method).length
    expect(made('save')).toBeLessThanOrEqual(10)
    // One more by which this test has looked.
    expect(made('load')).toBeLessThanOrEqual(100 + 1)
  })

  test('100 of one process at once take no longer than one after the other', async () => {
    const site = openSite({ wrap: nearby })
    const browser = await site.visitor({ visits: 0 })
    const visit = () =>
      browser.visit((session) => session.update('visits', (visits = 0) => visits + 1))
    const took = async (work: () => Promise<unknown>) => {
      const started = performance.now()
      await work()
      return performance.now() - started
    }
    const oneByOne = await took(async () => {
      for (let n = 0; n < 100; n++) await visit()
    })
    // The best of three: a machine that stands still for a while makes one of them late.
    const atOnce: number[] = []
    for (let n = 0; n < 3; n++) {
      atOnce.push(await took(() => Promise.all(Array.from({ length: 100 }, visit))))
    }
    expect((await browser.data())['visits']).toBe(400)
    expect(Math.min(...atOnce)).toBeLessThanOrEqual(oneByOne)
  })
})

describe('session.modified', () => {
  const changes = {
    set: (session) => void session.set('a', 2),
    'an in-place change': (session) => void session.get('cart').push(2),
    delete: (session) => void session.delete('a'),
    update: (session) => void session.update('a', (a = 0) => a + 1),
    setExpiry: (session) => session.setExpiry(60),
    flash: (session) => session.flash('notice', 'x'),
    cycleKey: (session) => session.cycleKey(),
    clear: (session) => session.clear(),
    flush: (session) => session.flush(),
  } satisfies Record<string, (session: any) => void>

  for (const [name, change] of Object.entries(changes)) {
    test(`is true from ${name} until the save, and false after it`, async () => {
      for (const sync of [true, false]) {
        const browser = await openSite({ sync }).visitor({ a: 1, cart: [1] })
        const { session, answer } = await browser.open()
        expect(session.modified).toBe(false)
        change(session)
        expect(session.modified).toBe(true)
        await session.save()
        expect(session.modified).toBe(false)
        expect((await answer()).status).toBe(200)
        expect(session.modified).toBe(false)
      }
    })
  }

  test('is true while a change waits that was made during a save', async () => {
    const { one, visitor } = openSite()
    const { session } = await (await visitor({ a: 1 })).open()
    session.set('a', 2)
    const held = one.calls.hold('save')
    const saving = session.save()
    await held.reached(saving)
    session.set('b', 1)
    held.release()
    await saving
    expect(session.modified).toBe(true)
    await session.save()
    expect(session.modified).toBe(false)
  })
})

/** A session that is stored, its key, and requests that look at it. */
async function loggedIn(sessions: Sessions<any>) {
  const first = await sessions.open(undefined)
  first.set('user', 'ann')
  const cookie = (await sessions.commit(first)).setCookie!.split(';')[0]!
  const key = cookie.split('=')[1]!
  const open = async () => {
    const session = await sessions.open(cookie)
    session.get('user')
    return session
  }
  return { key, open }
}

test('a renewal goes on from a shorter one that was made meanwhile, and not from a change', async () => {
  let time = Date.UTC(2026, 0, 1)
  const now = () => time
  const store = mapStore({ now })
  const sessions = createSessions<any>({ store, now, saveEveryRequest: true, maxAge: 100 })
  const { key, open } = await loggedIn(sessions)
  const [long, short] = [await open(), await open()]
  time += 10_000
  await sessions.commit(short)
  time += 10_000
  await sessions.commit(long)
  expect((await store.load(key))!.expiresAt).toBe(time + 100_000)
  const [late, other] = [await open(), await open()]
  other.setExpiry(5)
  await sessions.commit(other)
  time += 1000
  await sessions.commit(late)
  expect((await store.load(key))!.expiresAt).toBe(time + 4000)
})

test('a renewal of a session that has ended meanwhile costs nothing more, and one that cannot look is no error', async () => {
  const calls = controlled(slow(mapStore()))
  const sessions = createSessions<any>({ store: calls.store, saveEveryRequest: true })
  const { key, open } = await loggedIn(sessions)
  const [renewed, ended] = [await open(), await open()]
  const { expiresAt } = (await calls.store.load(key))!
  await calls.store.touch(key, expiresAt + 5)
  const fault = calls.fail('load')
  await sessions.commit(renewed)
  expect(fault.came).toBe(true)
  await calls.store.delete(key)
  calls.made.length = 0
  await sessions.commit(ended)
  expect(calls.made).toEqual(['touch'])
})

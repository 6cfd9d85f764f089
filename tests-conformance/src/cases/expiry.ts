// Section "expiry": a session ends when it should, to the millisecond, by every way to say so.
import { strict as assert } from 'node:assert'
import { MAX_EXPIRES_AT, RETIRED } from '@coatcheck/core/store'
import { ifStateless, section } from '../case.ts'
import type { Browser, Context } from '../context.ts'
import { leavesNothing } from './retired.ts'

const TWO_WEEKS = 1_209_600_000

/** When the record ends that a browser's cookie stands for. */
const endOf = async ({ store }: Context, { cookie }: Browser): Promise<number> =>
  (await store.load(cookie!))!.expiresAt

export const expiry = section('expiry', (add) => {
  add(
    'to-the-millisecond',
    'a record is live until the millisecond before its expiry and dead from it on',
    'A session would outlive its end, or end early.',
    async ({ store, key, record, clock }) => {
      const stored = record('{}', 2345)
      const mine = await store.create(key(), stored)
      await clock.before(stored.expiresAt)
      assert.ok(await store.load(mine))
      await clock.reach(stored.expiresAt)
      assert.equal(await store.load(mine), undefined)
    },
  )

  add(
    'kept-exactly',
    'expiresAt comes back to the millisecond',
    'A rolling refresh could not tell when it is due.',
    async ({ store, key, clock }) => {
      const soon = clock.isReal ? [59_999, 60_000] : [1, 999, 1000, 1001]
      for (const ms of [...soon, 86_399_999, 123_456_789_012]) {
        const expiresAt = clock.now() + ms
        const mine = await store.create(key(), { data: '{}', expiresAt })
        assert.equal((await store.load(mine))?.expiresAt, expiresAt)
      }
    },
    {
      trait: 'wholeSeconds',
      title: 'expiresAt comes back to the second',
      async run({ store, key, clock }) {
        for (const ms of [60_000, 60_499, 60_999, 86_399_999, 123_456_789_012]) {
          const expiresAt = clock.now() + ms
          const mine = await store.create(key(), { data: '{}', expiresAt })
          const kept = (await store.load(mine))!.expiresAt
          assert.ok(Math.abs(kept - expiresAt) <= clock.grain, `${expiresAt} became ${kept}`)
        }
      },
    },
  )

  add(
    'far-future',
    'a record may live until the year 9999',
    'A far expiry would overflow into the past.',
    async ({ store, key, clock }) => {
      const mine = await store.create(key(), { data: '{}', expiresAt: MAX_EXPIRES_AT })
      assert.ok(MAX_EXPIRES_AT - (await store.load(mine))!.expiresAt <= clock.grain)
    },
  )

  add(
    'no-revival',
    'an expired record that was not swept cannot be saved or touched',
    'An expired session would come back to life.',
    async ({ store, key, record, clock, throws }) => {
      const mine = await store.create(key(), record('{"a":1}', 1000))
      await clock.advance(1000)
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}')))
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}'), '{"a":1}'))
      await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 1000))
      assert.equal(await store.load(mine), undefined)
    },
    ifStateless(
      'an expired ticket cannot be touched',
      async ({ store, key, record, clock, throws }) => {
        const mine = await store.create(key(), record('{"a":1}', 1000))
        await clock.advance(1000)
        await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 1000))
      },
    ),
  )

  add(
    'clock-back',
    'a clock that is set back makes no record older, and forth again ends it as before',
    'A corrected clock would log everybody out, or let sessions live for ever.',
    async ({ store, key, record, clock }) => {
      const mine = await store.create(key(), record('{"a":1}', 10_000))
      const end = clock.now() + 10_000
      await clock.advance(-3_600_000)
      assert.ok(await store.load(mine))
      await clock.before(end)
      assert.ok(await store.load(mine))
      await clock.reach(end)
      assert.equal(await store.load(mine), undefined)
    },
    {
      trait: 'realTime',
      title:
        'the clock is the system’s and cannot be set back; looking at a record moves its end nowhere',
      async run({ store, key, record }) {
        const mine = await store.create(key(), record('{"a":1}', 10_000))
        const { expiresAt } = (await store.load(mine))!
        assert.equal((await store.load(mine))!.expiresAt, expiresAt)
      },
    },
  )

  add(
    'born-dead',
    'a record created or saved with an expiry in the past is dead at once',
    'Ending a session by its date would not end it.',
    async ({ store, key, record, clock, throws }) => {
      const now = clock.now() - clock.grain
      const born = await store.create(key(), { data: '{}', expiresAt: now - 1 })
      assert.equal(await store.load(born), undefined)
      for (const expiresAt of [0, now - 1, now]) {
        let mine = await store.create(key(), record('{}'))
        mine = await store.save(mine, { data: '{}', expiresAt }, '{}')
        assert.equal(await store.load(mine), undefined)
        mine = await store.touch(await store.create(key(), record('{}')), expiresAt)
        assert.equal(await store.load(mine), undefined)
        await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 1000))
      }
    },
  )

  add(
    'stays-dead',
    'a record that was saved with an expiry in the past cannot be saved again',
    'Ending a session by compare-and-swap would not end it.',
    async ({ store, key, record, throws }) => {
      const mine = await store.create(key(), record('{}'))
      await store.save(mine, { data: '{}', expiresAt: 0 }, '{}')
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{}')))
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{}'), '{}'))
    },
    ifStateless(
      'the ticket that such a save issues is dead; the one before it is not',
      async ({ store, key, record }) => {
        const mine = await store.create(key(), record('{}'))
        assert.equal(
          await store.load(await store.save(mine, { data: '{}', expiresAt: 0 })),
          undefined,
        )
        assert.ok(await store.load(mine))
      },
    ),
  )

  add(
    'retired',
    'a retired key is there until the millisecond before its end; from it on it is unknown, and can be created',
    'Keys of sessions that are long over would be kept for ever, or a late request be taken for a stranger’s too soon.',
    async ({ store, key, record, clock, throws }) => {
      const mine = await store.create(key(), record('{"a":1}'))
      const stone = record(RETIRED, 2345)
      await store.save(mine, stone, '{"a":1}')
      await clock.before(stone.expiresAt)
      assert.equal((await store.load(mine))?.data, RETIRED)
      await throws('ERR_SESSION_KEY_EXISTS', () => store.create(mine, record('{"a":2}')))
      await clock.reach(stone.expiresAt)
      assert.equal(await store.load(mine), undefined)
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}'), RETIRED))
      await store.create(mine, record('{"a":2}'))
      assert.equal((await store.load(mine))?.data, '{"a":2}')
    },
    ifStateless(
      'a ticket with empty data lives until its end, as any other',
      async ({ store, key, record, clock }) => {
        const stone = record(RETIRED, 2345)
        const mine = await store.save(await store.create(key(), record('{}')), stone)
        await clock.before(stone.expiresAt)
        assert.equal((await store.load(mine))?.data, RETIRED)
        await clock.reach(stone.expiresAt)
        assert.equal(await store.load(mine), undefined)
      },
    ),
    leavesNothing,
  )

  add(
    'touch-extends',
    'touch lets a record live past its first expiry',
    'A visitor at work would be logged out.',
    async ({ store, key, record, clock }) => {
      const mine = await store.create(key(), record('{}', 1000))
      const end = clock.now() + 4000
      const touched = await store.touch(mine, end)
      await clock.before(end)
      assert.ok(await store.load(touched))
      await clock.reach(end)
      assert.equal(await store.load(touched), undefined)
    },
  )

  add(
    'default-age',
    'a session lives two weeks from its last change, and reading does not prolong it',
    "Django's default; anything else surprises.",
    async (context) => {
      const { browser, clock } = context
      const visitor = browser()
      const start = clock.now()
      await visitor.visit((session) => session.set('a', 1))
      assert.match(visitor.setCookie!, /Max-Age=1209600/)
      const end = await endOf(context, visitor)
      assert.ok(Math.abs(end - start - TWO_WEEKS) <= clock.grain)
      await clock.advance(1000)
      assert.equal(await visitor.visit((session) => session.get('a')), 1)
      assert.equal(await endOf(context, visitor), end)
    },
  )

  add(
    'change-renews',
    'a change renews the session',
    'A visitor at work would be logged out.',
    async (context) => {
      const { browser, sessions, clock } = context
      const visitor = browser(sessions({ maxAge: 4 }))
      await visitor.visit((session) => session.set('a', 1))
      await clock.before(await endOf(context, visitor))
      await visitor.visit((session) => session.set('a', 2))
      await clock.before(await endOf(context, visitor))
      assert.equal(await visitor.visit((session) => session.get('a')), 2)
    },
  )

  add(
    'set-expiry-seconds',
    'setExpiry(seconds) ends the session so many seconds after its last change',
    "Django's first form of set_expiry.",
    async ({ browser, clock }) => {
      const visitor = browser()
      await visitor.visit((session) => {
        session.set('a', 1)
        session.setExpiry(4)
        assert.equal(session.getExpiryAge(), 4)
        assert.equal(session.getExpireAtBrowserClose(), false)
      })
      assert.match(visitor.setCookie!, /Max-Age=4;/)
      await clock.before(clock.now() + 4000)
      const renewed = clock.now()
      await visitor.visit((session) => session.set('a', 2))
      await clock.before(renewed + 4000)
      assert.equal(await visitor.visit((session) => session.get('a')), 2)
      await clock.reach(renewed + 4000)
      assert.equal(await visitor.visit((session) => session.get('a')), undefined)
    },
  )

  add(
    'set-expiry-date',
    'setExpiry(Date) ends the session at that moment, whatever changes',
    "Django's second form of set_expiry.",
    async ({ browser, clock }) => {
      const visitor = browser()
      const end = new Date(clock.now() + 4000)
      await visitor.visit((session) => {
        session.set('a', 1)
        session.setExpiry(end)
        assert.equal(session.getExpiryDate().getTime(), end.getTime())
      })
      await clock.before(end.getTime())
      await visitor.visit((session) => session.set('a', 2))
      assert.match(visitor.setCookie!, /Max-Age=[12];/)
      await clock.reach(end.getTime())
      assert.equal(await visitor.visit((session) => session.get('a')), undefined)
    },
  )

  add(
    'set-expiry-zero',
    'setExpiry(0) makes a cookie that ends with the browser; the record lives as by default',
    "Django's third form of set_expiry.",
    async (context) => {
      const { browser, clock } = context
      const visitor = browser()
      const start = clock.now()
      await visitor.visit((session) => {
        session.set('a', 1)
        session.setExpiry(0)
        assert.equal(session.getExpireAtBrowserClose(), true)
      })
      assert.doesNotMatch(visitor.setCookie!, /max-age|expires/i)
      assert.ok(Math.abs((await endOf(context, visitor)) - start - TWO_WEEKS) <= clock.grain)
    },
  )

  add(
    'set-expiry-null',
    'setExpiry(null) goes back to the default',
    "Django's fourth form of set_expiry.",
    async ({ browser, clock }) => {
      const visitor = browser()
      await visitor.visit((session) => {
        session.set('a', 1)
        session.setExpiry(2)
      })
      await visitor.visit((session) => session.setExpiry(null))
      assert.match(visitor.setCookie!, /Max-Age=1209600/)
      await clock.advance(2000)
      assert.equal(await visitor.visit((session) => session.get('a')), 1)
    },
  )

  add(
    'set-expiry-past',
    'setExpiry with a moment that has passed ends the session and deletes its cookie',
    'It would stay in the store and in the browser.',
    async ({ store, browser, clock }) => {
      for (const past of [new Date(clock.now()), new Date(clock.now() - 5000), -1]) {
        const visitor = browser()
        await visitor.visit((session) => session.set('a', 1))
        const old = visitor.cookie!
        await visitor.visit((session) => session.setExpiry(past))
        assert.equal(visitor.cookie, undefined)
        assert.equal(await store.load(old), undefined)
      }
    },
    ifStateless(
      'setExpiry with a moment that has passed deletes the cookie; a copy of it still reads',
      async ({ browser, clock }) => {
        const visitor = browser()
        await visitor.visit((session) => session.set('a', 1))
        const old = visitor.cookie
        await visitor.visit((session) => session.setExpiry(new Date(clock.now())))
        assert.equal(visitor.cookie, undefined)
        visitor.cookie = old
        assert.equal(await visitor.visit((session) => session.get('a')), 1)
      },
    ),
  )

  add(
    'browser-close',
    'expireAtBrowserClose makes cookies that end with the browser, unless a session says otherwise',
    "Django's SESSION_EXPIRE_AT_BROWSER_CLOSE.",
    async ({ browser, sessions }) => {
      const visitor = browser(sessions({ expireAtBrowserClose: true }))
      await visitor.visit((session) => session.set('a', 1))
      assert.doesNotMatch(visitor.setCookie!, /max-age|expires/i)
      await visitor.visit((session) => session.setExpiry(60))
      assert.match(visitor.setCookie!, /Max-Age=60;/)
    },
  )

  add(
    'rolling',
    'saveEveryRequest renews the session and its cookie with every request, even untouched',
    "Django's SESSION_SAVE_EVERY_REQUEST.",
    async ({ browser, sessions, clock }) => {
      const visitor = browser(sessions({ maxAge: 4, saveEveryRequest: true }))
      await visitor.visit((session) => session.set('a', 1))
      for (let n = 0; n < 2; n++) {
        await clock.before(clock.now() + 4000)
        await visitor.visit(() => {})
        assert.match(visitor.setCookie!, /Max-Age=4;/)
      }
      assert.equal(await visitor.visit((session) => session.get('a')), 1)
      await clock.advance(4000)
      assert.equal(await visitor.visit((session) => session.get('a')), undefined)
    },
  )

  add(
    'touch-after',
    'touchAfter renews an unchanged session at most once in that time',
    'Every request would cost a write.',
    async (context) => {
      const { browser, sessions, clock } = context
      const visitor = browser(sessions({ maxAge: 600, saveEveryRequest: true, touchAfter: 3 }))
      const start = clock.now()
      await visitor.visit((session) => session.set('a', 1))
      const first = await endOf(context, visitor)
      await clock.before(start + 3000)
      await visitor.visit(() => {})
      assert.equal(visitor.setCookie, undefined)
      assert.equal(await endOf(context, visitor), first)
      await clock.reach(start + 3000)
      await visitor.visit(() => {})
      assert.match(visitor.setCookie!, /Max-Age=600;/)
      const renewed = (await endOf(context, visitor)) - first
      assert.ok(renewed >= 3000 - clock.grain, `renewed by ${renewed} ms after 3000`)
    },
  )

  add(
    'renewal-keeps-set-expiry',
    'a renewal keeps the end that another request has set meanwhile',
    'A session that was to end soon, as after a warning, would live on.',
    async (context) => {
      const { browser, sessions, clock } = context
      const visitor = browser(sessions({ maxAge: 600, saveEveryRequest: true }))
      await visitor.visit((session) => session.set('a', 1))
      const slow = await visitor.begin()
      slow.session.get('a')
      const end = clock.now() + 60_000
      await visitor.visit((session) => session.setExpiry(new Date(end)))
      await clock.advance(1000)
      await slow.finish()
      const kept = await endOf(context, visitor)
      assert.ok(Math.abs(kept - end) <= clock.grain, `it ends ${kept - end} ms later than was set`)
    },
    ifStateless(
      'of a renewal and a setExpiry at once the cookie that arrives last wins',
      async (context) => {
        const { browser, sessions, clock } = context
        const visitor = browser(sessions({ maxAge: 600, saveEveryRequest: true }))
        await visitor.visit((session) => session.set('a', 1))
        const slow = await visitor.begin()
        slow.session.get('a')
        await visitor.visit((session) => session.setExpiry(60))
        await slow.finish()
        assert.ok((await endOf(context, visitor)) > clock.now() + 500_000)
      },
    ),
  )

  add(
    'absolute',
    'absoluteMaxAge ends a session so long after its creation, however often it is renewed',
    'A stolen cookie could be kept alive for ever.',
    async ({ browser, sessions, clock }) => {
      const options = { maxAge: 6, absoluteMaxAge: 8, saveEveryRequest: true }
      const visitor = browser(sessions(options))
      const end = clock.now() + 8000
      await visitor.visit((session) => session.set('a', 1))
      for (let n = 0; n < 2; n++) {
        await clock.before(clock.now() + 3000)
        await visitor.visit((session) => session.set('a', n))
      }
      assert.match(visitor.setCookie!, /Max-Age=[345];/)
      await visitor.visit((session) => session.cycleKey())
      await clock.before(end)
      assert.equal(await visitor.visit((session) => session.get('a')), 1)
      await clock.reach(end)
      assert.equal(await visitor.visit((session) => session.get('a')), undefined)
    },
  )
})

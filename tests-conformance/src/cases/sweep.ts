// Section "sweep": expired records go, live ones stay, and nobody has to wait for it.
import { strict as assert } from 'node:assert'
import { ifStateless, section } from '../case.ts'
import { RETIRED } from '@coatcheck/core/store'
import type { Context } from '../context.ts'
import { leavesNothing } from './retired.ts'

/** The sweep of a store that has one; where its backend expires by itself there is nothing to call. */
async function sweep({ store }: Context, options = {}): Promise<number | undefined> {
  if (!store.clearExpired) return undefined
  const removed: unknown = await store.clearExpired(options)
  assert.equal(typeof removed, 'number', 'clearExpired does not say how many it removed')
  return removed as number
}

async function fill({ store, key, record }: Context, count: number, ms: number): Promise<string[]> {
  const tickets: string[] = []
  for (let n = 0; n < count; n++) tickets.push(await store.create(key(), record(`${n}`, ms)))
  return tickets
}

export const sweepSection = section('sweep', (add) => {
  add(
    'expired',
    'clearExpired removes the expired records, no live one, and says how many',
    'Expired rows would pile up, or visitors be logged out.',
    async (context) => {
      const live = await fill(context, 2, context.clock.grain ? 20_000 : 1001)
      await fill(context, 3, 1000)
      assert.equal((await sweep(context)) ?? 0, 0)
      await context.clock.advance(1000)
      assert.equal((await sweep(context)) ?? 3, 3)
      for (const ticket of live) assert.ok(await context.store.load(ticket))
      assert.equal((await sweep(context)) ?? 0, 0)
    },
  )

  add(
    'nothing',
    'clearExpired of an empty store is 0',
    'A fresh installation would fail its first clean-up.',
    async (context) => {
      assert.equal((await sweep(context)) ?? 0, 0)
    },
  )

  for (const batchSize of [1, 2, 3, 1000]) {
    add(
      `batch-${batchSize}`,
      `clearExpired removes everything in batches of ${batchSize}`,
      'A sweep would stop after its first batch.',
      async (context) => {
        await fill(context, 6, 1000)
        await context.clock.advance(1000)
        assert.equal((await sweep(context, { batchSize })) ?? 6, 6)
      },
    )
  }

  add(
    'abort',
    'clearExpired ends early, without an error, when its signal is aborted',
    'A deploy would have to wait for a long sweep.',
    async (context) => {
      await fill(context, 6, 1000)
      await context.clock.advance(1000)
      const first = await sweep(context, { batchSize: 2, signal: AbortSignal.abort() })
      if (first === undefined) return
      assert.ok(first < 6, `removed ${first} of 6 although the signal was aborted before the start`)
      assert.equal(first + (await sweep(context))!, 6)
    },
  )

  add(
    'abort-meanwhile',
    'a sweep lets others go on between its batches, and ends after the one under way when its signal is aborted',
    'Every request would wait for the clean-up, or a deploy for its end.',
    async (context) => {
      await fill(context, 200, 1000)
      await context.clock.advance(1000)
      const stop = new AbortController()
      const sweeping = sweep(context, { batchSize: 1, signal: stop.signal })
      setImmediate(() => stop.abort())
      const first = await sweeping
      if (first === undefined) return
      assert.ok(first < 200, 'it removed everything, although the signal was aborted meanwhile')
      assert.equal(first + (await sweep(context))!, 200)
    },
  )

  add(
    'renewed',
    'a record that was renewed in time is not swept',
    'A visitor at work would be logged out by the clean-up.',
    async (context) => {
      const { store, clock, record } = context
      let [saved, touched] = await fill(context, 2, 1000)
      saved = await store.save(saved!, record('saved', 5000))
      touched = await store.touch(touched!, clock.now() + 5000)
      await clock.advance(1000)
      await sweep(context)
      assert.equal((await store.load(saved))?.data, 'saved')
      assert.ok(await store.load(touched))
    },
  )

  add(
    'retired',
    'a sweep leaves retired keys until their time is over, and then removes and counts them',
    'A late request would be taken for a stranger’s, or retired keys would pile up.',
    async (context) => {
      const { store, clock, record } = context
      const [early, late] = await fill(context, 2, 1_000_000)
      await store.save(early!, record(RETIRED, 1000))
      await store.save(late!, record(RETIRED, 100_000))
      assert.equal((await sweep(context)) ?? 0, 0)
      for (const ticket of [early, late]) assert.equal((await store.load(ticket!))?.data, RETIRED)
      await clock.advance(1000)
      assert.equal((await sweep(context)) ?? 1, 1)
      assert.equal(await store.load(early!), undefined)
      assert.equal((await store.load(late!))?.data, RETIRED)
    },
    ifStateless(
      'there is nothing to sweep: a ticket with empty data ends by itself',
      async (context) => {
        const { store, clock, record } = context
        const [mine] = await fill(context, 1, 1_000_000)
        const stone = await store.save(mine!, record(RETIRED, 1000))
        assert.equal((await sweep(context)) ?? 0, 0)
        await clock.advance(1000)
        assert.equal(await store.load(stone), undefined)
      },
    ),
    leavesNothing,
  )

  add(
    'ended',
    'after a session was ended by a save, a sweep finds it once at the most and no live one',
    'A sweep would count it again and again, or take a session that was begun under its key.',
    async (context) => {
      const { store, record, key } = context
      const tickets = await fill(context, 3, 1_000_000)
      for (const ticket of tickets) await store.save(ticket, { data: RETIRED, expiresAt: 0 })
      const again = key()
      await store.create(again, record('old', 1_000_000))
      await store.save(again, { data: RETIRED, expiresAt: 0 }, 'old')
      const live = await store.create(again, record('new', 1_000_000))
      assert.ok(((await sweep(context)) ?? 0) <= tickets.length)
      assert.equal((await sweep(context)) ?? 0, 0)
      assert.equal((await store.load(live))?.data, 'new')
    },
  )

  add(
    'while-writing',
    'while others create, save, touch and delete, a sweep removes all the expired, no live one, and undoes nothing',
    'The clean-up would lose sessions or changes, bring back who has logged out, or writers would fail.',
    async (context) => {
      const { store, clock, record, key } = context
      await fill(context, 200, 1000)
      const tickets = await fill(context, 20, 1_000_000)
      const live = tickets.map((ticket, n) => ({ ticket, data: `${n}` }))
      const ended: string[] = []
      await clock.advance(1000)
      const swept = { isOver: false }
      const sweeping = sweep(context, { batchSize: 20 }).finally(() => (swept.isOver = true))
      for (let round = 0; round < 3 || (!swept.isOver && round < 10); round++) {
        for (const [at, one] of live.entries()) {
          const data = `round ${round}`
          if (at % 2) {
            // A change that the sweep has undone shows as a conflict.
            one.ticket = await store.save(one.ticket, record(data, 1_000_000), one.data)
            one.data = data
          } else one.ticket = await store.touch(one.ticket, clock.now() + 1_000_000)
        }
        live.push({ ticket: await store.create(key(), record('new', 1_000_000)), data: 'new' })
        // What the visitor holds, nobody else can delete.
        if (store.traits?.stateless) continue
        const { ticket } = live.shift()!
        await store.delete(ticket)
        ended.push(ticket)
      }
      assert.equal((await sweeping) ?? 200, 200)
      for (const { ticket, data } of live) {
        const found = await store.load(ticket)
        assert.ok(found, 'a live session was swept')
        assert.equal(found.data, data, 'the sweep has undone a save')
      }
      for (const ticket of ended) {
        assert.equal(await store.load(ticket), undefined, 'the sweep has brought back a session')
      }
    },
  )

  add(
    'over-expired',
    'a session that is begun under an expired key while a sweep is under way stays',
    'The clean-up would log out a visitor who has just logged in.',
    async (context) => {
      const { store, clock, record, key } = context
      const keys = Array.from({ length: 40 }, key)
      for (const one of keys) await store.create(one, record('old', 1000))
      await clock.advance(1000)
      const sweeping = sweep(context, { batchSize: 10 })
      const tickets: string[] = []
      for (const one of keys) tickets.push(await store.create(one, record('new', 1_000_000)))
      await sweeping
      for (const ticket of tickets) {
        assert.equal((await store.load(ticket))?.data, 'new', 'a live session was swept')
      }
    },
  )

  add(
    'two-at-once',
    'two sweeps at once remove everything, and count nothing twice',
    'Two servers that clean up at the same time would fail.',
    async (context) => {
      await fill(context, 100, 1000)
      await context.clock.advance(1000)
      const counts = await Promise.all([1, 2].map(() => sweep(context, { batchSize: 7 })))
      if (counts[0] === undefined) return
      const rest = await sweep(context)
      assert.equal(counts[0]! + counts[1]! + rest!, 100)
    },
  )
})

// Section "concurrency", continued: the same promises across four processes.
import { strict as assert } from 'node:assert'
import { RETIRED } from '@coatcheck/core/store'
import { ifStateless, section, type Counterpart } from '../case.ts'
import type { Context } from '../context.ts'
import { leavesNothing } from './retired.ts'

const ownMemory: Counterpart = {
  trait: 'ephemeral',
  title: 'processes share nothing: what one creates is in its own memory',
  async run({ store, open, name, key, record }: Context) {
    const mine = await store.create(key(), record('1'))
    assert.equal(await (await open(name)).load(mine), undefined)
  },
}
const ownTickets = ifStateless(
  'processes share nothing but the secret: a ticket of one is read by another, whatever others did',
  async ({ store, open, name, key, record }) => {
    const mine = await store.create(key(), record('1'))
    const second = await open(name)
    await second.delete(await second.save(mine, record('2')))
    assert.equal((await second.load(mine))?.data, '1')
  },
)
const oneProcess: Counterpart = {
  trait: 'nonAtomic',
  title:
    'between processes the last save wins; within one, of ten saves at once exactly one succeeds',
  async run({ store, key, record }: Context) {
    const mine = key()
    await store.create(mine, record('0'))
    const saves = Array.from({ length: 10 }, async (_, n) =>
      store.save(mine, record(`${n + 1}`), '0'),
    )
    const outcomes = await Promise.allSettled(saves)
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  },
}
const refusesOthers: Counterpart = {
  trait: 'exclusive',
  title:
    'while this process has the store open another is refused with a SessionStoreError, and has what was stored once it is closed',
  async run({ store, processes, key, record }) {
    const mine = key()
    await store.create(mine, record('1'))
    const look = { do: 'look', key: mine } as const
    assert.deepEqual(await processes(look), ['ERR_SESSION_STORE'])
    assert.equal((await store.load(mine))?.data, '1')
    await store.close?.()
    assert.deepEqual(await processes(look), ['1'])
  },
}
const instead = [ownTickets, ownMemory, refusesOthers, oneProcess]
const seenLate: Counterpart = {
  trait: 'unshared',
  title: 'a session that another process deleted may still be read here, and cannot be saved',
  async run({ store, processes, key, record, throws }) {
    const mine = await store.create(key(), record('0'))
    await processes({ do: 'delete', key: mine })
    await throws('ERR_SESSION_GONE', () => store.save(mine, record('1')))
    assert.equal(await store.load(mine), undefined)
  },
}

export const processes = section('concurrency', (add) => {
  add(
    'processes-counter',
    'four processes that each add 25 to one number by compare-and-swap make 100',
    'Updates would be lost as soon as there is a second server.',
    async ({ store, key, record, processes: run }) => {
      const mine = key()
      await store.create(mine, record('0'))
      await run(
        ...Array.from({ length: 4 }, () => ({ do: 'increment', key: mine, times: 25 }) as const),
      )
      await assertEventually(store, mine, '100')
    },
    ...instead,
  )

  add(
    'processes-create',
    'of four processes that create the same twenty keys exactly one gets each',
    'Two visitors would share a session.',
    async ({ key, processes: run }) => {
      const keys = Array.from({ length: 20 }, key)
      const won = await run(...Array.from({ length: 4 }, () => ({ do: 'create', keys }) as const))
      assert.deepEqual(won.flat().toSorted(), keys.toSorted())
    },
    ...instead,
  )

  add(
    'processes-delete',
    'a session deleted by one process while three others save and touch it does not come back',
    'A logout on one server would be undone by another.',
    async ({ store, key, record, processes: run }) => {
      const mine = key()
      await store.create(mine, record('0'))
      const hammer = { do: 'hammer', key: mine } as const
      await run(hammer, hammer, hammer, { do: 'delete', key: mine })
      assert.equal(await store.load(mine), undefined, 'the session is back')
    },
    ...instead,
    seenLate,
  )

  for (const [job, what, left] of [
    ['retire', 'a key that one process retires', RETIRED],
    ['end', 'a session that one process ends by a save', undefined],
  ] as const) {
    add(
      `processes-${job}`,
      `${what} while three others save and touch it stays so`,
      'A login or logout on one server would be undone by another.',
      async ({ store, key, record, processes: run }) => {
        const mine = key()
        await store.create(mine, record('0'))
        const hammer = { do: 'hammer', key: mine } as const
        await run(hammer, hammer, hammer, { do: job, key: mine })
        assert.equal((await store.load(mine))?.data, left, 'the session is back')
      },
      ...instead,
      seenLate,
      ...(job === 'retire' ? [leavesNothing] : []),
    )
  }

  add(
    'processes-touch-from',
    'of four processes that touch twenty sessions from the same end exactly one moves each',
    'A renewal on one server would undo the expiry that another has just set.',
    async ({ store, key, record, processes: run }) => {
      const keys = Array.from({ length: 20 }, key)
      const stored = record('0')
      for (const one of keys) await store.create(one, stored)
      const { expiresAt: from } = (await store.load(keys[0]!))!
      const renew = { do: 'renew', keys, from } as const
      const won = await run(renew, renew, renew, renew)
      assert.deepEqual(won.flat().toSorted(), keys.toSorted())
    },
    ...instead,
  )

  add(
    'processes-touch',
    'a process that touches a session undoes no change that two others save',
    'A rolling refresh would lose products from the cart.',
    async ({ store, key, record, processes: run }) => {
      const mine = key()
      await store.create(mine, record('0'))
      const increment = { do: 'increment', key: mine, times: 25 } as const
      await run(increment, { do: 'touch', key: mine, times: 50 }, increment)
      await assertEventually(store, mine, '50')
    },
    ...instead,
  )

  add(
    'processes-login',
    'a login in one process while three others change the session: no acknowledged change is lost, the old key is dead',
    'A product put into the cart during the login would be lost.',
    async ({ browser, sessions, processes: run }) => {
      const shared = sessions()
      const visitor = browser(shared)
      await visitor.visit((session) => session.set('cart', []))
      const old = visitor.cookie!
      const append = (from: number) =>
        ({
          do: 'append',
          cookie: old,
          values: Array.from({ length: 10 }, (_, n) => from + n),
        }) as const
      const [a, b, c, login] = await run(append(0), append(100), append(200), {
        do: 'login',
        cookie: old,
      })
      visitor.cookie = login
      assert.deepEqual(
        (await visitor.visit((session) => session.get('cart'))).toSorted(),
        [...a, ...b, ...c].toSorted(),
      )
      visitor.cookie = old
      assert.equal(await visitor.visit((session) => session.get('cart')), undefined)
    },
    ...instead,
    seenLate,
  )

  add(
    'processes-sweep',
    'four processes that sweep at once remove everything expired, and count nothing twice',
    'Servers that all clean up at midnight would fail.',
    async ({ store, key, record, clock, processes: run }) => {
      if (!store.clearExpired) return
      for (let n = 0; n < 50; n++) await store.create(key(), record('1', 1000))
      const live = await store.create(key(), record('live', 100_000))
      await clock.advance(1000)
      const counts = await run(...Array.from({ length: 4 }, () => ({ do: 'sweep' }) as const))
      const rest = await store.clearExpired()
      assert.equal(
        counts.reduce((sum: number, count: number) => sum + count, rest),
        50,
      )
      assert.ok(await store.load(live))
    },
    ...instead,
  )
})

/** A store that keeps copies may see late what others saved; a save that builds on an old copy is a conflict. */
async function assertEventually(
  store: Context['store'],
  key: string,
  expected: string,
): Promise<void> {
  const found = (await store.load(key))!
  if (store.traits?.unshared && found.data !== expected) {
    await assert.rejects(
      async () => store.save(key, found, found.data),
      (error: { code?: string }) => error.code === 'ERR_SESSION_CONFLICT',
    )
  }
  assert.equal((await store.load(key))?.data, expected)
}

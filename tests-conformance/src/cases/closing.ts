// Section "closing": a store lets go of what it opened, whenever it is told to.
import { strict as assert } from 'node:assert'
import { section } from '../case.ts'
import { expectCode } from '../context.ts'
import { inTime } from '../in-time.ts'
import { openedTwice } from './isolation.ts'

export const closing = section('closing', (add) => {
  add('twice', 'close can be called twice', 'A shutdown would throw.', async ({ store }) => {
    await store.close?.()
    await store.close?.()
  })

  add(
    'unused',
    'a store that was never used can be closed',
    'A process that starts and stops at once would hang or fail.',
    async ({ open }) => {
      const unused = await open('unused')
      await inTime(async () => unused.close?.())
    },
  )

  add(
    'after',
    'after close every call answers as before or is a SessionStoreError, and none hangs',
    'A request that comes during a shutdown would hang, or crash the process.',
    async ({ store, key, record, clock }) => {
      const mine = await store.create(key(), record('1'))
      await store.close?.()
      const calls: (() => unknown)[] = [
        () => store.load(mine),
        () => store.create(key(), record('2')),
        () => store.save(mine, record('3')),
        () => store.touch(mine, clock.now() + 5000),
        () => store.delete(mine),
        () => store.clearExpired?.(),
      ]
      for (const call of calls) {
        try {
          await inTime(call)
        } catch (error) {
          expectCode(error, 'ERR_SESSION_STORE')
        }
      }
    },
  )

  add(
    'under-way',
    'calls that are under way when the store is closed are done, or fail as a SessionStoreError',
    'A deploy would lose changes without a word.',
    async ({ store, open, name, key, record }) => {
      const mine = key()
      const ticket = await store.create(mine, record('0'))
      const saves = Array.from({ length: 5 }, async (_, n) =>
        store.save(ticket, record(`${n + 1}`)),
      )
      const outcomes = inTime(() => Promise.allSettled(saves))
      await inTime(async () => store.close?.())
      const saved = (await outcomes).map((outcome) => {
        if (outcome.status === 'fulfilled') return true
        expectCode(outcome.reason, 'ERR_SESSION_STORE')
        return false
      })
      const { stateless, ephemeral } = store.traits ?? {}
      if (stateless || ephemeral) return
      const { data } = (await (await open(name)).load(ticket))!
      if (saved.some(Boolean)) assert.notEqual(data, '0', 'an acknowledged save is lost')
    },
  )

  add(
    'another',
    'closing one store leaves another of the same name at work',
    'Closing one would take down everybody who shares the connection.',
    async ({ store, open, name, key, record }) => {
      const second = await open(name)
      await store.close?.()
      const mine = await second.create(key(), record('1'))
      assert.equal((await second.load(mine))?.data, '1')
    },
    openedTwice,
  )
})

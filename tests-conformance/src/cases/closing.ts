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
    'after close every call answers as before, truly, or is a SessionStoreError, and none hangs',
    'A request that comes during a shutdown would hang, crash the process, be logged out, or lose what was acknowledged.',
    async ({ store, open, name, key, record, clock, same }) => {
      const [kept, touched, ended] = [record('kept'), record('touched'), record('ended')]
      const loaded = await store.create(key(), kept)
      const saving = await store.create(key(), kept)
      const touching = await store.create(key(), touched)
      const ending = await store.create(key(), ended)
      await store.close?.()
      const answered = async <T>(
        call: () => T | Promise<T>,
      ): Promise<{ answer: T } | undefined> => {
        try {
          return { answer: await inTime(call) }
        } catch (error) {
          expectCode(error, 'ERR_SESSION_STORE')
          return undefined
        }
      }
      const created = record('created')
      const saved = record('saved')
      const later = { ...touched, expiresAt: clock.now() + 7_200_000 }
      // What each change has acknowledged, by the key that it is found by from then on.
      const changes = [
        [created, await answered(() => store.create(key(), created))],
        [saved, await answered(() => store.save(saving, saved))],
        [later, await answered(() => store.touch(touching, later.expiresAt))],
      ] as const
      const isDeleted = await answered(() => store.delete(ending))
      await answered(() => store.clearExpired?.())
      const { stateless, ephemeral } = store.traits ?? {}
      const again = stateless || ephemeral ? undefined : await open(name)
      for (const one of again ? [store, again] : [store]) {
        const found = await answered(() => one.load(loaded))
        if (found) same(found.answer, kept)
        for (const [written, change] of changes) {
          const told = change && (await answered(() => one.load(change.answer)))
          if (told) same(told.answer, written)
        }
        // What the visitor holds, nobody else can delete.
        const left = isDeleted && !stateless && (await answered(() => one.load(ending)))
        if (left) assert.equal(left.answer, undefined, 'an acknowledged delete is lost')
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

// Section "durability": what was acknowledged is there when the store is opened again, by those that promise it.
import { strict as assert } from 'node:assert'
import { RETIRED } from '@coatcheck/core/store'
import { ifStateless, section, type Counterpart } from '../case.ts'
import { leavesNothing } from './retired.ts'

const forgets: Counterpart = {
  trait: 'ephemeral',
  title: 'what was stored is gone when the store is opened again',
  async run({ store, open, name, key, record }) {
    const mine = await store.create(key(), record('1'))
    await store.close?.()
    assert.equal(await (await open(name)).load(mine), undefined)
  },
}

export const durability = section('durability', (add) => {
  add(
    'reopen',
    'what was created, saved and touched is there when the store is opened again',
    'A restart would log everybody out.',
    async ({ store, open, name, key, record, clock, same }) => {
      const created = await store.create(key(), record('created'))
      const saved = await store.save(await store.create(key(), record('1')), record('saved'))
      const expiresAt = clock.now() + 123_456
      const touched = await store.touch(await store.create(key(), record('touched')), expiresAt)
      await store.close?.()
      const again = await open(name)
      assert.equal((await again.load(created))?.data, 'created')
      assert.equal((await again.load(saved))?.data, 'saved')
      same(await again.load(touched), { data: 'touched', expiresAt })
    },
    forgets,
  )

  add(
    'reopen-deleted',
    'what was deleted or has expired is not back when the store is opened again',
    'A restart would undo a logout.',
    async ({ store, open, name, key, record, clock }) => {
      const deleted = await store.create(key(), record('1'))
      const ended = await store.create(key(), record('1', 1000))
      await store.delete(deleted)
      await clock.advance(1000)
      await store.close?.()
      const again = await open(name)
      if (!store.traits?.stateless) assert.equal(await again.load(deleted), undefined)
      assert.equal(await again.load(ended), undefined)
    },
  )

  add(
    'reopen-retired',
    'a key that was retired is so, and one that was ended is not back, when the store is opened again',
    'A restart would undo a logout, or open the key from before a login again.',
    async ({ store, open, name, key, record, throws, same }) => {
      const [retired, ended] = [key(), key()]
      const stone = record(RETIRED, 60_000)
      for (const one of [retired, ended]) await store.create(one, record('1'))
      await store.save(retired, stone, '1')
      await store.save(ended, { data: RETIRED, expiresAt: 0 }, '1')
      await store.close?.()
      const again = await open(name)
      same(await again.load(retired), stone)
      await throws('ERR_SESSION_GONE', () => again.save(retired, record('2'), RETIRED))
      assert.equal(await again.load(ended), undefined)
    },
    ifStateless(
      'a ticket of before still reads when the store is opened again, until its end',
      async ({ store, open, name, key, record }) => {
        const mine = await store.create(key(), record('1'))
        await store.save(mine, record(RETIRED), '1')
        await store.close?.()
        assert.equal((await (await open(name)).load(mine))?.data, '1')
      },
    ),
    forgets,
    leavesNothing,
  )

  add(
    'keeps-all',
    'two thousand live sessions are all kept',
    'A visitor would be logged out because others came.',
    async ({ store, key, record }) => {
      const tickets: string[] = []
      for (let n = 0; n < 2000; n++) tickets.push(await store.create(key(), record(`${n}`)))
      for (const [n, ticket] of tickets.entries()) {
        assert.equal((await store.load(ticket))?.data, `${n}`)
      }
    },
    {
      trait: 'evicts',
      title: 'the newest session is kept, whatever had to make room for it',
      async run({ store, key, record }) {
        for (let n = 0; n < 2000; n++) {
          const ticket = await store.create(key(), record(`${n}`))
          assert.equal((await store.load(ticket))?.data, `${n}`)
        }
      },
    },
  )
})

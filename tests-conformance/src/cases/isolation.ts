// Section "isolation": what is done to one session, or in one store, shows in no other.
import { strict as assert } from 'node:assert'
import { ifStateless, section, type Counterpart } from '../case.ts'
import { expectCode } from '../context.ts'

/** What holds instead of promises about two stores of one name, which a lock may keep apart in one process too. */
export const openedTwice: Counterpart = {
  trait: 'exclusive',
  title:
    'a second store of the name in this process sees what is stored, or is refused with a SessionStoreError until the first is closed',
  async run({ store, open, name, key, record }) {
    const mine = await store.create(key(), record('1'))
    try {
      const second = await open(name)
      const found = await second.load(mine)
      assert.equal(found?.data, '1')
      await second.save(mine, record('2'), '1')
      assert.equal((await store.load(mine))?.data, '2')
      return
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      expectCode(error, 'ERR_SESSION_STORE')
    }
    assert.equal((await store.load(mine))?.data, '1')
    await store.close?.()
    assert.equal((await (await open(name)).load(mine))?.data, '1')
  },
}

export const isolation = section('isolation', (add) => {
  add(
    'sessions',
    'two visitors see their own sessions alone',
    "One visitor would see another's cart.",
    async ({ browser, sessions }) => {
      const shared = sessions()
      const visitors = Array.from({ length: 10 }, () => browser(shared))
      for (const [n, visitor] of visitors.entries()) {
        await visitor.visit((session) => session.set('n', n))
      }
      for (const [n, visitor] of visitors.entries()) {
        assert.deepEqual(await visitor.visit((session) => [...session]), [['n', n]])
      }
    },
  )

  add(
    'at-once',
    'a hundred sessions created at once are a hundred sessions',
    'Two visitors would share one.',
    async ({ store, key, record }) => {
      const tickets = await Promise.all(
        Array.from({ length: 100 }, async (_, n) => store.create(key(), record(`${n}`))),
      )
      for (const [n, ticket] of tickets.entries()) {
        assert.equal((await store.load(ticket))?.data, `${n}`)
      }
    },
  )

  add(
    'calls-at-once',
    'of calls at once for different sessions each is answered for its own, and changes its own',
    "One visitor would be handed another's session.",
    async ({ store, key, record, clock, same }) => {
      const visit = async (n: number) => {
        let mine = record('begun by ' + n, 1_000_000 + n * 10_000)
        let ticket = await store.create(key(), mine)
        // Each visitor's calls begin at another one, so that at any time all methods are under way.
        for (let step = n; step < n + 12; step++) {
          if (step % 3 === 0) same(await store.load(ticket), mine)
          else if (step % 3 === 1) {
            const changed = { ...mine, data: `step ${step} of ${n}` }
            ticket = await store.save(ticket, changed, mine.data)
            mine = changed
          } else {
            mine = { ...mine, expiresAt: clock.now() + 2_000_000 + n * 10_000 }
            ticket = await store.touch(ticket, mine.expiresAt)
          }
        }
        same(await store.load(ticket), mine)
        // What the visitor holds, nobody else can delete.
        if (n % 4 > 0 || store.traits?.stateless) return { ticket, left: mine }
        await store.delete(ticket)
        return { ticket, left: undefined }
      }
      const visits = await Promise.all(Array.from({ length: 12 }, (_, n) => visit(n)))
      for (const { ticket, left } of visits) {
        const found = await store.load(ticket)
        if (left) same(found, left)
        else assert.equal(found, undefined)
      }
    },
  )

  add(
    'save',
    'saving, touching and expiring one session leaves its neighbours alone',
    "A change would end or overwrite somebody else's session.",
    async ({ store, key, record, clock }) => {
      const neighbours = record('neighbour', 5000)
      const neighbour = await store.create(key(), neighbours)
      const mine = await store.create(key(), record('mine', 5000))
      await store.touch(await store.save(mine, record('changed')), clock.now() + 10)
      await clock.before(neighbours.expiresAt)
      assert.equal((await store.load(neighbour))?.data, 'neighbour')
    },
  )

  add(
    'stores',
    'a store of another name (prefix, table, folder) does not see the session, nor delete it',
    'Two applications on one server would share their visitors.',
    async ({ store, open, key, record, clock, throws }) => {
      const other = await open('other')
      const mine = await store.create(key(), record('mine'))
      assert.equal(await other.load(mine), undefined)
      await throws('ERR_SESSION_GONE', () => other.save(mine, record('theirs')))
      await throws('ERR_SESSION_GONE', () => other.touch(mine, clock.now() + 1000))
      await other.delete(mine)
      await other.create(mine, record('theirs'))
      assert.equal((await store.load(mine))?.data, 'mine')
    },
    ifStateless(
      'a store of another name (salt) does not read the ticket',
      async ({ store, open, key, record }) => {
        const mine = await store.create(key(), record('mine'))
        assert.equal(await (await open('other')).load(mine), undefined)
        assert.equal((await store.load(mine))?.data, 'mine')
      },
    ),
  )

  add(
    'sweep',
    'a sweep of one store removes nothing from another',
    "One application's clean-up would log out another's visitors.",
    async ({ store, open, key, record, clock }) => {
      const other = await open('other')
      const theirs = await other.create(key(), record('theirs', 20_000))
      await store.create(key(), record('mine', 1000))
      await clock.advance(1000)
      await store.clearExpired?.()
      assert.equal((await other.load(theirs))?.data, 'theirs')
    },
  )

  add(
    'shared',
    'two stores of one name share their sessions, as two processes do',
    'A visitor would have another session on each server.',
    async ({ store, open, name, key, record, throws }) => {
      const second = await open(name)
      const mine = await store.create(key(), record('1'))
      assert.equal((await second.load(mine))?.data, '1')
      await second.save(mine, record('2'), '1')
      await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('3'), '1'))
      await second.delete(mine)
      assert.equal(await store.load(mine), undefined)
    },
    ifStateless(
      'two stores of one name (salt, secret) read the same tickets',
      async ({ store, open, name, key, record }) => {
        const mine = await store.create(key(), record('1'))
        assert.equal((await (await open(name)).load(mine))?.data, '1')
      },
    ),
    openedTwice,
    {
      trait: 'ephemeral',
      title: 'a second store has sessions of its own: they live in the memory of one',
      async run({ store, open, name, key, record }) {
        const mine = await store.create(key(), record('1'))
        assert.equal(await (await open(name)).load(mine), undefined)
      },
    },
  )

  add(
    'sees-others',
    'a store that has just loaded a session sees at once what another store changes or deletes',
    'A logout on one server would not hold on the next.',
    async ({ store, open, name, key, record }) => {
      const second = await open(name)
      const mine = await store.create(key(), record('1'))
      assert.equal((await store.load(mine))?.data, '1')
      assert.equal((await second.load(mine))?.data, '1')
      await second.save(mine, record('2'), '1')
      assert.equal((await store.load(mine))?.data, '2')
      await second.delete(mine)
      assert.equal(await store.load(mine), undefined)
    },
    ifStateless(
      'a ticket reads the same in both, whatever becomes of it',
      async ({ store, open, name, key, record }) => {
        const second = await open(name)
        const mine = await store.create(key(), record('1'))
        await second.delete(mine)
        assert.equal((await store.load(mine))?.data, '1')
      },
    ),
    openedTwice,
    {
      trait: 'unshared',
      title: 'a change by another store is seen late, but what was saved over it is a conflict',
      async run({ store, open, name, key, record, throws }) {
        const second = await open(name)
        const mine = await store.create(key(), record('1'))
        await store.load(mine)
        try {
          await second.save(mine, record('2'), '1')
        } catch (error) {
          // The second store has memory of its own and nothing behind it.
          assert.equal((error as { code?: string }).code, 'ERR_SESSION_GONE')
          return
        }
        await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('3'), '1'))
        assert.equal((await store.load(mine))?.data, '2')
      },
    },
  )
})

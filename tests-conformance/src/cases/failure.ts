// Section "failure": the backend is gone for a while. That is an error, never an empty answer, and it passes.
import { strict as assert } from 'node:assert'
import { setTimeout } from 'node:timers/promises'
import { section, type Counterpart, type Exemption } from '../case.ts'
import { expectCode, type Context } from '../context.ts'
import { BOUND, inTime } from '../in-time.ts'
import { RECOVERY } from '../turmoil.ts'

const nothingToLose = (trait: Exemption): Counterpart => ({
  trait,
  title: 'there is no backend to lose: the store answers by itself',
  async run({ store, key, record }) {
    const mine = await inTime(() => store.create(key(), record('1')))
    assert.equal((await inTime(() => store.load(mine)))?.data, '1')
  },
})
/** What holds instead of a store that has no backend. */
export const alone = [nothingToLose('stateless'), nothingToLose('ephemeral')]

/** Calls until the store has found its backend again. */
async function recovered<T>(call: () => T | Promise<T>): Promise<T> {
  for (const end = performance.now() + RECOVERY; ;) {
    try {
      return await inTime(call)
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_SESSION_STORE' || performance.now() > end)
        throw error
      await setTimeout(50)
    }
  }
}

/** Every call that has to reach the backend; `mine` is the key of `data`, `other` one that nobody has had in hands. */
const calls = (
  { store, record, clock }: Context,
  mine: string,
  data: string,
  other: string,
): [string, () => unknown][] => [
  ['create', () => store.create(other, record(data))],
  ['save', () => store.save(mine, record(data))],
  ['save with expected', () => store.save(mine, record(data), data)],
  ['touch', () => store.touch(mine, clock.now() + 5000)],
  ['touch with from', () => store.touch(mine, clock.now() + 5000, clock.now() + 1)],
  ['load of a key that nobody has loaded before', () => store.load(other)],
  ['delete', () => store.delete(mine)],
]

export const failure = section('failure', (add) => {
  add(
    'typed',
    'while the backend is gone every call is a SessionStoreError within 15 seconds',
    'Visitors would be logged out, or wait for ever.',
    async (context) => {
      const mine = await context.store.create(context.key(), context.record('1'))
      await context.outage(async () => {
        for (const [name, call] of calls(context, mine, '1', context.key())) {
          const start = performance.now()
          const error = await context.throws('ERR_SESSION_STORE', () => inTime(call))
          assert.ok(performance.now() - start < BOUND, `${name} took too long`)
          assert.equal(error.status, 503)
        }
      })
    },
    ...alone,
  )

  add(
    'never-empty',
    'a live session is loaded as it is, or not at all: its load is never an empty answer',
    'Every visitor would be logged out by a restart of the database.',
    async ({ store, key, record, outage }) => {
      const mine = await store.create(key(), record('1'))
      await outage(async () => {
        try {
          const found = await inTime(() => store.load(mine))
          assert.equal(found?.data, '1', 'the session was not found')
        } catch (error) {
          expectCode(error, 'ERR_SESSION_STORE')
        }
      })
    },
    ...alone,
  )

  add(
    'cause',
    "the error of every call holds the backend's own as its cause, and neither the key nor the data",
    'An operator could not tell what is wrong, or secrets would be in the log.',
    async (context) => {
      const mine = await context.store.create(context.key(), context.record('"a secret"'))
      const other = context.key()
      await context.outage(async () => {
        for (const [name, call] of calls(context, mine, '"a secret"', other)) {
          const error = await context.throws('ERR_SESSION_STORE', () => inTime(call))
          assert.ok(error.cause, `of ${name} there is no cause`)
          for (const secret of [mine, other, 'a secret'])
            assert.ok(!error.message.includes(secret), `the error of ${name} tells the key or data`)
        }
      })
    },
    ...alone,
  )

  add(
    'recovers',
    'when the backend is back the same store goes on, with all that was acknowledged',
    'Somebody would have to restart the application.',
    async (context) => {
      const { store, key, record, outage, throws } = context
      const mine = await store.create(key(), record('1'))
      const other = await store.create(key(), record('other'))
      await outage(async () => {
        await throws('ERR_SESSION_STORE', () => inTime(() => store.save(mine, record('2'), '1')))
      })
      // The save that failed may have been made in the end: its answer may be all that was lost.
      const { data } = (await recovered(() => store.load(mine)))!
      assert.ok(data === '1' || data === '2', `the data became ${data}`)
      await recovered(() => store.save(mine, record('3')))
      assert.equal((await recovered(() => store.load(mine)))?.data, '3')
      assert.equal((await recovered(() => store.load(other)))?.data, 'other')
      const fresh = await recovered(() => store.create(key(), record('fresh')))
      assert.equal((await recovered(() => store.load(fresh)))?.data, 'fresh')
    },
    ...alone,
  )

  add(
    'deleted-before',
    'what was deleted before the backend went is not back with it',
    'A logout would be undone by a restart of the database.',
    async ({ store, key, record, outage }) => {
      const mine = await store.create(key(), record('1'))
      await store.delete(mine)
      await outage(async () => {})
      assert.equal(await recovered(() => store.load(mine)), undefined)
    },
    ...alone,
  )

  add(
    'sweep',
    'a sweep while the backend is gone is a SessionStoreError, and the next one goes well',
    'A clean-up that fails silently lets expired rows pile up.',
    async ({ store, key, record, clock, outage, throws }) => {
      if (!store.clearExpired) return
      await store.create(key(), record('1', 1000))
      await clock.advance(1000)
      await outage(async () => {
        await throws('ERR_SESSION_STORE', () => inTime(() => store.clearExpired!()))
      })
      assert.equal(await recovered(() => store.clearExpired!()), 1)
    },
    ...alone,
  )

  add(
    'many-at-once',
    'fifty calls at once while the backend is gone all end within 15 seconds',
    'Requests would pile up until the process falls over.',
    async ({ store, key, outage }) => {
      await outage(async () => {
        const outcomes = await inTime(() =>
          Promise.allSettled(Array.from({ length: 50 }, async () => store.load(key()))),
        )
        for (const outcome of outcomes) assert.equal(outcome.status, 'rejected')
      })
      assert.equal(await recovered(() => store.load(key())), undefined)
    },
    ...alone,
  )

  add(
    'request',
    'a request meanwhile fails with status 503, or gets an empty session where so configured, and keeps its cookie',
    'An outage would log everybody out.',
    async ({ store, browser, sessions, outage, throws }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('cart', [1]))
      const { cookie } = visitor
      const modest = browser(sessions({ ifUnavailable: 'anonymous' }))
      modest.cookie = cookie
      await outage(async () => {
        const error = await throws('ERR_SESSION_STORE', () =>
          visitor.visit((session) => session.set('cart', [1, 2])),
        )
        assert.equal(error.status, 503)
        const cart = await modest.visit((session) => session.get('cart'))
        // A cache may still know it.
        if (cart !== undefined) assert.deepEqual(cart, [1])
        await throws('ERR_SESSION_STORE', () => modest.visit((session) => session.set('cart', [])))
      })
      assert.equal(visitor.cookie, cookie)
      assert.equal(modest.cookie, cookie)
      await recovered(() => store.load(cookie!))
      assert.equal((await visitor.visit((session) => session.get('cart')))[0], 1)
    },
    ...alone,
  )
})

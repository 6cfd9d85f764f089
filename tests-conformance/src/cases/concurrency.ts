// Section "concurrency": what two requests do at once ends as if one had come after the other.
import { strict as assert } from 'node:assert'
import { RETIRED, type SessionRecord } from '@coatcheck/core/store'
import { ifStateless, section } from '../case.ts'
import type { Context } from '../context.ts'
import { leavesNothing } from './retired.ts'

const noServer = ifStateless(
  'two requests at once each get a ticket of their own: neither sees the other',
  async ({ store, key, record }: Context) => {
    const mine = await store.create(key(), record('0'))
    const [one, two] = await Promise.all([
      store.save(mine, record('1'), '0'),
      store.save(mine, record('2'), '0'),
    ])
    assert.equal((await store.load(one))?.data, '1')
    assert.equal((await store.load(two))?.data, '2')
  },
)

/** Runs calls at once; how many succeeded, and the codes of the errors of the others. */
async function outcomes(calls: (() => unknown)[]) {
  const settled = await Promise.allSettled(calls.map(async (call) => call()))
  return {
    won: settled.flatMap(({ status }, at) => (status === 'fulfilled' ? [at] : [])),
    codes: new Set(settled.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []))),
  }
}

export const concurrency = section('concurrency', (add) => {
  add(
    'create-race',
    'of ten creates of one key at once exactly one succeeds',
    'Two visitors would share a session.',
    async ({ store, key, record }) => {
      const mine = key()
      const { won, codes } = await outcomes(
        Array.from({ length: 10 }, (_, n) => () => store.create(mine, record(`${n}`))),
      )
      assert.equal(won.length, 1)
      assert.deepEqual(codes, new Set(['ERR_SESSION_KEY_EXISTS']))
      assert.equal((await store.load(mine))?.data, `${won[0]}`)
    },
    noServer,
  )

  add(
    'create-race-expired',
    'of ten creates at once over an expired record exactly one succeeds',
    'Two visitors would share a session.',
    async ({ store, key, record, clock }) => {
      const mine = key()
      await store.create(mine, record('old', 1000))
      await clock.advance(1000)
      const { won, codes } = await outcomes(
        Array.from({ length: 10 }, (_, n) => () => store.create(mine, record(`${n}`))),
      )
      assert.equal(won.length, 1)
      assert.deepEqual(codes, new Set(['ERR_SESSION_KEY_EXISTS']))
    },
    noServer,
  )

  add(
    'save-race',
    'of ten saves at once that expect the same data exactly one succeeds',
    'Updates would be lost under load.',
    async ({ store, key, record }) => {
      const mine = key()
      await store.create(mine, record('start'))
      const { won, codes } = await outcomes(
        Array.from({ length: 10 }, (_, n) => () => store.save(mine, record(`${n}`), 'start')),
      )
      assert.equal(won.length, 1)
      assert.deepEqual(codes, new Set(['ERR_SESSION_CONFLICT']))
      assert.equal((await store.load(mine))?.data, `${won[0]}`)
    },
    noServer,
  )

  add(
    'counter',
    'fifty increments at once by compare-and-swap are fifty increments',
    'Updates would be lost under load.',
    async ({ store, key, record }) => {
      const mine = key()
      await store.create(mine, record('0'))
      const increment = async () => {
        for (;;) {
          const { data } = (await store.load(mine))!
          try {
            return await store.save(mine, record(String(Number(data) + 1)), data)
          } catch (error) {
            if ((error as { code?: string }).code !== 'ERR_SESSION_CONFLICT') throw error
          }
        }
      }
      await Promise.all(Array.from({ length: 50 }, increment))
      assert.equal((await store.load(mine))?.data, '50')
    },
    noServer,
  )

  add(
    'delete-against-save',
    'of a delete and saves at once the delete stands: the session does not come back',
    'A logout would be undone.',
    async ({ store, key, record }) => {
      for (let round = 0; round < 20; round++) {
        const mine = key()
        await store.create(mine, record('start'))
        const saves = Array.from({ length: 3 }, (_, n) => () => store.save(mine, record(`${n}`)))
        saves.splice(round % 4, 0, async () => {
          await store.delete(mine)
          return mine
        })
        const { codes } = await outcomes(saves)
        assert.equal(await store.load(mine), undefined, 'the session is back')
        for (const code of codes) assert.equal(code, 'ERR_SESSION_GONE')
      }
    },
    noServer,
  )

  add(
    'delete-against-touch',
    'of a delete and touches at once the delete stands',
    'A logout would be undone by a rolling refresh.',
    async ({ store, key, record, clock }) => {
      for (let round = 0; round < 20; round++) {
        const mine = key()
        await store.create(mine, record('start'))
        const calls: (() => unknown)[] = Array.from(
          { length: 3 },
          (_, n) => () => store.touch(mine, clock.now() + 1000 + n),
        )
        calls.splice(round % 4, 0, () => store.delete(mine))
        await outcomes(calls)
        assert.equal(await store.load(mine), undefined, 'the session is back')
      }
    },
    noServer,
  )

  add(
    'touch-against-save',
    'of a touch and a save at once the saved data stands',
    'A rolling refresh would undo a change.',
    async ({ store, key, record, clock }) => {
      for (let round = 0; round < 20; round++) {
        const mine = key()
        await store.create(mine, record('old'))
        const calls = [
          () => store.save(mine, record('new'), 'old'),
          () => store.touch(mine, clock.now() + 5000),
        ]
        if (round % 2) calls.reverse()
        const { won } = await outcomes(calls)
        assert.equal(won.length, 2)
        assert.equal((await store.load(mine))?.data, 'new')
      }
    },
    noServer,
  )

  add(
    'touch-from-race',
    'of ten touches at once from the same end exactly one succeeds',
    'A renewal would undo the expiry that another request has just set.',
    async ({ store, key, record, clock }) => {
      const mine = key()
      await store.create(mine, record('start'))
      const { expiresAt: from } = (await store.load(mine))!
      const ends = Array.from({ length: 10 }, (_, n) => clock.now() + 10_000 * (n + 1))
      const { won, codes } = await outcomes(ends.map((end) => () => store.touch(mine, end, from)))
      assert.equal(won.length, 1)
      assert.deepEqual(codes, new Set(['ERR_SESSION_CONFLICT']))
      const { data, expiresAt } = (await store.load(mine))!
      assert.equal(data, 'start')
      assert.ok(Math.abs(expiresAt - ends[won[0]!]!) <= clock.grain)
    },
    noServer,
  )

  add(
    'touch-from-against-save',
    'of a touch and a save at once the end that was saved stands, and the data',
    'A renewal would undo a setExpiry.',
    async ({ store, key, record, clock, same }) => {
      for (let round = 0; round < 20; round++) {
        const mine = key()
        await store.create(mine, record('old'))
        const { expiresAt: from } = (await store.load(mine))!
        const saved = record('new', 30_000)
        const calls = [
          () => store.save(mine, saved, 'old'),
          () => store.touch(mine, clock.now() + 7_200_000, from),
        ]
        if (round % 2) calls.reverse()
        const { codes } = await outcomes(calls)
        same(await store.load(mine), saved)
        for (const code of codes) assert.equal(code, 'ERR_SESSION_CONFLICT')
      }
    },
    noServer,
  )

  for (const [id, what, last, counterparts] of [
    ['retire', 'retirings', (ms: number) => ({ data: RETIRED, ms }), [noServer, leavesNothing]],
    ['end', 'endings', () => ({ data: RETIRED, ms: undefined }), [noServer]],
  ] as const) {
    /** The record that retires a key, or ends a session. */
    const over = ({ record }: Context): SessionRecord => {
      const { data, ms } = last(60_000)
      return ms === undefined ? { data, expiresAt: 0 } : record(data, ms)
    }
    /** What load is to give afterwards. */
    const left = id === 'retire' ? RETIRED : undefined

    add(
      `${id}-race`,
      `of ten ${what} at once that expect the same data exactly one succeeds`,
      'Two logins or logouts would both take themselves for the one that counts.',
      async (context) => {
        const { store, key, record } = context
        const mine = key()
        await store.create(mine, record('start'))
        const { won, codes } = await outcomes(
          Array.from({ length: 10 }, () => () => store.save(mine, over(context), 'start')),
        )
        assert.equal(won.length, 1)
        assert.deepEqual(codes, new Set(['ERR_SESSION_GONE']))
        assert.equal((await store.load(mine))?.data, left)
      },
      ...counterparts,
    )

    add(
      `${id}-against-save`,
      `of ${what} and saves at once that expect the same data one wins, and what it stored stands`,
      'A change that was acknowledged would be lost, or a session come back.',
      async (context) => {
        const { store, key, record } = context
        for (let round = 0; round < 20; round++) {
          const mine = key()
          await store.create(mine, record('start'))
          const calls: (() => unknown)[] = Array.from(
            { length: 3 },
            (_, n) => () => store.save(mine, record(`${n}`), 'start'),
          )
          const at = round % 4
          calls.splice(at, 0, () => store.save(mine, over(context), 'start'))
          const { won } = await outcomes(calls)
          assert.equal(won.length, 1)
          const n = won[0]! > at ? won[0]! - 1 : won[0]!
          assert.equal((await store.load(mine))?.data, won[0] === at ? left : `${n}`)
        }
      },
      ...counterparts,
    )

    add(
      `${id}-against-anything`,
      `of one of the ${what} and saves and touches at once, none of which expects anything, the session is over`,
      'A slow request would bring back the session from before a login or logout.',
      async (context) => {
        const { store, key, record, clock } = context
        for (let round = 0; round < 20; round++) {
          const mine = key()
          await store.create(mine, record('start'))
          const calls: (() => unknown)[] = [
            () => store.save(mine, record('1')),
            () => store.touch(mine, clock.now() + 120_000),
            () => store.save(mine, record('2')),
          ]
          calls.splice(round % 4, 0, () => store.save(mine, over(context)))
          const { codes } = await outcomes(calls)
          assert.equal((await store.load(mine))?.data, left, 'the session is back')
          for (const code of codes) assert.equal(code, 'ERR_SESSION_GONE')
        }
      },
      ...counterparts,
    )
  }

  add(
    'merge',
    'twenty requests at once that each set a key of their own: all twenty are kept',
    'The last save would win.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('start', true))
      const requests = await Promise.all(Array.from({ length: 20 }, () => visitor.begin()))
      for (const [n, { session }] of requests.entries()) session.set(`n${n}`, n)
      await Promise.all(requests.map(({ finish }) => finish()))
      assert.equal(await visitor.visit((session) => session.size), 21)
    },
    noServer,
  )

  add(
    'append',
    'twenty requests at once that each append to one array by update: all twenty are kept, none twice',
    'Products would vanish from the cart.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('cart', []))
      const requests = await Promise.all(Array.from({ length: 20 }, () => visitor.begin()))
      for (const [n, { session }] of requests.entries()) {
        session.update('cart', (cart: number[]) => [...cart, n])
      }
      await Promise.all(requests.map(({ finish }) => finish()))
      const cart: number[] = await visitor.visit((session) => session.get('cart'))
      assert.deepEqual(
        cart.toSorted((a, b) => a - b),
        Array.from({ length: 20 }, (_, n) => n),
      )
    },
    noServer,
  )

  add(
    'reject',
    "concurrency 'reject' fails the later of two requests and keeps the first",
    'An application that wants to hear of conflicts would not.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ concurrency: 'reject' }))
      await visitor.visit((session) => session.set('a', 1))
      const slow = await visitor.begin()
      slow.session.set('slow', 1)
      await visitor.visit((session) => session.set('fast', 1))
      await throws('ERR_SESSION_CONFLICT', () => slow.finish())
      assert.deepEqual(await visitor.visit((session) => [...session.keys()]), ['a', 'fast'])
    },
    noServer,
  )

  add(
    'cycle-against-save',
    'of a login and ten changes at once no change is lost and the old key is dead',
    'A product put into the cart during the login would be lost.',
    async ({ browser, sessions }) => {
      const shared = sessions()
      const visitor = browser(shared)
      await visitor.visit((session) => session.set('cart', []))
      const old = visitor.cookie
      const requests = await Promise.all(Array.from({ length: 10 }, () => visitor.begin()))
      for (const [n, { session }] of requests.entries()) {
        session.update('cart', (cart: number[]) => [...cart, n])
      }
      const login = await visitor.begin()
      login.session.cycleKey()
      const changes = Promise.allSettled(requests.map(({ finish }) => finish()))
      await login.finish()
      const changed = (await changes).flatMap(({ status }, n) =>
        status === 'fulfilled' ? [n] : [],
      )
      const fresh = browser(shared)
      fresh.cookie = visitor.cookie === old ? undefined : visitor.cookie
      // The login's cookie may have been overtaken in this one browser; what counts is what was acknowledged.
      if (fresh.cookie) {
        const cart: number[] = await fresh.visit((session) => session.get('cart'))
        assert.deepEqual(
          cart.toSorted((a, b) => a - b),
          changed,
        )
      }
      const replay = browser(shared)
      replay.cookie = old
      assert.equal(await replay.visit((session) => session.get('cart')), undefined)
    },
    noServer,
  )
})

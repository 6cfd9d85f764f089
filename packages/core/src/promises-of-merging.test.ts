// The code people write loses nothing: two requests that read, change and write back at once both keep their changes.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { controlled } from '../../../testing/controlled-store.ts'
import { effort } from '../../../testing/effort.ts'
import { mapStore } from '../../../testing/map-store.ts'
import { slow } from '../../../testing/wrappers.ts'
import {
  byId,
  createJsonCodec,
  createSessions,
  jsonCodec,
  SessionConflictError,
  sum,
  union,
  type Session,
  type SessionClash,
  type Sessions,
  type SessionsOptions,
} from './index.ts'
import type { SessionStore } from './store.ts'

type Any = Record<string, any>
type Handler = (session: Session<Any>) => unknown

/** Two processes over one store, and a visitor with a session. */
async function site(
  data: Any,
  options: Partial<SessionsOptions<Any>> = {},
  wrap: (store: SessionStore) => SessionStore = slow,
) {
  const inner = mapStore()
  const calls = controlled(wrap(inner))
  const one = createSessions<Any>({ store: calls.store, ...options })
  const other = createSessions<Any>({ store: wrap(inner), ...options })
  const visit = async (handler: Handler, sessions = one, by: string | undefined = cookie) => {
    const session = await sessions.open(by)
    await handler(session)
    return sessions.commit(session)
  }
  let cookie: string | undefined
  cookie = (await visit((session) => session.update(data))).setCookie!.split(';', 1)[0]!
  /** Both have read before either writes; the first one is saved first. */
  const both = async (
    first: Handler,
    second: Handler,
    processes: [Sessions<Any>, Sessions<Any>] = [one, other],
  ) => {
    const sessions = await Promise.all(processes.map((process) => process.open(cookie)))
    await first(sessions[0]!)
    await second(sessions[1]!)
    await processes[0].commit(sessions[0]!)
    return processes[1].commit(sessions[1]!)
  }
  const seen = async (): Promise<Any> => Object.fromEntries(await other.open(cookie))
  return { one, other, calls, cookie, visit, both, seen }
}

const clashes: SessionClash[] = []
const note = (clash: unknown) => void clashes.push(clash as SessionClash)
beforeEach(() => {
  clashes.length = 0
  subscribe('coatcheck:clash', note)
})
afterEach(() => void unsubscribe('coatcheck:clash', note))

/** Ways to add one product: what handlers do before and after something that they wait for. */
const additions: Record<string, (session: Session<Any>, x: string) => unknown> = {
  'update()': async (session, x) => {
    await setTimeout(1)
    session.update('cart', (cart = []) => [...cart, x])
  },
  'get, push, set: the cart of Django’s guide': async (session, x) => {
    const cart = session.get('cart', [])
    await setTimeout(1)
    cart.push(x)
    session.set('cart', cart)
  },
  'get() ?? []': async (session, x) => {
    const cart = session.get('cart') ?? []
    await setTimeout(1)
    cart.push(x)
    session.set('cart', cart)
  },
  'a copy': async (session, x) => {
    const cart = session.get('cart', [])
    await setTimeout(1)
    session.set('cart', [...cart, x])
  },
  'setDefault() and push': async (session, x) => {
    const cart = session.setDefault('cart', [])
    await setTimeout(1)
    cart.push(x)
  },
  'has(), set([]), and push': async (session, x) => {
    if (!session.has('cart')) session.set('cart', [])
    await setTimeout(1)
    session.get('cart').push(x)
  },
  'has() ? push : set([x])': async (session, x) => {
    await setTimeout(1)
    if (session.has('cart')) session.get('cart').push(x)
    else session.set('cart', [x])
  },
  'found in entries()': async (session, x) => {
    const all = Object.fromEntries(session)
    await setTimeout(1)
    session.set('cart', [...(all['cart'] ?? []), x])
  },
  'pop() and set()': async (session, x) => {
    const cart = session.pop('cart', [])
    await setTimeout(1)
    session.set('cart', [...cart, x])
  },
  'a save() before': async (session, x) => {
    const cart = session.get('cart', [])
    session.set(x, true)
    await session.save()
    cart.push(x)
    session.set('cart', cart)
  },
  'a save() before, and what was read before it': async (session, x) => {
    const cart = session.get('cart', [])
    session.set(x, true)
    await session.save()
    session.set('cart', [...cart, x])
  },
  'a save() that is not waited for': async (session, x) => {
    const cart = session.get('cart', [])
    session.set(x, true)
    void session.save()
    await setTimeout(1)
    session.set('cart', [...cart, x])
  },
  'an update() and a push': async (session, x) => {
    session.update('cart', (cart = []) => cart)
    await setTimeout(1)
    session.get('cart').push(x)
  },
}

const stores: [string, (store: SessionStore) => SessionStore][] = [
  ['a synchronous store', (store) => store],
  ['an asynchronous store', (store) => slow(store, { load: 1, save: 1 })],
]
describe.each(stores)('%s', (_name, wrap) => {
  describe.each(Object.entries(additions))('%s', (_how, add) => {
    test.each([
      ['to a cart with one product', { cart: ['first'] }],
      ['to an empty cart', { cart: [] }],
      ['where there is no cart', { other: 1 }],
    ])('%s: 200 at once, of two processes, are all kept, each once', async (_what, data: Any) => {
      const { one, other, visit, seen } = await site(data, {}, wrap)
      const products = Array.from({ length: 200 }, (_product, n) => `p${n}`)
      await Promise.all(
        products.map((x, n) => visit((session) => add(session, x), n % 2 ? one : other)),
      )
      const { cart } = await seen()
      expect(cart.toSorted()).toEqual([...(data['cart'] ?? []), ...products].toSorted())
    })
  })

  test('equal products by 20 at once are 20', async () => {
    const { visit, seen } = await site({ n: 1 }, {}, wrap)
    const add = additions['get, push, set: the cart of Django’s guide']!
    await Promise.all(Array.from({ length: 20 }, () => visit((session) => add(session, 'hat'))))
    expect((await seen())['cart']).toEqual(Array.from({ length: 20 }, () => 'hat'))
  })

  test('objects and lists within objects, at any depth', async () => {
    const { visit, seen } = await site({ shop: { prefs: {}, lines: [] } }, {}, wrap)
    await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        visit(async (session) => {
          const shop = session.get('shop')
          await setTimeout(1)
          shop.prefs[`p${n}`] = n
          shop.lines.push({ n })
          if (n % 2) session.set('shop', { ...shop })
        }),
      ),
    )
    const { shop } = await seen()
    expect(Object.keys(shop.prefs)).toHaveLength(50)
    expect(new Set(shop.lines.map(({ n }: Any) => n))).toHaveLength(50)
    expect(shop.lines).toHaveLength(50)
  })

  test('a request that saves three times, and goes on from what it holds, adds three each', async () => {
    const { visit, seen } = await site({ cart: [] }, {}, wrap)
    await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        visit(async (session) => {
          const cart = session.get('cart')
          cart.push(`${n} a`)
          await session.save()
          cart.push(`${n} b`)
          session.set('cart', cart)
          await session.save()
          session.set('cart', [...cart, `${n} c`])
        }),
      ),
    )
    const { cart } = await seen()
    const all = Array.from({ length: 40 }, (_, n) => [`${n} a`, `${n} b`, `${n} c`]).flat()
    expect(cart.toSorted()).toEqual(all.toSorted())
  })

  test('an object from before a merge and one from after it: changes of both count, each once', async () => {
    const { one, visit, cookie, seen, other } = await site({ cart: ['a'] }, {}, wrap)
    const session = await one.open(cookie)
    const before = session.get('cart')
    await visit((elsewhere) => elsewhere.get('cart').push('theirs'), other)
    session.set('x', 1)
    await session.save()
    const after = session.get('cart')
    before.push('old')
    after.push('new')
    await session.save()
    expect(session.get('cart').toSorted()).toEqual(['a', 'new', 'old', 'theirs'])
    before.push('old 2')
    after.push('new 2')
    await one.commit(session)
    expect((await seen())['cart'].toSorted()).toEqual([
      'a',
      'new',
      'new 2',
      'old',
      'old 2',
      'theirs',
    ])
  })

  test('a save whose answer was lost is not merged a second time', async () => {
    const { one, calls, cookie, seen } = await site({ cart: ['a'] }, {}, slow)
    const session = await one.open(cookie)
    session.get('cart').push('b')
    calls.fail('save', { effect: true })
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    session.get('cart').push('c')
    await one.commit(session)
    expect((await seen())['cart']).toEqual(['a', 'b', 'c'])
  })

  test('a save whose answer was lost, and after which another request has saved, is no guess but an error', async () => {
    const { one, other, calls, cookie, visit, seen } = await site({ cart: ['a'], n: 1 }, {}, slow)
    const session = await one.open(cookie)
    session.get('cart').push('b')
    calls.fail('save', { effect: true })
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await visit((elsewhere) => elsewhere.set('n', 2), other)
    await expect(Promise.resolve().then(() => one.commit(session))).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
    })
    expect(await seen()).toEqual({ cart: ['a', 'b'], n: 2 })
  })
})

describe('a clash', () => {
  test('is reported once, with its path, and no value; the later one is kept, at that path alone', async () => {
    const { both, seen } = await site({ prefs: { theme: 'light', size: 1 } })
    const theme = (to: string) => (session: Session<Any>) => {
      session.get('prefs').theme = to
    }
    await both((session) => {
      session.get('prefs').size = 2
      theme('secret one')(session)
    }, theme('secret two'))
    expect((await seen())['prefs']).toEqual({ theme: 'secret two', size: 2 })
    expect(clashes).toEqual([{ path: ['prefs', 'theme'] }])
  })

  test('is reported once, however often the save had to be tried again', async () => {
    const { one, other, calls, cookie, visit } = await site({ n: 1, m: 1 })
    const session = await one.open(cookie)
    session.set('n', session.get('n') + 1)
    await visit((elsewhere) => elsewhere.set('n', elsewhere.get('n') + 10), other)
    let saved: Promise<void> | undefined
    for (let tries = 0; tries < 3; tries++) {
      const held = calls.hold('save')
      saved ??= session.save()
      expect(await held.reached(saved)).toBe(true)
      await visit((elsewhere) => elsewhere.set('m', elsewhere.get('m') + 1), other)
      held.release()
    }
    await one.commit(session)
    expect(clashes).toEqual([{ path: ['n'] }])
  })

  test('two that count alike have lost one count, and it is reported', async () => {
    const { both, seen } = await site({ n: 7 })
    const count = (session: Session<Any>) => session.set('n', session.get('n') + 1)
    await both(count, count)
    expect(await seen()).toEqual({ n: 8 })
    expect(clashes).toEqual([{ path: ['n'] }])
  })

  test('there is none where a key was set and never read, or both have made the same of it', async () => {
    const { both, seen } = await site({ a: 1, b: [1], c: 'light' })
    await both(
      (session) =>
        session
          .set('a', 2)
          .set('b', [2])
          .set('c', session.get('c') && 'dark'),
      (session) =>
        session
          .set('a', 3)
          .set('b', [3])
          .set('c', session.get('c') && 'dark'),
    )
    expect(await seen()).toEqual({ a: 3, b: [3], c: 'dark' })
    expect(clashes).toEqual([])
  })

  describe('is a warning during development', () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    beforeEach(() => void warned.mockClear())
    afterEach(() => void vi.unstubAllEnvs())

    const clash = async (key: string, options: Partial<SessionsOptions<Any>> = {}) => {
      const { both } = await site({ [key]: 1, o: { p: 1 } }, options)
      const add = (n: number) => (session: Session<Any>) => session.set(key, session.get(key) + n)
      await both(add(1234), add(5678))
    }
    const texts = () => warned.mock.calls.map(([message]) => String(message))

    test('the first of each key, which says what to do and no value', async () => {
      vi.stubEnv('NODE_ENV', 'development')
      await clash('visits1')
      await clash('visits1')
      await clash('visits2')
      expect(texts()).toHaveLength(2)
      expect(texts()[0]).toContain("'visits1'")
      expect(texts()[0]).toContain("session.update('visits1', fn)")
      expect(texts()[0]).toContain('`merge`')
      expect(texts()[1]).toContain("'visits2'")
      expect(texts().join()).not.toMatch(/1234|5678/)
    })

    test('with the path within the key', async () => {
      vi.stubEnv('NODE_ENV', 'development')
      const { both } = await site({ prefs4: { theme: 'light' } })
      const set = (theme: string) => (session: Session<Any>) =>
        void (session.get('prefs4').theme = theme)
      await both(set('dark'), set('blue'))
      expect(texts()[0]).toContain("'prefs4.theme'")
    })

    test('of a strategy that is not made for the value: that it is not', async () => {
      vi.stubEnv('NODE_ENV', 'development')
      await clash('visits5', { merge: { visits5: 'union' } })
      expect(texts()[0]).toContain(
        "The strategy that is declared for 'visits5' is not made for such a value",
      )
    })

    test('none for what is declared to be one value, or is by default', async () => {
      vi.stubEnv('NODE_ENV', 'development')
      await clash('user')
      await clash('visits6', { merge: { visits6: 'atomic' } })
      await clash('visits7', { concurrency: 'merge-keys' })
      expect(texts()).toEqual([])
      expect(clashes).toHaveLength(3)
    })

    test('in production there is none', async () => {
      vi.stubEnv('NODE_ENV', 'production')
      await clash('visits3')
      expect(warned).not.toHaveBeenCalled()
      expect(clashes).toEqual([{ path: ['visits3'] }])
    })
  })
})

describe('what is taken whole', () => {
  const alice = { id: 'alice', roles: ['admin'] }
  const bob = { id: 'bob', roles: [] as string[] }

  test.each(['user', 'auth', 'passport'])('%s: never a mixture of two requests’', async (key) => {
    const { both, seen } = await site({ [key]: { id: 'guest', roles: ['guest'] } })
    await both(
      (session) => session.set(key, { ...session.get(key), ...alice }),
      (session) => {
        const user = session.get(key)
        user.id = bob.id
        user.roles = bob.roles
      },
    )
    expect((await seen())[key]).toEqual(bob)
    expect(clashes).toEqual([{ path: [key] }])
  })

  test('every key that a request changes which logs in: nothing of another user gets into it', async () => {
    const {
      one,
      other,
      cookie,
      seen: _,
    } = await site({ account: { id: 'guest' }, roles: ['guest'], cart: [1] })
    const [login, slowly] = [await one.open(cookie), await other.open(cookie)]
    slowly.get('roles').push('from another request')
    slowly.get('account').name = 'from another request'
    slowly.get('cart').push(2)
    login.get('roles').push('admin')
    login.set('account', { ...login.get('account'), id: 'alice' })
    login.cycleKey()
    await other.commit(slowly)
    const { setCookie } = await one.commit(login)
    const after = await other.open(setCookie!.split(';', 1)[0])
    expect(Object.fromEntries(after)).toEqual({
      account: { id: 'alice' },
      roles: ['guest', 'admin'],
      cart: [1, 2],
    })
  })

  test('a key that was set and never read', async () => {
    const { both, seen } = await site({ list: [1] })
    await both(
      (session) => session.get('list').push(2),
      (session) => session.set('list', [3]),
    )
    expect((await seen())['list']).toEqual([3])
  })

  test('with merge-keys every key', async () => {
    const { both, seen } = await site(
      { list: [1], n: 1 },
      { concurrency: 'merge-keys', merge: { n: 'sum' } },
    )
    const change = (x: number) => (session: Session<Any>) => {
      session.get('list').push(x)
      session.set('n', session.get('n') + 1).set(`k${x}`, x)
    }
    await both(change(2), change(3))
    expect(await seen()).toEqual({ list: [1, 3], n: 3, k2: 2, k3: 3 })
  })

  test('what was cleared is gone, whatever the other has made of it', async () => {
    const { both, seen } = await site({ list: [1], other: { a: 1 } })
    await both(
      (session) => {
        session.get('list').push(2)
        session.get('other').b = 2
      },
      (session) => {
        session.get('list')
        session.clear()
        session.set('list', [9])
      },
    )
    expect(await seen()).toEqual({ list: [9] })
  })
})

describe('declared by key', () => {
  type Merge = NonNullable<SessionsOptions<Any>['merge']>
  const cases: [
    what: string,
    merge: Merge,
    base: unknown,
    one: unknown,
    two: unknown,
    kept: unknown,
  ][] = [
    ['sum', { v: 'sum' }, 10, 11, 15, 16],
    ['sum, from nothing', { v: sum }, undefined, 1, 1, 2],
    ['sum, a reset', { v: 'sum' }, 10, 12, 0, 2],
    ['max', { v: 'max' }, 1, 9, 5, 9],
    ['max of dates', { v: 'max' }, '2026-01-01', '2026-01-03', '2026-01-02', '2026-01-03'],
    ['min', { v: 'min' }, 9, 3, 5, 3],
    [
      'append',
      { v: 'append' },
      ['a', 'b'],
      ['a', 'b', 'c'],
      ['b', 'd', 'd'],
      ['a', 'b', 'c', 'd', 'd'],
    ],
    ['union', { v: union }, ['a', 'b'], ['b', 'c'], ['a', 'b', 'c', 'd'], ['b', 'c', 'd']],
    ['last', { v: 'last' }, 1, 2, 3, 3],
    ['first', { v: 'first' }, 1, 2, 3, 2],
    ['atomic', { v: 'atomic' }, [1], [1, 2], [1, 3], [1, 3]],
    [
      'a function of one’s own',
      { v: (base: any, mine: any, newest: any) => [base, mine, newest].join() },
      'b',
      'n',
      'm',
      'b,m,n',
    ],
    ['user, merged after all', { v: 'last', user: (_base: any, mine: any) => mine }, 1, 2, 3, 3],
  ]
  test.each(cases)('%s', async (_, merge, base, one, two, kept) => {
    for (const read of [true, false]) {
      const { both, seen } = await site(
        { x: 1, ...(base === undefined ? {} : { v: base }) },
        { merge },
      )
      const set = (value: unknown) => (session: Session<Any>) => {
        if (read) session.get('v')
        session.set('v', structuredClone(value))
      }
      await both(set(one), set(two))
      expect((await seen())['v']).toEqual(kept)
    }
  })

  test('byId: lines are told by the field, and merged one by one', async () => {
    const lines = [
      { sku: 'a', quantity: 1 },
      { sku: 'b', quantity: 1 },
    ]
    const { both, seen } = await site(
      { lines },
      { merge: { lines: byId('sku', { quantity: 'sum' }) } },
    )
    const add = (sku: string) => (session: Session<Any>) => {
      const found = session.get('lines').find((line: Any) => line.sku === sku)
      if (found) found.quantity++
      else session.get('lines').unshift({ sku, quantity: 1 })
    }
    await both(
      (session) => (add('a')(session), add('new')(session)),
      (session) => (add('a')(session), add('new')(session), session.get('lines').pop()),
    )
    expect((await seen())['lines']).toEqual([
      { sku: 'new', quantity: 2 },
      { sku: 'a', quantity: 3 },
    ])
    expect(clashes).toEqual([])
  })

  test('reject: the request that comes second fails with the key, alone, and nothing of it is stored', async () => {
    const { one, cookie, visit, seen } = await site(
      { stock: 5, cart: [] },
      { merge: { stock: 'reject' } },
    )
    const sessions = await Promise.all([0, 1, 2, 3].map(() => one.open(cookie)))
    for (const [n, session] of sessions.entries()) {
      session.get('cart').push(n)
      if (n === 1 || n === 2) session.set('stock', session.get('stock') - 1)
    }
    const results = await Promise.allSettled(sessions.map((session) => one.commit(session)))
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ])
    expect((results[2] as PromiseRejectedResult).reason).toMatchObject({
      code: 'ERR_SESSION_CONFLICT',
      status: 409,
      key: 'stock',
      message: expect.stringContaining("'stock'"),
    })
    expect(await seen()).toEqual({ stock: 4, cart: [0, 1, 3] })
    await visit((session) => session.set('stock', session.get('stock') - 1))
    expect((await seen())['stock']).toBe(3)
  })

  test('an update() needs no strategy, and is asked none', async () => {
    const { both, seen } = await site({ n: 1 }, { merge: { n: 'reject' } })
    const add = (session: Session<Any>) => session.update('n', (n) => n + 1)
    await both(add, add)
    expect((await seen())['n']).toBe(3)
  })

  test('a strategy that throws, or gives what cannot be stored, fails that request and no other', async () => {
    for (const merge of [
      {
        v: () => {
          throw new TypeError('of the application')
        },
      },
      { v: () => new Date() },
    ]) {
      const { both, seen } = await site({ v: 1 }, { merge: merge as any })
      const add = (session: Session<Any>) => session.set('v', session.get('v') + 1)
      await expect(both(add, add)).rejects.toThrow(/of the application|Date/)
      expect((await seen())['v']).toBe(2)
    }
  })

  test('a strategy that returns a Promise is told, and its failure ends no process', async () => {
    const merge = { v: async () => Promise.reject(new Error('of the application')) }
    const { both, seen } = await site({ v: 1 }, { merge: merge as any })
    const set = (to: number) => (session: Session<Any>) => session.set('v', session.get('v') + to)
    await expect(both(set(1), set(2))).rejects.toThrow(/strategy of 'v'.*returned a Promise/)
    expect((await seen())['v']).toBe(2)
  })

  test('reject for a property of an element names the session’s key', async () => {
    const merge = { lines: byId('sku', { stock: 'reject' }) }
    const { both } = await site({ lines: [{ sku: 'a', stock: 1 }] }, { merge })
    const take = (session: Session<Any>) => session.get('lines')[0].stock--
    await expect(both(take, take)).rejects.toMatchObject({ key: 'lines' })
  })

  test.each([
    [{ visits: 'summ' }, /`merge.visits`.*one of sum, max.*is 'summ'/],
    [{ visits: 'constructor' }, /is 'constructor'/],
    [{ visits: 7 }, /is 7/],
    [{ visits: byId }, /is byId, uncalled/],
    [{ _session_expiry: 'sum' }, /the session's own/],
    ['sum', /`merge` takes an object.*got 'sum'/],
    [5, /`merge` takes an object.*got 5/],
    [null, /`merge` takes an object.*got null/],
    [['sum'], /`merge` takes an object.*got a list/],
    [new Map(), /`merge` takes an object.*got a Map/],
    [sum, /`merge` takes an object.*got a function/],
  ])('what is no strategy is refused at the start: %j', (merge, message) => {
    const start = () => createSessions({ store: mapStore(), merge: merge as any })
    expect(start).toThrow(message)
    expect(start).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
  })

  test.each(['overwrite', 'reject'] as const)(
    'with %s it has no meaning, and is refused',
    (concurrency) => {
      expect(() =>
        createSessions<Any>({ store: mapStore(), concurrency, merge: { n: 'sum' } }),
      ).toThrow(/`merge` has no meaning/)
    },
  )
})

/** What a request holds of a list, after a save that was merged with another request's push. */
type Held = { session: Session<Any>; list: string[]; other: (x: string) => Promise<unknown> }

describe('after a save that was merged', () => {
  const cases: [what: string, handler: (held: Held) => unknown, kept: string[]][] = [
    [
      'a look shows what was pushed to the object from before',
      ({ session, list }) => {
        list.push('b')
        expect(session.get('l')).toEqual(['0', 'other', 'a', 'b'])
      },
      ['0', 'other', 'a', 'b'],
    ],
    [
      'a push to the object from before, and a set from a new look',
      ({ session, list }) => {
        list.push('b')
        session.set('l', [...session.get('l'), 'c'])
      },
      ['0', 'other', 'a', 'b', 'c'],
    ],
    [
      'a push, and pop()',
      ({ session, list }) => {
        list.push('b')
        session.set('l', [...session.pop('l'), 'c'])
      },
      ['0', 'other', 'a', 'b', 'c'],
    ],
    [
      'a look in between, and the object from before is set',
      ({ session, list }) => {
        expect(session.get('l')).toHaveLength(3)
        list.push('b')
        session.set('l', list)
      },
      ['0', 'other', 'a', 'b'],
    ],
    [
      'the object from before is set as it is',
      ({ session, list }) => session.get('l') && session.set('l', list),
      ['0', 'other', 'a'],
    ],
    [
      'the new object is set, and the one from before changed',
      ({ session, list }) => {
        session.set('l', session.get('l'))
        list.push('b')
      },
      ['0', 'other', 'a', 'b'],
    ],
    [
      'the new object is taken out and set again, and the one from before changed',
      ({ session, list }) => {
        session.set('l', session.pop('l'))
        list.push('b')
      },
      ['0', 'other', 'a', 'b'],
    ],
    [
      'an update() in place, and the object from before changed',
      ({ session, list }) => {
        session.update('l', (l: string[]) => (l.push('u'), l))
        list.push('b')
      },
      ['0', 'other', 'a', 'u', 'b'],
    ],
    [
      'the object from before is set, and a list made from it',
      ({ session, list }) => {
        list.push('b')
        session.set('l', list)
        session.set('l', [...list, 'c'])
      },
      ['0', 'other', 'a', 'b', 'c'],
    ],
    [
      'over a dozen more merges, and a push to the very first object',
      async ({ session, list, other }) => {
        for (let n = 0; n < 12; n++) {
          await other(`o${n}`)
          session.get('l').push(`m${n}`)
          await session.save()
        }
        list.push('last')
      },
      [
        '0',
        'other',
        'a',
        ...Array.from({ length: 12 }, (_, n) => [`o${n}`, `m${n}`]).flat(),
        'last',
      ],
    ],
    [
      'deleted, though the object from before is changed',
      ({ session, list }) => {
        session.delete('l')
        list.push('b')
      },
      [],
    ],
  ]
  test.each(cases)('%s', async (_, handler, kept) => {
    const { one, other, cookie, visit, seen } = await site({ l: ['0'], n: 1 })
    const push = (x: string) => visit((elsewhere) => elsewhere.get('l').push(x), other)
    const session = await one.open(cookie)
    const list = session.get('l')
    list.push('a')
    await push('other')
    await session.save()
    await handler({ session, list, other: push })
    await one.commit(session)
    expect((await seen())['l'] ?? []).toEqual(kept)
  })
})

describe('one request alone', () => {
  test.each([
    ['a push', (session: Session<Any>) => session.get('l').push('b'), ['0', 'a', 'b']],
    [
      'setDefault() and a push',
      (session: Session<Any>) => session.setDefault('l', []).push('b'),
      ['0', 'a', 'b'],
    ],
    [
      'a change in place',
      (session: Session<Any>) => session.get('l').splice(0, 1, 'x'),
      ['x', 'a'],
    ],
    [
      'another update()',
      (session: Session<Any>) => session.update('l', (l) => [...l, 'b']),
      ['0', 'a', 'b'],
    ],
  ])('an update() and %s count once each', async (_, handler, kept) => {
    const { visit, seen } = await site({ l: ['0'] })
    await visit(async (session) => {
      session.update('l', (l) => [...l, 'a'])
      handler(session)
      expect(session.get('l')).toEqual(kept)
      await session.save()
      expect(session.get('l')).toEqual(kept)
    })
    expect((await seen())['l']).toEqual(kept)
  })
})

describe('one request, in which other requests change other keys, is as with a plain object', () => {
  type Step = { session: Session<Any>; elsewhere: () => Promise<unknown> }
  const cases: [what: string, handler: (step: Step) => unknown, kept: unknown][] = [
    [
      'taken out after an update(), and set again',
      ({ session }) => {
        session.update('r', (r) => [...r, 2])
        session.set('r', session.pop('r'))
      },
      [1, 2],
    ],
    [
      'deleted after an update() in place, and set again',
      ({ session }) => {
        const r = session.get('r')
        session.update('r', (all) => (all.push(2), all))
        session.delete('r')
        session.set('r', r)
      },
      [1, 2],
    ],
    [
      'deleted after a save that was merged, and set again',
      async ({ session, elsewhere }) => {
        const r = session.get('r')
        session.set('z', 1)
        await elsewhere()
        await session.save()
        session.delete('r')
        session.set('r', r)
        r.push(2)
      },
      [1, 2],
    ],
    [
      'set while a save is under way, deleted, and set again',
      async ({ session, elsewhere }) => {
        session.set('z', 1)
        await elsewhere()
        const saving = session.save()
        const r = session.get('r')
        session.set('r', r)
        await saving
        session.delete('r')
        session.set('r', r)
      },
      [1],
    ],
    [
      'an update() while a save is under way, and a push',
      async ({ session, elsewhere }) => {
        session.set('z', 1)
        await elsewhere()
        const saving = session.save()
        session.update('r', (r) => [...r, 2])
        session.get('r').push(3)
        await saving
      },
      [1, 2, 3],
    ],
    [
      'an object that is set while a save is under way, and changed after it by what get() gives',
      async ({ session, elsewhere }) => {
        const r = session.get('r')
        session.set('z', 1)
        await elsewhere()
        const saving = session.save()
        r.push(2)
        session.set('r', r)
        await saving
        session.get('r').push(3)
        session.set('r', [...r, 4])
      },
      [1, 2, 3, 4],
    ],
    [
      'a push to what get() gives after the older object was set',
      async ({ session, elsewhere }) => {
        const r = session.get('r')
        session.set('z', 1)
        await elsewhere()
        const saving = session.save()
        session.get('r')
        session.set('r', r)
        session.get('r').push(2)
        await saving
        await elsewhere()
        await session.save()
      },
      [1, 2],
    ],
    [
      'set, and then flashed',
      async ({ session, elsewhere }) => {
        const r = session.get('r')
        session.set('r', [...r, 2])
        session.flash('r', [...r, 2, 3])
        await elsewhere()
      },
      [1, 2, 3],
    ],
    [
      'updated, and then flashed',
      async ({ session, elsewhere }) => {
        session.update('r', (r) => [...r, 2])
        session.flash('r', [1, 2, 3])
        await elsewhere()
      },
      [1, 2, 3],
    ],
  ]
  test.each(cases)('%s', async (_, handler, kept) => {
    for (const concurrency of ['merge', 'merge-keys'] as const) {
      const { one, other, cookie, visit, seen } = await site({ r: [1], y: 0 }, { concurrency })
      const session = await one.open(cookie)
      const elsewhere = () => visit((theirs) => theirs.set('y', theirs.get('y') + 1), other)
      await handler({ session, elsewhere })
      await one.commit(session)
      expect((await seen())['r']).toEqual(kept)
    }
  })
})

test('a push to what get() has just given, after an older object was set', async () => {
  const { one, other, cookie, visit, seen } = await site({ r: ['0'] })
  const session = await one.open(cookie)
  const r = session.get('r')
  session.set('z', 1)
  await visit((elsewhere) => elsewhere.get('r').push('x'), other)
  await session.save()
  session.get('r')
  session.set('r', r)
  session.get('r').push('mine')
  await visit((elsewhere) => elsewhere.set('y', 2), other)
  await session.save()
  expect(session.get('r')).toEqual(['0', 'x', 'mine'])
  await one.commit(session)
  expect((await seen())['r']).toEqual(['0', 'x', 'mine'])
})

test('what cannot be stored fails the save, no look at another key, and undoes nothing of others', async () => {
  const { one, other, cookie, visit, seen } = await site({ p: ['0'], o: { a: 1 } })
  const session = await one.open(cookie)
  session.get('p')
  session.get('o')
  session.set('z', 1)
  await visit((elsewhere) => elsewhere.get('p').push('x'), other)
  const saving = session.save()
  session.set('o', { a: 1, when: new Date(0) })
  await saving
  expect(session.get('p')).toEqual(['0', 'x'])
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_ENCODE', key: 'o' })
  session.delete('o')
  await one.commit(session)
  expect(await seen()).toEqual({ p: ['0', 'x'], z: 1 })
})

test('a save whose answer was lost is found, though its key is declared to reject', async () => {
  const { one, calls, cookie, seen } = await site({ k: 1 }, { merge: { k: 'reject' } })
  const session = await one.open(cookie)
  session.set('k', session.get('k') + 1)
  calls.fail('save', { effect: true })
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await one.commit(session)
  expect(await seen()).toEqual({ k: 2 })
})

describe('a save whose answer was lost, though it arrived, and after which another request has saved', () => {
  type Lost = [
    what: string,
    data: Any,
    first: Handler,
    others: Handler,
    then: Handler,
    kept: Any | 'unknown',
  ]
  const nothing = () => {}
  const cases: Lost[] = [
    ['a value set', { v: 1 }, (s) => s.set('v', 2), (s) => s.set('w', 1), nothing, { v: 2, w: 1 }],
    [
      'changed, and changed back',
      { v: 'light' },
      (s) => s.get('v') && s.set('v', 'dark'),
      (s) => s.set('w', 1),
      (s) => s.set('v', 'light'),
      { v: 'light', w: 1 },
    ],
    [
      'begun, and deleted',
      {},
      (s) => s.has('step') || s.set('step', 'paying'),
      (s) => s.set('w', 1),
      (s) => s.delete('step'),
      { w: 1 },
    ],
    [
      'changed in place, and back',
      { o: { t: 'l' } },
      (s) => (s.get('o').t = 'd'),
      (s) => s.set('w', 1),
      (s) => (s.get('o').t = 'l'),
      { o: { t: 'l' }, w: 1 },
    ],
    [
      'a list in a new object',
      { a: 1 },
      (s) => s.set('o', { ...s.get('o', {}), l: ['x'] }),
      (s) => s.get('o').l.push('y'),
      nothing,
      'unknown',
    ],
    [
      'a list that another goes on from',
      {},
      (s) => s.set('l', ['x']),
      (s) => s.get('l').push('o'),
      nothing,
      'unknown',
    ],
    [
      'a number that another goes on from',
      { v: 1 },
      (s) => s.set('v', 2),
      (s) => s.update('v', (v) => v + 10),
      nothing,
      'unknown',
    ],
    [
      'a number that another may have counted alike',
      { v: 1 },
      (s) => s.set('v', s.get('v') + 1),
      (s) => s.set('w', 1),
      nothing,
      'unknown',
    ],
    [
      'cleared',
      { v: 1 },
      (s) => (s.clear(), s.set('k', 1)),
      (s) => s.set('w', 1),
      nothing,
      'unknown',
    ],
    [
      'taken out, and begun anew',
      { l: ['a'] },
      (s) => s.pop('l'),
      (s) => s.set('l', ['o']),
      nothing,
      'unknown',
    ],
    [
      'flashed, and shown',
      { v: 1 },
      (s) => s.flash('m', 'x'),
      (s) => s.get('m'),
      nothing,
      'unknown',
    ],
  ]
  test.each(cases)('%s', async (_, data, first, others, then, kept) => {
    const { one, other, calls, cookie, visit, seen } = await site({ ...data, z: 1 }, {}, slow)
    const session = await one.open(cookie)
    await first(session)
    calls.fail('save', { effect: true })
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await visit(others, other)
    const before = await seen()
    await then(session)
    const committed = Promise.resolve().then(() => one.commit(session))
    if (kept === 'unknown') {
      await expect(committed).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
      expect(await seen()).toEqual(before)
    } else {
      await committed
      expect(await seen()).toEqual({ ...kept, z: 1 })
    }
  })
})

test('a create that fails is a SessionStoreError, whatever the store throws', async () => {
  const store = { ...mapStore(), create: () => Promise.reject(new TypeError('of the driver')) }
  const session = await createSessions<Any>({ store: store as unknown as SessionStore }).open(
    undefined,
  )
  session.set('v', 1)
  await expect(session.save()).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    cause: expect.objectContaining({ message: 'of the driver' }),
  })
})

test('the session’s expiry is no value that clashes, though all was looked at', async () => {
  const { both } = await site({ v: 1 })
  const set = (seconds: number) => (session: Session<Any>) => {
    expect(session.size).toBe(1)
    session.setExpiry(seconds)
  }
  await both(set(100), set(200))
  expect(clashes).toEqual([])
})

test('with reject, a count whose save failed is not taken for another request’s', async () => {
  for (const wrap of [slow, (store: SessionStore) => store]) {
    let now = Date.now()
    const { one, other, calls, cookie, visit, seen } = await site(
      { v: 1 },
      { concurrency: 'reject', now: () => now++ },
      wrap,
    )
    const session = await one.open(cookie)
    session.set('v', session.get('v') + 1)
    calls.fail('save', {})
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await visit((elsewhere) => elsewhere.set('v', elsewhere.get('v') + 1), other)
    const committed = Promise.resolve().then(() => one.commit(session))
    await expect(committed).rejects.toMatchObject({ code: expect.stringMatching(/STORE|CONFLICT/) })
    expect(await seen()).toEqual({ v: 2 })
  }
})

test('with merge-keys, an older look that takes another’s change away is reported', async () => {
  const { one, other, cookie, visit, seen } = await site(
    { k: ['0'] },
    { concurrency: 'merge-keys' },
  )
  const session = await one.open(cookie)
  const k = session.get('k')
  session.set('z', 1)
  await visit((elsewhere) => elsewhere.get('k').push('x'), other)
  await session.save()
  session.set('k', [...k, 'mine'])
  await one.commit(session)
  expect((await seen())['k']).toEqual(['0', 'mine'])
  expect(clashes).toEqual([{ path: ['k'] }])
})

test('what a request has changed before it logs in is without what was merged into it, too', async () => {
  const { one, other, cookie, visit } = await site({ roles: ['u'] })
  const session = await one.open(cookie)
  const roles = session.get('roles')
  session.set('z', 1)
  await visit((elsewhere) => elsewhere.get('roles').push('other'), other)
  await session.save()
  session.set('roles', [...roles, 'mine'])
  session.cycleKey()
  const { setCookie } = await one.commit(session)
  const after = await other.open(setCookie!.split(';', 1)[0])
  expect(after.get('roles')).toEqual(['u', 'mine'])
})

test('a set after an update() counts from what the function saw', async () => {
  const { one, other, cookie, visit, seen } = await site({ cart: ['0'] })
  const session = await one.open(cookie)
  session.get('cart')
  session.set('z', 1)
  await visit((elsewhere) => elsewhere.get('cart').push('x'), other)
  await session.save()
  session.update('cart', (cart) => [...cart, 'u'])
  session.set('cart', [])
  expect(session.get('cart')).toEqual([])
  await one.commit(session)
  expect((await seen())['cart']).toEqual([])
})

test('a session that is saved a thousand times, while others change it, costs no more from save to save', async () => {
  const { one, other, cookie, visit } = await site({ k: ['0'] })
  const session = await one.open(cookie)
  const times: number[] = []
  for (let n = 0; n < 1000; n++) {
    await visit((elsewhere) => elsewhere.set('k', [`o${n}`, 'x'.repeat(2000)]), other)
    const start = performance.now()
    session.set('z', n)
    session.get('k')
    await session.save()
    times.push(performance.now() - start)
  }
  const median = (all: number[]) => all.toSorted((a, b) => a - b)[all.length >> 1]!
  expect(median(times.slice(-200))).toBeLessThan(4 * median(times.slice(50, 250)) + 1)
})

test('large numbers, as Python’s JSON has them, are summed and told apart', async () => {
  const big = 2n ** 60n
  const codec = createJsonCodec({
    stringify: (value) =>
      JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? { big: String(one) } : one)),
    parse: (text) =>
      JSON.parse(text, (_, one) => (typeof one?.big === 'string' ? BigInt(one.big) : one)),
    allows: (value) => typeof value === 'bigint',
  })
  const merge = { n: sum, lines: byId('id', { q: 'sum' }) }
  const { both, seen } = await site(
    { n: big, lines: [{ id: big, q: 1 }], list: [big] },
    { codec, merge },
  )
  const count = (x: bigint) => (session: Session<Any>) => {
    session.set('n', session.get('n') + 1n)
    session.get('lines')[0].q++
    session.get('list').push(x)
  }
  await both(count(1n), count(2n))
  expect(await seen()).toEqual({ n: big + 2n, lines: [{ id: big, q: 3 }], list: [big, 1n, 2n] })
})

test('keys that are not there were looked at by who has seen all keys', async () => {
  for (const look of [
    (session: Session<Any>) => Object.fromEntries(session),
    (session: Session<Any>) => [...session.keys()],
    (session: Session<Any>) => session.size,
    (session: Session<Any>) => [...session.values()],
  ]) {
    const { both, seen } = await site({ n: 1 })
    const add = (x: string) => (session: Session<Any>) =>
      void (look(session), session.set('l', [x]))
    await both(add('a'), add('b'))
    expect((await seen())['l']).toEqual(['a', 'b'])
  }
})

test('lists that two requests flash at once are both shown', async () => {
  const { both, visit, seen } = await site({ n: 1 })
  const flash = (x: string) => (session: Session<Any>) =>
    session.flash('m', [...session.get('m', []), x])
  await both(flash('a'), flash('b'))
  await visit((session) => expect(session.get('m')).toEqual(['a', 'b']))
  expect(await seen()).toEqual({ n: 1 })
})

test('what a login changes after its save() is taken whole too', async () => {
  for (const change of [
    (session: Session<Any>, roles: string[]) => void session.set('roles', [...roles, 'x']),
    (_: Session<Any>, roles: string[]) => void roles.push('x'),
  ]) {
    const { one, other, cookie, visit } = await site({ roles: ['u'] })
    const session = await one.open(cookie)
    const roles = session.get('roles')
    session.cycleKey()
    await visit((elsewhere) => elsewhere.get('roles').push('admin'), other)
    await session.save()
    change(session, roles)
    const { setCookie } = await one.commit(session)
    const after = await other.open(setCookie!.split(';', 1)[0])
    expect(after.get('roles')).toEqual(['u', 'x'])
  }
})

test('what a strategy throws after a merged save fails the next save, and no look', async () => {
  const { one, other, cookie, visit, seen } = await site({ l: 1, z: 1 }, { merge: { l: 'reject' } })
  const session = await one.open(cookie)
  session.get('l')
  await visit((elsewhere) => elsewhere.set('l', 5), other)
  session.set('z', 2)
  const saved = session.save()
  session.set('l', 7)
  await saved
  expect(session.get('z')).toBe(2)
  expect(session.has('l')).toBe(true)
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_CONFLICT', key: 'l' })
  expect(await seen()).toEqual({ l: 5, z: 2 })
})

test('a SessionConflictError of the application’s own strategy fails its request alone', async () => {
  const merge = {
    l: () => {
      throw new SessionConflictError()
    },
  }
  const { one, cookie, seen } = await site({ l: 1, list: [] }, { merge })
  const sessions = await Promise.all([0, 1, 2, 3, 4].map(() => one.open(cookie)))
  for (const [n, session] of sessions.entries()) {
    if (n % 2) session.set('l', n + 10)
    else session.get('list').push(n)
  }
  const results = await Promise.allSettled(sessions.map((session) => one.commit(session)))
  const failed = results.flatMap(({ status }, n) => (status === 'rejected' ? [n] : []))
  expect(failed).toEqual([3])
  expect(await seen()).toEqual({ l: 11, list: [0, 2, 4] })
})

test('an update whose save got no answer does not run again, though others have made the value what it was', async () => {
  let now = Date.now()
  const { one, other, calls, cookie, visit, seen } = await site({ n: 1 }, { now: () => now++ })
  const session = await one.open(cookie)
  session.update('n', (n) => n + 1)
  calls.fail('save', { effect: true })
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await visit((elsewhere) => elsewhere.update('n', (n) => n - 1), other)
  await expect(one.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(await seen()).toEqual({ n: 1 })
})

test('a strategy that changes its arguments is not made again after a lost answer', async () => {
  const merge = {
    l: (base: string[] = [], mine: string[] = [], newest: string[] = []) => {
      newest.push(...mine.slice(base.length))
      return newest
    },
  }
  const { one, other, calls, cookie, visit, seen } = await site({ l: ['0'], n: 1 }, { merge })
  const session = await one.open(cookie)
  session.get('l').push('m')
  calls.fail('save', { effect: true })
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await visit((elsewhere) => elsewhere.get('l').push('o'), other)
  await expect(one.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect((await seen())['l']).toEqual(['0', 'm', 'o'])
})

test('a clash is reported when it is stored: not for an answer of status 500', async () => {
  const { one, other, cookie, visit } = await site({ n: 1, z: 1 })
  const session = await one.open(cookie)
  session.get('n')
  await visit((elsewhere) => elsewhere.set('n', elsewhere.get('n') + 1), other)
  session.set('z', 2)
  await session.save()
  session.set('n', 7)
  await one.commit(session, { status: 500 })
  expect(clashes).toEqual([])
})

test('with merge-keys, and at a login, a key of which one change is lost is reported', async () => {
  const { both } = await site({ l: [1] }, { concurrency: 'merge-keys' })
  const push = (x: number) => (session: Session<Any>) => session.get('l').push(x)
  await both(push(2), push(3))
  expect(clashes).toEqual([{ path: ['l'] }])
})

test('strategies for lists, numbers and dates leave other data alone, and report it', async () => {
  for (const [rule, base, one, two] of [
    ['union', { a: 1 }, { a: 1, b: 2 }, { a: 2 }],
    ['append', 'text', 'text 1', 'text 2'],
    ['sum', 'text', 'text 1', 'text 2'],
    ['max', 1, 'abc', 7],
    ['min', [1], [2], [3]],
  ] as const) {
    clashes.length = 0
    const { both, seen } = await site({ v: base }, { merge: { v: rule } })
    const set = (to: unknown) => (session: Session<Any>) => session.get('v') && session.set('v', to)
    await both(set(one), set(two))
    expect((await seen())['v']).toEqual(two)
    expect(clashes).toEqual([{ path: ['v'] }])
  }
})

test('identity stays atomic where its rule is undefined', async () => {
  const { both, seen } = await site(
    { user: { id: 1, roles: ['u'] } },
    { merge: { user: undefined } as any },
  )
  await both(
    (session) => (session.get('user').id = 2),
    (session) => session.get('user').roles.push('admin'),
  )
  expect((await seen())['user']).toEqual({ id: 1, roles: ['u', 'admin'] })
})

test('a hundred keys whose lists cannot be told in time: the whole of them is bounded', async () => {
  const list = (n: number) => Array.from({ length: 700 }, (_, at) => (at * n) % 10)
  const data = (n: number) =>
    Object.fromEntries(Array.from({ length: 200 }, (_, key) => [`k${key}`, list(n + key)]))
  const { both } = await site(data(3))
  const change = (n: number) => (session: Session<Any>) => {
    for (const [key, value] of session) value.splice(0, 700, ...list(n + key.length))
  }
  let round = 0
  const all = [data(3), data(7), data(9)]
  const again = () => both(change(7 + round), change(9 + round++))
  expect(await effort(all, again)).toBeLessThan(150)
})

test('where nothing conflicts, nothing is encoded or decoded more often than without merging', async () => {
  const count = async (handler: Handler) => {
    let [encoded, decoded] = [0, 0]
    const codec = {
      encode: (data: Any, suspects: Iterable<string>) => (
        encoded++,
        jsonCodec.encode(data, suspects)
      ),
      decode: (text: string) => (decoded++, jsonCodec.decode(text)),
    }
    const { visit } = await site({ cart: ['a'], n: 1 }, { codec }, (store) => store)
    ;[encoded, decoded] = [0, 0]
    await visit(handler)
    return { encoded, decoded }
  }
  const once = { encoded: 1, decoded: 1 }
  expect(await count(() => {})).toEqual({ encoded: 0, decoded: 0 })
  expect(await count((session) => session.get('n'))).toEqual({ encoded: 0, decoded: 1 })
  expect(await count((session) => session.get('cart'))).toEqual(once)
  expect(await count((session) => session.set('n', session.get('n') + 1))).toEqual(once)
  expect(await count((session) => session.set('cart', [...session.get('cart'), 'b']))).toEqual(once)
  expect(await count((session) => session.set('new', [...session.get('new', []), 'b']))).toEqual(
    once,
  )
})

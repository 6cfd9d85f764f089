// What a session shows of itself: data where somebody looks at it alone, and names where it may go to a log by itself.
import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { createSessions, type Session } from './index.ts'

async function stored(data: object = { user: 'hush', cart: [1] }) {
  const sessions = createSessions<Record<string, any>>({ store: mapStore() })
  const session = await sessions.open(undefined)
  await session.update(data).save()
  const again = await sessions.open({ key: session.key })
  const keyHash = createHash('sha256').update(session.key!).digest('hex').slice(0, 12)
  return { sessions, session: again, keyHash, key: session.key! }
}

test('console.log(session) and JSON.stringify(session) show state, data and a hash of the key, and not the key', async () => {
  const { session, keyHash, key } = await stored()
  session.get('user')
  const shown = inspect(session)
  expect(shown).toContain(`Session {`)
  for (const part of [keyHash, "state: 'stored'", "user: 'hush'", 'cart: [ 1 ]']) {
    expect(shown).toContain(part)
  }
  expect(shown).not.toContain(key)
  expect(JSON.parse(JSON.stringify(session))).toEqual({
    keyHash,
    state: 'stored',
    data: { user: 'hush', cart: [1] },
  })
})

test('within something else a session shows no value: a request, an error, a list, a logger’s fields', async () => {
  const { session, keyHash } = await stored()
  session.get('user')
  class Request {
    session = session
  }
  const all = [
    { session },
    [session],
    new Map([['session', session]]),
    new Request(),
    Object.assign(new Error('failed'), { session }),
    new Error('failed', { cause: { session } }),
  ]
  for (const one of all) {
    for (const options of [{}, { depth: 9 }, { depth: null }, { depth: Infinity }]) {
      expect(inspect(one, options)).not.toContain('hush')
    }
    expect(JSON.stringify(one)).not.toContain('hush')
  }
  expect(inspect({ session })).toContain("keys: [ 'user', 'cart' ]")
  expect(JSON.parse(JSON.stringify({ session }))).toEqual({
    session: { keyHash, state: 'stored', keys: ['user', 'cart'] },
  })
  // As Sentry's client and others ask for it.
  expect(JSON.stringify({ extra: session.toJSON() })).not.toContain('hush')
})

const KEY = 'k'.repeat(32)
test.each<[string, (site: ReturnType<typeof mapStore>) => Session | Promise<Session>]>([
  ['new', (store) => createSessions({ store }).open(undefined)],
  ['not loaded', (store) => createSessions({ store, lazy: true }).open({ key: KEY })],
  [
    'stored',
    async (store) => {
      await store.create(KEY, { data: '{"a":1}', expiresAt: Date.now() + 1e6 })
      const sessions = createSessions({ store })
      return sessions.load(await sessions.open({ key: KEY }))
    },
  ],
  [
    'unreadable',
    async (store) => {
      await store.create(KEY, { data: 'hush', expiresAt: Date.now() + 1e6 })
      const sessions = createSessions({ store })
      return sessions.load(await sessions.open({ key: KEY }))
    },
  ],
  [
    'ended',
    async (store) => {
      const session = await createSessions({ store }).open(undefined)
      await session.set('a', 1).save()
      session.flush()
      return session
    },
  ],
])('a session says that it is %s', async (state, open) => {
  const session = await open(mapStore())
  const { accessed } = session
  expect(inspect(session)).toContain(`state: '${state}'`)
  expect(JSON.parse(JSON.stringify(session)).state).toBe(state)
  expect(session.accessed).toBe(accessed)
})

test('to be printed is no use: nothing is loaded, no flash is taken, no Vary is sent', async () => {
  const store = mapStore()
  let loads = 0
  const counted = {
    ...store,
    load(key: string) {
      loads++
      return store.load(key)
    },
  }
  const sessions = createSessions<any>({ store: counted })
  const first = await sessions.open(undefined)
  first.flash('notice', 'saved')
  await first.save()
  const print = (session: Session<any>) => {
    inspect(session)
    inspect({ session })
    JSON.stringify([session])
    JSON.stringify(session)
  }
  const second = sessions.open({ key: first.key }) as Session<any>
  print(second)
  expect(loads).toBe(0)
  const { vary, setCookie } = await sessions.commit(second)
  expect([vary, setCookie]).toEqual([false, undefined])
  const third = sessions.open({ key: first.key }) as Session<any>
  await sessions.load(third)
  print(third)
  expect(third.accessed).toBe(false)
  expect((await sessions.commit(third)).vary).toBe(false)
  expect((await sessions.open({ key: first.key })).get('notice')).toBe('saved')
})

test('two sessions that hold different data are not equal, and a test prints what they hold', async () => {
  const sessions = createSessions<any>({ store: mapStore() })
  const one = (await sessions.open(undefined)).set('cart', ['scarf'])
  const other = (await sessions.open(undefined)).set('cart', ['hat'])
  expect(one).not.toEqual(other)
  other.set('cart', ['scarf'])
  expect(one).toEqual(other)
  // What vitest takes for a plain object it copies for its diff, by properties that a session does not have.
  expect(Object.prototype.toString.call(one)).toBe('[object Session]')
  expect(one).toMatchInlineSnapshot(`
    {
      "keys": [
        "cart",
      ],
      "state": "new",
      Symbol(data): {
        "cart": [
          "scarf",
        ],
      },
    }
  `)
})

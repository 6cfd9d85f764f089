// Requests that truly overlap find the update that gets lost, and never hang.
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions } from '@coatcheck/core'
import { session } from '@coatcheck/express'
import { toExpressStore } from '@coatcheck/express-session'
import express from 'express'
import expressSession from 'express-session'
import supertest from 'supertest'
import { afterEach, expect, test, vi } from 'vitest'
import { openPlaces } from '../../../testing/places.ts'
import { engineNames, needsOf, subjectAt } from '../../../testing/subjects.ts'
import { atOnce, visitor } from './index.ts'

const { places, servers } = await openPlaces('together', engineNames)
const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).toReversed()) await close()
})

const N = 20
const all = Array.from({ length: N }, (_, i) => i)

/** A cart as tutorials have it, on express-session. */
function naiveApp(store: any) {
  const options = { store, secret: 'keyboard cat', resave: false, saveUninitialized: false }
  const app = express().use(expressSession(options))
  app.get('/cart', (request: any, response) => response.json(request.session.cart))
  app.get('/add/:product', (request: any, response) => {
    const { cart = [] } = request.session
    cart.push(Number(request.params.product))
    request.session.cart = cart
    response.json(cart.length)
  })
  return app
}

/** The same cart on our adapter. */
function ourApp(sessions: any, handle = (_request: any) => {}) {
  const app = express().use(session(sessions))
  app.get('/add/:product', (request: any, response) => {
    handle(request)
    const cart = request.session.get('cart', [])
    cart.push(Number(request.params.product))
    request.session.set('cart', cart)
    response.json(cart.length)
  })
  return app
}

/** What a cart holds after so many requests at once by its one visitor. */
async function raceNaive(store: any): Promise<number[]> {
  const app = naiveApp(store)
  const first = await supertest(app).get('/add/-1')
  const cookie = first.get('Set-Cookie')![0]!.split(';', 1)[0]!
  const lengths = await atOnce(N, store, async (i) => {
    const response = await supertest(app).get(`/add/${i}`).set('Cookie', cookie)
    return response.body
  })
  // None has seen another's change.
  expect(lengths).toEqual(all.map(() => 2))
  const { body } = await supertest(app).get('/cart').set('Cookie', cookie)
  return body.filter((product: number) => product >= 0)
}

test('on MemoryStore of express-session 20 requests at once lose 19 of 20, each time', async () => {
  for (let round = 0; round < 5; round++) {
    expect(await raceNaive(new expressSession.MemoryStore())).toHaveLength(1)
  }
})

test('the same handler over toExpressStore keeps all', async () => {
  const cart = await raceNaive(toExpressStore(lruStore()))
  expect(cart.toSorted((a, b) => a - b)).toEqual(all)
})

for (const engine of engineNames) {
  const { open, traits } = subjectAt(engine, places)
  // Signed cookies hold each visitor's own answer, and merge nothing.
  if (traits?.stateless) continue
  const missing = needsOf(engine).find((name) => !places[name])
  const engineTest = missing ? servers[missing]!.test : test
  engineTest(
    `${engine}: all that were at once had read before one wrote, and all are kept`,
    async () => {
      const name = `together_${crypto.randomUUID().replaceAll('-', '')}`
      const store = await open({ now: Date.now, name })
      closing.push(() => store.close?.())
      const sessions = createSessions<any>({ store })
      const app = ourApp(sessions)
      const ann = await visitor(sessions, { user: 'ann' })
      const lengths = await atOnce(N, sessions, async (i) => {
        return (await supertest(app).get(`/add/${i}`).set('Cookie', ann.cookie)).body
      })
      expect(lengths).toEqual(all.map(() => 1))
      const cart = (await ann.session()).get('cart') as number[]
      expect(cart.toSorted((a, b) => a - b)).toEqual(all)
    },
  )
}

test('it finds what the manager was told to lose', async () => {
  const sessions = createSessions<any>({ store: lruStore(), concurrency: 'overwrite' })
  const app = ourApp(sessions)
  const ann = await visitor(sessions, { user: 'ann' })
  await atOnce(N, sessions, async (i) => {
    await supertest(app).get(`/add/${i}`).set('Cookie', ann.cookie)
  })
  expect((await ann.session()).get('cart')).toHaveLength(1)
})

test('requests of which one does not read its session end, and are an error that says how many did', async () => {
  const sessions = createSessions<any>({ store: lruStore() })
  const app = ourApp(sessions)
  const ann = await visitor(sessions, { user: 'ann' })
  const answered: number[] = []
  const race = atOnce(4, sessions, async (i) => {
    // Without a cookie there is nothing to read.
    const cookie = i === 0 ? '' : ann.cookie
    answered.push((await supertest(app).get(`/add/${i}`).set('Cookie', cookie)).status)
  })
  await expect(race).rejects.toMatchObject({
    code: 'ERR_SESSION_NOT_AT_ONCE',
    message: expect.stringContaining('of 4 requests 3 had read'),
  })
  expect(answered).toEqual([200, 200, 200, 200])
})

test('it ends under fake timers too', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const sessions = createSessions<any>({ store: lruStore() })
  const app = ourApp(sessions)
  const ann = await visitor(sessions, { user: 'ann' })
  const race = atOnce(2, sessions, async (i) => {
    await supertest(app)
      .get(`/add/${i}`)
      .set('Cookie', i === 0 ? '' : ann.cookie)
  })
  await expect(race).rejects.toMatchObject({ code: 'ERR_SESSION_NOT_AT_ONCE' })
})

test('at another store than the application’s nobody reads, and the error says so', async () => {
  const app = ourApp({ store: lruStore() })
  const race = atOnce(2, lruStore(), async (i) => {
    await supertest(app).get(`/add/${i}`)
  })
  await expect(race).rejects.toThrow(/of 2 requests 0 had read.*application's own store/)
})

test('what a request fails with is thrown when all are done, and the store is as it was', async () => {
  const store = lruStore()
  const methods = { ...store }
  const sessions = createSessions<any>({ store })
  const ann = await visitor(sessions, { user: 'ann' })
  let done = 0
  const race = atOnce(3, sessions, async (i) => {
    const own = await sessions.open(ann.cookie)
    own.set(`key${i}`, i)
    await sessions.commit(own)
    done++
    if (i === 0) throw new Error('the first')
  })
  await expect(race).rejects.toThrow('the first')
  expect(done).toBe(3)
  expect({ ...store }).toEqual(methods)
})

test('a second call on a store that is raced already is refused, and one after the first is not', async () => {
  const sessions = createSessions<any>({ store: lruStore() })
  const ann = await visitor(sessions, { user: 'ann' })
  const run = async (i: number) => {
    const own = await sessions.open(ann.cookie)
    own.set(`key${i}`, i)
    await sessions.commit(own)
  }
  const first = atOnce(2, sessions, run)
  await expect(atOnce(2, sessions.store, run)).rejects.toMatchObject({
    code: 'ERR_SESSION_NOT_AT_ONCE',
  })
  await first
  await atOnce(2, sessions.store, run)
})

test('what is no number of requests and no store is refused in words', async () => {
  const run = () => {}
  for (const n of [0, 1, 1.5, Number.NaN, '20']) {
    await expect(atOnce(n as number, lruStore(), run)).rejects.toMatchObject({
      code: 'ERR_SESSION_OPTIONS',
    })
  }
  await expect(atOnce(2, lruStore(), undefined!)).rejects.toThrow(/`run`/)
  for (const at of [undefined, null, {}, run, 'store']) {
    await expect(atOnce(2, at as any, run)).rejects.toThrow(/createSessions/)
  }
})

test('what a request fails with is told, and not that it read nothing; of several, what came first', async () => {
  const sessions = createSessions({ store: lruStore() })
  const failing = async (i: number) => {
    await new Promise((resolve) => setTimeout(resolve, 60 - 20 * i))
    throw new TypeError(`request ${i} failed`)
  }
  await expect(atOnce(3, sessions, failing)).rejects.toThrow('request 2 failed')
})

test('a frozen store is refused in words, and is no store that is raced already', async () => {
  const store = Object.freeze({ ...lruStore() })
  for (let times = 0; times < 2; times++) {
    await expect(atOnce(2, store, () => {})).rejects.toMatchObject({
      code: 'ERR_SESSION_OPTIONS',
      message: expect.stringContaining('cannot be replaced'),
    })
  }
})

test('a store that fails at once tells it to the callback, as without the race', async () => {
  const store = {
    get: (_: string, callback: (error: unknown) => void) => callback(null),
    set() {
      throw new Error('disk full')
    },
  }
  const save = () =>
    new Promise((resolve) => {
      store.get('a', () => (store.set as Function)('a', {}, resolve))
    })
  expect(await atOnce(2, store, save)).toEqual([new Error('disk full'), new Error('disk full')])
})

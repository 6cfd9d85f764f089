// Whatever a session's end and its id: over our engines an application sees what it sees over express-session's own MemoryStore.
import { once } from 'node:events'
import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { MAX_EXPIRES_AT, systemClock } from '@coatcheck/core/store'
import express from 'express'
import expressSession from 'express-session'
import { afterEach, expect, test as plainTest, vi } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { openPlaces } from '../../../testing/places.ts'
import { engineNames, needsOf, subjectAt } from '../../../testing/subjects.ts'
import { fromExpressStore, toExpressStore } from './index.ts'

const { places, servers } = await openPlaces('as-memory-store', engineNames)
const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).toReversed()) await close()
})

/** An application, and a browser that keeps the cookie whatever the time. */
async function browse(options: Partial<expressSession.SessionOptions>) {
  const app = express()
    .use(
      expressSession({
        secret: 'keyboard cat',
        resave: false,
        saveUninitialized: false,
        cookie: { maxAge: 60_000 },
        ...options,
      }),
    )
    .get('/count', (request: any, response) => {
      request.session.n = (request.session.n ?? 0) + 1
      response.json(request.session.n)
    })
    .get('/', (request: any, response) => void response.json(request.session.cookie.maxAge))
    .get('/remember', (request: any, response) => {
      request.session.cookie.maxAge = 3_600_000
      response.json(true)
    })
    .get('/forget', (request: any, response) => {
      request.session.cookie.expires = null
      response.json(true)
    })
    .get('/save', (request: any, response, next) => {
      request.session.n++
      request.session.save((error: unknown) => (error ? next(error) : response.json(true)))
    })
    .get('/destroy', (request: any, response, next) => {
      request.session.destroy((error: unknown) => (error ? next(error) : response.json(true)))
    })
    .use(((error, _request, response, _next) => {
      response.status(500).json(`${error.code}: ${error.message}`)
    }) as express.ErrorRequestHandler)
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  const { port } = server.address() as AddressInfo
  let cookie = ''
  return async (path: string) => {
    const [response] = (await once(
      get({ port, path, agent: false, headers: { cookie } }),
      'response',
    )) as [IncomingMessage]
    cookie = response.headers['set-cookie']?.[0]?.split(';')[0] ?? cookie
    return json(response)
  }
}

/** What a session's cookie is an instance of. */
const { Cookie } = expressSession as unknown as { Cookie: new (options: object) => object }

const SID = 's'.repeat(32)
const HOUR = 3_600_000
/** Pages, and how long the browser waits before each, in ms. */
const visits: [path: string, wait: number][] = [
  ['/count', 0],
  ...Array.from({ length: 10 }, (): [string, number] => ['/', 40_000]),
  // Saved before express-session renews the cookie.
  ['/save', 40_000],
  ['/count', 40_000],
  ['/', 40_000],
  // Nothing but the cookie is changed by these.
  ['/remember', 40_000],
  ['/', HOUR / 2],
  ['/', HOUR - 1000],
  ['/forget', 1000],
  ['/', HOUR * 2],
  ['/count', HOUR * 2],
]

const ends: Record<string, (cookie: any) => void> = {
  'the last date that there is': (cookie) => (cookie.expires = new Date(8.64e15)),
  'the first date that there is': (cookie) => (cookie.expires = new Date(-8.64e15)),
  'no valid date': (cookie) => (cookie.expires = new Date('')),
  'NaN ms': (cookie) => (cookie.maxAge = Number.NaN),
  'Infinity ms': (cookie) => (cookie.maxAge = Infinity),
  'a fraction of a ms': (cookie) => (cookie.maxAge = 1000.5),
  'a fraction of a ms, and no date': (cookie) => {
    cookie.expires = null
    cookie.originalMaxAge = 1000.5
  },
  'in the past': (cookie) => (cookie.maxAge = -1000),
  'a date as text': (cookie) => (cookie.expires = '2999-12-31T23:59:59.999Z'),
  'text that is no date': (cookie) => (cookie.expires = 'tomorrow'),
  false: (cookie) => (cookie.expires = false),
}

const ids: Record<string, string> = {
  short: 'abc',
  base64: 'q+/Zm9vYmFyYmF6cXV4cXV1eA==',
  '128 hex digits': '0123456789abcdef'.repeat(8),
  "a tenant's": 'tenant:7c9e6679-7425-40de-944b-e07fc1f90ae7',
  'like a path': '../../etc/passwd',
  unicode: 'Sitzung-ä-会话-🍪',
}

for (const engine of engineNames) {
  const subject = subjectAt(engine, places)
  if (subject.traits?.stateless) continue
  const missing = needsOf(engine).find((name) => !places[name])
  const test = missing ? servers[missing]!.test : plainTest
  const openStore = async () => {
    const name = `as_memory_${crypto.randomUUID().replaceAll('-', '')}`
    const store = await subject.open({ now: systemClock, name })
    closing.push(() => store.close?.())
    return toExpressStore(store)
  }

  for (const rolling of [true, false]) {
    test(`${engine}: a session that is ${rolling ? 'rolling' : 'only touched'} shows its cookie's maxAge as MemoryStore does`, async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
      const stores = [new expressSession.MemoryStore(), await openStore()]
      const browsers = await Promise.all(stores.map((store) => browse({ store, rolling })))
      for (const [path, wait] of visits) {
        vi.setSystemTime(Date.now() + wait)
        const [expected, shown] = await Promise.all(browsers.map((visit) => visit(path)))
        expect([path, shown]).toEqual([path, expected])
      }
    })
  }

  test(`${engine}: a session ends as under MemoryStore whatever its cookie's end is set to`, async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    const latest = MAX_EXPIRES_AT - Date.now()
    const stores = [new expressSession.MemoryStore(), await openStore()]
    const seen = stores.map(async (store) => {
      const shown: [string, unknown][] = []
      for (const [what, change] of Object.entries(ends)) {
        for (const method of ['set', 'touch'] as const) {
          const sid = crypto.randomUUID()
          const call = (name: 'load' | 'set' | 'touch', ...args: unknown[]) =>
            new Promise<any>((resolve, reject) =>
              (store as any)[name](sid, ...args, (error: unknown, result: unknown) =>
                error ? reject(error as Error) : resolve(result),
              ),
            )
          const cookie = new Cookie({ maxAge: 60_000 })
          await call('set', { cookie, n: 1 })
          const session = await call('load')
          change(session.cookie)
          await call(method, session)
          const found = await call('load')
          const { maxAge } = found?.cookie ?? {}
          shown.push([
            `${what}, by ${method}`,
            found && [found.n, maxAge > latest ? latest : maxAge],
          ])
        }
      }
      return shown
    })
    expect(await seen[1]).toEqual(await seen[0])
  })

  test(`${engine}: whatever text genid makes, a session is kept, renewed and destroyed`, async () => {
    const store = await openStore()
    for (const [kind, id] of Object.entries(ids)) {
      const visit = await browse({ store, genid: () => id })
      const answers = []
      for (const path of ['/count', '/count', '/', '/count', '/destroy', '/count', '/destroy'])
        answers.push(await visit(path))
      expect([kind, ...answers]).toEqual([kind, 1, 2, expect.any(Number), 3, true, 1, true])
    }
  })
}

plainTest('a session that was touched so far is not ended by a save in the handler', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  const visit = await browse({ store: toExpressStore(mapStore()) })
  await visit('/count')
  for (let times = 0; times < 3; times++) {
    vi.setSystemTime(Date.now() + 40_000)
    await visit('/')
  }
  expect(await visit('/save')).toBe(true)
  expect(await visit('/count')).toBe(3)
})

plainTest("@fastify/session's cookie may end after Infinity ms: with the browser", async () => {
  const store = mapStore()
  // As its own Cookie has it, which express-session's has not.
  const cookie = { originalMaxAge: Infinity, expires: new Date(Number.NaN) }
  const before = Date.now()
  await new Promise((resolve) => (toExpressStore(store) as any).set(SID, { cookie, n: 1 }, resolve))
  const { expiresAt } = (await store.load(SID))!
  expect(expiresAt).toBeGreaterThanOrEqual(before + 86_400_000)
  expect(expiresAt).toBeLessThanOrEqual(Date.now() + 86_400_000)
})

plainTest('an id that is no text, or empty, is refused by name', async () => {
  const store = toExpressStore(mapStore()) as any
  for (const id of ['', 42, undefined, null, {}, Promise.resolve('id')]) {
    for (const method of ['get', 'set', 'touch', 'destroy']) {
      const session = { cookie: { originalMaxAge: null, expires: null } }
      const args = method === 'set' || method === 'touch' ? [id, session] : [id]
      const error = await new Promise((resolve) => store[method](...args, resolve))
      expect(error).toMatchObject({
        code: 'ERR_SESSION_USAGE',
        message: expect.stringContaining('genid'),
      })
    }
  }
})

plainTest('a ttl that no session could live for is refused at the start', () => {
  for (const ttl of [0, -1, Number.NaN, Infinity, '60', null] as number[]) {
    const refused = expect.objectContaining({
      code: 'ERR_SESSION_OPTIONS',
      message: expect.stringContaining('`ttl`'),
    })
    expect(() => toExpressStore(mapStore(), { ttl })).toThrow(refused)
    expect(() => fromExpressStore(new expressSession.MemoryStore(), { ttl })).toThrow(refused)
  }
})

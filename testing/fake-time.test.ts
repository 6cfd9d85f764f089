// An application whose tests fake the time: what is ours follows the fake `Date`, and waits for none of the fake timers.
import { once } from 'node:events'
import { createServer, get, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { json } from 'node:stream/consumers'
import { redisStore } from '@coatcheck/cache/redis'
import { createSigner } from '@coatcheck/core/signing'
import { SessionStoreError, type SessionStore } from '@coatcheck/core/store'
import { session } from '@coatcheck/express'
import { fromExpressStore, toExpressStore } from '@coatcheck/express-session'
import express from 'express'
import expressSession from 'express-session'
import { Redis } from 'ioredis'
import { afterEach, expect, test as plainTest, vi } from 'vitest'
import { mapStore } from './map-store.ts'
import { openPlaces } from './places.ts'
import { engineNames, needsOf, subjectAt } from './subjects.ts'

const { places, servers } = await openPlaces('fake-time', engineNames)
const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closing.splice(0).toReversed()) await close()
})

const TWO_WEEKS = 14 * 86_400_000

async function listen(server: Server) {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Serves an application to one browser, which keeps the cookie whatever the time. */
async function browse(app: RequestListener) {
  const port = await listen(createServer(app))
  let cookie = ''
  return async (path: string) => {
    const request = get({ port, path, agent: false, headers: { cookie } })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    cookie = response.headers['set-cookie']?.[0]?.split(';')[0] ?? cookie
    return { status: response.statusCode, body: await json(response) }
  }
}

const applications: Record<string, (store: SessionStore) => RequestListener> = {
  'express-session': (store) =>
    express()
      .use(
        expressSession({
          store: toExpressStore(store),
          secret: 'keyboard cat',
          resave: false,
          saveUninitialized: false,
          cookie: { maxAge: TWO_WEEKS },
        }),
      )
      .get('/count', (request: any, response) => {
        request.session.n = (request.session.n ?? 0) + 1
        response.json(request.session.n)
      }),
  '@coatcheck/express': (store) =>
    express()
      .use(session({ store, maxAge: TWO_WEEKS / 1000 }))
      .get('/count', (request: any, response) => {
        request.session.update('n', (n = 0) => n + 1)
        response.json(request.session.get('n'))
      }),
}

for (const engine of engineNames) {
  const subject = subjectAt(engine, places)
  const missing = needsOf(engine).find((name) => !places[name])
  const test = missing ? servers[missing]!.test : plainTest
  for (const [name, application] of Object.entries(applications)) {
    if (subject.traits?.stateless && name === 'express-session') continue
    test(`${name} over ${engine}: no request waits for a fake timer, and a session ends by the fake Date`, async () => {
      // Its clock is the default, and it is opened before the time is faked, as by an import at the head of a test.
      const store = await subject.open({
        now: undefined!,
        name: `fake_time_${crypto.randomUUID().replaceAll('-', '')}`,
      })
      closing.push(() => store.close?.())
      const visit = await browse(application(store))
      await visit('/count')
      vi.useFakeTimers({ now: Date.now() })
      expect(await visit('/count')).toEqual({ status: 200, body: 2 })
      vi.setSystemTime(Date.now() + TWO_WEEKS - 1000)
      expect((await visit('/count')).body).toBe(3)
      vi.setSystemTime(Date.now() + TWO_WEEKS + 1000)
      expect((await visit('/count')).body).toBe(1)
      // A test that takes its fakes away again must not leave the time standing.
      vi.useRealTimers()
      expect((await visit('/count')).body).toBe(2)
    })
  }
}

plainTest('an answer whose session could not be stored waits for no fake timer', async () => {
  const down = async () => {
    throw new SessionStoreError('down')
  }
  const app = express()
    .use(session({ store: { ...mapStore(), create: down } }))
    .get('/', (request: any, response) => {
      request.session.set('n', 1)
      response.json(true)
    })
    .use(((error, _request, response, _next) => {
      response.status(error.status).json(error.code)
    }) as express.ErrorRequestHandler)
  const visit = await browse(app)
  vi.useFakeTimers()
  expect(await visit('/')).toEqual({ status: 503, body: 'ERR_SESSION_STORE' })
})

plainTest('a backend that never answers is an error under fake timers too', async () => {
  const port = await listen(createTcpServer((socket) => socket.on('error', () => {})))
  const client = new Redis({ port, enableReadyCheck: false, maxRetriesPerRequest: 0 })
  closing.push(() => client.disconnect())
  await once(client, 'connect')
  vi.useFakeTimers()
  const silent: SessionStore[] = [
    redisStore(client),
    fromExpressStore({ get() {}, set() {}, destroy() {} }),
  ]
  for (const store of silent) {
    await expect(store.load('k'.repeat(32))).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  }
})

plainTest('a signature grows old by the fake Date', () => {
  const signer = createSigner({ secrets: ['a secret for tests, of 32 characters'], salt: 'fake' })
  vi.useFakeTimers()
  const signed = signer.sign('text')
  vi.setSystemTime(Date.now() + 60_000)
  expect(signer.unsign(signed, 59)).toBeUndefined()
  expect(signer.unsign(signed, 61)).toBe('text')
})

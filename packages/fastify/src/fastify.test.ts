// Fastify 5: the suite for all adapters, and what only Fastify has.
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionStoreError } from '@coatcheck/core'
import Fastify from 'fastify'
import Fastify50 from 'fastify-5.0'
import { expect, test } from 'vitest'
import { proveAdapter } from '../../../testing/adapter-suite.ts'
import { signal } from '../../../testing/controlled-store.ts'
import { slow } from '../../../testing/wrappers.ts'
import { getSession, session } from './index.ts'

/** The newest Fastify, and the oldest one that the package takes. */
const versions: Record<string, typeof Fastify> = {
  'Fastify 5': Fastify,
  'Fastify 5.0': Fastify50 as unknown as typeof Fastify,
}

for (const [name, create] of Object.entries(versions)) {
  await proveAdapter(name, async (managers, handle) => {
    const app = create({ forceCloseConnections: true })
    for (const { options, adapter } of managers) {
      const own = 'commit' in options ? { sessions: options } : options
      await app.register(session, { ...own, ...adapter })
    }
    app.all('/*', async (request, reply) => {
      const {
        status = 200,
        headers = {},
        body = '',
      } = await handle({
        session: request.session,
        other: (request as unknown as { other: typeof request.session }).other,
        request,
        url: new URL(request.url, 'http://localhost'),
      })
      reply.code(status).headers(headers)
      return reply.send(typeof body === 'string' ? body : Readable.from(body))
    })
    await app.ready()
    return app.server
  })
}

test('the error handler of the application answers a failed save, once', async () => {
  const app = Fastify()
  const seen: unknown[] = []
  app.register(session, { store: lruStore({ maxBytes: 10 }) })
  app.setErrorHandler((error: Error & { code: string }, _request, reply) => {
    seen.push(error.code)
    reply.code(413).send('too large')
  })
  app.get('/', (request, reply) => {
    ;(request.session as unknown as Map<string, string>).set('text', 'x'.repeat(100))
    reply.send('never')
  })
  const response = await app.inject('/')
  expect([response.statusCode, response.body]).toEqual([413, 'too large'])
  expect(seen).toEqual(['ERR_SESSION_TOO_LARGE'])
})

test('a plugin in an inner scope has its session in that scope alone', async () => {
  const app = Fastify()
  app.register(async (inner) => {
    await inner.register(session, { store: lruStore() })
    inner.get('/in', (request, reply) => reply.send(typeof request.session))
  })
  app.get('/out', (request, reply) => reply.send(typeof request.session))
  expect((await app.inject('/in')).body).toBe('object')
  expect((await app.inject('/out')).body).toBe('undefined')
})

test('getSession without the plugin says what is missing', async () => {
  await expect(getSession({})).rejects.toThrow(/Put the session middleware before/)
})

/** An application whose store takes its time, and fails for those who want it to. */
async function openApp(wait: () => Promise<unknown> = () => setTimeout(20)) {
  const app = Fastify()
  const store = lruStore()
  await app.register(session, {
    store: {
      ...store,
      traits: {},
      async create(key, record) {
        await wait()
        if (record.data.includes('fail')) throw new SessionStoreError('down')
        return store.create(key, record)
      },
    },
  })
  return { app, store }
}
type Fields = Map<string, unknown>
const sessionOf = (request: { session: unknown }) => request.session as Fields

test('an answer by hand, past Fastify, waits for the session and has its cookie', async () => {
  const { app, store } = await openApp()
  app.get('/', (request, reply) => {
    sessionOf(request).set('a', 1)
    reply.hijack()
    reply.raw.writeHead(201, { 'X-Own': 'yes' })
    reply.raw.end('by hand')
  })
  const response = await app.inject('/')
  expect([response.statusCode, response.headers['x-own'], response.body]).toEqual([
    201,
    'yes',
    'by hand',
  ])
  const key = /^sessionid=(\w+)/.exec(String(response.headers['set-cookie']))![1]!
  expect(await store.load(key)).toMatchObject({ data: '{"a":1}' })
})

test('an answer by hand whose session cannot be saved is answered in plain text', async () => {
  const { app } = await openApp()
  app.get('/', (request, reply) => {
    sessionOf(request).set('fail', true)
    reply.hijack()
    reply.raw.setHeader('ETag', '"1"')
    reply.raw.end('never')
  })
  const response = await app.inject('/')
  expect([response.statusCode, response.headers['etag'], response.body]).toEqual([
    503,
    undefined,
    'Service Unavailable',
  ])
})

test('what is done to a reply that waits comes too late: a header, a status, a second answer', async () => {
  const { app } = await openApp()
  app.get('/', (request, reply) => {
    sessionOf(request).set('a', 1)
    reply.header('X-Own', 'first').header('X-Gone', 'no').send('first')
    expect(reply.sent).toBe(true)
    reply.header('X-Own', 'second').header('X-Late', 'yes').removeHeader('X-Gone')
    reply.code(404).send('second')
  })
  const { statusCode, headers, body } = await app.inject('/')
  expect([statusCode, body]).toEqual([200, 'first'])
  expect(headers).toMatchObject({ 'x-own': 'first', 'x-gone': 'no' })
  expect(headers['x-late']).toBeUndefined()
})

test('a stream that breaks off while its reply waits is an error of the reply', async () => {
  const broken = signal()
  const { app } = await openApp(() => broken.promise)
  app.get('/', (request, reply) => {
    sessionOf(request).set('a', 1)
    return reply.send(createReadStream('/nowhere/at/all').once('close', broken.resolve))
  })
  const response = await app.inject('/')
  expect(response.statusCode).toBe(500)
  expect(response.json()).toMatchObject({ code: 'ENOENT' })
})

test('the status and the headers of a Response count: one of 500 saves nothing, a public one goes out private', async () => {
  const { app, store } = await openApp()
  app.get('/:status', async (request) => {
    sessionOf(request).set('a', 1)
    return new Response('body', {
      status: Number((request.params as { status: string }).status),
      headers: [
        ['Cache-Control', 'public, max-age=60'],
        ['Set-Cookie', 'own=1'],
        ['Set-Cookie', 'two=2'],
      ],
    })
  })
  const failed = await app.inject('/500')
  expect([failed.statusCode, failed.body, failed.headers['set-cookie']]).toEqual([
    500,
    'body',
    ['own=1', 'two=2'],
  ])
  expect(failed.headers['cache-control']).toBe('public, max-age=60')
  const saved = await app.inject('/201')
  expect([saved.statusCode, saved.body]).toEqual([201, 'body'])
  expect(saved.headers['cache-control']).toBe('private, max-age=60')
  expect(saved.headers['set-cookie']).toHaveLength(3)
  const key = /^sessionid=(\w+)/.exec((saved.headers['set-cookie'] as string[])[2]!)![1]!
  expect(await store.load(key)).toBeDefined()
})

for (const [name, create] of Object.entries(versions)) {
  test(`the session's cookie stands beside all others, and in no list of the application's, on ${name}`, async () => {
    const site = ['lang=en', 'seen=1']
    for (const isSync of [true, false]) {
      const store = lruStore()
      const app = create()
      await app.register(session, { store: isSync ? store : slow(store) })
      app.get('/list', async (request, reply) => {
        reply.header('set-cookie', site)
        sessionOf(request).set('user', 'ann')
        return 'in'
      })
      app.get('/page', async (_, reply) => {
        reply.header('set-cookie', site)
        return 'page'
      })
      app.get('/raw', async (request, reply) => {
        reply.raw.setHeader('Set-Cookie', ['csrf=1', 'lang=en'])
        sessionOf(request).set('user', 'ann')
        return 'in'
      })
      app.get('/both', async (request, reply) => {
        reply.raw.setHeader('Set-Cookie', 'raw=1')
        reply.header('set-cookie', site)
        sessionOf(request).set('user', 'ann')
        return 'in'
      })
      app.get('/emptied', async (request, reply) => {
        reply.header('set-cookie', '')
        sessionOf(request).set('user', 'ann')
        return 'in'
      })
      app.get('/late', (request, reply) => {
        reply.header('set-cookie', 'a=1').header('set-cookie', 'b=2')
        sessionOf(request).set('user', 'ann')
        reply.send('in')
        reply.header('set-cookie', 'late=1').trailer('x-late', async () => '1')
      })
      const cookiesOf = async (url: string) => (await app.inject(url)).headers['set-cookie']
      const own = expect.stringMatching(/^sessionid=/)
      expect(await cookiesOf('/list')).toEqual([...site, own])
      expect(await cookiesOf('/page')).toEqual(site)
      expect(await cookiesOf('/raw')).toEqual(['csrf=1', 'lang=en', own])
      expect(await cookiesOf('/both')).toEqual([...site, own])
      expect([await cookiesOf('/emptied')].flat()).toEqual([own])
      if (!isSync) {
        expect(await cookiesOf('/late')).toEqual(['a=1', 'b=2', own])
        expect((await app.inject('/late')).trailers).toEqual({})
      }
      await app.close()
    }
  })
}

test('a failed save leaves no trailers of the reply', async () => {
  const { app } = await openApp()
  app.get('/', (request, reply) => {
    sessionOf(request).set('fail', true)
    reply.trailer('X-Sum', async () => 'abc')
    return reply.send('never')
  })
  const { statusCode, headers, trailers } = await app.inject('/')
  expect([statusCode, headers['trailer'], trailers]).toEqual([503, undefined, {}])
})

test('registered in an inner scope too, the same manager steps aside; another plugin’s property is not taken', async () => {
  const { app } = await openApp()
  const store = lruStore()
  const outer = Fastify()
  await outer.register(session, { store })
  outer.register(async (inner) => {
    await inner.register(session, { store })
    inner.get('/in', (request, reply) => {
      sessionOf(request).set('a', 1)
      reply.send('done')
    })
  })
  const response = await outer.inject('/in')
  expect([response.headers['set-cookie']].flat()).toHaveLength(1)
  const taken = Fastify()
  taken.decorateRequest('session')
  await expect(async () => taken.register(session, { store })).rejects.toThrow(/already been added/)
  await app.close()
})

test('an error handler that says no status answers a failed load by the error’s', async () => {
  const app = Fastify()
  const load = () => Promise.reject(new SessionStoreError('down'))
  app.register(session, { store: { ...lruStore(), traits: {}, load } })
  app.setErrorHandler((_error, _request, reply) => reply.send('sorry'))
  app.get('/', (_request, reply) => reply.send('never'))
  const headers = { cookie: `sessionid=${'k'.repeat(32)}` }
  const { statusCode, body } = await app.inject({ url: '/', headers })
  expect([statusCode, body]).toEqual([503, 'sorry'])
})

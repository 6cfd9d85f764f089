// Fastify 5: the suite for all adapters, and what only Fastify has.
import { Readable } from 'node:stream'
import { lruStore } from '@coatcheck/cache/lru'
import Fastify from 'fastify'
import { expect, test } from 'vitest'
import { proveAdapter } from '../../../testing/adapter-suite.ts'
import { getSession, session } from './index.ts'

await proveAdapter('Fastify 5', async (managers, handle) => {
  const app = Fastify({ forceCloseConnections: true })
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

// Hono: the suite for all adapters, on Node's server; and what only Hono has.
import { createAdaptorServer } from '@hono/node-server'
import type { Server } from 'node:http'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionStoreError, SessionTooLargeError, type Session } from '@coatcheck/core'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { proveAdapter, type Build } from '../../../testing/adapter-suite.ts'
import { toBody } from '../../../testing/wrappers.ts'
import { session } from './index.ts'

function appOf(managers: Parameters<Build>[0]) {
  const app = new Hono<{ Variables: { other: Session } }>()
  for (const { options, adapter } of managers) app.use(session(options, adapter))
  return app
}

await proveAdapter('Hono', (managers, handle) => {
  const app = appOf(managers)
  app.onError((error) => {
    if ('getResponse' in error)
      return (error as unknown as { getResponse(): Response }).getResponse()
    return new Response('Internal Server Error', { status: 500 })
  })
  app.all('*', async (c) => {
    const {
      status = 200,
      headers = {},
      body = '',
    } = await handle({
      session: c.get('session'),
      other: c.get('other'),
      request: c,
      url: new URL(c.req.url),
    })
    for (const [name, values] of Object.entries(headers)) {
      for (const value of [values].flat()) c.header(name, value, { append: true })
    }
    return c.body(toBody(body), status as 200)
  })
  return createAdaptorServer({ fetch: app.fetch }) as Server
})

test('an error of the session reaches onError, and is answered with its status without one', async () => {
  const app = appOf([{ options: { store: lruStore({ maxBytes: 10 }) } }])
  const errors: unknown[] = []
  app.onError((error, c) => {
    errors.push(error)
    return c.text('sorry', 413)
  })
  app.get('/', (c) => {
    ;(c.get('session') as unknown as Map<string, string>).set('text', 'x'.repeat(100))
    return c.text('never')
  })
  const response = await app.request('/')
  expect([response.status, await response.text()]).toEqual([413, 'sorry'])
  expect(errors).toEqual([expect.any(SessionTooLargeError)])
})

test('without onError a failing backend is answered 503', async () => {
  const load = () => Promise.reject(new SessionStoreError('The backend is down.'))
  const app = appOf([{ options: { store: { ...lruStore(), traits: {}, load } } }])
  const response = await app.request('/', { headers: { cookie: 'sessionid=abcdefgh' } })
  expect([response.status, await response.text()]).toEqual([503, 'Service Unavailable'])
})

test('a Response that a handler throws is thrown with the cookie, when its session is saved', async () => {
  const store = lruStore()
  const app = appOf([{ options: { store } }])
  app.get('/', (c) => {
    ;(c.get('session') as unknown as Map<string, number>).set('a', 1)
    // oxlint-disable-next-line no-throw-literal -- what frameworks on Hono throw
    throw new Response('thrown', { status: 402, headers: { 'X-Own': 'yes' } })
  })
  const thrown = await (async () => app.request('/'))().catch((error: unknown) => error)
  expect(thrown).toBeInstanceOf(Response)
  const { status, headers } = thrown as Response
  expect([status, headers.get('x-own')]).toEqual([402, 'yes'])
  const key = /^sessionid=(\w+)/.exec(headers.getSetCookie()[0]!)![1]!
  expect(await store.load(key)).toMatchObject({ data: '{"a":1}' })
})

test('an onError that says no status answers a failed save by the error’s, and with nothing of the answer', async () => {
  const create = () => Promise.reject(new SessionStoreError('down'))
  const app = appOf([{ options: { store: { ...lruStore(), traits: {}, create } } }])
  app.onError((_error, c) => c.text('sorry'))
  app.get('/', (c) => {
    ;(c.get('session') as unknown as Map<string, number>).set('a', 1)
    c.header('ETag', '"1"')
    c.header('Content-Length', '5')
    return c.body('never', 201)
  })
  const response = await app.request('/')
  expect([response.status, await response.text()]).toEqual([503, 'sorry'])
  expect([response.headers.get('etag'), response.headers.get('content-length')]).toEqual([
    null,
    null,
  ])
})

test('a thrown Response whose save fails is answered as any other', async () => {
  const create = () => Promise.reject(new SessionStoreError('down'))
  const app = appOf([{ options: { store: { ...lruStore(), traits: {}, create } } }])
  app.onError((_error, c) => c.text('sorry'))
  app.get('/', (c) => {
    ;(c.get('session') as unknown as Map<string, number>).set('a', 1)
    // oxlint-disable-next-line no-throw-literal -- what frameworks on Hono throw
    throw new Response('never', { headers: { ETag: '"1"' } })
  })
  const response = await app.request('/')
  expect([response.status, await response.text(), response.headers.get('etag')]).toEqual([
    503,
    'sorry',
    null,
  ])
})

test('an onError that says no status answers a failed load by the error’s', async () => {
  const load = () => Promise.reject(new SessionStoreError('down'))
  const app = appOf([{ options: { store: { ...lruStore(), traits: {}, load } } }])
  app.onError((_error, c) => c.text('sorry'))
  const response = await app.request('/', { headers: { cookie: `sessionid=${'k'.repeat(32)}` } })
  expect([response.status, await response.text()]).toEqual([503, 'sorry'])
})

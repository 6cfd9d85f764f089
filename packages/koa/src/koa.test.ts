// Koa 3: the suite for all adapters, and what only Koa has.
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { lruStore } from '@coatcheck/cache/lru'
import type { Session } from '@coatcheck/core'
import Koa from 'koa'
import { expect, test } from 'vitest'
import { proveAdapter, type Build } from '../../../testing/adapter-suite.ts'
import { session } from './index.ts'

function appOf(managers: Parameters<Build>[0]) {
  const app = new Koa()
  app.silent = true
  for (const { options, adapter } of managers) app.use(session(options, adapter))
  return app
}

await proveAdapter('Koa 3', (managers, handle) => {
  const app = appOf(managers)
  app.use(async (ctx) => {
    const {
      status = 200,
      headers = {},
      body = '',
    } = await handle({
      session: ctx['session'],
      other: ctx['other'] as Session<any>,
      request: ctx,
      url: new URL(ctx.url, 'http://localhost'),
    })
    ctx.status = status
    ctx.set(headers)
    ctx.body = typeof body === 'string' ? body : Readable.from(body)
  })
  return createServer(app.callback())
})

async function request(app: Koa, path = '/') {
  const server = app.listen(0)
  try {
    const { port } = server.address() as { port: number }
    const response = await fetch(`http://127.0.0.1:${port}${path}`)
    return {
      status: response.status,
      cookie: response.headers.getSetCookie(),
      text: await response.text(),
    }
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

test('ctx.throw(404) keeps what the session was told: a change is saved and its cookie sent', async () => {
  const store = lruStore()
  const app = appOf([{ options: { store } }])
  app.use((ctx) => {
    ctx['session'].set('seen', 1)
    ctx.throw(404, 'not here')
  })
  const { status, cookie, text } = await request(app)
  expect([status, text]).toEqual([404, 'not here'])
  const key = /^sessionid=(\w+)/.exec(cookie[0]!)![1]!
  expect(await store.load(key)).toMatchObject({ data: '{"seen":1}' })
})

test('ctx.respond = false: an answer by hand waits for the session too', async () => {
  const app = appOf([{ options: { store: lruStore() } }])
  app.use((ctx) => {
    ctx['session'].set('a', 1)
    ctx.respond = false
    ctx.res.end('by hand')
  })
  const { cookie, text } = await request(app)
  expect(text).toBe('by hand')
  expect(cookie).toHaveLength(1)
})

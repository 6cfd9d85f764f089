// Where a session stands on a request nothing else is put, and what a visitor is told when it fails: every adapter.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { lruStore } from '@coatcheck/cache/lru'
import {
  createSessions,
  getSession,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  type Session,
  type SessionsOptions,
  type SessionStore,
} from '@coatcheck/core'
import { session as expressSession } from '@coatcheck/express'
import { session as fastifySession } from '@coatcheck/fastify'
import { withSession } from '@coatcheck/fetch'
import { session as honoSession } from '@coatcheck/hono'
import { session as koaSession } from '@coatcheck/koa'
import { createAdaptorServer } from '@hono/node-server'
import connect from 'connect'
import express from 'express'
// @ts-expect-error -- Express 4 under another name has no types of its own; it takes the same handlers
import express4 from 'express4'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

// Connect asks for it once, when it is loaded.
vi.hoisted(() => void (process.env['NODE_ENV'] = 'production'))

/** Assigns as code does that is not strict: where nothing throws, nothing is said. */
const assign = new Function('target', 'name', 'value', 'target[name] = value') as (
  target: object,
  name: string,
  value: unknown,
) => void

/** What a handler does with the place of its session, and then answers by its return. */
type Handle = (place: {
  session: Session<any>
  put(value: unknown): void
  request: object
}) => string

/** Serves a handler behind managers that all have the property `session`. */
type Serve = (managers: readonly SessionsOptions[], handle: Handle) => Server | Promise<Server>

const placeOn = (request: object) => ({
  session: (request as { session: Session<any> }).session,
  put: (value: unknown) => assign(request, 'session', value),
  request,
})

const chained =
  (create: () => { use(...args: any[]): unknown }): Serve =>
  (managers, handle) => {
    const app = create()
    for (const options of managers) app.use(expressSession(options))
    app.use((request: object, response: { end(text: string): void }) => {
      response.end(handle(placeOn(request)))
    })
    return createServer(app as unknown as RequestListener)
  }

const frameworks: Record<string, Serve> = {
  'Express 5': chained(express as never),
  'Express 4': chained(express4 as never),
  Connect: chained(connect as never),
  'node:http': (managers, handle) =>
    createServer((request, response) => {
      const steps = managers.map((options) => expressSession(options))
      const step = (at: number, error?: unknown) => {
        if (error !== undefined) {
          response.statusCode = 500
          return void response.end('failed')
        }
        const next = steps[at]
        if (next) return next(request, response, (failed) => step(at + 1, failed))
        try {
          response.end(handle(placeOn(request)))
        } catch (thrown) {
          step(at, thrown)
        }
      }
      step(0)
    }),
  async Fastify(managers, handle) {
    const app = Fastify({ forceCloseConnections: true })
    const register = async (scope: typeof app, at: number): Promise<void> => {
      if (at < managers.length) {
        await scope.register(fastifySession, managers[at]!)
        // A second one stands in an inner scope.
        return void scope.register(async (inner) => register(inner as typeof app, at + 1))
      }
      scope.get('/', async (request) => handle(placeOn(request)))
    }
    await register(app, 0)
    await app.ready()
    return app.server
  },
  Koa(managers, handle) {
    const app = new Koa()
    app.silent = true
    for (const options of managers) app.use(koaSession(options))
    app.use((ctx) => {
      ctx.body = handle(placeOn(ctx))
    })
    return createServer(app.callback())
  },
  Hono(managers, handle) {
    const app = new Hono()
    for (const options of managers) app.use(honoSession(options))
    app.get('/', (c) =>
      c.text(
        handle({
          session: c.get('session'),
          put: (value) => c.set('session', value as Session),
          request: c,
        }),
      ),
    )
    return createAdaptorServer({ fetch: app.fetch }) as Server
  },
}

const open: Server[] = []
beforeEach(() => {
  // What a server says of an error of its handler.
  vi.spyOn(console, 'error').mockImplementation(() => {})
})
afterEach(() => {
  vi.restoreAllMocks()
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function get(server: Server, cookie?: string) {
  if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening')
  open.push(server)
  const { port } = server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: cookie ? { cookie } : {} })
  return { status: response.status, text: await response.text(), headers: response.headers }
}

/** A session that is stored, and its cookie. */
async function stored(store: SessionStore, name = 'sessionid') {
  const session = await createSessions<any>({ store }).open(undefined)
  await session.set('user', 'ann').save()
  return `${name}=${session.key}`
}

describe.each(Object.entries(frameworks))('%s', (name, serve) => {
  // Hono keeps what is put in its context, and nobody hears of it there.
  const isNoted = name !== 'Hono'

  test.each([[null], [undefined], [{ user: 'hush' }], [false]])(
    'what is put in a session’s place is an error and ends nothing: %o',
    async (value) => {
      const store = lruStore()
      const cookie = await stored(store)
      let said = ''
      const server = await serve([{ store }], ({ session, put }) => {
        session.set('seen', 1)
        try {
          put(value)
        } catch (thrown) {
          // Said here to who wrote it, and to no visitor.
          if (thrown instanceof SessionUsageError) said = thrown.message
          throw thrown
        }
        return 'logged out'
      })
      const { status, text } = await get(server, cookie)
      expect(status).toBe(500)
      expect(text).not.toContain('logged out')
      expect(text).not.toContain('hush')
      const after = await createSessions<any>({ store }).open(cookie)
      expect([...after]).toEqual([['user', 'ann']])
      if (!isNoted) return
      expect(said).toContain('To end it write session.flush()')
      expect(said).not.toContain('hush')
    },
  )

  test('the very session may be put in its own place', async () => {
    const server = await serve([{ store: lruStore() }], ({ session, put }) => {
      session.set('seen', 1)
      put(session)
      return 'done'
    })
    const { status, headers } = await get(server)
    expect([status, headers.getSetCookie()]).toEqual([200, [expect.stringMatching(/^sessionid=/)]])
  })

  test('the session is read where users look for it, and by getSession', async () => {
    let seen: unknown[] = []
    let found: Promise<unknown> | undefined
    const server = await serve([{ store: lruStore() }], ({ session, request }) => {
      seen = [session.get('a', 5), 'session' in request || name === 'Hono']
      found = getSession(request).then((one) => one === session)
      return 'done'
    })
    expect((await get(server)).text).toBe('done')
    expect(seen).toEqual([5, true])
    expect(await found).toBe(true)
  })

  test('a second manager of the same property is an error, and shadows nothing', async () => {
    const server = await serve(
      [{ store: lruStore() }, { store: lruStore(), cookie: { name: 'other' } }],
      () => 'never',
    )
    const { status, text } = await get(server)
    expect(status).toBe(500)
    expect(text).not.toContain('never')
  })

  test('the same manager twice is one session', async () => {
    const sessions = createSessions({ store: lruStore() })
    if (name === 'Fastify') return
    const server = await serve([sessions, sessions] as never, ({ session }) => {
      session.set('seen', 1)
      return 'done'
    })
    const { status, headers } = await get(server)
    expect([status, headers.getSetCookie().length]).toEqual([200, 1])
  })
})

/** What a client may be told of an error. */
const OPERATORS = 'The table app_secret of /var/lib/hush has no index. Run migrate().'

const failing: Record<string, [error: () => Error, status: number]> = {
  'a failing backend': [() => new SessionStoreError(OPERATORS, new Error(OPERATORS)), 503],
  'a usage error': [() => new SessionUsageError(OPERATORS), 500],
  'a plain error of the store': [() => new Error(OPERATORS), 503],
  'a session that has ended': [() => new SessionGoneError(), 400],
  'a conflict': [() => new SessionConflictError(), 409],
}

/** Words that are for whoever runs the server. */
const NOT_FOR_VISITORS =
  /app_secret|hush|index|migrate|cookie|request was using|Repeat the request|The store/i

const servers: Record<string, Serve> = {
  ...frameworks,
  fetch: ([options], handle) => {
    const answer = withSession(
      options!,
      async (_, session) => new Response(handle({ session } as never)),
    )
    return createAdaptorServer({ fetch: (request: Request) => answer(request) }) as Server
  },
}

describe.each(Object.entries(failing))('what a visitor is told of %s', (_, [make, status]) => {
  test.each(Object.entries(servers))('%s: nothing meant for operators', async (name, serve) => {
    const store = lruStore()
    const fail = () => {
      throw make()
    }
    for (const method of ['create', 'load'] as const) {
      const broken: SessionStore = { ...store, traits: {}, [method]: fail }
      const server = await serve([{ store: broken }], ({ session }) => {
        session.set('a', 1)
        return 'done'
      })
      const answer = await get(
        server,
        method === 'load' ? `sessionid=${'k'.repeat(32)}` : undefined,
      )
      expect(answer.text).not.toMatch(NOT_FOR_VISITORS)
      if (name !== 'node:http') expect(answer.status).toBe(status)
    }
  })
})

test('Fastify: also what a handler’s own save() throws has words for a visitor, and the log has the cause', async () => {
  const lines: string[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => void lines.push(line) } } })
  const fail = () =>
    Promise.reject(new SessionStoreError(OPERATORS, new Error('the backend’s own')))
  await app.register(fastifySession, { store: { ...lruStore(), traits: {}, create: fail } })
  app.get('/', async (request) => {
    ;(request.session as Session<any>).set('a', 1)
    await request.session.save()
  })
  const response = await app.inject('/')
  expect(response.statusCode).toBe(503)
  expect(response.json()).toEqual({
    statusCode: 503,
    code: 'ERR_SESSION_STORE',
    error: 'Service Unavailable',
    message: 'Service Unavailable',
  })
  expect(lines.join('')).toContain('app_secret')
  expect(lines.join('')).toContain('the backend’s own')
  await app.close()
})

test('Fastify: an error handler of the application has the class, the code, and what happened as the cause', async () => {
  const app = Fastify()
  const fail = () =>
    Promise.reject(new SessionStoreError(OPERATORS, new Error('the backend’s own')))
  await app.register(fastifySession, { store: { ...lruStore(), traits: {}, create: fail } })
  const seen: any[] = []
  app.setErrorHandler((error, _request, reply) => {
    seen.push(error)
    reply.send('sorry')
  })
  app.get('/', async (request) => {
    ;(request.session as Session<any>).set('a', 1)
    return 'done'
  })
  expect((await app.inject('/')).body).toBe('sorry')
  const [error] = seen
  expect(error).toBeInstanceOf(SessionStoreError)
  expect([error.code, error.status, error.message]).toEqual([
    'ERR_SESSION_STORE',
    503,
    'Service Unavailable',
  ])
  expect(error.cause.message).toContain(OPERATORS)
  expect(error.cause.cause.message).toBe('the backend’s own')
  await app.close()
})

// The servers that the judge asks: one handler on each framework, behind our adapter or behind nothing.
import { createServer, type RequestListener } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import type { Server } from 'node:net'
import type { SessionStore } from '@coatcheck/core/store'
import { session as expressSession } from '@coatcheck/express'
import { session as fastifySession } from '@coatcheck/fastify'
import { withSession } from '@coatcheck/fetch'
import { session as honoSession } from '@coatcheck/hono'
import { session as koaSession } from '@coatcheck/koa'
import { createAdaptorServer } from '@hono/node-server'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { frameworks as chains } from '../node-frameworks.ts'
import { PROBE } from './client.ts'
import type { Middleware, Visit, Way } from './visit.ts'

/** Runs the way for one request; returns what its handler returns. */
export type Handle = (
  given: Partial<Visit> & { session: { set(name: string, value: unknown): unknown } },
) => any

/** A framework, and the groups of ways that its handlers can take. */
export interface Framework {
  readonly groups: readonly string[]
  readonly protocol: 1 | 2
  /**
   * Whether the server beneath sends a Response that nobody has looked at by a shortcut, which spells headers otherwise and may
   * know a length: then neither is compared.
   */
  readonly shortcut?: true
  /** A server that is not listening. Without a store there is no session, and its place is taken by `stub`. */
  serve(way: Way, handle: Handle, store?: SessionStore): Server | Promise<Server>
}

const stub = { set() {}, get() {} }

/** `(request, response, next)` in a chain. */
function chain(name: string, protocol: 1 | 2, groups: string[]): Framework {
  return {
    groups,
    protocol,
    serve(way, handle, store) {
      const session: Middleware = store
        ? (expressSession({ store }) as Middleware)
        : (request, _, next) => {
            request.session = stub
            next()
          }
      const handler: Middleware = (request, response, next) =>
        handle({ request, response, next, session: request.session })
      const listener = chains[name]!([
        ...(way.before?.() ?? []),
        session,
        ...(way.after?.() ?? []),
        handler,
        ...(way.onError ? [way.onError as never] : []),
      ])
      return protocol === 1 ? createServer(listener) : createHttp2Server(listener as never)
    },
  }
}

/** Koa; by hand, its handlers answer by Node's response. */
const koa = (groups: string[], byHand: boolean): Framework => ({
  groups,
  protocol: 1,
  async serve(way, handle, store) {
    const app = new Koa()
    app.silent = true
    await way.setUp?.(app, 'outside')
    app.use(
      store
        ? koaSession({ store })
        : (ctx: any, next) => {
            ctx.session = stub
            return next()
          },
    )
    await way.setUp?.(app, 'inside')
    app.use((ctx: any) => {
      if (byHand) ctx.respond = false
      return handle({
        request: ctx.req,
        response: ctx.res,
        c: ctx,
        session: ctx.session,
        next: (error) => ctx.onerror(error),
      })
    })
    return createServer(app.callback())
  },
})

/** Fastify; by hand, its handlers hijack the reply and answer by Node's response. */
const fastify = (groups: string[], byHand: boolean): Framework => ({
  groups,
  protocol: 1,
  async serve(way, handle, store) {
    const app = Fastify({ forceCloseConnections: true })
    // By hand, a body of any type is left to the handler.
    if (byHand) app.addContentTypeParser('*', (_request, _body, done) => done(null))
    await way.setUp?.(app, 'outside')
    if (store) await app.register(fastifySession, { store })
    await way.setUp?.(app, 'inside')
    app.all('/*', (request, reply) => {
      if (byHand) reply.hijack()
      return handle({
        request: byHand ? request.raw : request,
        response: reply.raw,
        reply,
        session: store ? request.session : stub,
        next(error) {
          reply.raw.statusCode = (error as { status?: number }).status ?? 500
          reply.raw.end(String(error))
        },
      })
    })
    await app.ready()
    return app.server
  },
})

const hono: Framework = {
  groups: ['Response', 'Hono'],
  shortcut: true,
  protocol: 1,
  async serve(way, handle, store) {
    const app = new Hono()
    await way.setUp?.(app, 'outside')
    // Any middleware changes what Hono makes of a handler that returns nothing.
    if (store) app.use(honoSession({ store }))
    else app.use((_c, next) => next())
    await way.setUp?.(app, 'inside')
    app.all('/*', (c) => handle({ request: c.req, c, session: store ? c.get('session') : stub }))
    return createAdaptorServer({ fetch: app.fetch }) as Server
  },
}

const standard: Framework = {
  groups: ['Response'],
  shortcut: true,
  protocol: 1,
  serve(_way, handle, store) {
    const fetch = store
      ? withSession({ store }, (request, session) => handle({ request, session }))
      : async (request: Request) => handle({ request, session: stub })
    return createAdaptorServer({
      async fetch(request: Request) {
        try {
          return await fetch(request)
        } catch {
          return new Response('Internal Server Error', { status: 500 })
        }
      },
    }) as Server
  },
}

export const servers: Readonly<Record<string, Framework>> = {
  'Express 5': chain('Express 5', 1, ['Node', 'Express']),
  'Express 4': chain('Express 4', 1, ['Node', 'Express']),
  Connect: chain('Connect', 1, ['Node']),
  'node:http': chain('node:http', 1, ['Node']),
  'node:http2': chain('node:http', 2, ['Node']),
  'Koa by hand': koa(['Node'], true),
  'Fastify by hand': fastify(['Node'], true),
  Koa: koa(['Koa'], false),
  Fastify: fastify(['Fastify'], false),
  Hono: hono,
  fetch: standard,
}

/** What a request's header says, on whatever framework. */
export function headerOf({ request, c }: Partial<Visit>, name: string): string | undefined {
  const headers = c?.req?.raw?.headers ?? request.raw?.headers ?? request.headers
  return typeof headers.get === 'function' ? headers.get(name) : headers[name]
}

/** Puts the answer to the client's probe before a server's own handler, and has it listen. Resolves to its port. */
export async function listen(server: Server): Promise<number> {
  const [own] = server.listeners('request') as RequestListener[]
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    if (request.url === PROBE) response.end('probe')
    else own!.call(server as never, request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as { port: number }).port
}

// The adapter for Fastify 5: a plugin that opens in onRequest and commits in onSend, before the headers.
import { createSessions, type Session, type Sessions, type SessionsOptions } from '@coatcheck/core'
import {
  addSessionHeaders,
  headersAfterFailure,
  keepSession,
  type AdapterOptions,
} from '@coatcheck/core/adapter'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'

export { getSession } from '@coatcheck/core'

declare module 'fastify' {
  interface FastifyRequest {
    /** The visitor's session. */
    session: Session
  }
}

/** What `createSessions()` takes, or `sessions`: what it returned; and what every adapter takes. */
export type SessionPluginOptions = AdapterOptions<FastifyRequest> &
  (SessionsOptions | { readonly sessions: Sessions<any> })

/**
 * Gives every request a `request.session`: `app.register(session, { store })`. The reply waits until the session is saved.
 *
 * What opening or saving throws goes to the error handler; its `status` is 400 for a session that ended meanwhile, 503 for
 * a failing backend. A reply that was hijacked is not waited for: call `await request.session.save()` yourself.
 *
 * @throws SessionUsageError for an option that cannot work.
 */
const plugin: FastifyPluginAsync<SessionPluginOptions> = async (app, options) => {
  const { property = 'session', cookieFor } = options
  const sessions = createSessions('sessions' in options ? options.sessions : options)
  /** How the commit ended: there is none after it, as an error that follows is answered by a reply of its own. */
  const outcome: unique symbol = Symbol('coatcheck.outcome')
  type Holder = FastifyRequest & {
    [property: string]: Session<any> | undefined
    [outcome]?: 'committed' | 'failed'
  }
  const infoOf = (request: FastifyRequest) => () => ({
    secure: request.protocol === 'https',
    cookie: cookieFor?.(request),
  })
  app.decorateRequest(property)
  app.decorateRequest(outcome)

  app.addHook('onRequest', (request, _reply, next) => {
    const start = (opened: Session<any>) => {
      ;(request as Holder)[property] = opened
      keepSession(request, property, sessions, opened)
      next()
    }
    let opened
    try {
      opened = sessions.open(request.headers.cookie, infoOf(request))
    } catch (error) {
      return next(error as Error)
    }
    if (opened instanceof Promise) opened.then(start, next)
    else start(opened)
  })

  app.addHook('onSend', (request, reply, _payload, next) => {
    const holder = request as Holder
    const opened = holder[property]
    // None if opening has failed; and a reply that follows a commit has the session's headers already.
    if (!opened || holder[outcome] === 'committed') return next()
    const info = infoOf(request)
    if (holder[outcome] === 'failed') {
      addSessionHeaders(headersOf(reply), headersAfterFailure(sessions, opened, info))
      return next()
    }
    const fail = (error: unknown) => {
      holder[outcome] = 'failed'
      next(error as Error)
    }
    const send = (headers: Parameters<typeof addSessionHeaders>[1]) => {
      holder[outcome] = 'committed'
      addSessionHeaders(headersOf(reply), headers)
      next()
    }
    let committed
    try {
      committed = sessions.commit(opened, { ...info(), status: reply.statusCode })
    } catch (error) {
      return fail(error)
    }
    if (committed instanceof Promise) committed.then(send, fail)
    else send(committed)
  })
}

/** Fastify's reply as the headers that a session adds to. Its `header` appends where the name is Set-Cookie. */
function headersOf(reply: FastifyReply): Parameters<typeof addSessionHeaders>[0] {
  return {
    get: (name) => reply.getHeader(name)?.toString(),
    set: (name, value) => void reply.header(name, value),
    append: (name, value) => void reply.header(name, value),
  }
}

export const session = fastifyPlugin(plugin, { fastify: '5.x', name: '@coatcheck/fastify' })

// The adapter for Fastify 5: a plugin that opens in onRequest and commits in onSend, before the headers.
import { Buffer } from 'node:buffer'
import {
  createSessions,
  SessionError,
  type Session,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  assertAdapterOptions,
  isOfAnswer,
  isResponse,
  keepSession,
  placeOf,
  plainAnswer,
  sessionBefore,
  tellVisitor,
  type AdapterOptions,
  type HeaderTarget,
} from '@coatcheck/core/adapter'
import { appended, commitBeforeHeaders, headersOf, type ResponseHold } from '@coatcheck/core/node'
import { refuseOption } from '@coatcheck/core/store'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'

export * from '@coatcheck/core'

declare module 'fastify' {
  interface FastifyRequest extends WithSession {}
}

/**
 * A request with a session. Where the types of @fastify/session or @fastify/secure-session are installed too, they say what it is:
 * `getSession(request)` has ours.
 */
interface WithSession {
  /** The visitor's session. */
  session: 'decryptSession' extends keyof FastifyInstance
    ? any
    : 'createSecureSession' extends keyof FastifyInstance
      ? any
      : Session
}

/** What `createSessions()` takes, or `sessions`: what it returned; and what every adapter takes. */
export type SessionPluginOptions = AdapterOptions<FastifyRequest> &
  (SessionsOptions | { readonly sessions: Sessions<any> })

/**
 * Gives every request a `request.session`: `app.register(session, { store })`. The reply waits until the session is saved.
 *
 * What opening or saving throws goes to the error handler; its `status` is 400 for a session that ended meanwhile, 503 for
 * a failing backend. An error of the session's has a message for visitors there, as Fastify's own error handler answers with that; its
 * `cause` says what happened, and is in the log. What is assigned in the session's place (`request.session = null`) throws SessionUsageError
 * at once: `flush()` ends a session. An answer past Fastify (`reply.hijack()` and `reply.raw`) waits too; if its session cannot be saved, it is
 * answered in plain text.
 *
 * @throws SessionUsageError for an option that cannot work.
 */
const plugin: FastifyPluginAsync<SessionPluginOptions> = async (app, options) => {
  if (typeof (app as { decorateRequest?: unknown } | undefined)?.decorateRequest !== 'function') {
    refuseOption(
      'session: a plugin is registered, and not called: app.register(session, { store })',
    )
  }
  const { property = 'session', cookieFor, ...rest } = options
  assertAdapterOptions('session', { property, ...(cookieFor !== undefined && { cookieFor }) }, {})
  const sessions = createSessions(managing(rest))
  /** The reply of a request whose session this plugin has opened. */
  const held: unique symbol = Symbol('coatcheck.held')
  type Holder = FastifyRequest & { [held]?: HeldReply }
  // Tells that requests have the property from this plugin: in an inner scope it may be there already.
  const decorated = Symbol.for(`coatcheck.${property}`)
  if (!app.hasRequestDecorator(decorated)) {
    const { get: getter, set: setter } = placeOf(property)
    app.decorateRequest(property, { getter, setter })
    app.decorateRequest(decorated)
  }
  app.decorateRequest(held)

  app.addHook('onRequest', (request, reply, next) => {
    const holder = request as Holder
    const info = () => ({ secure: request.protocol === 'https', cookie: cookieFor?.(request) })
    const start = (opened: Session<any>) => {
      keepSession([request, request.raw], property, sessions, opened)
      const target = new ReplyHeaders(reply)
      holder[held] = {
        target,
        // An answer by hand, past Fastify: its error handler has nothing to answer with.
        hold: commitBeforeHeaders(
          sessions,
          opened,
          reply.raw,
          info,
          (error) => {
            reply.log.error(error)
            throw error
          },
          target,
        ),
      }
      next()
    }
    /** An error handler that says no status answers by the error's. */
    const fail = (error: unknown) => {
      reply.code(plainAnswer(error).status)
      next(error as Error)
    }
    let before, opened
    try {
      before = sessionBefore([request, request.raw], property, sessions)
      opened = before ?? sessions.open(request.headers.cookie, info)
    } catch (error) {
      return fail(error)
    }
    // An outer scope has opened the session.
    const go = before ? () => next() : start
    if (opened instanceof Promise) opened.then(go, fail)
    else go(opened)
  })

  // Fastify's own error handler answers with an error's message, also with that of a `save()` in a handler.
  app.addHook('onError', (_request, _reply, error, next) => {
    if (error instanceof SessionError) tellVisitor(error)
    next()
  })

  app.addHook('onSend', (request, reply, payload, next) => {
    const reserved = (request as Holder)[held]
    // None if opening has failed, or if an outer scope has opened the session.
    if (!reserved) return next()
    const { hold, target } = reserved
    let body = isResponse(payload) ? takeOver(reply, payload) : payload
    target.isByHand = false
    let source: Source | undefined
    const isSent = hold.settle(
      () => {
        target.restore()
        if (source?.error) return next(source.error)
        try {
          next(null, body)
        } catch (error) {
          // A reply that Fastify refuses to send is an error of the reply.
          next(error as Error)
        }
      },
      (error) => {
        target.restore()
        drop(reply, body)
        next(error as Error)
      },
    )
    if (isSent) return
    target.keep()
    source = watch(body)
    // Bytes that stay as they are when the handler uses its buffer for something else.
    if (body instanceof Uint8Array) body = Buffer.from(body)
  })
}

interface HeldReply {
  readonly hold: ResponseHold
  readonly target: ReplyHeaders
}

/** Where a session's headers are set: on Fastify's reply or, in an answer by hand, on Node's response. */
class ReplyHeaders implements HeaderTarget {
  readonly #reply: FastifyReply
  #kept: { headers: ReturnType<FastifyReply['getHeaders']>; trailers: object | null } | undefined
  isByHand = true

  constructor(reply: FastifyReply) {
    this.#reply = reply
  }

  /** The reply waits: what is done to its headers from now on comes too late. */
  keep(): void {
    const headers = this.#reply.getHeaders()
    for (const [name, value] of Object.entries(headers)) {
      // Fastify adds to a list that it has.
      if (Array.isArray(value)) headers[name] = [...value]
    }
    const trailers = trailersOf(this.#reply)
    this.#kept = { headers, trailers: trailers && { ...trailers } }
  }

  /** Makes the headers what they were. */
  restore(): void {
    const reply = this.#reply
    const kept = this.#kept
    this.#kept = undefined
    if (!kept) return
    const { headers } = kept
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (!isSame(headers[name], value)) reply.removeHeader(name)
    }
    for (const [name, value] of Object.entries(headers)) {
      if (!isSame(reply.getHeader(name), value)) reply.header(name, value)
    }
    setTrailers(reply, kept.trailers)
  }

  get(name: string): string | undefined {
    this.restore()
    return this.#reply.getHeader(name)?.toString()
  }

  set(name: string, value: string): void {
    this.restore()
    if (this.isByHand) headersOf(this.#reply.raw).set(name, value)
    else this.#reply.header(name, value)
  }

  append(name: string, value: string): void {
    this.restore()
    const reply = this.#reply
    if (this.isByHand) return headersOf(reply.raw).append(name, value)
    // Of what others have set on Node's response too. Not added to what is there: that list may be the application's own.
    const all = appended(reply.getHeader(name), value)
    reply.removeHeader(name)
    reply.header(name, all)
  }

  names(): string[] {
    this.restore()
    return Object.keys(this.#reply.getHeaders())
  }
}

/** Puts a Response's status and headers on the reply, as Fastify would after this hook; what is left is its body. */
function takeOver(reply: FastifyReply, response: Response): unknown {
  reply.code(response.status)
  for (const [name, value] of response.headers) reply.header(name, value)
  // Fastify refuses one that was read.
  return response.bodyUsed ? response : response.body
}

/** A body that is a stream, while nobody reads it yet. */
interface Source {
  error: Error | undefined
}

/** Hears of a stream that breaks off before Fastify listens: an error of which nobody hears would end the process. */
function watch(body: unknown): Source | undefined {
  const stream = body as NodeJS.ReadableStream | null | undefined
  if (typeof stream?.pipe !== 'function') return undefined
  const source: Source = { error: undefined }
  stream.on('error', (error) => void (source.error ??= error))
  return source
}

/** Leaves nothing of the reply but what the site says on every page. */
function drop(reply: FastifyReply, body: unknown): void {
  const source = body as { destroy?: () => void; cancel?: () => Promise<void> } | null | undefined
  // The request's own body, sent back, is the connection's.
  if (body === reply.request.raw) reply.request.raw.resume()
  else if (typeof source?.destroy === 'function') source.destroy()
  else if (typeof source?.cancel === 'function') source.cancel().catch(() => {})
  for (const name of Object.keys(reply.getHeaders())) {
    if (isOfAnswer(name)) reply.removeHeader(name)
  }
  setTrailers(reply, null)
}

/** Whether a header's values are the same, in the same list or in a copy of it. */
function isSame(one: unknown, other: unknown): boolean {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other
  return one.length === other.length && one.every((value, at) => value === other[at])
}

/** Where a reply has its trailers, once it has any: there is no other way to take back those whose names are not known. */
const trailersAt = (reply: FastifyReply): symbol | undefined =>
  Object.getOwnPropertySymbols(reply).find(
    ({ description }) => description === 'fastify.reply.trailers',
  )

function trailersOf(reply: FastifyReply): object | null {
  const at = trailersAt(reply)
  return at ? (Reflect.get(reply, at) as object | null) : null
}

function setTrailers(reply: FastifyReply, trailers: object | null): void {
  const at = trailersAt(reply)
  if (at) Reflect.set(reply, at, trailers)
}

/** The plugin: `app.register(session, { store })`. See {@link SessionPluginOptions}. */
export const session = fastifyPlugin(plugin, { fastify: '5.x', name: '@coatcheck/fastify' })

/** The manager, or the options for one. What Fastify reads itself of a plugin's options stands among them. */
function managing(options: object): SessionsOptions | Sessions<any> {
  const {
    prefix: _,
    logLevel: __,
    logSerializers: ___,
    ...rest
  } = options as Record<string, unknown>
  if (!('sessions' in rest)) return rest as unknown as SessionsOptions
  const { sessions, ...besides } = rest
  const [name] = Object.keys(besides)
  if (name !== undefined) {
    refuseOption(`session: \`${name}\` has no meaning beside \`sessions\`, which is made with it`)
  }
  return sessions as Sessions<any>
}

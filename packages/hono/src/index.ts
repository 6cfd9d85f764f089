// The adapter for Hono: opens before the next handler, commits before the response is returned.
import {
  createSessions,
  SessionError,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  assertAdapterOptions,
  commitResponse,
  cookiesTold,
  headersAfterFailure,
  isOfAnswer,
  isResponse,
  keepSession,
  plainAnswer,
  sessionBefore,
  tellSession,
  type AdapterOptions,
  type HeaderTarget,
} from '@coatcheck/core/adapter'
import type { Context, MiddlewareHandler } from 'hono'

export * from '@coatcheck/core'

declare module 'hono' {
  interface ContextVariableMap {
    /** The visitor's session. */
    session: Session
  }
}

/**
 * Gives every context a session, `c.get('session')` or `c.var.session`; the response is returned when it is saved.
 *
 * What opening or saving throws goes to `app.onError`; without one Hono answers with its `status`: 400 for a session that
 * ended meanwhile, 503 for a failing backend.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function session<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
  adapterOptions?: AdapterOptions<Context> & { readonly property?: never },
): MiddlewareHandler<{ Variables: { session: Session<D> } }>
export function session<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
  adapterOptions?: AdapterOptions<Context>,
): MiddlewareHandler
export function session<D extends object = SessionData>(
  options: SessionsOptions<D> | Sessions<D>,
  adapterOptions: AdapterOptions<Context> = {},
): MiddlewareHandler {
  const sessions = createSessions<D>(options)
  assertAdapterOptions('session', adapterOptions, {})
  const { property = 'session', cookieFor } = adapterOptions

  return async (c, next) => {
    const info = () => ({ secure: isSecure(c), cookie: cookieFor?.(c) })
    const carriers = [c, c.req.raw, (c.env as { incoming?: object } | undefined)?.incoming]
    const before = await answerable(c, () => sessionBefore(carriers, property, sessions))
    if (before) {
      c.set(property as 'session', before as Session<any>)
      return next()
    }
    const opened = await answerable(c, () => sessions.open(c.req.header('Cookie'), info))
    c.set(property as 'session', opened as Session<any>)
    keepSession(carriers, property, sessions, opened)
    const target = headersOf(c)
    const tellFailure = () => tellSession(c, target, headersAfterFailure(sessions, opened, info))
    let isThrown = false
    try {
      await next()
    } catch (thrown) {
      // Hono answers errors further in, but for what its own error handler throws.
      if (!isResponse(thrown)) {
        tellFailure()
        throw thrown
      }
      c.res = thrown
      isThrown = true
    }
    try {
      const committed = commitResponse(sessions, opened, info, c.res.status, target)
      // A body of bytes is copied now: the handler may use its buffer for something else meanwhile.
      if (committed instanceof Promise) void c.res.body
      tellSession(c, target, await committed)
    } catch (error) {
      drop(c)
      tellFailure()
      throw toAnswer(c, error)
    }
    if (isThrown) throw c.res
  }
}

/** Leaves nothing of the answer but what the site says on every page: Hono takes over into the error's answer what is there. */
function drop(c: Context): void {
  const { headers, body } = c.res
  body?.cancel().catch(() => {})
  const kept = new Headers([...headers].filter(([name]) => !isOfAnswer(name)))
  for (const line of cookiesTold(c)) kept.append('Set-Cookie', line)
  c.res = undefined
  c.res = new Response(null, { headers: kept })
}

function headersOf(c: Context): HeaderTarget {
  return {
    get: (name) => c.res.headers.get(name),
    set: (name, value) => c.header(name, value),
    append: (name, value) => c.header(name, value, { append: true }),
  }
}

/** Whether the request came over HTTPS, by its URL; behind a proxy set `secure: true`. */
function isSecure(c: Context): boolean {
  return c.req.url.startsWith('https:')
}

/** What `call` resolves to; its errors Hono's own error handler can answer. */
async function answerable<T>(c: Context, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toAnswer(c, error)
  }
}

/**
 * An error as Hono's error handlers answer it: by its own status, where they say none; a session's with what Hono's own looks for,
 * as HTTPException has it.
 */
function toAnswer(c: Context, error: unknown): unknown {
  const { status, body } = plainAnswer(error)
  c.status(status as 500)
  if (!(error instanceof SessionError)) return error
  return Object.assign(error, { getResponse: () => new Response(body, { status }) })
}

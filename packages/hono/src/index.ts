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
  commitResponse,
  cookiesTold,
  headersAfterFailure,
  isOfAnswer,
  keepSession,
  plainAnswer,
  sessionBefore,
  tellSession,
  type AdapterOptions,
  type HeaderTarget,
} from '@coatcheck/core/adapter'
import type { Context, MiddlewareHandler } from 'hono'

export { getSession } from '@coatcheck/core'

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
  { property = 'session', cookieFor }: AdapterOptions<Context> = {},
): MiddlewareHandler {
  const sessions = createSessions<D>(options)

  return async (c, next) => {
    const info = () => ({ secure: isSecure(c), cookie: cookieFor?.(c) })
    const before = await answerable(() => sessionBefore(c, property, sessions))
    if (before) {
      c.set(property as 'session', before as Session)
      return next()
    }
    const opened = await answerable(() => sessions.open(c.req.header('Cookie'), info))
    c.set(property as 'session', opened as Session)
    keepSession(c, property, sessions, opened)
    const target = headersOf(c)
    const commit = () => commitResponse(sessions, opened, info, c.res.status, target)
    try {
      await next()
    } catch (thrown) {
      // Hono answers errors further in, but for what its own error handler throws.
      if (!(thrown instanceof Response)) {
        tellSession(c, target, headersAfterFailure(sessions, opened, info))
        throw thrown
      }
      c.res = thrown
      tellSession(c, target, await answerable(commit))
      throw c.res
    }
    try {
      tellSession(c, target, await commit())
    } catch (error) {
      drop(c, error)
      tellSession(c, target, headersAfterFailure(sessions, opened, info))
      throw withAnswer(error)
    }
  }
}

/** Leaves nothing of the answer but what the site says on every page: Hono takes over into the error's answer what is there. */
function drop(c: Context, error: unknown): void {
  const { headers, body } = c.res
  body?.cancel().catch(() => {})
  const kept = new Headers([...headers].filter(([name]) => !isOfAnswer(name)))
  for (const line of cookiesTold(c)) kept.append('Set-Cookie', line)
  c.res = undefined
  c.res = new Response(null, { headers: kept })
  c.status(plainAnswer(error).status as 500)
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
async function answerable<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw withAnswer(error)
  }
}

/** A session's error with what Hono's own error handler looks for, as HTTPException has it. */
function withAnswer(error: unknown): unknown {
  if (!(error instanceof SessionError)) return error
  const { status, body } = plainAnswer(error)
  return Object.assign(error, { getResponse: () => new Response(body, { status }) })
}

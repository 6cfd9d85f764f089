// The adapter for standard handlers, Request -> Response: opens before the handler, commits before its response is returned.
import {
  createSessions,
  SessionError,
  type Session,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  addSessionHeaders,
  headersAfterFailure,
  keepSession,
  type AdapterOptions,
  type SessionHeaders,
} from '@coatcheck/core/adapter'

export { getSession } from '@coatcheck/core'

/** A handler that is given the session behind the request; what else the platform passes follows. */
export type SessionHandler<D extends object, Rest extends unknown[]> = (
  request: Request,
  session: Session<D>,
  ...rest: Rest
) => Response | Promise<Response>

/** What the adapter takes besides what every adapter does. */
export interface FetchOptions extends AdapterOptions<Request> {
  /** Answers for a session that could not be opened or saved. Default: its `status` and its message, as text. */
  readonly onError?: (error: SessionError, request: Request) => Response | Promise<Response>
}

/**
 * Makes a handler of Request to Response out of one that is given the session too. The response is returned when the session
 * is saved. What the handler throws is thrown.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function withSession<D extends object = SessionData, Rest extends unknown[] = unknown[]>(
  options: SessionsOptions<D> | Sessions<D>,
  handler: SessionHandler<D, Rest>,
  { property = 'session', cookieFor, onError = plainAnswer }: FetchOptions = {},
): (request: Request, ...rest: Rest) => Promise<Response> {
  const sessions = createSessions<D>(options)

  const failed = (error: unknown, request: Request) => {
    if (!(error instanceof SessionError)) throw error
    return onError(error, request)
  }

  return async (request, ...rest) => {
    const info = () => ({
      secure: request.url.startsWith('https:'),
      cookie: cookieFor?.(request),
    })
    let opened
    try {
      opened = await sessions.open(request.headers.get('Cookie') ?? undefined, info)
    } catch (error) {
      return failed(error, request)
    }
    keepSession(request, property, sessions, opened)
    const response = await handler(request, opened, ...rest)
    try {
      return withHeaders(
        response,
        await sessions.commit(opened, { ...info(), status: response.status }),
      )
    } catch (error) {
      // Nobody is going to read it.
      await response.body?.cancel().catch(() => {})
      return withHeaders(await failed(error, request), headersAfterFailure(sessions, opened, info))
    }
  }
}

/** The response with a session's headers. Those of a redirect, or of a response that was fetched, cannot be changed. */
function withHeaders(response: Response, headers: SessionHeaders): Response {
  if (headers.setCookie === undefined && !headers.vary) return response
  const answer = new Response(response.body, response)
  addSessionHeaders(answer.headers, headers)
  return answer
}

function plainAnswer({ message, status }: SessionError): Response {
  return new Response(message, { status })
}

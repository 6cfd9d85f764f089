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
  assertAdapterOptions,
  commitResponse,
  cookieNotSent,
  cookiesTold,
  headersAfterFailure,
  isResponse,
  keepSession,
  plainAnswer,
  sessionBefore,
  tellSession,
  type AdapterOptions,
  type SessionHeaders,
} from '@coatcheck/core/adapter'
import { inWords, refuseOption, rules } from '@coatcheck/core/store'

export * from '@coatcheck/core'

/** A handler that is given the session behind the request; what else the platform passes follows. */
export type SessionHandler<
  D extends object,
  Rest extends unknown[],
  R extends Request = Request,
> = (request: R, session: Session<D>, ...rest: Rest) => Response | Promise<Response>

/** What the adapter takes besides what every adapter does. */
export interface FetchOptions extends AdapterOptions<Request> {
  /** Answers for a session that could not be opened or saved. Default: its `status`, and the message of one below 500, as text: a
   * backend's fault is for whoever runs it. */
  readonly onError?: (error: SessionError, request: Request) => Response | Promise<Response>
}

/**
 * Makes a handler of Request to Response out of one that is given the session too. The response is returned when the session
 * is saved. A response that the handler throws is saved and thrown alike, a thrown redirect of Next or SvelteKit becomes
 * the response; any other error is thrown, and nothing is saved.
 *
 * @param options What `createSessions()` takes, or what it returned.
 * @throws SessionUsageError for an option that cannot work.
 */
export function withSession<
  D extends object = SessionData,
  // Not unknown: where D is given by hand nothing is inferred, and `withSession<Visitor>(…, (request, session, { params }) => …)` must compile.
  Rest extends unknown[] = any[],
  R extends Request = Request,
>(
  options: SessionsOptions<D> | Sessions<D>,
  handler: SessionHandler<D, Rest, R>,
  fetchOptions: FetchOptions = {},
): (request: R, ...rest: Rest) => Promise<Response> {
  assertAdapterOptions('withSession', fetchOptions, { onError: rules.callable })
  if (typeof handler !== 'function') {
    refuseOption(`withSession: the handler must be a function, and is ${inWords(handler)}`)
  }
  const { property = 'session', cookieFor, onError = plainResponse } = fetchOptions
  const sessions = createSessions<D>(options)

  return async (request, ...rest) => {
    const info = () => ({
      secure: request.url.startsWith('https:'),
      cookie: cookieFor?.(request),
    })
    let before, opened
    try {
      before = sessionBefore([request], property, sessions)
      const cookies = request.headers.get('Cookie') ?? undefined
      opened = await (before ?? sessions.open(cookies, info))
    } catch (error) {
      if (!(error instanceof SessionError)) throw error
      return onError(error, request)
    }
    if (before) return handler(request, opened, ...rest)
    keepSession([request], property, sessions, opened)
    let response
    let isThrown = false
    try {
      response = await handler(request, opened, ...rest)
    } catch (thrown) {
      response = answerOf(thrown)
      if (!response) throw unanswered(thrown, headersAfterFailure(sessions, opened, info))
      isThrown = response === thrown
    }
    if (!response) throw new TypeError('withSession: the handler has returned no Response.')
    let answer
    try {
      const { status, headers: given } = response
      const committed = commitResponse(sessions, opened, info, status, given)
      // A body of bytes is copied now: the handler may use its buffer for something else meanwhile.
      if (committed instanceof Promise) void response.body
      answer = withHeaders(response, await committed)
    } catch (error) {
      // Nobody is going to read it.
      response.body?.cancel().catch(() => {})
      const headers = headersAfterFailure(sessions, opened, info)
      if (!(error instanceof SessionError)) throw unanswered(error, headers)
      let page
      try {
        page = await onError(error, request)
      } catch (thrown) {
        throw unanswered(thrown, headers)
      }
      answer = withHeaders(page, headers, cookiesTold(response))
    }
    if (isThrown) throw answer
    return answer
  }
}

/** An error that the platform answers: a cookie that is due cannot go with it. */
function unanswered(error: unknown, { setCookie }: SessionHeaders): unknown {
  if (setCookie !== undefined) cookieNotSent()
  return error
}

/**
 * The answer in what a handler throws to end itself: a Response, as React Router's `redirect()` and others throw; a redirect of
 * SvelteKit (`status` and `location`); what Next's `redirect()` and `notFound()` throw. Undefined for an error.
 */
function answerOf(thrown: unknown): Response | undefined {
  if (isResponse(thrown)) return thrown
  const { status, location, digest } = (thrown ?? {}) as Record<string, unknown>
  if (typeof digest === 'string') return answerOfNext(digest)
  if (thrown instanceof Error || typeof location !== 'string') return undefined
  return redirectTo(location, status as number)
}

/**
 * NEXT_REDIRECT;replace;/path;307; and NEXT_HTTP_ERROR_FALLBACK;404, and what Next had before version 15: NEXT_NOT_FOUND, and redirects
 * that end with their path or with `false`.
 */
function answerOfNext(digest: string): Response | undefined {
  const [kind, ...rest] = digest.replace(/;$/, '').split(';')
  if (kind === 'NEXT_REDIRECT') {
    const last = rest.at(-1) ?? ''
    const isStatus = /^3\d\d$/.test(last)
    const path = rest.slice(1, isStatus || last === 'false' ? -1 : undefined)
    return redirectTo(path.join(';'), isStatus ? Number(last) : 307)
  }
  const status = kind === 'NEXT_NOT_FOUND' ? 404 : Number(rest[0])
  const isError = kind === 'NEXT_NOT_FOUND' || kind === 'NEXT_HTTP_ERROR_FALLBACK'
  return isError && status >= 400 && status < 600 ? new Response(null, { status }) : undefined
}

function redirectTo(location: string, status: number): Response | undefined {
  if (!(status >= 300 && status < 400)) return undefined
  // A header has room for one byte a character.
  const Location = /[^\x20-\xff]/.test(location) ? encodeURI(location) : location
  return new Response(null, { status, headers: { Location } })
}

/**
 * The response with a session's headers: a copy, as those of a redirect, or of a response that was fetched, cannot be changed, and
 * one that is made once and returned often must not.
 */
function withHeaders(
  response: Response,
  headers: SessionHeaders,
  cookies: readonly string[] = [],
): Response {
  if (headers.setCookie === undefined && !headers.vary && cookies.length === 0) return response
  let answer
  try {
    answer = copyOf(response)
  } catch {
    if (headers.setCookie !== undefined) cookieNotSent()
    return response
  }
  for (const line of cookies) answer.headers.append('Set-Cookie', line)
  tellSession(answer, answer.headers, headers)
  return answer
}

/** @throws RangeError or TypeError for Response.error(), an upgrade's 101, a body that was read: they cannot be copied. */
function copyOf(response: Response): Response {
  // Some servers put a Response of their own in its place, which takes any status.
  if (response.status < 200) throw new RangeError('A response without a status cannot be copied')
  return new Response(response.body, response)
}

function plainResponse(error: SessionError): Response {
  const { status, body } = plainAnswer(error)
  return new Response(body, { status })
}

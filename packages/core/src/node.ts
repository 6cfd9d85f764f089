// The entry for adapters on node:http: a response is held back until its session is stored and its cookie is set.
import type { OutgoingHttpHeader, ServerResponse } from 'node:http'
import { commitResponse, cookiesTold, headersAfterFailure, tellSession } from './adapter.ts'
import type { Awaitable } from './awaitable.ts'
import type { HeaderTarget, SessionHeaders } from './headers.ts'
import { ResponseHold, type HoldTask } from './hold.ts'
import type { Session } from './session.ts'
import type { CookieInfo, Sessions } from './sessions.ts'

export type { ResponseHold } from './hold.ts'

/**
 * Commits a session when the response is about to send its headers, whichever way the handler answers. Until it is stored
 * everything that is sent is held back, in order, and to whoever looks at the response it is sent.
 * @param info What to tell `commit` besides the status; asked when the headers are due.
 * @param fail Answers instead, if the commit fails: it gets the error, and a response without what was sent so far. What the
 * handler still sends is dropped, as long as `fail` answers within the asynchronous context it was called in.
 * @param target Where the session's headers are set. Default: on the response.
 */
export function commitBeforeHeaders<D extends object>(
  sessions: Sessions<D>,
  session: Session<D>,
  response: ServerResponse,
  info: () => CookieInfo,
  fail: (error: unknown) => void,
  target: HeaderTarget = headersOf(response),
): ResponseHold {
  return new ResponseHold(response, new Commit(sessions, session, response, info, fail, target))
}

/** The commit of one response. */
class Commit<D extends object> implements HoldTask {
  readonly #sessions: Sessions<D>
  readonly #session: Session<D>
  readonly #response: ServerResponse
  readonly #info: () => CookieInfo
  readonly #target: HeaderTarget
  readonly fail: (error: unknown) => void

  constructor(
    sessions: Sessions<D>,
    session: Session<D>,
    response: ServerResponse,
    info: () => CookieInfo,
    fail: (error: unknown) => void,
    target: HeaderTarget,
  ) {
    this.#sessions = sessions
    this.#session = session
    this.#response = response
    this.#info = info
    this.#target = target
    this.fail = fail
  }

  commit(): Awaitable<SessionHeaders> {
    const { statusCode } = this.#response
    return commitResponse(this.#sessions, this.#session, this.#info, statusCode, this.#target)
  }

  tell(headers: SessionHeaders): void {
    tellSession(this.#response, this.#target, headers)
  }

  tellFailure(): void {
    const headers = headersAfterFailure(this.#sessions, this.#session, this.#info)
    for (const line of cookiesTold(this.#response)) {
      if (line !== headers.setCookie) this.#target.append('Set-Cookie', line)
    }
    this.tell(headers)
  }
}

/** The headers of a response that has `getHeader` and `setHeader`, as every response in Node's manner does. */
export function headersOf(response: NodeResponse): HeaderTarget {
  return 'getHeaderNames' in response ? new NamedHeaders(response) : new Headers(response)
}

/**
 * A header's values with one more, in a list that is nobody else's.
 * @param present What `getHeader` gives for it.
 */
export function appended(
  present: OutgoingHttpHeader | undefined,
  value: string,
): string | string[] {
  return present === undefined || present === '' ? value : [present, value].flat().map(String)
}

type NodeResponse = Pick<ServerResponse, 'getHeader' | 'setHeader'>

class Headers implements HeaderTarget {
  protected readonly response: NodeResponse

  constructor(response: NodeResponse) {
    this.response = response
  }

  get(name: string): string | undefined {
    return this.response.getHeader(name)?.toString()
  }

  set(name: string, value: string): void {
    this.response.setHeader(name, value)
  }

  append(name: string, value: string): void {
    this.response.setHeader(name, appended(this.response.getHeader(name), value))
  }
}

/** Those of a response that tells their names too. */
class NamedHeaders extends Headers {
  names(): string[] {
    return (this.response as ServerResponse).getHeaderNames()
  }
}

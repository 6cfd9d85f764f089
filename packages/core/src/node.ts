// The entry for adapters on node:http: a response is held back until its session is stored and its cookie is set.
import type { ServerResponse } from 'node:http'
import { commitResponse, cookiesTold, headersAfterFailure, tellSession } from './adapter.ts'
import { after } from './awaitable.ts'
import type { HeaderTarget } from './headers.ts'
import { ResponseHold } from './hold.ts'
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
  return new ResponseHold(response, {
    commit: () =>
      after(
        commitResponse(sessions, session, info, response.statusCode, target),
        (headers) => () => tellSession(response, target, headers),
      ),
    fail,
    tellFailure() {
      const headers = headersAfterFailure(sessions, session, info)
      for (const line of cookiesTold(response)) {
        if (line !== headers.setCookie) target.append('Set-Cookie', line)
      }
      tellSession(response, target, headers)
    },
  })
}

/** The headers of a response that has `getHeader` and `setHeader`, as every response in Node's manner does. */
export function headersOf(response: Pick<ServerResponse, 'getHeader' | 'setHeader'>): HeaderTarget {
  const { getHeaderNames } = response as Partial<ServerResponse>
  return {
    get: (name) => response.getHeader(name)?.toString(),
    set: (name, value) => void response.setHeader(name, value),
    append(name, value) {
      const present = response.getHeader(name)
      response.setHeader(name, present === undefined ? value : [present, value].flat().map(String))
    },
    ...(getHeaderNames && { names: () => getHeaderNames.call(response as ServerResponse) }),
  }
}

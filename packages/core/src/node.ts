// What adapters for node:http share: a response is held back until its session is stored and its cookie is set.
import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { setImmediate } from 'node:timers'
import { after } from './awaitable.ts'
import { headersAfterFailure } from './adapter.ts'
import { addSessionHeaders, type HeaderTarget } from './headers.ts'
import type { Session } from './session.ts'
import type { CookieInfo, Sessions } from './sessions.ts'

/**
 * Commits a session when the response is about to send its headers, whichever way the handler answers. Until it is stored
 * everything that is sent is held back, in order.
 * @param info What to tell `commit` besides the status; asked when the headers are due.
 * @param fail Answers instead, if the commit fails: it gets the error, and a response without what was sent so far.
 */
export function commitBeforeHeaders<D extends object>(
  sessions: Sessions<D>,
  session: Session<D>,
  response: ServerResponse,
  info: () => CookieInfo,
  fail: (error: unknown) => void,
): void {
  beforeHeaders(
    response,
    () =>
      after(sessions.commit(session, { ...info(), status: response.statusCode }), (headers) =>
        addSessionHeaders(targetOf(response), headers),
      ),
    fail,
    () => addSessionHeaders(targetOf(response), headersAfterFailure(sessions, session, info)),
  )
}

function targetOf(response: ServerResponse): HeaderTarget {
  return {
    get: (name) => response.getHeader(name)?.toString(),
    set: (name, value) => void response.setHeader(name, value),
    append: (name, value) => void response.appendHeader(name, value),
  }
}

/** What describes the body that a failed response did not get to send. */
const BODY_HEADERS = [
  'Content-Type',
  'Content-Length',
  'Content-Encoding',
  'Content-Language',
  'Content-Range',
  'Content-Disposition',
  'Transfer-Encoding',
  'ETag',
  'Last-Modified',
  'Location',
]

/**
 * Runs `task` once, when the response is about to send its headers. Where it takes time, everything the handler sends
 * is held back, in order, until it is done. Where it fails, what was held is dropped and `fail` answers instead;
 * `afterFailure` adds to the headers of that answer.
 */
function beforeHeaders(
  response: ServerResponse,
  task: () => void | Promise<void>,
  fail: (error: unknown) => void,
  afterFailure: () => void,
): void {
  const { writeHead, write, end, flushHeaders } = response
  /** 'failing': `fail` is about to run. The handler does not know yet, and what it still sends is dropped. */
  let phase: 'before' | 'held' | 'passed' | 'failing' | 'failed' | 'answered' = 'before'
  let held: (() => unknown)[] = []

  function begin(): void {
    phase = 'held'
    let running
    try {
      running = task()
    } catch (error) {
      return failed(error)
    }
    if (!running) {
      phase = 'passed'
      return
    }
    // To the handler the headers are gone from here on, and later changes to them or the status come too late.
    Object.defineProperty(response, 'headersSent', { configurable: true, value: true })
    const { statusCode } = response
    running.then(() => release(statusCode), failed)
  }

  function release(statusCode: number): void {
    phase = 'passed'
    delete (response as { headersSent?: boolean }).headersSent
    response.statusCode = statusCode
    try {
      let full
      for (const send of held) full = send() === false
      // A held write told its caller to wait for this event.
      if (!full && !response.writableEnded) response.emit('drain')
    } catch (error) {
      response.destroy(error as Error)
    }
    held = []
  }

  function failed(error: unknown): void {
    phase = 'failing'
    held = []
    delete (response as { headersSent?: boolean }).headersSent
    // In a turn of its own, so that the rest of the handler's synchronous part does not mix with the answer.
    setImmediate(() => {
      phase = 'failed'
      for (const name of BODY_HEADERS) response.removeHeader(name)
      response.statusCode = 200
      response.statusMessage = ''
      fail(error)
    })
  }

  /** Calls `send` now or when the task is done; returns what it returned, or `meanwhile`. */
  function pass<T>(send: () => T, meanwhile: T): T {
    if (phase === 'before') begin()
    if (phase === 'failed') {
      phase = 'answered'
      afterFailure()
    }
    if (phase === 'passed' || (phase === 'answered' && !response.writableEnded)) return send()
    if (phase === 'held') held.push(send)
    return meanwhile
  }

  response.writeHead = ((status: number, ...rest: unknown[]) => {
    if (phase === 'passed' || phase === 'answered') {
      return (writeHead as Function).call(response, status, ...rest)
    }
    if (phase === 'held') throw headersSent()
    applyHead(response, status, rest)
    return pass(() => writeHead.call(response, response.statusCode), response)
  }) as typeof writeHead

  response.write = ((...args: unknown[]) =>
    pass(() => (write as Function).apply(response, args) as boolean, false)) as typeof write

  response.end = ((...args: unknown[]) =>
    pass(() => (end as Function).apply(response, args), response)) as typeof end

  response.flushHeaders = () => pass(() => flushHeaders.call(response), undefined)
}

/** Does what `writeHead(status, reason?, headers?)` says but for sending it, so that its headers meet the others. */
function applyHead(response: ServerResponse, status: number, rest: unknown[]): void {
  response.statusCode = status
  if (typeof rest[0] === 'string') response.statusMessage = rest[0]
  const headers = rest.find((argument) => typeof argument === 'object' && argument !== null)
  if (Array.isArray(headers)) {
    const flat = headers.flat() as OutgoingHttpHeader[]
    for (let i = 0; i < flat.length; i += 2) response.removeHeader(String(flat[i]))
    for (let i = 0; i + 1 < flat.length; i += 2) {
      response.appendHeader(String(flat[i]), flat[i + 1] as string)
    }
  } else {
    for (const [name, value] of Object.entries((headers ?? {}) as OutgoingHttpHeaders)) {
      if (value !== undefined) response.setHeader(name, value)
    }
  }
}

/** What Node itself throws for a second `writeHead`. */
function headersSent(): Error {
  const error = new Error('Cannot write headers after they are sent to the client')
  return Object.assign(error, { code: 'ERR_HTTP_HEADERS_SENT' })
}

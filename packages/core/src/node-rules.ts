// What Node's own response refuses, and what `writeHead` does to the headers: for a response whose sending has to wait.
import { Buffer } from 'node:buffer'
import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'

/** Whether this is the compatibility API of node:http2. */
export function isHttp2(
  response: ServerResponse,
): response is ServerResponse & { readonly stream: { readonly destroyed: boolean } } {
  return 'stream' in response
}

/** What Node throws for a header that comes after the headers. */
export function headersSentError(response: ServerResponse, action: string): Error {
  return isHttp2(response)
    ? coded(new Error('Response has already been initiated.'), 'ERR_HTTP2_HEADERS_SENT')
    : coded(
        new Error(`Cannot ${action} headers after they are sent to the client`),
        'ERR_HTTP_HEADERS_SENT',
      )
}

/** What Node reports of a write that comes after the end. */
export function writeAfterEnd(): Error {
  return coded(new Error('write after end'), 'ERR_STREAM_WRITE_AFTER_END')
}

/** What Node reports of a write to a response that was destroyed. */
export function destroyedError(): Error {
  return coded(new Error('Cannot call write after a stream was destroyed'), 'ERR_STREAM_DESTROYED')
}

/** What Node throws of a body that is longer or shorter than its Content-Length, with `strictContentLength`. */
export function lengthMismatch(length: number, promised: number): Error {
  const error = new Error(
    `Response body's content-length of ${length} byte(s) does not match the content-length of ${promised} byte(s) set in header`,
  )
  return coded(error, 'ERR_HTTP_CONTENT_LENGTH_MISMATCH')
}

/** The status line's text: of http2, which has none, even to ask for it is a warning. */
export function messageOf(response: ServerResponse): string | undefined {
  return isHttp2(response) ? undefined : response.statusMessage
}

/**
 * Makes a response forget what there is no other way to have it forget: that a header was once removed, so that it tells no length and
 * no framing of its own; and its trailers.
 */
export function forgetAnswer(response: ServerResponse): void {
  const properties = response as unknown as Record<PropertyKey, unknown>
  if (isHttp2(response)) {
    const symbols = Object.getOwnPropertySymbols(response)
    const trailers = symbols.find(({ description }) => description === 'trailers')
    if (trailers) properties[trailers] = Object.create(null)
    return
  }
  response.addTrailers?.({})
  for (const name of ['_removedContLen', '_removedTE']) {
    if (name in response) properties[name] = false
  }
}

/** @throws what Node throws for a chunk that is neither text nor bytes, or of an encoding that it does not know. */
export function assertChunk(chunk: unknown, encoding: unknown): void {
  if (typeof chunk === 'string' && typeof encoding === 'string' && !Buffer.isEncoding(encoding)) {
    throw coded(new TypeError(`Unknown encoding: ${encoding}`), 'ERR_UNKNOWN_ENCODING')
  }
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return
  if (chunk === null) {
    throw coded(new TypeError('May not write null values to stream'), 'ERR_STREAM_NULL_VALUES')
  }
  const what = 'The "chunk" argument must be of type string or an instance of Buffer or Uint8Array.'
  throw coded(new TypeError(`${what} Received type ${typeof chunk}`), 'ERR_INVALID_ARG_TYPE')
}

/** @throws what Node throws for a status line that cannot be sent. */
export function assertStatus(response: ServerResponse, status: unknown, message?: string): void {
  const code = (status as number) | 0
  if (code < 100 || code > 999) {
    const error = new RangeError(`Invalid status code: ${String(status)}`)
    const name = isHttp2(response) ? 'ERR_HTTP2_STATUS_INVALID' : 'ERR_HTTP_INVALID_STATUS_CODE'
    throw coded(error, name)
  }
  // oxlint-disable-next-line no-control-regex -- these are what may not be sent
  if (message && /[^\t\x20-\x7e\x80-\xff]/.test(message)) {
    const error = new TypeError('Invalid character in statusMessage')
    throw coded(error, 'ERR_INVALID_CHAR')
  }
}

/**
 * Does what `writeHead(status, reason?, headers?)` says but for sending it, so that its headers meet the others.
 * @throws what Node throws for a status or a header that cannot be sent.
 */
export function applyHead(response: ServerResponse, [status, ...rest]: unknown[]): void {
  const reason = typeof rest[0] === 'string' ? rest[0] : undefined
  const headers = reason === undefined ? (rest[1] ?? rest[0]) : rest[1]
  assertStatus(response, status, reason)
  // Node sets the status first, and its http2 last: what throws between leaves it as it is.
  if (!isHttp2(response)) {
    response.statusCode = (status as number) | 0
    if (reason !== undefined) response.statusMessage = reason
  }
  const isBare = !isHttp2(response) && response.getHeaderNames?.().length === 0
  try {
    if (Array.isArray(headers)) applyList(response, headers, isBare)
    else {
      for (const [name, value] of Object.entries((headers ?? {}) as OutgoingHttpHeaders)) {
        if (isSkipped(response, name, isBare)) continue
        response.setHeader(name, value as OutgoingHttpHeader)
      }
    }
    if (isBare) assertTrailer(response)
  } catch (error) {
    // Where no header was set before, Node sets none: what it refuses leaves nothing for the next answer.
    if (isBare) takeHeadersOff(response)
    throw error
  }
  response.statusCode = (status as number) | 0
}

/** @throws what Node throws for an answer that announces trailers and is not chunked. */
function assertTrailer(response: ServerResponse): void {
  if (!response.hasHeader('Trailer')) return
  const { statusCode, useChunkedEncodingByDefault, req } = response
  const coding = response.getHeader('Transfer-Encoding')
  const isChunked =
    coding === undefined
      ? useChunkedEncodingByDefault &&
        !response.hasHeader('Content-Length') &&
        req.method !== 'HEAD' &&
        statusCode >= 200
      : /\bchunked\b/i.test(String(coding))
  if (isChunked && statusCode !== 204 && statusCode !== 304) return
  const error = new Error('Trailers are invalid with this transfer encoding')
  throw coded(error, 'ERR_HTTP_TRAILER_INVALID')
}

/** What Node remembers of headers that were removed: it sends none of its own in their place. */
const REMOVALS = ['_removedConnection', '_removedContLen', '_removedTE', 'sendDate']

/** Takes all headers off a response as if they had never been set. */
function takeHeadersOff(response: ServerResponse): void {
  const properties = response as unknown as Record<string, unknown>
  const before = REMOVALS.map((name) => [name, properties[name]] as const)
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  for (const [name, value] of before) if (name in response) properties[name] = value
}

/** Beside headers that were set before, Node leaves out what has no name, and refuses it elsewhere. */
function isSkipped(response: ServerResponse, name: string, isBare: boolean): boolean {
  return name === '' && !isBare && !isHttp2(response)
}

type Pair = readonly [name: string, value: string | readonly string[]]

/** @param headers Names and values in turn. Or pairs, which Node takes for names beside headers that were set before. */
function applyList(response: ServerResponse, headers: unknown[], isBare: boolean): void {
  const mayBePairs = isBare || isHttp2(response)
  const isFlat = !mayBePairs || !Array.isArray(headers[0])
  const isOdd = isFlat && headers.length % 2 !== 0
  const pairs = (isFlat ? pairsOf(headers) : headers) as Pair[]
  // Of an odd list Node's http2 finds out later.
  const replaces = isHttp2(response) || !(isBare || isOdd)
  if (replaces) for (const [name] of pairs) response.removeHeader(name)
  if (isOdd) {
    const error = new TypeError("The argument 'headers' is invalid")
    throw coded(error, 'ERR_INVALID_ARG_VALUE')
  }
  for (const [name, value] of pairs) {
    if (isSkipped(response, name, isBare)) continue
    // Node appends to the list that it was given.
    response.appendHeader(name, Array.isArray(value) ? [...value] : value)
  }
}

function pairsOf(list: unknown[]): unknown[][] {
  const pairs = []
  for (let i = 0; i < list.length; i += 2) pairs.push(list.slice(i, i + 2))
  return pairs
}

function coded<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code })
}

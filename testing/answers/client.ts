// The clients of the judge: HTTP/1 byte by byte over a socket, and HTTP/2. Each tells all that came.
import { createHash } from 'node:crypto'
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { constants, gunzipSync } from 'node:zlib'

/** How the client asks. */
export interface Ask {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly version: '1.0' | '1.1'
  readonly body: string
  /** How many requests it sends at once on its connection. Default 1. */
  readonly times: number
  /** Hangs up so many ms after it has asked. */
  readonly hangUp: number
  /** Reads nothing for so many ms. */
  readonly slow: number
  /** Gives up after so many ms without a byte. Default 3000: the store takes 50, the rest is for a busy machine. */
  readonly patience: number
}

/** One answer as it came. */
export interface Answered {
  readonly status: string
  /** Sorted by name; the values of one name in their order. */
  readonly headers: [name: string, value: string][]
  /** How the end of the body is told. */
  readonly framing: 'length' | 'chunked' | 'close' | 'none' | 'stream'
  /** The text, or for a long one its size and SHA-256. */
  body: string
  whole: boolean
  trailers: [name: string, value: string][]
}

/** What the client heard. */
export interface Heard {
  readonly informational: string[]
  readonly answers: Answered[]
  /** What came that is no HTTP. */
  stray: string
  /** What became of the connection: `open` is one that answers another request. */
  connection: 'open' | 'closed' | 'silent'
}

const PATIENCE = 3000

/** The path of the request that tries whether the connection can still be used. */
export const PROBE = '/~probe'

/** A body as text, unpacked: into which pieces it was packed is not the handler's affair. */
function digest(pieces: Buffer[], headers: [string, string][]): string {
  let body = Buffer.concat(pieces)
  const packed = headers.some(
    ([name, value]) => /^content-encoding$/i.test(name) && value === 'gzip',
  )
  try {
    if (packed) body = gunzipSync(body, { finishFlush: constants.Z_SYNC_FLUSH })
  } catch (error) {
    return `${error}: ${body.toString('latin1').slice(0, 200)}`
  }
  if (body.length <= 4000) return body.toString('latin1')
  return `${body.length} bytes, ${createHash('sha256').update(body).digest('hex')}`
}

const byName = ([a]: [string, string], [b]: [string, string]) => {
  const [left, right] = [a.toLowerCase(), b.toLowerCase()]
  return left < right ? -1 : Number(left > right)
}

const linesOf = (text: string): [string, string][] =>
  text
    .split('\r\n')
    .filter(Boolean)
    .map((line): [string, string] => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon), line.slice(colon + 1).trim()]
    })
    .toSorted(byName)

/** Reads answers out of a connection's bytes, as they come. */
function reader(methods: readonly string[], heard: Heard) {
  let left: Buffer = Buffer.alloc(0)
  let current: { answer: Answered; pieces: Buffer[]; remaining: number; in: string } | undefined
  const finish = (whole: boolean) => {
    current!.answer.body = digest(current!.pieces, current!.answer.headers)
    current!.answer.whole = whole
    current = undefined
  }

  function head(): boolean {
    const end = left.indexOf('\r\n\r\n')
    if (!left.subarray(0, 5).equals(Buffer.from('HTTP/').subarray(0, left.length))) {
      heard.stray += left.toString('latin1').slice(0, 200)
      left = Buffer.alloc(0)
      return false
    }
    if (end < 0) return false
    const text = left.subarray(0, end).toString('latin1')
    left = left.subarray(end + 4)
    const [status = '', ...rest] = text.split('\r\n')
    const headers = linesOf(rest.join('\r\n'))
    const code = Number(status.split(' ')[1])
    if (code < 200) {
      heard.informational.push([status, ...headers.map((header) => header.join(': '))].join(' | '))
      return true
    }
    const value = (wanted: string) => headers.find(([name]) => name.toLowerCase() === wanted)?.[1]
    const length = value('content-length')
    const bodiless = methods[heard.answers.length] === 'HEAD' || code === 204 || code === 304
    const framing = bodiless
      ? 'none'
      : value('transfer-encoding')?.includes('chunked')
        ? 'chunked'
        : length === undefined
          ? 'close'
          : 'length'
    const answer: Answered = { status, headers, framing, body: '', whole: false, trailers: [] }
    heard.answers.push(answer)
    current = {
      answer,
      pieces: [],
      remaining: Number(length),
      in: framing === 'chunked' ? 'size' : framing,
    }
    if (framing === 'none' || (framing === 'length' && current.remaining === 0)) finish(true)
    return true
  }

  function body(): boolean {
    const state = current!
    if (state.in === 'close') {
      state.pieces.push(left)
      left = Buffer.alloc(0)
      return false
    }
    if (state.in === 'size' || state.in === 'trailers') {
      const end = left.indexOf('\r\n')
      if (end < 0) return false
      const line = left.subarray(0, end).toString('latin1')
      left = left.subarray(end + 2)
      if (state.in === 'trailers') {
        if (line) state.answer.trailers.push(...linesOf(line))
        else finish(true)
        return true
      }
      state.remaining = parseInt(line, 16)
      state.in = state.remaining === 0 ? 'trailers' : 'data'
      return true
    }
    if (left.length === 0) return false
    const piece = left.subarray(0, state.remaining)
    left = left.subarray(piece.length)
    state.remaining -= piece.length
    state.pieces.push(piece)
    if (state.remaining > 0) return false
    if (state.in === 'length') {
      finish(true)
      return true
    }
    // The line's end after a chunk.
    if (state.in === 'data') {
      state.in = 'chunk end'
      state.remaining = 2
    } else {
      state.pieces.pop()
      state.in = 'size'
    }
    return true
  }

  return {
    read(bytes: Buffer) {
      left = left.length ? Buffer.concat([left, bytes]) : bytes
      while (left.length && (current ? body() : head()));
    },
    /** The connection has ended. */
    end() {
      if (current) finish(current.in === 'close')
    },
    /** How many answers are here to their ends. */
    get whole() {
      return heard.answers.length - Number(current !== undefined)
    },
  }
}

/** Asks over HTTP/1, and tries the connection with another request when it has its answers. */
export async function askHttp1(
  port: number,
  ask: Partial<Ask>,
  beforeLeaving: () => void,
): Promise<Heard> {
  const { method = 'GET', headers = {}, version = '1.1', body = '', times = 1, hangUp, slow } = ask
  const { patience = PATIENCE } = ask
  const heard: Heard = { informational: [], answers: [], stray: '', connection: 'silent' }
  const read = reader([...Array.from({ length: times }, () => method), 'GET'], heard)
  const socket = connect(port, '127.0.0.1')
  const line = { closed: false }
  let lastByte = Date.now()
  let change = () => {}
  socket.on('data', (bytes) => {
    lastByte = Date.now()
    read.read(bytes as Buffer)
    change()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    line.closed = true
    read.end()
    change()
  })
  const until = async (done: () => boolean) => {
    while (!done() && !line.closed && Date.now() - lastByte < patience) {
      const changed = new Promise<void>((resolve) => (change = resolve))
      await Promise.race([changed, setTimeout(patience / 4, undefined, { ref: false })])
    }
  }
  const lines = [`${method} / HTTP/${version}`, 'Host: localhost']
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  if (body) lines.push(`Content-Length: ${body.length}`)
  socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`.repeat(times))
  if (slow !== undefined) {
    socket.pause()
    await setTimeout(slow)
    socket.resume()
    lastByte = Date.now()
  }
  if (hangUp !== undefined) {
    await setTimeout(hangUp)
    socket.resetAndDestroy()
    await until(() => line.closed)
    return { ...heard, connection: 'closed' }
  }
  await until(() => read.whole >= times)
  if (!line.closed && read.whole >= times) {
    const closing = heard.answers.some(({ headers: sent }) =>
      sent.some(([name, value]) => /^connection$/i.test(name) && /close/i.test(value)),
    )
    if (!closing) socket.write(`GET ${PROBE} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await until(() => line.closed || (!closing && read.whole > times))
  }
  if (line.closed) heard.connection = 'closed'
  else {
    const probe = heard.answers[times]
    if (probe?.body === 'probe' && probe.whole) {
      heard.connection = 'open'
      heard.answers.splice(times, 1)
    }
    beforeLeaving()
  }
  socket.destroy()
  await until(() => line.closed)
  read.end()
  return heard
}

const pairs = (headers: IncomingHttpHeaders): [string, string][] =>
  Object.entries(headers)
    .flatMap(([name, values]) =>
      [values ?? []].flat().map((value): [string, string] => [name, value]),
    )
    .toSorted(byName)

/** Asks over HTTP/2 without TLS, and tries the connection with another request when it has its answer. */
export async function askHttp2(
  port: number,
  ask: Partial<Ask>,
  beforeLeaving: () => void,
): Promise<Heard> {
  const { method = 'GET', headers = {}, body = '', hangUp, slow, patience = PATIENCE } = ask
  const heard: Heard = { informational: [], answers: [], stray: '', connection: 'silent' }
  const client = connectHttp2(`http://127.0.0.1:${port}`)
  client.on('error', () => {})
  const one = (path: string) =>
    new Promise<Answered | undefined>((resolve) => {
      const stream = client.request({
        ':method': path === '/' ? method : 'GET',
        ':path': path,
        ...(path === '/' && headers),
      })
      const pieces: Buffer[] = []
      let answer: Answered | undefined
      let ended = false
      const timer = globalThis.setTimeout(() => stream.destroy(), patience)
      stream.on('headers', (sent) =>
        heard.informational.push(`${sent[':status']} ${JSON.stringify(sent)}`),
      )
      stream.on('response', (sent) => {
        answer = {
          status: String(sent[':status']),
          headers: pairs({ ...sent, ':status': undefined }),
          framing: 'stream',
          body: '',
          whole: false,
          trailers: [],
        }
      })
      stream.on('trailers', (sent) => answer && (answer.trailers = pairs(sent)))
      stream.on('data', (piece) => {
        timer.refresh()
        pieces.push(piece as Buffer)
      })
      stream.on('end', () => (ended = true))
      stream.on('error', () => {})
      stream.on('close', () => {
        clearTimeout(timer)
        if (answer) {
          answer.body = digest(pieces, answer.headers)
          answer.whole = ended && stream.rstCode === 0
        }
        resolve(answer)
      })
      if (slow !== undefined) {
        stream.pause()
        globalThis.setTimeout(() => stream.resume(), slow)
      }
      if (hangUp !== undefined && path === '/')
        globalThis.setTimeout(() => client.destroy(), hangUp)
      stream.end((path === '/' && body) || undefined)
    })
  const first = await one('/')
  if (first) heard.answers.push(first)
  if (hangUp !== undefined || client.closed || client.destroyed) heard.connection = 'closed'
  else {
    const probe = await one(PROBE)
    heard.connection = probe?.body === 'probe' ? 'open' : 'closed'
    beforeLeaving()
  }
  client.destroy()
  return heard
}

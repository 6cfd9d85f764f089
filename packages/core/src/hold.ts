// A response of node:http that waits for its session. To the handler, the framework and every wrapper it is sent from the moment
// its headers are due; the client gets it when the session is stored, or the answer to the failure instead, whole.
import { AsyncLocalStorage } from 'node:async_hooks'
import { Buffer } from 'node:buffer'
import type { ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { isPromise, type Awaitable } from './awaitable.ts'
import { isOfAnswer, plainAnswer } from './failure.ts'
import { linger } from './linger.ts'
import {
  applyHead,
  assertChunk,
  assertStatus,
  destroyedError,
  forgetRemovals,
  headersSentError,
  isHttp2,
  lengthMismatch,
  messageOf,
  writeAfterEnd,
} from './node-rules.ts'

/** What a response waits for, and who answers if that fails. */
export interface HoldTask {
  /** Stores the session, and gives what adds its headers to the response. That is called before anything else is sent. */
  readonly commit: () => Awaitable<() => void>
  /** Answers instead if the commit fails: on the same response, which has nothing of what was sent so far. */
  readonly fail: (error: unknown) => void
  /** Adds the session's headers to that answer. */
  readonly tellFailure: () => void
}

type Callback = (error?: Error | null) => void

/** A call that waits. */
interface Kept {
  readonly call: () => unknown
  readonly callback: Callback | undefined
}

/** Whose failure is being answered. With two sessions on one response one answer can be made within another. */
interface Answering {
  readonly hold: ResponseHold
  readonly within: Answering | undefined
}

/** What is called from anywhere else belongs to the answer that was dropped. */
const answering = new AsyncLocalStorage<Answering>()

/**
 * An error handler that answers from outside the asynchronous context it was called in cannot be told from the handler: so
 * long, in ms, after somebody has ended the response from outside, the client gets a plain answer.
 */
const PATIENCE = 1000

/** Where Node's `writableHighWaterMark` is not to be had: bytes. */
const HIGH_WATER_MARK = 16_384

const SETTERS = {
  setHeader: 'set',
  setHeaders: 'set',
  appendHeader: 'append',
  removeHeader: 'remove',
} as const

type State = 'open' | 'held' | 'sent' | 'failing' | 'failed'

/** Holds one response. Its states are a table in ARCHITECTURE.md. */
export class ResponseHold {
  readonly #response: ServerResponse
  readonly #commit: HoldTask['commit']
  readonly #tellFailure: HoldTask['tellFailure']
  #fail: HoldTask['fail']
  /** The methods as they were when the session was opened: what has wrapped them before stays at work. */
  readonly #native: Pick<ServerResponse, 'writeHead' | 'write' | 'end' | 'flushHeaders'>
  readonly #own: Record<string, Function>
  #state: State = 'open'
  #kept: Kept[] = []
  #keptBytes = 0
  /** A write was told to wait for `drain`. */
  #isFull = false
  /** The handler has ended its answer. */
  #isEnded = false
  /** So long ago that Node would have closed the response. */
  #isLate = false
  /** The answer was not sent in the turn in which it was due. */
  #hasWaited = false
  #statusCode = 200
  #statusMessage: string | undefined
  /** The response's properties as they were before it seemed to be something else. */
  #covered: [name: string, own: PropertyDescriptor | undefined][] = []
  #sources: Readable[] | undefined
  /** How many listened for errors of the response when the session was opened. */
  readonly #errorListeners: number
  /** The handler has destroyed what it was sending. */
  #destruction: { readonly error: Error | undefined } | undefined
  #isDraining = false
  /** The client is gone: Node has destroyed the response. */
  #isGone = false
  /** Lets the connection go; says whether somebody wanted to close it. */
  #letGo: (() => boolean) | undefined
  /** Why the commit failed. */
  #error: unknown
  #isTold = false
  #patience: NodeJS.Timeout | undefined

  /** @param response One that is not begun. Of a response that is not Node's, `setHeader` and `getHeader` are enough. */
  constructor(response: ServerResponse, { commit, fail, tellFailure }: HoldTask) {
    this.#response = response
    this.#commit = commit
    this.#fail = fail
    this.#tellFailure = tellFailure
    const { writeHead, write, end, flushHeaders } = response
    this.#native = { writeHead, write, end, flushHeaders }
    const begin = (...args: unknown[]) => this.#writeHead(args)
    this.#own = {
      writeHead: begin,
      // Node's old name for it.
      writeHeader: begin,
      write: (...args: unknown[]) => this.#write(args),
      end: (...args: unknown[]) => this.#end(args),
      flushHeaders: () => this.#flushHeaders(),
    }
    this.#takeMethods()
    this.#errorListeners = response.listenerCount?.('error') ?? 0
    response.on?.('pipe', (source: Readable) => void (this.#sources ??= []).push(source))
  }

  /**
   * Commits for an answer that is complete and that a framework keeps meanwhile; from then on it may send it. To everybody else
   * the response is sent and ended.
   * @param send Called once the session is stored, in this turn if that takes no time.
   * @param fail Called instead of the hold's own `fail`.
   */
  settle(send: () => void, fail: (error: unknown) => void): void {
    this.#fail = fail
    const state = this.#due()
    if (state === 'held') {
      this.#seemEnded()
      this.#kept.push({ call: send, callback: undefined })
    } else if (this.#isHeard()) send()
  }

  #writeHead(args: unknown[]): unknown {
    const response = this.#response
    const isFirst = this.#state === 'open'
    // Of a response that is not Node's all that is known is that its headers are due.
    const isNodes = 'statusCode' in response
    if (isFirst && isNodes) {
      applyHead(response, args)
      args = [response.statusCode]
    }
    const send = () => (this.#native.writeHead as Function).apply(response, args)
    if (this.#due() === 'held') {
      if (isFirst) return this.#keep(send)
      throw headersSentError(response, 'write')
    }
    return this.#isHeard() ? send() : response
  }

  #flushHeaders(): void {
    const response = this.#response
    const { flushHeaders } = this.#native
    if (this.#due() === 'held') this.#keep(() => flushHeaders.call(response))
    else if (this.#isHeard()) flushHeaders.call(response)
  }

  #write(args: unknown[]): boolean {
    const response = this.#response
    const { write } = this.#native
    const [chunk, encoding, callback] = argumentsOf(args)
    assertChunk(chunk)
    if (this.#due() === 'held') {
      if (this.#isEnded) return this.#refuse(callback)
      if (this.#destruction) return this.#drop(callback, destroyedError())
      this.#assertLength(chunk, false)
      const own = ownChunk(chunk)
      this.#keep(() => (write as Function).call(response, own, encoding, callback), callback)
      this.#keptBytes += Buffer.byteLength(own as string)
      this.#isFull = this.#keptBytes >= (response.writableHighWaterMark ?? HIGH_WATER_MARK)
      return !this.#isFull
    }
    if (!this.#isHeard()) return this.#drop(callback)
    if (this.#hasWaited && response.writableEnded) return this.#refuse(callback)
    return (write as Function).apply(response, args)
  }

  #end(args: unknown[]): unknown {
    const response = this.#response
    const { end } = this.#native
    const [chunk, encoding, callback] = argumentsOf(args)
    if (chunk) assertChunk(chunk)
    const state = this.#due()
    if (state === 'held') {
      const isFirst = !this.#isEnded
      if (isFirst) this.#assertLength(chunk, true)
      if (chunk && !isFirst) this.#refuseEnd(callback)
      else if (this.#destruction) this.#drop(callback, destroyedError())
      else if (isFirst || callback) {
        const own = ownChunk(chunk)
        this.#keep(() => (end as Function).call(response, own, encoding, callback), callback)
      }
      if (isFirst) this.#seemEnded()
      return response
    }
    if (this.#isHeard()) {
      if (this.#hasWaited && response.writableEnded && chunk) this.#refuseEnd(callback)
      else (end as Function).apply(response, args)
      return response
    }
    if (state === 'failed') {
      this.#patience ??= setTimeout(() => this.#answerPlainly(), PATIENCE)
    } else if (!this.#isEnded) this.#seemEnded()
    this.#drop(callback)
    return response
  }

  /** The headers are due: sees to it that they can go. */
  #due(): State {
    if (this.#state === 'open') this.#begin()
    return this.#state
  }

  #begin(): void {
    const response = this.#response
    if ('statusCode' in response) assertStatus(response, response.statusCode, messageOf(response))
    let committed
    try {
      committed = this.#commit()
      if (!isPromise(committed)) committed()
    } catch (error) {
      return this.#failed(error)
    }
    if (!isPromise(committed)) {
      this.#state = 'sent'
      return
    }
    this.#state = 'held'
    this.#hasWaited = true
    this.#statusCode = response.statusCode
    this.#statusMessage = messageOf(response)
    this.#seemSent()
    committed.then(
      (tell) => this.#release(tell),
      (error) => this.#failed(error),
    )
  }

  /** The session is stored: what was kept goes out, in order. */
  #release(tell: () => void): void {
    const response = this.#response
    this.#uncover()
    this.#state = 'sent'
    if (isHttp2(response) && response.stream.destroyed) return this.#letGoOfAll(destroyedError())
    // What the handler has made of the status since then comes too late for the client, and is there to be read.
    const { statusCode } = response
    const kept = this.#kept
    this.#kept = []
    try {
      tell()
      this.#setStatus(this.#statusCode, this.#statusMessage)
      for (const { call } of kept) call()
      if (statusCode !== this.#statusCode) response.statusCode = statusCode
      if (this.#isFull && !response.writableEnded && !response.writableNeedDrain) {
        response.emit('drain')
      }
    } catch (error) {
      response.destroy(error as Error)
    }
    if (this.#destruction) response.destroy(this.#destruction.error)
    if (this.#letGo?.()) response.socket?.destroy()
  }

  /** The session is not stored: the answer is dropped, and all that waits for it is let go. */
  #failed(error: unknown): void {
    if (this.#state === 'open') this.#seemSent()
    this.#state = 'failing'
    this.#hasWaited = true
    this.#error = error
    this.#letGoOfAll(error)
    setImmediate(() => this.#answer())
  }

  /**
   * Nothing of what the handler sends is taken any more: callbacks are told why, and so is who has listened for errors of the
   * response since the session was opened, a `pipeline` for one; sources are closed. In turns of their own, so that nothing of
   * the handler's mixes with the answer to a failure.
   */
  #letGoOfAll(error: unknown): void {
    const response = this.#response
    for (const { callback } of this.#kept) this.#drop(callback, error)
    this.#kept = []
    for (const source of this.#sources ?? []) {
      source.unpipe?.(response)
      source.destroy?.()
    }
    process.nextTick(() => {
      const listeners = response.rawListeners?.('error') ?? []
      for (const listener of listeners.slice(this.#errorListeners)) listener.call(response, error)
    })
    this.#drain()
  }

  #answer(): void {
    const response = this.#response
    this.#uncover()
    this.#state = 'failed'
    if (response.headersSent) {
      // Somebody has gone past the hold: what is out cannot be taken back, and shall not look whole.
      response.destroy(this.#error as Error)
      return
    }
    this.#takeMethods()
    for (const name of response.getHeaderNames?.() ?? []) {
      if (isOfAnswer(name)) response.removeHeader?.(name)
    }
    if (!isHttp2(response)) forgetRemovals(response)
    this.#setStatus(plainAnswer(this.#error).status, undefined)
    if (!isHttp2(response)) response.addTrailers?.({})
    this.#seemDropped()
    if (this.#letGo?.()) response.once('finish', () => response.socket?.destroy())
    this.#answerBy(() => {
      try {
        this.#fail(this.#error)
      } catch {
        this.#answerPlainly()
      }
    })
  }

  #answerBy(answer: () => void): void {
    answering.run({ hold: this, within: answering.getStore() }, answer)
  }

  /** Whether what happens now is part of the answer to the failure, and not of the one that was dropped. */
  get #isAnswering(): boolean {
    let one = this.#state === 'failed' ? answering.getStore() : undefined
    while (one && one.hold !== this) one = one.within
    return one !== undefined
  }

  /** Where the application does not answer the failure. */
  #answerPlainly(): void {
    const response = this.#response
    this.#answerBy(() => {
      if (response.headersSent || response.destroyed) return
      const { status, body } = plainAnswer(this.#error)
      response.statusCode = status
      response.setHeader('Content-Type', 'text/plain; charset=utf-8')
      response.setHeader('Content-Length', Buffer.byteLength(body))
      response.end(body)
    })
  }

  /** Whether a call reaches the response. */
  #isHeard(): boolean {
    if (this.#state === 'sent') return true
    if (!this.#isAnswering) return false
    clearTimeout(this.#patience)
    if (!this.#isTold) {
      this.#isTold = true
      if (!this.#response.headersSent) this.#tellFailure()
    }
    return true
  }

  /** @throws as Node does with `strictContentLength`. */
  #assertLength(chunk: unknown, isEnd: boolean): void {
    const response = this.#response
    if (!response.strictContentLength || !response.hasHeader('Content-Length')) return
    const promised = Number(response.getHeader('Content-Length'))
    const length = this.#keptBytes + (chunk ? Buffer.byteLength(chunk as string) : 0)
    if (length > promised || (isEnd && length < promised)) throw lengthMismatch(length, promised)
  }

  #keep(call: () => unknown, callback?: Callback): ServerResponse {
    this.#kept.push({ call, callback })
    return this.#response
  }

  /** A write to an answer that was dropped or destroyed. */
  #drop(callback: Callback | undefined, error = this.#error): false {
    if (callback) process.nextTick(callback, error)
    if (this.#state !== 'held') this.#drain()
    return false
  }

  /** Whoever waits to write more goes on, and finds that nobody takes it. */
  #drain(): void {
    const response = this.#response
    if (this.#isDraining || response.writableFinished) return
    this.#isDraining = true
    setImmediate(() => {
      this.#isDraining = false
      response.emit?.('drain')
    })
  }

  /** A write after the end. */
  #refuse(callback: Callback | undefined): false {
    const response = this.#response
    const error = writeAfterEnd()
    process.nextTick(() => {
      callback?.(error)
      const isHeard = !this.#isLate && !isHttp2(response) && response.listenerCount?.('error') > 0
      if (isHeard) response.emit('error', error)
    })
    return false
  }

  /** A second end, with more to send. */
  #refuseEnd(callback: Callback | undefined): void {
    if (!isHttp2(this.#response)) this.#refuse(callback)
    else if (callback) process.nextTick(callback)
  }

  #takeMethods(): void {
    for (const [name, method] of Object.entries(this.#own)) {
      if (name in this.#response)
        (this.#response as unknown as Record<string, Function>)[name] = method
    }
  }

  #setStatus(code: number, message: string | undefined): void {
    const response = this.#response
    if (response.statusCode !== code) response.statusCode = code
    if (messageOf(response) !== message) response.statusMessage = message!
  }

  #seemSent(): void {
    const response = this.#response
    this.#cover('headersSent', { get: () => true })
    // What several wrappers look at.
    this.#cover('_header', { value: 'HTTP/1.1 held\r\n\r\n', writable: true })
    this.#cover('writableLength', { get: () => this.#keptBytes })
    this.#cover('writableNeedDrain', { get: () => this.#isFull && !this.#isEnded })
    this.#coverDestroy()
    for (const [name, action] of Object.entries(SETTERS)) {
      this.#cover(name, {
        value() {
          throw headersSentError(response, action)
        },
      })
    }
  }

  #seemEnded(): void {
    const response = this.#response
    this.#isEnded = true
    this.#cover('finished', { value: true, writable: true })
    this.#cover('writableEnded', { get: () => true })
    if (!isHttp2(response)) this.#cover('addTrailers', { value() {} })
    setImmediate(() => {
      this.#isLate = true
    })
    const { socket } = response
    if (this.#state === 'held' && socket && !isHttp2(response)) this.#letGo = linger(socket)
  }

  /** The response is the error answer's: nobody else changes anything. */
  #seemDropped(): void {
    const response = this.#response as unknown as Record<string, any>
    for (const name of Object.keys(SETTERS)) {
      const native = response[name] as Function | undefined
      this.#cover(name, {
        value: (...args: unknown[]) =>
          this.#isAnswering ? native?.apply(response, args) : response,
        writable: true,
      })
    }
    this.#coverDestroy()
  }

  /** What is kept goes out before the response is destroyed; an answer that is dropped cannot destroy the one to the failure. */
  #coverDestroy(): void {
    const response = this.#response
    const { destroy } = response
    this.#cover('destroy', {
      value: (error?: Error) => {
        if (this.#isAnswering) return destroy.call(response, error)
        if (this.#state === 'held') this.#destruction ??= { error }
        return response
      },
      writable: true,
    })
    const otherwise = 'destroyed' in response ? false : undefined
    this.#isGone ||= response.destroyed ?? false
    this.#cover('destroyed', {
      get: () => this.#isGone || (!this.#isAnswering && this.#seemsDestroyed) || otherwise,
      set: (isGone: boolean) => void (this.#isGone = isGone),
    })
  }

  get #seemsDestroyed(): boolean {
    return this.#destruction !== undefined || this.#state === 'failing' || this.#state === 'failed'
  }

  #cover(name: string, descriptor: PropertyDescriptor): void {
    const response = this.#response
    // http2's response does not say so itself.
    if (!(name in response) && name !== 'destroyed') return
    this.#covered.push([name, Object.getOwnPropertyDescriptor(response, name)])
    Object.defineProperty(response, name, { ...descriptor, configurable: true })
  }

  #uncover(): void {
    const response = this.#response as unknown as Record<string, unknown>
    for (const [name, own] of this.#covered.toReversed()) {
      if (own) Object.defineProperty(response, name, own)
      else delete response[name]
    }
    this.#covered = []
    if (this.#isGone) response['destroyed'] = true
  }
}

/** The arguments of `write` and `end`, each where it belongs. */
function argumentsOf(args: unknown[]): [unknown, unknown, Callback | undefined] {
  const [chunk, encoding, callback] = args
  if (typeof chunk === 'function') return [undefined, undefined, chunk as Callback]
  if (typeof encoding === 'function') return [chunk, undefined, encoding as Callback]
  return [chunk, encoding, typeof callback === 'function' ? (callback as Callback) : undefined]
}

/** Bytes that stay as they are when the caller uses its buffer for something else. */
function ownChunk(chunk: unknown): unknown {
  return chunk instanceof Uint8Array ? Buffer.from(chunk) : chunk
}

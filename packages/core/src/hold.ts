// A response of node:http that waits for its session. To the handler, the framework and every wrapper it is sent from the moment
// its headers are due; the client gets it when the session is stored, or the answer to the failure instead, whole.
import { AsyncLocalStorage } from 'node:async_hooks'
import { Buffer } from 'node:buffer'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Stream, type Readable } from 'node:stream'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { isPromise, type Awaitable } from './awaitable.ts'
import { isOfAnswer, plainAnswer } from './failure.ts'
import { guiseOf, seemDropped, type Guise } from './guise.ts'
import type { SessionHeaders } from './headers.ts'
import { closeSoon, linger, LONGEST } from './linger.ts'
import {
  applyHead,
  assertChunk,
  assertStatus,
  destroyedError,
  forgetAnswer,
  headersSentError,
  isHttp2,
  lengthMismatch,
  messageOf,
  writeAfterEnd,
} from './node-rules.ts'

/** What a response waits for, and who answers if that fails. */
export interface HoldTask {
  /** Stores the session, and gives what the response is to tell the client. */
  commit(): Awaitable<SessionHeaders>
  /** Adds that to the response, before anything else is sent. */
  tell(headers: SessionHeaders): void
  /** Answers instead if the commit fails: on the same response, which has nothing of what was sent so far. */
  readonly fail: (error: unknown) => void
  /** Adds the session's headers to that answer. */
  tellFailure(): void
}

type Callback = (error?: unknown) => void

/** A call that waits. */
interface Kept {
  readonly call: () => unknown
  readonly callback: Callback | undefined
}

/** What there is of a response that did not go out in the turn in which it was due. */
interface Wait {
  readonly guise: Guise
  /** As they were when the headers were due. */
  readonly statusCode: number
  readonly statusMessage: string | undefined
  kept: Kept[]
  keptBytes: number
  /** A write was told to wait for `drain`. */
  isFull: boolean
  /** The handler has ended its answer. */
  isEnded: boolean
  /** So long ago that Node would have closed the response. */
  isLate: boolean
  /** The connection, of an answer that was ended: a pipeline takes it from a request that it destroys. */
  socket: Socket | undefined
  /** Lets the connection go. */
  letGo: ((close: boolean) => boolean) | undefined
}

/** The answer to a failed commit. */
interface Failure {
  readonly error: unknown
  /** The session's headers are on it. */
  isTold: boolean
  /** The client has got a plain answer, so that whoever answers now is too late. */
  isOvertaken: boolean
  isDraining: boolean
  /** Somebody wanted to close the connection after the answer that was dropped. */
  isClosing: boolean
  patience: NodeJS.Timeout | undefined
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
const PATIENCE = 3000

/** Where Node's `writableHighWaterMark` is not to be had: bytes. */
const HIGH_WATER_MARK = 16_384

type State = 'open' | 'held' | 'sent' | 'failing' | 'failed'

/** Holds one response. Its states are a table in ARCHITECTURE.md. */
export class ResponseHold {
  readonly #response: ServerResponse
  readonly #task: HoldTask
  #fail: HoldTask['fail']
  #state: State = 'open'
  /** The methods as they were when the session was opened: what has wrapped them before stays at work. */
  readonly #native: Pick<
    ServerResponse,
    'writeHead' | 'write' | 'end' | 'flushHeaders' | 'on' | 'once'
  >
  readonly #own: Pick<ServerResponse, 'writeHead' | 'write' | 'end' | 'flushHeaders'>
  #wait: Wait | undefined
  #failure: Failure | undefined
  #sources: Readable[] | undefined
  /** How many listened for errors of the response when the session was opened. */
  readonly #errorListeners: number

  /** @param response One that is not begun. Of a response that is not Node's, `setHeader` and `getHeader` are enough. */
  constructor(response: ServerResponse, task: HoldTask) {
    this.#response = response
    this.#task = task
    this.#fail = task.fail
    const { writeHead, write, end, flushHeaders, on, once } = response
    this.#native = { writeHead, write, end, flushHeaders, on, once }
    this.#own = {
      writeHead: (...args: unknown[]) => this.#writeHead(args) as ServerResponse,
      write: (...args: unknown[]) => this.#write(args),
      end: (...args: unknown[]) => this.#end(args) as ServerResponse,
      flushHeaders: () => this.#flushHeaders(),
    }
    const own = this.#own
    response.writeHead = own.writeHead
    response.write = own.write
    response.end = own.end
    response.flushHeaders = own.flushHeaders
    // Node's old name for it.
    ;(response as { writeHeader?: Function }).writeHeader = own.writeHead
    this.#errorListeners = response.listenerCount?.('error') ?? 0
    ;(on as Function | undefined)?.call(
      response,
      'pipe',
      (source: Readable) => void (this.#sources ??= []).push(source),
    )
  }

  /**
   * Commits for an answer that is complete and that a framework keeps meanwhile; from then on it may send it. To everybody else
   * the response is sent and ended.
   * @param send Called once the session is stored, in this turn if that takes no time.
   * @param fail Called instead of the hold's own `fail`.
   * @returns Whether `send` was called.
   */
  settle(send: () => void, fail: (error: unknown) => void): boolean {
    this.#fail = fail
    const state = this.#due()
    if (this.#isHeard()) {
      send()
      return true
    }
    if (state === 'failed') this.#losePatience()
    else if (!this.#wait!.isEnded) {
      this.#wait!.kept.push({ call: send, callback: undefined })
      this.#seemEnded()
    }
    return false
  }

  #writeHead(args: unknown[]): unknown {
    const response = this.#response
    const { writeHead } = this.#native
    const isFirst = this.#state === 'open'
    // Of a response that is not Node's all that is known is that its headers are due.
    if (isFirst && 'statusCode' in response) {
      applyHead(response, args)
      args = [response.statusCode]
    }
    const state = this.#due()
    if (this.#isHeard()) return (writeHead as Function).apply(response, args)
    if (state === 'held' && !isFirst) throw headersSentError(response, 'write')
    if (state === 'held') this.#keep(() => (writeHead as Function).apply(response, args))
    return response
  }

  #flushHeaders(): void {
    const response = this.#response
    const { flushHeaders } = this.#native
    const state = this.#due()
    if (this.#isHeard()) (flushHeaders as Function | undefined)?.call(response)
    else if (state === 'held')
      this.#keep(() => (flushHeaders as Function | undefined)?.call(response))
  }

  #write(args: unknown[]): boolean {
    const response = this.#response
    const { write } = this.#native
    assertChunk(args[0], args[1])
    const state = this.#due()
    if (this.#isHeard()) {
      if (this.#wait && response.writableEnded) return this.#refuse(argumentsOf(args)[2])
      return (write as Function).apply(response, args)
    }
    const [chunk, encoding, callback] = argumentsOf(args)
    if (state !== 'held') return this.#drop(callback)
    const wait = this.#wait!
    if (wait.isEnded) return this.#refuse(callback)
    if (wait.guise.destruction) return this.#drop(callback, destroyedError())
    this.#assertLength(chunk, encoding, false)
    const own = ownChunk(chunk)
    this.#keep(() => (write as Function).call(response, own, encoding, callback), callback)
    wait.keptBytes += bytesOf(own, encoding)
    wait.isFull = wait.keptBytes >= (response.writableHighWaterMark ?? HIGH_WATER_MARK)
    wait.guise.seemWritten(wait.keptBytes, wait.isFull)
    return !wait.isFull
  }

  #end(args: unknown[]): unknown {
    const response = this.#response
    const { end } = this.#native
    const [chunk, encoding, callback] = argumentsOf(args)
    if (chunk) assertChunk(chunk, encoding)
    const state = this.#due()
    if (this.#isHeard()) {
      if (this.#wait && response.writableEnded && chunk) this.#refuseEnd(callback)
      else (end as Function).apply(response, args)
      if (state === 'failed') {
        clearTimeout(this.#failure!.patience)
        if (this.#failure!.isClosing) closeSoon(this.#wait!.socket!)
      }
      return response
    }
    if (state === 'failed') this.#losePatience()
    if (state !== 'held') {
      this.#drop(callback)
      if (state === 'failing' && !this.#wait!.isEnded) this.#seemEnded()
      return response
    }
    const wait = this.#wait!
    if (!wait.isEnded) this.#assertLength(chunk, encoding, true)
    if (wait.isEnded && chunk) this.#refuseEnd(callback)
    else if (wait.guise.destruction) this.#drop(callback, destroyedError())
    else if (!wait.isEnded || callback) {
      const own = ownChunk(chunk)
      this.#keep(() => (end as Function).call(response, own, encoding, callback), callback)
    }
    if (!wait.isEnded) this.#seemEnded()
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
      committed = this.#task.commit()
      if (!isPromise(committed)) this.#task.tell(committed)
    } catch (error) {
      this.#startWaiting()
      return this.#failed(error)
    }
    if (!isPromise(committed)) {
      this.#state = 'sent'
      this.#giveMethodsBack()
      return
    }
    this.#state = 'held'
    this.#startWaiting()
    committed.then(
      (headers) => this.#release(headers),
      (error) => this.#failed(error),
    )
  }

  #startWaiting(): void {
    const response = this.#response
    this.#wait = {
      guise: guiseOf(response),
      statusCode: response.statusCode,
      statusMessage: messageOf(response),
      kept: [],
      keptBytes: 0,
      isFull: false,
      isEnded: false,
      isLate: false,
      socket: undefined,
      letGo: undefined,
    }
    this.#wait.guise.seemSent()
  }

  /** The session is stored: what was kept goes out, in order. */
  #release(headers: SessionHeaders): void {
    const response = this.#response
    const wait = this.#wait!
    const { guise, kept } = wait
    guise.lift()
    this.#state = 'sent'
    if (isHttp2(response) && response.stream.destroyed) return this.#allToLetGo(destroyedError())()
    // What the handler has made of the status since then comes too late for the client, and is there to be read.
    const { statusCode } = response
    let done = 0
    try {
      this.#task.tell(headers)
      this.#setStatus(wait.statusCode, wait.statusMessage)
      for (const { call } of kept) {
        call()
        done++
      }
      wait.kept = []
      if (statusCode !== wait.statusCode) response.statusCode = statusCode
    } catch (error) {
      // What Node refuses only now is an error of the answer, as it would have been in the handler's turn.
      wait.kept = kept.slice(done)
      if (!response.headersSent) {
        guise.seemSent()
        if (wait.isEnded) guise.seemEnded()
        return this.#failed(error)
      }
      response.destroy(error as Error)
      this.#allToLetGo(error)()
    }
    const isDrained = wait.isFull && !response.writableEnded && !response.writableNeedDrain
    if (isDrained) emitDrain(response)
    if (guise.destruction) guise.destroy(guise.destruction.error)
    wait.letGo?.(true)
  }

  /** The session is not stored: the answer is dropped, and another one is made in a turn of its own. */
  #failed(error: unknown): void {
    this.#state = 'failing'
    this.#failure = {
      error,
      isTold: false,
      isOvertaken: false,
      isDraining: false,
      isClosing: false,
      patience: undefined,
    }
    for (const source of this.#sources ?? []) source.unpipe?.(this.#response)
    // While the error handler was not called nobody is told, as whoever is told may pass the error on to it.
    setImmediate(() => this.#answer())
  }

  #answer(): void {
    const response = this.#response
    const { guise, letGo, socket } = this.#wait!
    const failure = this.#failure!
    guise.lift()
    this.#state = 'failed'
    // From here on whoever closes the connection closes that of the error's answer.
    failure.isClosing = letGo?.(false) ?? false
    if (failure.isClosing) this.#closeAtLast(socket!)
    const letGoOfAll = this.#allToLetGo(failure.error)
    if (response.headersSent) {
      // Somebody has gone past the hold: what is out cannot be taken back, and shall not look whole.
      response.destroy(failure.error as Error)
    } else {
      this.#takeMethodsBack()
      for (const name of response.getHeaderNames?.() ?? []) {
        if (isOfAnswer(name)) response.removeHeader?.(name)
      }
      forgetAnswer(response)
      this.#setStatus(plainAnswer(failure.error).status, undefined)
      // A drain from here on is the answer's.
      response.removeAllListeners?.('drain')
      seemDropped(response, () => this.#isAnswering)
      this.#answerBy(() => {
        try {
          this.#fail(failure.error)
        } catch {
          this.#answerPlainly()
        }
      })
    }
    letGoOfAll()
  }

  /** Where the error is not answered, a connection that somebody wanted to close must not stay. */
  #closeAtLast(socket: Socket): void {
    if (socket.writable) setTimeout(() => closeSoon(socket), LONGEST).unref()
    else socket.destroy()
  }

  /**
   * Nothing of what the handler sends is taken any more: sources are closed, callbacks are told why, and so is who waits for room to
   * write, and who has listened for errors of the response since the session was opened, a `pipeline` for one.
   * @returns What does so, to those who are there by now.
   */
  #allToLetGo(error: unknown): () => void {
    const response = this.#response
    const wait = this.#wait!
    const { kept } = wait
    const sources = this.#sources ?? []
    const writers = response.rawListeners?.('drain') ?? []
    // What a platform that makes an answer of its own listens for is its own.
    const listeners = (isConnected(response) && response.rawListeners?.('error')) || []
    const told = listeners.slice(this.#errorListeners)
    wait.kept = []
    this.#sources = undefined
    return () => {
      for (const { callback } of kept) if (callback) process.nextTick(callback, error)
      for (const source of sources) {
        // To destroy the request's own body, that was sent back, is to destroy the connection.
        if (source === (response.req as Readable)) source.resume()
        else source.destroy?.()
      }
      for (const listener of told) this.#call(listener, error)
      for (const listener of writers) this.#call(listener)
    }
  }

  /** Calls a listener of whom nobody would hear that it has thrown. */
  #call(listener: Function, ...args: unknown[]): void {
    try {
      const result = listener.apply(this.#response, args)
      if (isPromise(result)) result.then(undefined, () => {})
    } catch {
      // It was called for something that its response has not told it.
    }
  }

  #answerBy(answer: () => void): void {
    answering.run({ hold: this, within: answering.getStore() }, answer)
  }

  /** Whether what happens now is part of the answer to the failure, and not of the one that was dropped. */
  get #isAnswering(): boolean {
    if (this.#state !== 'failed' || this.#failure!.isOvertaken) return false
    let one = answering.getStore()
    while (one && one.hold !== this) one = one.within
    return one !== undefined
  }

  /** Whether a call reaches the response. */
  #isHeard(): boolean {
    if (this.#state === 'sent') return true
    if (!this.#isAnswering) return false
    const failure = this.#failure!
    if (!failure.isTold) {
      failure.isTold = true
      if (!this.#response.headersSent) this.#task.tellFailure()
    }
    return true
  }

  /** Somebody who is not heard has ended the response: that may have been the error's answer. */
  #losePatience(): void {
    if (this.#response.writableEnded) return
    this.#failure!.patience ??= setTimeout(() => this.#answerPlainly(), PATIENCE).unref()
  }

  /** Where the application does not answer the failure. */
  #answerPlainly(): void {
    const response = this.#response
    const failure = this.#failure!
    clearTimeout(failure.patience)
    let isUnderWay = false
    this.#answerBy(() => {
      if (response.writableEnded || response.destroyed) return
      if (response.headersSent) {
        // It is under way; what is never ended shall not keep the client for ever.
        isUnderWay = true
        const giveUp = () => this.#answerBy(() => void response.destroy())
        failure.patience = setTimeout(giveUp, LONGEST).unref()
      } else {
        const { status, body } = plainAnswer(failure.error)
        response.statusCode = status
        response.setHeader('Content-Type', 'text/plain; charset=utf-8')
        response.setHeader('Content-Length', Buffer.byteLength(body))
        response.end(body)
      }
    })
    failure.isOvertaken = !isUnderWay
  }

  /** @throws as Node does with `strictContentLength`. */
  #assertLength(chunk: unknown, encoding: unknown, isEnd: boolean): void {
    const response = this.#response
    if (!response.strictContentLength || !response.hasHeader('Content-Length')) return
    const { statusCode } = this.#wait!
    const hasBody = response.req?.method !== 'HEAD' && statusCode !== 204 && statusCode !== 304
    if (!hasBody || response.hasHeader('Transfer-Encoding')) return
    const promised = Number(response.getHeader('Content-Length'))
    const length = this.#wait!.keptBytes + bytesOf(chunk, encoding)
    if (length > promised || (isEnd && length < promised)) throw lengthMismatch(length, promised)
  }

  #keep(call: () => unknown, callback?: Callback): void {
    this.#wait!.kept.push({ call, callback })
  }

  /** A write to an answer that was dropped or destroyed. */
  #drop(callback: Callback | undefined, error = this.#failure?.error): false {
    if (this.#state === 'failing') this.#keep(() => {}, callback)
    else {
      if (callback) process.nextTick(callback, error)
      if (this.#state === 'failed') this.#drain()
    }
    return false
  }

  /** Whoever waits to write more goes on, and finds that nobody takes it. */
  #drain(): void {
    const response = this.#response
    const failure = this.#failure!
    if (failure.isDraining || response.writableFinished) return
    failure.isDraining = true
    setImmediate(() => {
      failure.isDraining = false
      emitDrain(response)
    })
  }

  /** A write after the end. */
  #refuse(callback: Callback | undefined): false {
    const response = this.#response
    const error = writeAfterEnd()
    process.nextTick(() => {
      callback?.(error)
      const isLate = this.#wait!.isLate || isHttp2(response)
      if (!isLate && response.listenerCount?.('error') > 0) response.emit('error', error)
    })
    return false
  }

  /** A second end, with more to send. */
  #refuseEnd(callback: Callback | undefined): void {
    if (!isHttp2(this.#response)) this.#refuse(callback)
    else if (callback) process.nextTick(callback)
  }

  #seemEnded(): void {
    const response = this.#response
    const wait = this.#wait!
    wait.isEnded = true
    setImmediate(() => {
      wait.isLate = true
    })
    // A platform that makes an answer of its own out of the response would take it for complete.
    if (!isConnected(response)) return
    wait.guise.seemEnded()
    if (isHttp2(response)) return
    wait.socket = connectionOf(response)!
    wait.letGo = linger(wait.socket)
  }

  /** Nothing is waited for: the response is Node's own again, as far as nobody has wrapped it. */
  #giveMethodsBack(): void {
    const response = this.#response
    const { writeHead, write, end, flushHeaders } = this.#native
    if (response.writeHead === this.#own.writeHead) response.writeHead = writeHead
    if (response.write === this.#own.write) response.write = write
    if (response.end === this.#own.end) response.end = end
    if (response.flushHeaders === this.#own.flushHeaders) response.flushHeaders = flushHeaders
  }

  /** What a wrapper has put over the response since the session was opened belongs to the answer that is dropped. */
  #takeMethodsBack(): void {
    const { on, once } = this.#native
    const methods: Record<string, Function> = { ...this.#own, on, addListener: on, once }
    for (const name in methods) {
      // What was made unchangeable stays as it is.
      if (name in this.#response) Reflect.set(this.#response, name, methods[name])
    }
  }

  #setStatus(code: number, message: string | undefined): void {
    const response = this.#response
    if (response.statusCode !== code) response.statusCode = code
    if (messageOf(response) !== message) response.statusMessage = message!
  }
}

/** Whether there is a connection behind a response: what stands for one on other platforms is no stream. */
function isConnected(response: ServerResponse): boolean {
  return isHttp2(response) || connectionOf(response) instanceof Stream
}

/** Of a request that was sent before the one before it was answered, the response has no socket yet. */
function connectionOf(response: ServerResponse): Socket | null | undefined {
  return response.socket ?? (response.req as IncomingMessage | undefined)?.socket
}

/** How many bytes text or bytes are on the wire. */
function bytesOf(chunk: unknown, encoding: unknown): number {
  if (!chunk) return 0
  return Buffer.byteLength(chunk as string, encoding as BufferEncoding | undefined)
}

function emitDrain(response: ServerResponse): void {
  try {
    response.emit('drain')
  } catch {
    // Whoever waits for room to write has failed at something else.
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

// What a response of node:http says of itself while it waits for its session, and to all but the error's answer after it was dropped.
import { AsyncResource } from 'node:async_hooks'
import { STATUS_CODES, type ServerResponse } from 'node:http'
import { headersSentError, isHttp2 } from './node-rules.ts'

/** How a response looks while it is held. */
export interface Guise {
  /** Its headers are out. */
  seemSent(): void
  /** So many bytes, by now, are on their way; whether a writer was told to wait. */
  seemWritten(bytes: number, isFull: boolean): void
  /** It is complete. */
  seemEnded(): void
  /** It is what it was. */
  lift(): void
  /** What the handler has asked for meanwhile: to destroy it. */
  readonly destruction: { readonly error: Error | undefined } | undefined
  /** Destroys it, once the guise is lifted: as the response itself does, without what was put over its `destroy`. */
  destroy(error: Error | undefined): void
}

const SETTERS = {
  setHeader: 'set',
  setHeaders: 'set',
  appendHeader: 'append',
  removeHeader: 'remove',
} as const

type Properties = Record<string | symbol, any>

/** @param response One that is not begun. */
export function guiseOf(response: ServerResponse): Guise {
  const isPlain = '_header' in response && 'outputSize' in response && !isHttp2(response)
  return isPlain ? new NodeGuise(response) : new CoveredGuise(response)
}

/** What a response looks like, or looked like last, on the response itself. */
const WORN = Symbol('coatcheck.guise')
type Wearer = Properties & { [WORN]: BaseGuise }

/** One function for all responses: with one for each, much that was long dead outlived V8's collections of young objects. */
function destroyLater(this: Wearer, error?: Error): unknown {
  this[WORN].destroyOrNote(error)
  return this
}

/** How a held response is destroyed: later. Whoever has taken `destroy` meanwhile, or wrapped it, has what destroys it afterwards. */
abstract class BaseGuise {
  /** The response's own `destroy`, under all guises. */
  readonly #native: Function
  /** What stood at `destroy` before this guise was put on. */
  #hidden: Function | undefined
  readonly #wearer: Wearer
  destruction: Guise['destruction']

  constructor(response: ServerResponse) {
    this.#wearer = response as unknown as Wearer
    const before = this.#wearer[WORN] as BaseGuise | undefined
    this.#native = before ? before.#native : response.destroy
  }

  protected coverDestroy(): void {
    const wearer = this.#wearer
    if (!wearer['destroy']) return
    wearer[WORN] = this
    this.#hidden = wearer['destroy'] as Function
    Reflect.set(wearer, 'destroy', destroyLater)
  }

  protected uncoverDestroy(): void {
    const wearer = this.#wearer
    if (wearer['destroy'] === destroyLater) wearer['destroy'] = this.#hidden
    this.#hidden = undefined
  }

  destroy(error: Error | undefined): void {
    // With two sessions on one response, the other one may hold it by now.
    destroyLater.call(this.#wearer, error)
  }

  destroyOrNote(error: Error | undefined): void {
    if (this.#hidden) this.note(error)
    else this.#native.call(this.#wearer, error)
  }

  protected note(error: Error | undefined): void {
    this.destruction ??= { error }
  }
}

const nothing = () => {}

/**
 * Node's own response tells all that is asked, and throws what it throws, by a few fields: to set them costs a tenth of what it costs to
 * put properties over them.
 */
class NodeGuise extends BaseGuise implements Guise {
  readonly #response: Properties
  readonly #addTrailers: Function
  #bytes = 0
  #isEnded = false
  #isFull = false

  constructor(response: ServerResponse) {
    super(response)
    this.#response = response
    this.#addTrailers = response.addTrailers
  }

  seemSent(): void {
    const response = this.#response
    response['_header'] = 'HTTP/1.1 held\r\n\r\n'
    // What Node asks before it answers a request that it cannot read.
    response['_headerSent'] = true
    // The hold gives the response its own status back.
    response['statusMessage'] ||= STATUS_CODES[response['statusCode']] ?? 'unknown'
    this.coverDestroy()
  }

  seemWritten(bytes: number, isFull: boolean): void {
    const response = this.#response
    response['outputSize'] += bytes - this.#bytes
    this.#bytes = bytes
    if (!isFull || this.#isFull) return
    this.#isFull = true
    const get = () => !this.#isEnded
    Object.defineProperty(response, 'writableNeedDrain', { configurable: true, get })
  }

  seemEnded(): void {
    const response = this.#response
    this.#isEnded = true
    response['finished'] = true
    // Something is on its way: the headers.
    this.seemWritten(this.#bytes + 1, false)
    response['addTrailers'] = nothing
  }

  lift(): void {
    const response = this.#response
    response['_header'] = null
    response['_headerSent'] = false
    response['outputSize'] -= this.#bytes
    this.uncoverDestroy()
    // Of an uncork after the end Node's own response has no harm: here the end is still to come.
    while (response['writableCorked'] < 0) {
      response['cork']()
      response['socket']?.uncork()
    }
    if (this.#isFull) delete response['writableNeedDrain']
    if (this.#isEnded) {
      response['finished'] = false
      response['addTrailers'] = this.#addTrailers
    }
    this.#bytes = 0
    this.#isEnded = this.#isFull = false
    // Where the client is gone, Node has said so too.
    if (this.destruction && !response['closed']) response['destroyed'] = false
  }

  protected override note(error: Error | undefined): void {
    super.note(error)
    this.#response['destroyed'] = true
  }
}

/** Of http2's response, and of those of other platforms, nothing is known but their properties. */
class CoveredGuise extends BaseGuise implements Guise {
  readonly #response: ServerResponse
  #covered: [name: string, own: PropertyDescriptor | undefined, over: PropertyDescriptor][] = []
  #bytes = 0
  #isFull = false
  #isEnded = false

  constructor(response: ServerResponse) {
    super(response)
    this.#response = response
  }

  seemSent(): void {
    const response = this.#response
    this.#cover('headersSent', { get: () => true })
    this.#cover('_header', { value: 'HTTP/1.1 held\r\n\r\n', writable: true })
    this.#cover('writableLength', { get: () => this.#bytes })
    this.#cover('writableNeedDrain', { get: () => this.#isFull && !this.#isEnded })
    for (const [name, action] of Object.entries(SETTERS)) {
      const native = (response as unknown as Properties)[name] as Function
      this.#cover(name, {
        value: (...args: unknown[]) => {
          if (this.#covered.length > 0) throw headersSentError(response, action)
          return native.apply(response, args)
        },
        writable: true,
      })
    }
    this.coverDestroy()
  }

  seemWritten(bytes: number, isFull: boolean): void {
    this.#bytes = bytes
    this.#isFull ||= isFull
  }

  seemEnded(): void {
    this.#isEnded = true
    this.#cover('finished', { value: true, writable: true })
    this.#cover('writableEnded', { get: () => true })
  }

  lift(): void {
    for (const [name, own, over] of this.#covered.toReversed()) {
      const now = Object.getOwnPropertyDescriptor(this.#response, name)
      // Somebody has wrapped it meanwhile.
      if (typeof now?.value === 'function' && now.value !== over.value) continue
      if (own) Object.defineProperty(this.#response, name, own)
      else delete (this.#response as unknown as Properties)[name]
    }
    this.#covered = []
    this.uncoverDestroy()
  }

  #cover(name: string, descriptor: PropertyDescriptor): void {
    const response = this.#response
    if (!(name in response)) return
    this.#covered.push([name, Object.getOwnPropertyDescriptor(response, name), descriptor])
    cover(response, name, descriptor)
  }
}

/**
 * From here on the response is the error's answer. To all others it is destroyed: what they set is ignored, they cannot destroy it, and
 * what they do when it drains stays theirs.
 */
export function seemDropped(response: ServerResponse, isAnswering: () => boolean): void {
  const properties = response as unknown as Properties
  for (const name of [...Object.keys(SETTERS), 'addTrailers', 'destroy']) {
    const native = properties[name] as Function | undefined
    if (!native) continue
    cover(response, name, {
      value: (...args: unknown[]) => (isAnswering() ? native.apply(response, args) : response),
      writable: true,
    })
  }
  let isGone: boolean | undefined = properties['destroyed']
  cover(response, 'destroyed', {
    get: () => (isAnswering() ? isGone : true),
    set: (value: boolean) => void (isGone = value),
  })
  coverStatus(response, isAnswering)
  const headersSent = accessorOf(response, 'headersSent')
  cover(response, 'headersSent', {
    get: () => !isAnswering() || (headersSent?.get?.call(response) ?? false),
  })
  for (const name of ['on', 'addListener', 'prependListener']) {
    const native = properties[name] as Function | undefined
    if (!native) continue
    cover(response, name, {
      value(event: string, listener: Function) {
        if (event !== 'drain' || isAnswering()) return native.call(response, event, listener)
        const own = AsyncResource.bind(listener as () => void)
        // By this the listener can be removed; what once() makes of it has it too.
        const removable = (listener as { listener?: Function }).listener ?? listener
        return native.call(response, event, Object.assign(own, { listener: removable }))
      },
      writable: true,
    })
  }
}

/** The status is the error's answer's. */
function coverStatus(response: ServerResponse, isAnswering: () => boolean): void {
  for (const name of ['statusCode', 'statusMessage'] as const) {
    // Of http2 even to ask for a message is a warning.
    if (name === 'statusMessage' && isHttp2(response)) continue
    const native = accessorOf(response, name)
    let value: unknown = response[name]
    cover(response, name, {
      get: () => (native?.get ? native.get.call(response) : value),
      set(given: unknown) {
        if (!isAnswering()) return
        if (native?.set) native.set.call(response, given)
        else value = given
      },
    })
  }
}

/** A property that is not the response's own, if it is no plain value. */
function accessorOf(response: ServerResponse, name: string): PropertyDescriptor | undefined {
  let one: object | null = Object.getPrototypeOf(response) as object | null
  while (one && !Object.hasOwn(one, name)) one = Object.getPrototypeOf(one) as object | null
  const found = one ? Object.getOwnPropertyDescriptor(one, name) : undefined
  return (found?.get ?? found?.set) ? found : undefined
}

/** What a wrapper has made unchangeable stays as it is. */
function cover(response: ServerResponse, name: string, descriptor: PropertyDescriptor): void {
  Reflect.defineProperty(response, name, { ...descriptor, configurable: true })
}

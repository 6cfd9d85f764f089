// What a response of node:http says of itself while it waits for its session, and to all but the error's answer after it was dropped.
import { AsyncResource } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
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

/** What a response looks like, on the response itself. */
const WORN = Symbol('coatcheck.guise')
type Wearer = Properties & { [WORN]: NodeGuise }

/** One function for all responses: with one for each, much that was long dead outlived V8's collections of young objects. */
function destroyLater(this: Wearer, error?: Error): unknown {
  this[WORN].destruction ??= { error }
  this['destroyed'] = true
  return this
}

const nothing = () => {}

/**
 * Node's own response tells all that is asked, and throws what it throws, by a few fields: to set them costs a tenth of what it costs to
 * put properties over them.
 */
class NodeGuise implements Guise {
  readonly #response: Properties
  readonly #destroy: Function
  readonly #addTrailers: Function
  #bytes = 0
  #isEnded = false
  #isFull = false
  destruction: Guise['destruction']

  constructor(response: ServerResponse) {
    this.#response = response
    this.#destroy = response.destroy
    this.#addTrailers = response.addTrailers
  }

  seemSent(): void {
    const response = this.#response
    response['_header'] = 'HTTP/1.1 held\r\n\r\n'
    // What Node asks before it answers a request that it cannot read.
    response['_headerSent'] = true
    response[WORN] = this
    response['destroy'] = destroyLater
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
    response['destroy'] = this.#destroy
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
}

/** Of http2's response, and of those of other platforms, nothing is known but their properties. */
class CoveredGuise implements Guise {
  readonly #response: ServerResponse
  #covered: [name: string, own: PropertyDescriptor | undefined][] = []
  #bytes = 0
  #isFull = false
  #isEnded = false
  destruction: Guise['destruction']

  constructor(response: ServerResponse) {
    this.#response = response
  }

  seemSent(): void {
    const response = this.#response
    this.#cover('headersSent', { get: () => true })
    this.#cover('_header', { value: 'HTTP/1.1 held\r\n\r\n', writable: true })
    this.#cover('writableLength', { get: () => this.#bytes })
    this.#cover('writableNeedDrain', { get: () => this.#isFull && !this.#isEnded })
    for (const [name, action] of Object.entries(SETTERS)) {
      this.#cover(name, {
        value() {
          throw headersSentError(response, action)
        },
      })
    }
    this.#cover('destroy', {
      value: (error?: Error) => {
        this.destruction ??= { error }
        return response
      },
    })
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
    for (const [name, own] of this.#covered.toReversed()) {
      if (own) Object.defineProperty(this.#response, name, own)
      else delete (this.#response as unknown as Properties)[name]
    }
    this.#covered = []
  }

  #cover(name: string, descriptor: PropertyDescriptor): void {
    const response = this.#response
    if (!(name in response)) return
    this.#covered.push([name, Object.getOwnPropertyDescriptor(response, name)])
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

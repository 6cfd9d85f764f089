// One request as its handler sees it: what a way of answering is given, and the record of what it saw.
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { Ask } from './client.ts'

/** A handler's answer, in one of the ways of `ways.ts`. */
export type Answer = (visit: Visit) => unknown

/** `(request, response, next)`, as Express, Connect and a hand-made chain over node:http call it. */
export type Middleware = (request: any, response: any, next: (error?: unknown) => void) => unknown

/** A way in which a handler may answer, and how the client asks for it. */
export interface Way {
  readonly answer: Answer
  /** The frameworks it can be tried on, by their names. Default: all of its group. */
  readonly on?: RegExp
  readonly ask?: Partial<Ask>
  /** Mounted outside the session. A fresh one for each server. */
  readonly before?: () => readonly Middleware[]
  /** Mounted between the session and the handler. */
  readonly after?: () => readonly Middleware[]
  /** Mounted behind the handler: `(error, request, response, next)`. */
  readonly onError?: (
    error: any,
    request: any,
    response: any,
    next: (error?: unknown) => void,
  ) => void
  /** Done to a Koa, Fastify or Hono application before the handler is added; `when` is 'outside' the session or 'inside'. */
  readonly setUp?: (app: any, when: 'outside' | 'inside') => unknown
  /** Whether its session changes before it answers. Default true. */
  readonly changes?: boolean
  /** What is not compared with the plain server, and why the difference is in the nature of things. */
  readonly exempt?: {
    readonly handler?: string
    readonly client?: string
    /** Of what the client gets only the status is compared. */
    readonly page?: string
    readonly failing?: string
    /** Nothing is compared over http2. */
    readonly http2?: string
  }
}

/** What a way is given. Which of the framework's own objects are there depends on its group. */
export interface Visit {
  readonly request: any
  readonly response: any
  readonly next: (error?: unknown) => void
  /** Koa's and Hono's context. */
  readonly c: any
  /** Fastify's reply. */
  readonly reply: any
  /** Notes down what the handler sees; compared in order. */
  note(name: string, value?: unknown): void
  /** Notes down what a timer sees: compared by name, as a timer races with what waits for the store. */
  apart(name: string, value?: unknown): void
  /**
   * A callback that must be called; how it was is noted. Where the save fails it must be told so by an error, but for 'any':
   * one that is no callback of something that was to be sent.
   */
  called(name: string, outcome?: 'told' | 'any'): (error?: unknown) => void
  /** Notes what `call` returns or throws. */
  attempt<T>(name: string, call: () => T): T | undefined
  /** A stream that must be closed in the end. */
  source<S extends Readable>(stream: S): S
  /** ms. */
  wait(ms: number): Promise<void>
}

/** What one request's handler saw. */
export interface Seen {
  readonly notes: string[]
  readonly apart: Record<string, string[]>
  /** Callbacks that were not called. */
  readonly pending: Set<string>
  /** Callbacks that were called without an error, of those that must be told of one. */
  readonly succeeded: string[]
  readonly sources: Readable[]
  /** Whether the handler itself has come to its end. */
  settled: boolean
  readonly response: any
}

/** An error by what is stable of it. */
export function shown(value: unknown): string {
  if (value instanceof Error) {
    const { code, name } = value as NodeJS.ErrnoException
    return `${code ?? name}`
  }
  if (typeof value === 'object' && value !== null) {
    return 'writeHead' in value ? 'the response' : JSON.stringify(value)
  }
  return String(value)
}

/** Runs a way for one request and writes down what it sees, in one more of `all`. Returns what the handler returns. */
export function begin(
  way: Way,
  given: Partial<Visit> & { session: { set(name: string, value: unknown): unknown } },
  all: Seen[],
): unknown {
  const { request, next = () => {}, c, reply, session } = given
  const response = given.response
  const seen: Seen = {
    notes: [],
    apart: {},
    pending: new Set(),
    succeeded: [],
    sources: [],
    settled: false,
    response,
  }
  all.push(seen)
  const note = (name: string, value?: unknown) =>
    void seen.notes.push(value === undefined ? name : `${name}: ${shown(value)}`)
  const visit: Visit = {
    request,
    response,
    next,
    c,
    reply,
    note,
    apart: (name, value) => void (seen.apart[name] ??= []).push(shown(value)),
    called(name, outcome = 'told') {
      seen.pending.add(name)
      return (error) => {
        seen.pending.delete(name)
        if (!error && outcome === 'told') seen.succeeded.push(name)
        note(`${name} called`, error ?? 'without error')
      }
    },
    attempt(name, call) {
      try {
        const value = call()
        note(name, value ?? 'nothing')
        return value
      } catch (error) {
        note(`${name} throws`, error)
        return undefined
      }
    },
    source(stream) {
      seen.sources.push(stream)
      return stream
    },
    wait: (ms) => setTimeout(ms),
  }
  response?.on('finish', () => note('finish'))
  response?.on('close', () => note('close'))
  if (way.changes !== false) session.set('changed', true)
  let result
  try {
    result = way.answer(visit)
  } catch (error) {
    seen.settled = true
    note('the handler throws', error)
    throw error
  }
  if (result instanceof Promise) {
    result = result.finally(() => (seen.settled = true))
    // A promise is told of later than some events and earlier than others.
    ;(result as Promise<unknown>).catch((error) => visit.apart('the handler throws', error))
  } else seen.settled = true
  return result
}

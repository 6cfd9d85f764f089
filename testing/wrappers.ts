// Wrappers around a store, for tests: one that counts the calls, one that takes its time.
import type { Awaitable, SessionStore } from '@coatcheck/core/store'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'

type Method = 'load' | 'create' | 'save' | 'touch' | 'delete'
const METHODS: readonly Method[] = ['load', 'create', 'save', 'touch', 'delete']

function wrap(
  store: SessionStore,
  traits: SessionStore['traits'],
  around: (method: Method, call: () => Awaitable<any>) => any,
): SessionStore {
  const wrapped: Record<string, unknown> = { ...store, traits }
  for (const method of METHODS) {
    wrapped[method] = (...args: unknown[]) =>
      around(method, () => (store[method] as Function).apply(store, args))
  }
  return wrapped as unknown as SessionStore
}

/** Notes the name of each call in `calls`. */
export function counting(store: SessionStore, calls: string[]): SessionStore {
  return wrap(store, store.traits, (method, call) => {
    calls.push(method)
    return call()
  })
}

/** Answers every call by a promise; `delays` says how many ms a method takes (default 0). */
export function slow(
  store: SessionStore,
  delays: Partial<Record<Method, number>> = {},
): SessionStore {
  return wrap(store, { ...store.traits, sync: false }, async (method, call) => {
    await setTimeout(delays[method] ?? 0)
    return call()
  })
}

/** Text, or chunks of it, as the body of a `Response`. */
export function toBody(body: string | AsyncIterable<string>): string | ReadableStream<Uint8Array> {
  if (typeof body === 'string') return body
  const chunks = Readable.toWeb(Readable.from(body)) as ReadableStream<string>
  return chunks.pipeThrough(new TextEncoderStream())
}

// Requests that truly overlap: none writes its session before all have read theirs.
import { clearTimeout, setTimeout } from 'node:timers'
import type { Sessions } from '@coatcheck/core'
import {
  after,
  inWords,
  refuseOption,
  SessionUsageError,
  type Awaitable,
  type SessionStore,
} from '@coatcheck/core/store'

/** As much of a store of express-session's as is used. */
export interface ExpressStoreLike {
  get(sid: string, callback: (error: any, session?: any) => void): unknown
  set(sid: string, session: any, callback?: (error?: any) => void): unknown
}

/** What reads a session, and what writes one, in a store of ours and in one of express-session's. */
const OURS = { reads: ['load'], writes: ['create', 'save', 'touch', 'delete'] }
const EXPRESS = { reads: ['get'], writes: ['set', 'touch', 'destroy'] }

/**
 * Writes wait until all have read; where nobody has read for so long, in ms, it is given up. Long for a request to a server of
 * the test's own, and shorter than the 5 seconds after which test runners end a test.
 */
const PATIENCE = 2000

/** Stores whose methods are replaced just now. */
const racing = new WeakSet<object>()

/**
 * Runs `n` requests at once on one session, so that they truly overlap: no write reaches the store before it has been read `n` times. So
 * each request must read its session once; one that reads it twice is counted twice. A handler that loses another's change does so here each time, and not once a month.
 *
 * It never hangs: where nobody has read for 2 seconds, the writes go on, and it is an error.
 * @param n How many, from 2 on.
 * @param at The application's manager, or its store: one of ours, or of express-session's. Its methods are replaced until all is done.
 * @param run Sends the request number `i`, from 0 on; awaited.
 * @returns What `run` resolved to, in order.
 * @throws what `run` threw first, when all are done; SessionUsageError (code ERR_SESSION_NOT_AT_ONCE) if fewer than `n` sessions were
 * read before one was written, so that nothing is proven.
 */
export async function atOnce<T>(
  n: number,
  at: Sessions<any> | SessionStore | ExpressStoreLike,
  run: (i: number) => Awaitable<T>,
): Promise<T[]> {
  if (!Number.isSafeInteger(n) || n < 2) {
    refuseOption(`atOnce: \`n\` must be a whole number from 2 on, and is ${inWords(n)}`)
  }
  if (typeof run !== 'function') {
    refuseOption(`atOnce: \`run\` must be a function that sends a request, and is ${inWords(run)}`)
  }
  const store = storeOf(at)
  if (racing.has(store)) {
    throw new SessionUsageError(
      'atOnce: requests are at once on this store already. Await the first call, or give each test a store of its own.',
      'ERR_SESSION_NOT_AT_ONCE',
    )
  }
  const gate = createGate(n)
  const restore = replaceMethods(store, gate)
  racing.add(store)
  /** What `run` threw first: it tells more than that the requests were not at once. */
  let thrown: { readonly error: unknown } | undefined
  const send = async (i: number) => {
    try {
      return await run(i)
    } catch (error) {
      thrown ??= { error }
      throw error
    }
  }
  try {
    const requests = Array.from({ length: n }, (_, i) => send(i))
    await Promise.allSettled(requests)
    if (thrown) throw thrown.error
    gate.assertAllRead()
    return await Promise.all(requests)
  } finally {
    gate.open()
    restore()
    racing.delete(store)
  }
}

function storeOf(at: Sessions<any> | SessionStore | ExpressStoreLike): object {
  const store: unknown = (at as Partial<Sessions<any>> | undefined)?.store ?? at
  const has = (name: string) => typeof (store as any)?.[name] === 'function'
  if ((has('load') && has('save')) || (has('get') && has('set'))) return store as object
  return refuseOption(
    `atOnce: the second argument must be the application's manager, createSessions(…), or its store, and is ${inWords(at)}`,
  )
}

/** What the writes wait at. */
interface Gate {
  /** A session was read. */
  noteRead(): void
  /** Resolves when all have read, or nobody does any more. */
  pass(): Promise<void>
  open(): void
  /** @throws SessionUsageError if not all had read. */
  assertAllRead(): void
}

function createGate(n: number): Gate {
  let reads = 0
  let isOpen = false
  let timer: NodeJS.Timeout | undefined
  let resolve: () => void
  const opened = new Promise<void>((done) => (resolve = done))
  const open = () => {
    isOpen = true
    clearTimeout(timer)
    resolve()
  }
  const beginToWait = () => {
    clearTimeout(timer)
    timer = setTimeout(open, PATIENCE)
  }
  return {
    noteRead() {
      if (isOpen) return
      reads++
      if (reads === n) open()
      else if (timer) beginToWait()
    },
    pass() {
      if (!isOpen && !timer) beginToWait()
      return opened
    },
    open,
    assertAllRead() {
      if (reads >= n) return
      throw new SessionUsageError(
        `atOnce: of ${n} requests ${reads} had read a session before one was written, so they were not at once and nothing is proven. Does each carry the visitor's cookie, does its handler use the session, is this the application's own store, and are all sent at once (a browser sends 6 to one host)?`,
        'ERR_SESSION_NOT_AT_ONCE',
      )
    },
  }
}

/** Puts the gate before a store's writes; returns what takes it away again. */
function replaceMethods(store: any, gate: Gate): () => void {
  const { reads, writes } = typeof store.save === 'function' ? OURS : EXPRESS
  const before = new Map<string, PropertyDescriptor | undefined>()
  const replace = (name: string, around: (call: Function) => Function) => {
    const call: unknown = store[name]
    if (typeof call !== 'function') return
    const own = Object.getOwnPropertyDescriptor(store, name)
    if (own?.configurable === false || (!own && !Object.isExtensible(store))) {
      restore()
      refuseOption(
        `atOnce: the store's method ${name} cannot be replaced, as the store is frozen or the method is`,
      )
    }
    before.set(name, own)
    const value = around(call)
    Object.defineProperty(store, name, {
      value,
      configurable: true,
      writable: true,
      enumerable: true,
    })
  }
  const restore = () => {
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(store, name, descriptor)
      else delete store[name]
    }
  }
  for (const name of reads) {
    replace(name, (call) => (...args: unknown[]) => {
      const callback = args.at(-1)
      if (typeof callback !== 'function') {
        return after(call.apply(store, args), (record) => (gate.noteRead(), record))
      }
      const noted = (...answer: unknown[]) => (gate.noteRead(), callback(...answer))
      return call.apply(store, [...args.slice(0, -1), noted])
    })
  }
  for (const name of writes) {
    replace(name, (call) => async (...args: unknown[]) => {
      await gate.pass()
      const callback = args.at(-1)
      try {
        return await call.apply(store, args)
      } catch (error) {
        // Who gave a callback listens to nothing else.
        if (typeof callback !== 'function') throw error
        callback(error)
      }
    })
  }
  return restore
}

// How a call gets a connection: for how long it waits, when it is run again, and what becomes of a connection that has failed.
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import { setTimeout as pauseFor } from 'node:timers/promises'
import {
  createLock,
  createUnderWay,
  reasonIn,
  refuseOption,
  refuseUrl,
  StoreClosedError,
  type Awaitable,
} from '@coatcheck/core/store'
import type { Verdicts } from './dialect.ts'

/** A call is over after so many ms: waiting for its turn, connecting, running and running again are all in it. */
export const CALL_TIME = 5000

/** A batch of a sweep, and what makes the table, may take so many ms: no request waits for it. */
export const LONG_TIME = 30_000

/** `close()` waits so many ms for calls under way, and then so many for the connections to end. */
const CLOSE_TIME = 5000
const END_TIME = 1000

/** Connections of a pool that an engine makes, as pg and mysql2 have by default. */
export const POOL_SIZE = 10

/** Where connections come from: a pool of the engine's own, one of the application's, or its only one. */
export interface Connections<C> {
  /** How many calls may run at once. The others wait here, where one whose time is over leaves no trace. */
  readonly most: number
  take(): Promise<C>
  free(connection: C): void
  /**
   * Closes one for good, without waiting for what runs on it. Left out for the application's only connection.
   * @param isRunning Whether the server may still work for it.
   */
  drop?(connection: C, isRunning: boolean): void
  /** Asks the server to end what runs on the application's only connection for a call that waits no more. */
  cancel?(): void
  /** When one was made, whoever has used it since, by `performance.now()`: there where `drop` is. */
  madeAt?(connection: C): number
  /** Whether what has just lost a race may be run again: not where it has ended a transaction of the application's. Default always. */
  mayRunAgain?(): boolean
  /** Ends them all; left out where they are the application's. */
  end?(): Promise<unknown>
  /** Ends those that are left, whatever the server does. */
  destroy?(): void
}

/** What is done on a connection. @param isOver Whether the time is over, so that nothing more should be sent. */
type ConnectionWork<C, T> = (connection: C, isOver: () => boolean) => Promise<T>

/** How a call is run. */
export interface CallOptions {
  /** In ms. Default {@link CALL_TIME}. */
  readonly time?: number
  /** Calls of one name that have lost a race are run again one after the other. */
  readonly name?: string
  /** It may be done twice, so that it is run once more where its connection turns out to be dead. */
  readonly isRepeatable?: boolean
}

/** An engine's calls. */
export interface Calls<C> {
  /** Makes a method of the store of one: `close()` waits for its calls, and it fails from then on. */
  method<A extends unknown[], T>(method: (...args: A) => Awaitable<T>): (...args: A) => Promise<T>
  /** Runs `work` on a connection. Rejects as it does or, when the time is over, with an error of the code ETIMEDOUT. */
  run<T>(work: ConnectionWork<C, T>, options?: CallOptions): Promise<T>
  /** Whether `close()` was called: what goes on for long should stop. */
  readonly isClosed: boolean
  /** Waits for the calls under way and ends the connections: within some seconds, whatever the server does. */
  close(): Promise<void>
}

/** One run of a statement, until it has ended or its time is over. */
interface Attempt {
  isOver: boolean
  /** What there is to be done when the time is over. */
  giveUp(): void
}

/** Makes the calls of one engine. */
export function createCalls<C extends object>(
  connections: Connections<C>,
  { isBroken, isUnanswered, isLostRace }: Verdicts,
): Calls<C> {
  const underWay = createUnderWay()
  const lock = createLock()
  let room = connections.most
  /** What begins those that wait for their turn, in their order. */
  const waiting = new Set<() => void>()
  /** When a connection was last found to be of no use. */
  let lastFault = -Infinity
  let closing: Promise<void> | undefined

  /** Resolves when it is this one's turn: never, if its time is over before. */
  function enter(attempt: Attempt): Promise<void> | undefined {
    if (room > 0) {
      room--
      return undefined
    }
    return new Promise((begin) => {
      waiting.add(begin)
      attempt.giveUp = () => void waiting.delete(begin)
    })
  }

  function leave(): void {
    for (const begin of waiting) {
      waiting.delete(begin)
      begin()
      return
    }
    room++
  }

  /** A connection that was made after the last fault, or for this call: one call finds out for all. */
  async function take(): Promise<C> {
    const { drop, madeAt } = connections
    for (;;) {
      const start = performance.now()
      const connection = await connections.take()
      if (!drop || !madeAt) return connection
      const made = madeAt(connection)
      // Where calls find faults without end, those that the server does answer must not connect for ever.
      if (made >= lastFault || made >= start) return connection
      drop(connection, false)
    }
  }

  /** What failed on a connection is not waited for: it goes or, where it is the application's only one, what runs on it is ended. */
  function leaveOff(connection: C, isRunning: boolean): void {
    if (connections.drop) connections.drop(connection, isRunning)
    else if (isRunning) connections.cancel?.()
  }

  async function perform<T>(
    attempt: Attempt,
    work: ConnectionWork<C, T>,
    isRepeatable: boolean,
  ): Promise<T> {
    const turn = enter(attempt)
    if (turn) await turn
    let isIn = true
    const out = () => {
      if (isIn) leave()
      isIn = false
    }
    attempt.giveUp = () => {}
    try {
      for (let isFirst = true; ; isFirst = false) {
        const connection = await take()
        if (attempt.isOver) {
          connections.free(connection)
          throw timedOut()
        }
        attempt.giveUp = () => {
          lastFault = performance.now()
          leaveOff(connection, true)
          // A driver need not tell of what it has dropped.
          if (connections.drop) out()
        }
        try {
          const result = await work(connection, () => attempt.isOver)
          if (!attempt.isOver) connections.free(connection)
          return result
        } catch (error) {
          if (attempt.isOver) throw error
          attempt.giveUp = () => {}
          if (!isBroken(error)) {
            connections.free(connection)
            throw error
          }
          lastFault = performance.now()
          leaveOff(connection, isUnanswered?.(error) ?? false)
          if (!connections.drop) connections.free(connection)
          if (!isFirst || !isRepeatable) throw error
        }
      }
    } finally {
      out()
    }
  }

  function once<T>(work: ConnectionWork<C, T>, end: number, isRepeatable: boolean): Promise<T> {
    return new Promise((resolve, reject) => {
      const attempt: Attempt = { isOver: false, giveUp() {} }
      const timer = setTimeout(
        () => {
          attempt.isOver = true
          attempt.giveUp()
          reject(timedOut())
        },
        Math.max(0, end - performance.now()),
      )
      perform(attempt, work, isRepeatable).then(
        (result) => {
          clearTimeout(timer)
          resolve(result)
        },
        (error) => {
          clearTimeout(timer)
          reject(error)
        },
      )
    })
  }

  const mayRunAgain = (error: unknown) => isLostRace(error) && (connections.mayRunAgain?.() ?? true)

  /**
   * Runs a statement again for as long as it loses to others. Of those that change one row at a time one gets through in each turn, so
   * that a number of turns would be no bound that is right for all.
   */
  async function runAgain<T>(runOnce: () => Promise<T>, lost: unknown, end: number): Promise<T> {
    let error = lost
    for (let pause = 0; performance.now() < end; pause = Math.min(pause + 1, 20)) {
      // At different times, so that processes do not all meet again; the first one at once.
      if (pause > 0) await pauseFor(Math.random() * pause)
      try {
        return await runOnce()
      } catch (again) {
        if (!mayRunAgain(again)) throw again
        error = again
      }
    }
    throw error
  }

  async function run<T>(
    work: ConnectionWork<C, T>,
    { time = CALL_TIME, name = '', isRepeatable = false }: CallOptions = {},
  ): Promise<T> {
    const end = performance.now() + time
    try {
      return await once(work, end, isRepeatable)
    } catch (error) {
      if (!mayRunAgain(error)) throw error
      // One at a time of those of this process that want the same row.
      return inTurn(
        name,
        () => runAgain(() => once(work, end, isRepeatable), error, end),
        error,
        end,
      )
    }
  }

  /** Does a task when those before it of this name are done. Where that is not until `end`, the call fails as it has before. */
  function inTurn<T>(name: string, task: () => Promise<T>, lost: unknown, end: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(lost), Math.max(0, end - performance.now()))
      lock(name, () => {
        clearTimeout(timer)
        return task()
      }).then(resolve, reject)
    })
  }

  async function close(): Promise<void> {
    await underWay.idle(CLOSE_TIME)
    if (connections.end) {
      const ending = createUnderWay()
      const { end } = connections
      // It may throw at once.
      void ending.track((async () => end())())
      await ending.idle(END_TIME)
    }
    connections.destroy?.()
  }

  return {
    method(method) {
      const call = async (...args: Parameters<typeof method>) => {
        if (closing) throw new StoreClosedError()
        return method(...args)
      }
      return (...args) => underWay.track(call(...args))
    },
    run,
    get isClosed() {
      return closing !== undefined
    },
    close: () => (closing ??= close()),
  }
}

/**
 * What a driver makes of a URL.
 * @param by The engine, as an error names it.
 * @throws SessionUsageError where the driver throws: its own error may hold the URL, with the password.
 */
export function madeOf<T>(by: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof URIError || (error as { code?: unknown }).code === 'ERR_INVALID_URL') {
      return refuseUrl(by)
    }
    const { syscall, path } = error as NodeJS.ErrnoException
    // A certificate, or a key.
    if (syscall && path)
      refuseOption(`${by}: the URL's file '${path}' cannot be read${reasonIn(error)}`)
    refuseOption(
      `${by}: the driver does not take the URL${reasonIn(error)}; is one of its parameters wrong?`,
    )
  }
}

/** By pool, what tells when its connections were made. */
const ages = new WeakMap<object, (connection: object) => number>()

/**
 * Makes what tells when a pool's connections were made, by `performance.now()`: those that were there before its first store in the
 * beginning, and where the pool does not tell of new ones, each when it is asked about first.
 * @param tell Calls back for each connection that the pool makes from now on; left out where it does not tell.
 */
export function agesIn(
  pool: object,
  tell: ((onNew: (connection: object) => void) => unknown) | undefined,
): (connection: object) => number {
  const known = ages.get(pool)
  if (known) return known
  const made = new WeakMap<object, number>()
  const setMade = (connection: object) => {
    const now = performance.now()
    made.set(connection, now)
    return now
  }
  tell?.(setMade)
  const madeAt = (connection: object) =>
    made.get(connection) ?? (tell ? -Infinity : setMade(connection))
  ages.set(pool, madeAt)
  return madeAt
}

/** That a call was over before its answer was there. */
export function timedOut(): Error {
  return failure('No answer in time', 'ETIMEDOUT')
}

/** An error of this package's own, as a driver's looks. */
export function failure(message: string, code: string): Error {
  return Object.assign(new Error(message), { code })
}

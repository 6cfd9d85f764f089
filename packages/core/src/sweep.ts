// Expired records are removed now and then, for as long as the application runs.
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import { SessionError, StoreClosedError } from './errors.ts'
import { tellSweep, warnDeveloper } from './events.ts'
import { assertOptions, assertStore } from './options.ts'
import { reasonIn } from './reason.ts'
import { count, rule } from './rules.ts'
import type { SessionStore } from './store.ts'

/** Options of {@link sweep}. */
export interface SweepOptions {
  /** How long it rests after each sweep, in seconds, 2,147,483 (24 days) at the most. Default 3600. */
  readonly every?: number
  /** Ends it, after the batch under way. */
  readonly signal?: AbortSignal
  /** How many records one batch removes at the most. Default: as the engine thinks right. */
  readonly batchSize?: number
}

/** No timer of Node's waits longer, in seconds. */
const LONGEST = 2_147_483

/**
 * Removes expired records of a store, again and again: one line at the start of the application. It never throws after that and
 * never ends the process: what each sweep did, or failed with, arrives on the channel `coatcheck:sweep`, and the first failure of
 * several in a row is a warning (`SWEEP_FAILED`). Before the first sweep it waits a random while, up to `every`, so that the processes
 * of an application that start together do not sweep together. It holds no process open, and ends when the store is closed.
 *
 * A store whose backend removes them by itself (Redis), or that keeps nothing (signed cookies), has nothing to sweep: nothing is done.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no store, or an option that cannot work.
 */
export function sweep(store: SessionStore, options: SweepOptions = {}): void {
  assertStore('sweep: `store`', store)
  assertOptions('sweep', options, {
    every: rule(
      `a positive number of seconds, ${LONGEST} at the most`,
      (value) => Number.isFinite(value) && value > 0 && value <= LONGEST,
    ),
    signal: rule('an AbortSignal', (value) => typeof value?.addEventListener === 'function'),
    batchSize: count,
  })
  const { every = 3600, signal, batchSize } = options
  if (!store.clearExpired || signal?.aborted) return
  let hasFailed = false

  async function sweepNow(): Promise<void> {
    const since = performance.now()
    const duration = () => performance.now() - since
    try {
      const removed = await store.clearExpired!({
        ...(batchSize !== undefined && { batchSize }),
        ...(signal && { signal }),
      })
      hasFailed = false
      tellSweep({ removed, duration: duration() })
    } catch (error) {
      if (error instanceof StoreClosedError) return
      tellSweep({ removed: 0, duration: duration(), error })
      if (!hasFailed) warnOf(error)
      hasFailed = true
    }
    rest(every)
  }

  let timer: NodeJS.Timeout | undefined
  function rest(seconds: number): void {
    if (!signal?.aborted) timer = setTimeout(() => void sweepNow(), seconds * 1000).unref()
  }
  signal?.addEventListener('abort', () => clearTimeout(timer), { once: true })
  rest(Math.random() * every)
}

function warnOf(error: unknown): void {
  warnDeveloper(
    'SWEEP_FAILED',
    `sweep: expired sessions could not be removed${error instanceof SessionError ? `: ${error.message}` : `${reasonIn(error)}.`} It is tried again; further failures are told on the channel coatcheck:sweep alone.`,
  )
}

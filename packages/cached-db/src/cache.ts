// The cache as the engine asks it: each wait has a bound, and one that is away is left alone.
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import {
  isRefusal,
  SessionError,
  SessionStoreError,
  warnDeveloper,
  type Awaitable,
  type SessionStore,
} from '@coatcheck/core/store'

/** A cache that takes longer than this, in ms, is away: the database would have answered by then. */
const ANSWER_WITHIN = 1000

/** A cache whose answers take longer than this, in ms, is of no use, and left alone as one that is away. */
const SLOW = 250

/** One that is away is looked for again after so long, in ms. */
const REST = 1000

/** One that comes back and makes requests wait again within `STEADY` ms rests twice as long each time, up to this, in ms. */
const LONGEST_REST = 16_000
const STEADY = 10_000

/** Of a cache that is away, or refuses, it is warned at most once in so long, in ms. */
const WARN_EVERY = 60_000

/** No session has this key. */
const NOBODYS = 'is-the-cache-there'

/** A failure that took less than this, in ms, is a refusal, such as a full Redis': to ask it something else costs nobody time. */
const QUICK = 100

/** Asks the cache something; undefined if it refuses, or is away. */
export type Ask = <T>(
  question: () => Awaitable<T>,
  /** Also while it is thought to be away: if it was quick to say so, or at any price. */
  insist?: 'if quick' | 'always',
) => Promise<{ answer: T } | undefined>

/** How time goes by, for tests that make it go by as they like. */
export interface Timing {
  /** Milliseconds since some moment. */
  readonly elapsed: () => number
  /** Rejects if it takes so many ms. */
  readonly inTime: <T>(answer: PromiseLike<T>, ms: number) => PromiseLike<T>
  /** How long an answer may take that is not slow, in ms. */
  readonly slow: number
}

const REAL: Timing = { elapsed: () => performance.now(), inTime: within, slow: SLOW }

/**
 * Those who ask when the cache goes away wait once, and all others not at all: while it is away, a call beside the requests
 * finds out whether it is back.
 */
export function createAsk(cache: SessionStore, { elapsed, inTime, slow }: Timing = REAL): Ask {
  let isAway = false
  let isLookedFor = false
  let restsUntil = 0
  let warnsFrom = 0
  let wasQuick = false
  let rest = REST
  let backSince = -Infinity
  /** When an answer came that was slow; Infinity if the last one was not. */
  let slowAt = Infinity

  function isThere(): boolean {
    if (isAway && !isLookedFor && elapsed() >= restsUntil) void lookFor()
    return !isAway
  }

  async function lookFor(): Promise<void> {
    isLookedFor = true
    const since = elapsed()
    if ((await ask(() => cache.load(NOBODYS), 'always')) && elapsed() - since <= slow) {
      isAway = false
      backSince = elapsed()
    }
    restsUntil = elapsed() + rest
    isLookedFor = false
  }

  /** From now on it is left alone. */
  function leave(since: number): void {
    const time = elapsed()
    const isQuick = time - since < QUICK
    wasQuick = isQuick && (wasQuick || !isAway)
    if (isAway) return
    isAway = true
    rest = !wasQuick && time - backSince < STEADY ? Math.min(rest * 2, LONGEST_REST) : REST
    restsUntil = time + rest
  }

  /** One slow answer may be this process's own fault. Another that was asked for after it is not. */
  function noteTime(since: number): void {
    const time = elapsed()
    if (time - since <= slow) {
      slowAt = Infinity
      return
    }
    if (since >= slowAt) {
      leave(since)
      warnOf(new SessionStoreError(`Its answers take longer than ${slow} ms.`))
    }
    slowAt = time
  }

  const ask: Ask = async (question, insist) => {
    if (!isThere() && insist !== 'always' && !(insist && wasQuick)) return undefined
    const since = elapsed()
    try {
      const answer = question()
      if (!isThenable(answer)) return { answer }
      const awaited = await inTime(answer, ANSWER_WITHIN)
      noteTime(since)
      return { answer: awaited }
    } catch (error) {
      if (isRefusal(error)) {
        noteTime(since)
        return undefined
      }
      leave(since)
      warnOf(error)
      return undefined
    }
  }

  function warnOf(error: unknown): void {
    if (elapsed() < warnsFrom) return
    warnsFrom = elapsed() + WARN_EVERY
    // Another's message may hold anything.
    const why = error instanceof SessionError ? error.message : 'It threw an error of its own.'
    warnDeveloper(
      'CACHE_AWAY',
      `cachedDbStore: the cache cannot be reached, or refuses. ${why} Until it is back the database answers alone, and each login and logout takes \`freshFor\` longer.`,
    )
  }
  return ask
}

function isThenable<T>(answer: Awaitable<T>): answer is Promise<T> {
  return typeof (answer as Promise<T> | undefined)?.then === 'function'
}

function within<T>(answer: PromiseLike<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      reject,
      ms,
      new SessionStoreError(`It did not answer within ${ms} ms.`),
    )
    const done = () => clearTimeout(timer)
    answer.then(resolve, reject).then(done)
  })
}

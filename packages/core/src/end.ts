// Ends sessions and retires keys: always on the condition that nobody else has been there.
import { wait, type Steps } from './awaitable.ts'
import { SessionConflictError, SessionGoneError } from './errors.ts'
import { isRetired, type Condemned, type Standing } from './standing.ts'
import { RETIRED, type SessionRecord, type SessionStore } from './store.ts'

/** What ending needs of the manager's options. */
export interface EndOptions {
  readonly store: SessionStore
  readonly now: () => number
}

/** A request that the browser sent before it had the new cookie arrives within this time, in ms. */
export const RETIRED_FOR = 60_000

/** By so much, in ms, one retirement may end before another that was made at the same time. */
const SPREAD = 500

/**
 * A conflict means that another process was faster, and each has one write of a key under way: to lose so often in a row
 * means that the store's comparison never holds.
 */
export const MAX_CONFLICTS = 1000

/** A record that ends at once: to save it is to delete, but only while the data is what is expected. */
export const ENDED: SessionRecord = { data: RETIRED, expiresAt: 0 }

/**
 * The record of a key that another one replaces now. It ends up to half a second earlier than it may, by chance, so that a
 * request whose answer is lost can tell its own from another's.
 */
export function retired({ now }: EndOptions): SessionRecord {
  return { data: RETIRED, expiresAt: now() + RETIRED_FOR - Math.floor(Math.random() * SPREAD) }
}

/** Whether a retired key was retired by one of these records of one's own, by when they end. */
export function isOwnRetirement(
  { store }: EndOptions,
  { expiresAt }: SessionRecord,
  ends: readonly number[],
): boolean {
  const grain = store.traits?.wholeSeconds ? 1000 : 1
  return ends.some((end) => Math.abs(expiresAt - end) < grain)
}

/**
 * Ends a session, whatever others have made of it: the key is dead when this returns. Where another session takes its
 * place the key is retired, so that a late request with it is told from a stranger's.
 * @throws SessionGoneError if the session lives on under another key.
 */
export function* endKey(options: EndOptions, one: Condemned, replaced: boolean): Steps<void> {
  const { store } = options
  if (store.traits?.stateless) return
  if (one.isGone) {
    yield* wait(store.load(one.key, true))
    return
  }
  // What this request cannot end: the plan has found that it need not.
  if (one.refusal) return
  // Before a store makes this wait.
  const isKnown = isRecent(options, one.since)
  let expected = one.stored
  for (let conflicts = 0; ;) {
    try {
      yield* wait(store.save(one.key, replaced ? retired(options) : ENDED, expected))
      return
    } catch (error) {
      const known = error instanceof SessionGoneError || error instanceof SessionConflictError
      if (!known || ++conflicts > MAX_CONFLICTS) throw error
    }
    const found = yield* wait(store.load(one.key, true))
    if (found && !isRetired(found)) {
      expected = found.data
      continue
    }
    const isEnded = found ? replaced || isOwnRetirement(options, found, one.retirements) : isKnown
    if (isEnded || !one.isAsked) return
    throw new SessionGoneError()
  }
}

/**
 * Removes a session that was emptied.
 * @throws SessionConflictError if another request has put something into it; SessionGoneError if it has another key.
 */
export function* removeEmptied(
  options: EndOptions,
  key: string,
  stored: string,
  standing: Standing,
): Steps<void> {
  try {
    yield* wait(options.store.save(key, ENDED, stored))
  } catch (error) {
    if (!(error instanceof SessionGoneError)) throw error
    const found = yield* wait(options.store.load(key, true))
    if (found && !isRetired(found)) throw new SessionConflictError()
    if (found || !isRecent(options, 'since' in standing ? standing.since : 0)) throw error
  }
}

/** A retired key stands for a minute: what is missing after that may live on under another. */
function isRecent({ now }: EndOptions, since: number): boolean {
  return now() - since < RETIRED_FOR - SPREAD
}

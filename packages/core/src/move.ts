// Gives a session a new key: the new record first, so that a crash in between loses nothing, then the old key is retired.
import { wait, type Steps } from './awaitable.ts'
import { contentOnto, found, kept, recordOf, type Content, type ContentOptions } from './content.ts'
import { createRecord, type CreateOptions } from './create.ts'
import type { Kept } from './snapshot.ts'
import {
  ENDED,
  isOwnRetirement,
  MAX_CONFLICTS,
  removeEmptied,
  retired,
  RETIRED_FOR,
} from './end.ts'
import { isRefusal, SessionConflictError, SessionGoneError } from './errors.ts'
import { byUpdate, reportClash, reportConflict } from './events.ts'
import type { Lane } from './lanes.ts'
import { condemnKey, isRetired, keyInDoubt, type Moving } from './standing.ts'
import type { SessionRecord } from './store.ts'
import { adopt, dismiss, isFlushed, type Turn } from './turn.ts'

/** How the attempt to retire a key ended. */
type Retired =
  /** It is retired, by this request. */
  | 'done'
  /** Another request has retired it: the session lives on under a key that this one does not know. */
  | 'elsewhere'
  /** The session has ended. */
  | 'missing'
  /** Another request has changed it. */
  | { readonly changed: SessionRecord }

/** How often a retirement is sent whose answers are lost. */
const MAX_LOST = 2

/** What moving needs of the manager's options. */
export type MoveOptions = ContentOptions & CreateOptions

/** Moves a session from the key `from` to a new one. */
export function* move(options: MoveOptions, turn: Turn, from: string, lane: Lane): Steps<void> {
  const { state } = turn
  lane.newest = undefined
  // A flush forgets the move, and this goes on with it.
  const moving = (state.moving ??= {
    to: undefined,
    stored: '',
    newest: undefined,
    doubt: false,
    ends: [],
    since: options.now(),
  })
  try {
    const moved = yield* moveNewest(options, turn, moving, from)
    if (!moved) {
      yield* abandon(options, turn, moving)
      return dismiss(turn)
    }
    if (state.moving === moving) state.moving = undefined
    adopt(turn, moving.to!, moved.kept, moved.content)
  } catch (error) {
    if (moving.doubt) standInDoubt(turn, moving, from)
    else yield* abandon(options, turn, moving)
    throw error
  }
}

/**
 * Moves what the newest data is with this request's changes, until nobody else comes in between; undefined if there is nothing
 * to move, and the session is ended instead.
 */
function* moveNewest(
  options: MoveOptions,
  turn: Turn,
  moving: Moving,
  from: string,
): Steps<{ kept: Kept; content: Content } | undefined> {
  let newest = moving.newest ?? turn.snapshot.base!
  for (let conflicts = 0; ;) {
    const content = contentOnto(options, [turn], newest)
    if (content.over && !moving.doubt) {
      const left = yield* endInstead(options, turn, from, newest)
      if (left === 'ended') return undefined
      newest = left
      continue
    }
    const aside = yield* putAside(options, turn, moving, content, newest)
    moving.newest = newest
    const outcome = yield* retire(options, moving, from, newest.stored)
    if (outcome === 'done') {
      for (const clash of content.clashes) reportClash(clash, byUpdate)
      return { kept: aside, content }
    }
    if (outcome === 'missing') throw new SessionGoneError()
    if (outcome === 'elsewhere') {
      // A login beside another one: a session of its own, with what this request itself has set.
      const own = contentOnto(options, [turn], undefined)
      if (own.over) throw new SessionGoneError()
      return { kept: yield* putAside(options, turn, moving, own, undefined), content: own }
    }
    if (options.concurrency === 'reject' || ++conflicts > MAX_CONFLICTS) {
      throw new SessionConflictError()
    }
    reportConflict(conflicts)
    newest = found(options, outcome.changed)
  }
}

/** Ends a session that was emptied, or resolves to what another request has put into it meanwhile. */
function* endInstead(
  options: MoveOptions,
  { standing }: Turn,
  from: string,
  newest: Kept,
): Steps<'ended' | Kept> {
  try {
    yield* removeEmptied(options, from, newest.stored, standing)
    return 'ended'
  } catch (error) {
    if (!(error instanceof SessionConflictError) || options.concurrency === 'reject') throw error
  }
  const record = yield* wait(options.store.load(from, true))
  if (!record || isRetired(record)) throw new SessionGoneError()
  return found(options, record)
}

/** Puts the session under its new key, which nobody has yet. */
function* putAside(
  options: MoveOptions,
  turn: Turn,
  moving: Moving,
  content: Content,
  newest: Kept | undefined,
): Steps<Kept> {
  const record = recordOf(options, content, newest)
  const { to } = moving
  const isThere = to !== undefined && (yield* rewrite(options, to, record, moving.stored))
  if (!isThere) moving.to = yield* createRecord(options, turn, record, content)
  moving.stored = record.data
  return kept(record, content)
}

/**
 * Whether there was a record to write over: an earlier try may have left one.
 * @throws SessionConflictError if the client was given the key in doubt, and has used it.
 */
function* rewrite(
  { store }: MoveOptions,
  key: string,
  record: SessionRecord,
  expected: string,
): Steps<boolean> {
  try {
    yield* wait(store.save(key, record, expected))
    return true
  } catch (error) {
    if (error instanceof SessionGoneError) return false
    throw error
  }
}

/** Retires the old key while it has what is expected. An answer that is lost is looked for: it may have been done. */
function* retire(
  options: MoveOptions,
  moving: Moving,
  from: string,
  expected: string,
): Steps<Retired> {
  const { store, concurrency } = options
  const retirement = retired(options)
  moving.ends = [...moving.ends, retirement.expiresAt]
  if (!moving.doubt) moving.since = options.now()
  for (let lost = 0; ;) {
    let failure: unknown
    try {
      yield* wait(store.save(from, retirement, expected))
      return 'done'
    } catch (error) {
      failure = error
    }
    const conflict = failure instanceof SessionConflictError
    if (conflict && !moving.doubt && concurrency === 'reject') throw failure
    if (!isRefusal(failure)) {
      lost++
      moving.doubt = true
    }
    const record = yield* wait(store.load(from, true))
    if (!record) {
      if (moving.doubt && store.traits?.removesRetired) return 'done'
      // The retirement may have been made, and have ended since.
      if (moving.doubt && options.now() - moving.since >= RETIRED_FOR) throw failure
      moving.doubt = false
      return 'missing'
    }
    if (isRetired(record)) {
      if (moving.doubt && isOwnRetirement(options, record, moving.ends)) return 'done'
      moving.doubt = false
      return 'elsewhere'
    }
    if (isRefusal(failure) && record.data === expected) return { changed: record }
    if (record.data !== expected) {
      // Whatever was sent expected other data, so it can take no effect any more.
      moving.doubt = false
      return { changed: record }
    }
    if (lost >= MAX_LOST) throw failure
  }
}

/** The old key has the session, so the new one, which nobody has, is of no use. */
function* abandon({ store }: MoveOptions, { state, draft }: Turn, moving: Moving): Steps<void> {
  const { to, stored } = moving
  if (state.moving === moving) state.moving = undefined
  // A key that the client was told in doubt is the next request's to end.
  if (to === undefined || state.sent) return
  // What the client was to be told in doubt is certain now: it keeps the key that it has.
  if (typeof state.untold === 'object' && state.untold.key.startsWith(`${to}.`)) {
    state.untold = undefined
  }
  try {
    yield* wait(store.save(to, ENDED, stored))
  } catch {
    // The backend is failing, which the caller is about to hear, or somebody has used the key. The record expires by itself,
    // or must die with the session.
    if (isFlushed(state, draft)) condemnKey(state, to, stored)
  }
}

/**
 * The old key may be retired or not, so the client is told both: the next request looks which of them has the session. What
 * the next write of this request finds retired, this one may have retired.
 */
function standInDoubt({ state, draft, content }: Turn, moving: Moving, from: string): void {
  const { stored } = moving
  const to = moving.to!
  const { expiresAt, browserLength } = content
  state.untold = { key: keyInDoubt(to, from, moving.since), expiresAt, browserLength }
  if (!isFlushed(state, draft)) return
  condemnKey(state, to, stored)
  state.condemned = state.condemned.map((one) =>
    one.key === from ? { ...one, retirements: moving.ends } : one,
  )
}

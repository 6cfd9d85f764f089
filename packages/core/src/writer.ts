// Brings the store in line with a session: one create, save, touch, move or delete, and on a conflict a merge.
import { Buffer } from 'node:buffer'
import { after, attempt, type Awaitable } from './awaitable.ts'
import type { Draft } from './draft.ts'
import {
  KeyExistsError,
  SessionConflictError,
  type SessionError,
  SessionGoneError,
  SessionTooLargeError,
  SessionUsageError,
} from './errors.ts'
import { reportConflict } from './events.ts'
import { expiresAt, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import { createKey } from './key.ts'
import { createLock } from './lock.ts'
import type { SessionState } from './session.ts'
import type { SessionRecord, SessionStore } from './store.ts'

/** A session's state with what only the manager needs of it. */
export interface ManagedState extends SessionState {
  /** What the response's Set-Cookie does. */
  cookie: 'set' | 'delete' | undefined
  /** Why nothing may be saved in place of the client's session: it has moved, or could not be loaded. */
  refusal: SessionError | undefined
  /** The key created for a cycled session, until the old one is retired. */
  newKey: string | undefined
}

/** The manager's options, as far as writing needs them. */
export interface WriterOptions {
  readonly store: SessionStore
  readonly settings: ExpirySettings
  readonly concurrency: 'merge' | 'overwrite' | 'reject'
  readonly maxBytes: number
  readonly saveEveryRequest: boolean
  readonly touchAfter: number
  readonly now: () => number
}

/**
 * The data that stands under an old key for a while after `cycleKey`, as it is and not through the codec, so that a request
 * that was sent with the old cookie is recognised.
 */
export const MOVED = '{"_session_moved":true}'

/** A request that the browser sent before it had the new cookie arrives within this time, in ms. */
const MOVED_FOR = 60_000

/** Within one process the writers of one session queue up, so only other processes get in between. */
const MAX_CONFLICTS = 100

/** Makes the function that writes a loaded session. */
export function createWriter(options: WriterOptions): (state: ManagedState) => Awaitable<void> {
  const { store, settings, concurrency, maxBytes, saveEveryRequest, touchAfter, now } = options
  const { stateless = false, sync = false } = store.traits ?? {}
  const lock = createLock()

  return (state) => {
    if (!state.accessed && !(saveEveryRequest && state.key !== undefined)) return
    return attempt(
      () => write(state),
      // A synchronous store is brought up to date in this very turn: nobody else can come in between.
      (error) => (sync && state.newKey === undefined ? merge(state, error) : retry(state, error)),
    )
  }

  /** Decides what the session needs, and does it once. */
  function write(state: ManagedState): Awaitable<void> {
    const { draft, key } = state
    const time = now()
    if (settings.absoluteMaxAge !== undefined && draft.created === undefined && !draft.isEmpty) {
      draft.setCreated(time)
    }
    const data = draft.settle(state.accessed)
    const modified = state.modified ?? (draft.isMarkedChanged || state.cycled)
    const end = expiresAt(draft.get(EXPIRY_KEY), settings, draft.created, time)

    if (draft.isEmpty || end <= time) {
      if (key !== undefined && modified) return remove(state, key, data)
      return state.flushed === undefined ? undefined : dropFlushed(state, state.flushed)
    }
    if (!modified) {
      if (state.flushed !== undefined) return dropFlushed(state, state.flushed)
      return key !== undefined && saveEveryRequest ? renew(state, key, end) : undefined
    }
    if (state.refusal) throw state.refusal
    const unchanged = data === draft.base
    const record: SessionRecord = {
      data: unchanged ? draft.stored! : draft.seal(data),
      expiresAt: end,
    }
    assertSize(record.data)
    if (key === undefined) return insert(state, record)
    if (stateless) {
      assertCookiePossible(state)
      return after(store.save(key, record), (token) => stored(state, draft, token, record))
    }
    if (state.cycled) return move(state, key, record)
    const saving = unchanged
      ? store.touch(key, end)
      : store.save(key, record, concurrency === 'overwrite' ? undefined : draft.stored)
    return after(saving, (sameKey) => stored(state, draft, sameKey, record))
  }

  /** On a conflict: brings the session up to date and writes it again. Whatever else went wrong is thrown. */
  async function retry(state: ManagedState, error: unknown): Promise<void> {
    try {
      if (!isMergeable(error)) throw error
      await lock(state.key!, async () => merge(state, error))
    } catch (final) {
      await abandonMove(state)
      throw final
    }
  }

  function isMergeable(error: unknown): boolean {
    return error instanceof SessionConflictError && concurrency !== 'reject'
  }

  /** Loads the newest data, puts this request's changes onto it, and writes, until no other write comes in between. */
  function merge(state: ManagedState, error: unknown, conflicts = 1): Awaitable<void> {
    if (!isMergeable(error) || conflicts > MAX_CONFLICTS) throw error
    reportConflict(conflicts)
    return attempt(
      () =>
        after(store.load(state.key!), (newest) => {
          if (!newest || newest.data === MOVED) throw new SessionGoneError()
          state.draft.rebase(newest.data)
          return write(state)
        }),
      (again) => merge(state, again, conflicts + 1),
    )
  }

  function insert(state: ManagedState, record: SessionRecord): Awaitable<void> {
    assertCookiePossible(state)
    const { draft, flushed } = state
    return after(create(record), (key) => {
      state.flushed = undefined
      state.cycled = false
      stored(state, draft, key, record)
      if (flushed !== undefined && !stateless) return leaveMoved(flushed)
    })
  }

  /** Creates under a new key; in the one case of 10^49 that it is taken, under another. */
  function create(record: SessionRecord, tries = 3): Awaitable<string> {
    return attempt(
      () => store.create(createKey(), record),
      (error) => {
        if (!(error instanceof KeyExistsError) || tries === 1) throw error
        return create(record, tries - 1)
      },
    )
  }

  /**
   * Gives the session a new key. The new record comes first, so that a crash in between loses nothing; the old one is
   * then retired only while it is still what this request started from, so that no other request's change is lost.
   */
  async function move(state: ManagedState, key: string, record: SessionRecord): Promise<void> {
    assertCookiePossible(state)
    const { draft } = state
    if (state.newKey === undefined) state.newKey = await create(record)
    else await store.save(state.newKey, record)
    const expected = concurrency === 'overwrite' ? undefined : draft.stored
    await store.save(key, { data: MOVED, expiresAt: now() + MOVED_FOR }, expected)
    const { newKey } = state
    state.newKey = undefined
    state.cycled = false
    stored(state, draft, newKey, record)
  }

  async function abandonMove(state: ManagedState): Promise<void> {
    if (state.newKey === undefined) return
    const orphan = state.newKey
    state.newKey = undefined
    try {
      await store.delete(orphan)
    } catch {
      // The backend is failing, which the caller is about to hear; the orphan expires by itself.
    }
  }

  async function leaveMoved(key: string): Promise<void> {
    try {
      await store.save(key, { data: MOVED, expiresAt: now() + MOVED_FOR })
    } catch (error) {
      if (!(error instanceof SessionGoneError)) throw error
    }
  }

  /** Removes a session that this request emptied, unless another request put something into it meanwhile. */
  function remove(state: ManagedState, key: string, data: string): Awaitable<void> {
    const { draft } = state
    const unconditional = stateless || concurrency === 'overwrite' || draft.isCleared
    // A record that ends in 1970 is dead at once: a delete that holds only if nobody has changed the record.
    const retired = unconditional
      ? undefined
      : attempt(
          () => store.save(key, { data, expiresAt: 0 }, draft.stored),
          (error) => {
            if (!(error instanceof SessionGoneError)) throw error
            return key
          },
        )
    return after(retired, () => after(store.delete(key), () => ended(state, draft)))
  }

  function dropFlushed(state: ManagedState, key: string): Awaitable<void> {
    const { draft } = state
    return after(store.delete(key), () => {
      state.flushed = undefined
      ended(state, draft)
    })
  }

  /** Renews an unchanged session, at most once in `touchAfter` seconds. */
  function renew(state: ManagedState, key: string, end: number): Awaitable<void> {
    if (Math.abs(end - state.expiresAt!) < touchAfter * 1000) return
    if (state.sent && stateless) return
    return attempt<void>(
      () =>
        after(store.touch(key, end), (sameKey) => {
          state.key = sameKey
          state.expiresAt = end
          state.cookie = 'set'
        }),
      (error) => {
        // Nothing of this request's is lost, so one that only looked gets its answer.
        if (!(error instanceof SessionGoneError)) throw error
      },
    )
  }

  function assertSize(data: string): void {
    if (data.length * 3 <= maxBytes) return
    const bytes = Buffer.byteLength(data)
    if (bytes > maxBytes) {
      const advice = 'Keep less in the session, or raise maxBytes.'
      throw new SessionTooLargeError("The session's data", bytes, maxBytes, advice)
    }
  }
}

/** The store has `record` under `key`, and the client is to have the key. */
function stored(state: ManagedState, draft: Draft, key: string, record: SessionRecord): void {
  draft.saved(record.data)
  if (state.draft !== draft) {
    // Flushed while the save was under way.
    state.flushed = key
    return
  }
  state.key = key
  state.expiresAt = record.expiresAt
  state.modified = undefined
  state.cookie = 'set'
}

/** The store has the session no more, and the client is to forget its key. */
function ended(state: ManagedState, draft: Draft): void {
  draft.saved(undefined)
  state.key = state.expiresAt = state.modified = undefined
  state.cookie = 'delete'
}

function assertCookiePossible(state: ManagedState): void {
  if (!state.sent) return
  throw new SessionUsageError(
    "The response's headers are out, so the client cannot be given the cookie that this save needs. Save a new session, or a new key, before the response starts.",
    'ERR_SESSION_HEADERS_SENT',
  )
}

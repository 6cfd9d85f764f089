// Finds out where a session stands: asks the store once, when the request first needs to know.
import { attempt, isPromise, run, wait, type Awaitable, type Steps } from './awaitable.ts'
import type { Merging } from './changes.ts'
import type { Codec } from './codec.ts'
import { Draft } from './draft.ts'
import { SessionConflictError, SessionGoneError, SessionStoreError } from './errors.ts'
import { reportUnknownKey, warn } from './events.ts'
import { MAX_CONFLICTS, retired, RETIRED_FOR } from './end.ts'
import { endsWithBrowser, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import { condemnKey, isRetired, NEW, type OrElse, type SessionState } from './standing.ts'
import type { SessionRecord, SessionStore } from './store.ts'

/** What loading needs of the manager's options. */
export interface LoadOptions {
  readonly store: SessionStore
  readonly codec: Codec
  readonly merging: Merging
  readonly settings: ExpirySettings
  readonly ifUnavailable: 'error' | 'anonymous'
  readonly now: () => number
}

/** Loads a session once, however many ask for it; resolves to what the caller goes on with. */
export function load<T>(options: LoadOptions, state: SessionState, given: T): Awaitable<T> {
  const { standing, loading } = state
  if (standing.is !== 'unloaded') return given
  if (loading) return loading.then(() => given)
  const { key, orElse } = standing
  if (orElse) return loadInDoubt(options, state, key, orElse, given)
  let answer
  try {
    answer = options.store.load(key)
    if (!isPromise(answer)) adopt(options, state, key, answer)
  } catch (error) {
    giveUp(options, state, key, error)
  }
  if (!isPromise(answer)) return given
  return track(state, finish(options, state, key, answer, given))
}

async function finish<T>(
  options: LoadOptions,
  state: SessionState,
  key: string,
  answer: Promise<SessionRecord | undefined>,
  given: T,
): Promise<T> {
  try {
    adopt(options, state, key, await answer)
  } catch (error) {
    giveUp(options, state, key, error)
  } finally {
    state.loading = undefined
  }
  return given
}

/** Loads the session of a client that was told of a login in doubt. */
function loadInDoubt<T>(
  options: LoadOptions,
  state: SessionState,
  from: string,
  orElse: OrElse,
  given: T,
): Awaitable<T> {
  const loaded = attempt(
    () => run(resolve(options, state, from, orElse)),
    (error) => giveUp(options, state, from, error),
  )
  if (!isPromise(loaded)) return given
  return track(
    state,
    loaded
      .finally(() => {
        state.loading = undefined
      })
      .then(() => given),
  )
}

/**
 * Ends a doubt. Once the old key is retired, the new one has the session. While the old key has it, the move is finished: a
 * retirement that is still on its way to the store then finds nothing to do. If the old key is gone within the time that it
 * would be retired, somebody has ended the session, and the new one must die.
 */
function* resolve(
  options: LoadOptions,
  state: SessionState,
  from: string,
  { key: to, time }: OrElse,
): Steps<void> {
  const { store, now } = options
  for (let conflicts = 0; ;) {
    // In this order: whoever has gone on with the new key has changed it after it was read, or the old one is retired by now.
    const made = yield* wait(store.load(to, true))
    const old = yield* wait(store.load(from, true))
    const isMoved = old ? isRetired(old) : now() - time >= RETIRED_FOR
    if (isMoved) return adoptTold(options, state, to, yield* wait(store.load(to, true)))
    if (!made || isRetired(made)) return adoptTold(options, state, from, old)
    if (!old) {
      adopt(options, state, from, old)
      return condemnKey(state, to, made.data)
    }
    try {
      yield* wait(store.save(to, old, made.data))
      yield* wait(store.save(from, retired(options), old.data))
      return adoptTold(options, state, to, old)
    } catch (error) {
      const isMet = error instanceof SessionConflictError || error instanceof SessionGoneError
      if (!isMet || ++conflicts > MAX_CONFLICTS) throw error
    }
  }
}

/** Takes the session of a key that the client is to be told, by a request that only looks too. */
function adoptTold(
  options: LoadOptions,
  state: SessionState,
  key: string,
  record: SessionRecord | undefined,
): void {
  adopt(options, state, key, record)
  if (!record || state.standing.is !== 'stored') return
  const browserLength = endsWithBrowser(state.draft.data[EXPIRY_KEY], options.settings)
  state.owed = { key, expiresAt: record.expiresAt, browserLength }
  state.accessed = true
}

function track<T>(state: SessionState, loading: Promise<T>): Promise<T> {
  state.loading = loading
  return loading
}

/** The backend failed to load the session: the request hears of it, or goes on without. */
function giveUp(
  { ifUnavailable }: LoadOptions,
  state: SessionState,
  key: string,
  error: unknown,
): void {
  if (!(error instanceof SessionStoreError) || ifUnavailable !== 'anonymous') throw error
  warn('STORE_UNAVAILABLE', `${error.message} The request got an empty session.`)
  state.standing = { is: 'unavailable', key, error }
}

/** Takes what the store answered for the client's key. A key that it does not know is never adopted. */
function adopt(
  { store, codec, merging, settings, now }: LoadOptions,
  state: SessionState,
  key: string,
  record: SessionRecord | undefined,
): void {
  state.standing = NEW
  if (!record) {
    if (store.traits?.stateless) refuseCookie(state)
    else {
      state.goneKey = key
      reportUnknownKey(key)
    }
    return
  }
  if (isRetired(record)) {
    state.goneKey = key
    state.standing = { is: 'retired', key }
    return
  }
  const { data: stored, expiresAt } = record
  const since = now()
  let draft
  try {
    draft = new Draft(codec, merging, {
      stored,
      text: codec.open ? codec.open(stored) : stored,
      expiresAt,
    })
  } catch {
    warn(
      'CORRUPT_DATA',
      'A stored session could not be decoded, so the request got an empty one. Was it written with another codec?',
    )
  }
  const { absoluteMaxAge = Infinity } = settings
  if (!draft) state.standing = { is: 'unreadable', key, stored, since }
  else if (since < (draft.created ?? since) + absoluteMaxAge * 1000) {
    state.draft = draft
    state.standing = { is: 'stored', key, expiresAt, since }
  } else {
    // Over by this manager's word, whatever others think: it ends for all.
    condemnKey(state, key, stored, since)
    state.condemned = state.condemned.map((one) => ({ ...one, isAsked: false }))
  }
}

/** A value that cannot be a session of ours is deleted from the browser, so that it is not sent for ever. */
export function refuseCookie(state: SessionState): void {
  state.untold = 'delete'
  warn(
    'MALFORMED_COOKIE',
    'A session cookie was malformed, forged or expired, so the request got an empty session and the cookie is deleted.',
  )
}

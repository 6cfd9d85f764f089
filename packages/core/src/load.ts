// Finds out where a session stands: asks the store once, when the request first needs to know.
import { isPromise, type Awaitable } from './awaitable.ts'
import type { Codec } from './codec.ts'
import { Draft } from './draft.ts'
import { SessionStoreError } from './errors.ts'
import { warn } from './events.ts'
import type { ExpirySettings } from './expiry.ts'
import { condemnKey, isRetired, NEW, type SessionState } from './standing.ts'
import type { SessionRecord, SessionStore } from './store.ts'

/** What loading needs of the manager's options. */
export interface LoadOptions {
  readonly store: SessionStore
  readonly codec: Codec
  readonly settings: ExpirySettings
  readonly ifUnavailable: 'error' | 'anonymous'
  readonly now: () => number
}

/** Loads a session once, however many ask for it; resolves to what the caller goes on with. */
export function load<T>(options: LoadOptions, state: SessionState, given: T): Awaitable<T> {
  const { standing, loading } = state
  if (standing.is !== 'unloaded') return given
  if (loading) return loading.then(() => given)
  const { key } = standing
  let answer
  try {
    answer = options.store.load(key)
    if (!isPromise(answer)) adopt(options, state, key, answer)
  } catch (error) {
    giveUp(options, state, key, error)
  }
  if (!isPromise(answer)) return given
  const loaded = finish(options, state, key, answer, given)
  state.loading = loaded
  return loaded
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
  { store, codec, settings, now }: LoadOptions,
  state: SessionState,
  key: string,
  record: SessionRecord | undefined,
): void {
  state.standing = NEW
  if (!record) {
    if (store.traits?.stateless) refuseCookie(state)
    return
  }
  if (isRetired(record)) {
    state.standing = { is: 'retired', key }
    return
  }
  const { data: stored, expiresAt } = record
  const since = now()
  let draft
  try {
    draft = new Draft(codec, { stored, text: codec.open ? codec.open(stored) : stored, expiresAt })
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
    condemnKey(state, key, stored)
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

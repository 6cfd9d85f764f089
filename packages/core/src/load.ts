// Finds out where a session stands: asks the store when the request first needs to know, for the client's keys until one opens it.
import { attempt, isPromise, run, wait, type Awaitable, type Steps } from './awaitable.ts'
import type { Merging } from './changes.ts'
import type { Codec } from './codec.ts'
import { Draft } from './draft.ts'
import { SessionConflictError, SessionGoneError, SessionStoreError } from './errors.ts'
import { reportUnknownKey, warn } from './events.ts'
import { MAX_CONFLICTS, retired, RETIRED_FOR } from './end.ts'
import { endsWithBrowser, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import {
  isRetired,
  NEW,
  oblige,
  type Candidate,
  type Condemned,
  type OrElse,
  type SessionState,
  type Standing,
  type Told,
} from './standing.ts'
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

/** What the store's answer for one key means. */
interface Finding {
  readonly key: string
  readonly standing: Standing
  /** The session, if there is one. */
  readonly draft?: Draft
  /** The key has ended, or has been retired. */
  readonly isGone?: boolean
  /** The value is none that the store has issued, or too old. */
  readonly isRefused?: boolean
  /** What must die, whatever else is found. */
  readonly mustDie?: Pick<Condemned, 'key' | 'stored' | 'since' | 'isAsked'>
  /** What the client is to be told, by a request that only looks too. */
  readonly told?: Told
}

/** Loads a session once, however many ask for it; resolves to what the caller goes on with. */
export function load<T>(options: LoadOptions, state: SessionState, given: T): Awaitable<T> {
  const { standing, loading } = state
  if (standing.is !== 'unloaded') return given
  if (loading) return loading.then(() => given)
  const { candidates } = standing
  const { key, orElse } = candidates[0]!
  if (orElse || candidates.length > 1) return loadFirst(options, state, candidates, given)
  let answer
  try {
    answer = options.store.load(key)
    if (!isPromise(answer)) settle(state, judge(options, key, answer))
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
    settle(state, judge(options, key, await answer))
  } catch (error) {
    giveUp(options, state, key, error)
  } finally {
    state.loading = undefined
  }
  return given
}

/** Loads the first session that one of the client's cookies opens. */
function loadFirst<T>(
  options: LoadOptions,
  state: SessionState,
  candidates: readonly Candidate[],
  given: T,
): Awaitable<T> {
  const loaded = attempt(
    () => run(findFirst(options, state, candidates)),
    (error) => giveUp(options, state, candidates[0]!.key, error),
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

/** One after the other: whoever asks for all at once pays for what is never looked at. A backend that fails is asked no more. */
function* findFirst(
  options: LoadOptions,
  state: SessionState,
  candidates: readonly Candidate[],
): Steps<void> {
  const earlier: Finding[] = []
  for (const { key, orElse } of candidates) {
    const finding = orElse
      ? yield* resolve(options, key, orElse)
      : judge(options, key, yield* wait(options.store.load(key)))
    if (finding.draft) return settle(state, finding, earlier)
    earlier.push(finding)
  }
  settle(state, earlier.pop()!, earlier)
}

/**
 * Ends a doubt. Once the old key is retired, the new one has the session. While the old key has it, the move is finished: a
 * retirement that is still on its way to the store then finds nothing to do. If the old key is gone within the time that it
 * would be retired, somebody has ended the session, and the new one must die.
 */
function* resolve(options: LoadOptions, from: string, { key: to, time }: OrElse): Steps<Finding> {
  const { store, now } = options
  for (let conflicts = 0; ;) {
    // In this order: whoever has gone on with the new key has changed it after it was read, or the old one is retired by now.
    const made = yield* wait(store.load(to, true))
    const old = yield* wait(store.load(from, true))
    const isMoved = old ? isRetired(old) : now() - time >= RETIRED_FOR
    if (isMoved) return judgeTold(options, to, yield* wait(store.load(to, true)))
    if (!made || isRetired(made)) return judgeTold(options, from, old)
    if (!old) {
      const mustDie = { key: to, stored: made.data, since: now(), isAsked: true }
      return { ...judge(options, from, old), mustDie }
    }
    try {
      yield* wait(store.save(to, old, made.data))
      yield* wait(store.save(from, retired(options), old.data))
      return judgeTold(options, to, old)
    } catch (error) {
      const isMet = error instanceof SessionConflictError || error instanceof SessionGoneError
      if (!isMet || ++conflicts > MAX_CONFLICTS) throw error
    }
  }
}

/** As {@link judge}, of a key that the client is to be told. */
function judgeTold(options: LoadOptions, key: string, record: SessionRecord | undefined): Finding {
  const finding = judge(options, key, record)
  if (!record || !finding.draft) return finding
  const browserLength = endsWithBrowser(finding.draft.data[EXPIRY_KEY], options.settings)
  return { ...finding, told: { key, expiresAt: record.expiresAt, browserLength } }
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

/** What the store answered for one of the client's keys. A key that it does not know is never adopted. */
function judge(
  { store, codec, merging, settings, now }: LoadOptions,
  key: string,
  record: SessionRecord | undefined,
): Finding {
  if (!record) {
    return store.traits?.stateless
      ? { key, standing: NEW, isRefused: true }
      : { key, standing: NEW, isGone: true }
  }
  if (isRetired(record)) return { key, standing: { is: 'retired', key }, isGone: true }
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
    return { key, standing: { is: 'unreadable', key, stored, since } }
  }
  const { absoluteMaxAge = Infinity } = settings
  if (since < (draft.created ?? since) + absoluteMaxAge * 1000) {
    return { key, standing: { is: 'stored', key, expiresAt, since }, draft }
  }
  // Over by this manager's word, whatever others think: it ends for all.
  return { key, standing: NEW, mustDie: { key, stored, since, isAsked: false } }
}

/** Where none of several keys opens a session: what must not be written over comes first, then what can be ended. */
const WORST_FIRST = ['retired', 'unreadable', 'new'] as const

const NOTHING: readonly Finding[] = []

/** Takes what was found under the client's keys: under the last one a session, or under none. */
function settle(state: SessionState, last: Finding, earlier = NOTHING): void {
  if (last.draft) {
    state.standing = last.standing
    state.draft = last.draft
    state.clientKey = last.told ? undefined : last.key
    if (last.told) {
      state.owed = last.told
      state.accessed = true
    }
    // A session beside this one whose time is over opens nothing as it is.
    for (const { mustDie } of earlier) if (mustDie?.isAsked) oblige(state, mustDie)
  } else settleWithout(state, [...earlier, last])
}

/** None of the client's keys opens a session. */
function settleWithout(state: SessionState, findings: readonly Finding[]): void {
  const standings = findings.map(({ standing }) => standing)
  state.standing = WORST_FIRST.flatMap((is) => standings.filter((one) => one.is === is))[0]!
  const gone = findings.filter(({ isGone }) => isGone)
  state.goneKeys = gone.map(({ key }) => key)
  for (const { key, standing } of gone) if (standing.is === 'new') reportUnknownKey(key)
  for (const { mustDie } of findings) if (mustDie) oblige(state, mustDie)
  if (findings.every(({ isRefused }) => isRefused)) refuseCookie(state)
  if (state.standing.is !== 'unreadable') return
  warn(
    'CORRUPT_DATA',
    'A stored session could not be decoded, so the request got an empty one. Was it written with another codec?',
  )
}

/** Values none of which can be a session of ours: the cookie is deleted from the browser, so that it is not sent for ever. */
export function refuseCookie(state: SessionState): void {
  state.untold = 'delete'
  warn(
    'MALFORMED_COOKIE',
    'A session cookie was malformed, forged or expired, so the request got an empty session and the cookie is deleted.',
  )
}

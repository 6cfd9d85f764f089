// Where a session stands with the store, and what is still owed to it: what the session, the plan and the writer share.
import type { Merging } from './changes.ts'
import type { Codec } from './codec.ts'
import type { CookieOptions } from './cookie.ts'
import { Draft } from './draft.ts'
import { SessionGoneError, SessionStoreError, type SessionError } from './errors.ts'
import type { ExpirySettings } from './expiry.ts'
import { isSessionKey } from './key.ts'
import type { Kept, Snapshot } from './snapshot.ts'
import { RETIRED, type SessionRecord } from './store.ts'

/** Where a session stands: what its client's key opens, as far as this request knows. */
export type Standing =
  /** Nothing: no key, or one that nobody has. What is set makes a new session. */
  | { readonly is: 'new' }
  /** Not asked for yet: it is the first that one of the client's keys opens. */
  | { readonly is: 'unloaded'; readonly candidates: readonly Candidate[] }
  /** A record. */
  | {
      readonly is: 'stored'
      readonly key: string
      readonly expiresAt: number
      readonly since: number
    }
  /** A record that is no session any more, or not to this manager: it reads as empty, and can be ended. */
  | {
      readonly is: 'unreadable'
      readonly key: string
      readonly stored: string
      readonly since: number
    }
  /** Another key has replaced this one, and its cookie is on its way to the client. */
  | { readonly is: 'retired'; readonly key: string }
  /** The store could not be asked, and the application goes on without. */
  | { readonly is: 'unavailable'; readonly key: string; readonly error: SessionStoreError }

/** A key that may be the session's. After a login in doubt the session may be under another one. */
export interface Candidate {
  readonly key: string
  readonly orElse?: OrElse
}

/** Where a session is if the key that is asked first is retired: since when, in ms since the epoch. */
export interface OrElse {
  readonly key: string
  readonly time: number
}

export const NEW: Standing = { is: 'new' }

/** No key must die. */
export const NONE: readonly Condemned[] = []

/** No key of the client's is gone. */
export const NO_KEYS: readonly string[] = []

/** A key that must die: an obligation that outlives errors, and is forgotten when the key is dead. */
export interface Condemned {
  readonly key: string
  /** What the store is expected to have there. */
  readonly stored: string
  /** Whether the application has ended it: then it must not live on elsewhere. Otherwise its own time has come. */
  readonly isAsked: boolean
  /** Why this request cannot end it. */
  readonly refusal: SessionError | undefined
  /** It has ended already: all that is left is to be certain that nobody believes a copy of it. */
  readonly isGone: boolean
  /** When the request last saw it, in ms since the epoch. */
  readonly since: number
  /** This request itself may have retired it, by a record that ends then: the answer was lost. */
  readonly retirements: readonly number[]
}

/** A move to a new key that has begun. */
export interface Moving {
  /** The new key; undefined until the store has a record there. */
  to: string | undefined
  /** What the store has there. */
  stored: string
  /** What was to be retired at last: with other requests' changes, if there were any. */
  newest: Kept | undefined
  /** The old key may be retired already: the answer was lost. */
  doubt: boolean
  /** When the records of its retirement end that were sent, in ms since the epoch: what tells them from another request's. */
  ends: readonly number[]
  /** When the first was sent, in ms since the epoch. */
  since: number
}

/** A write whose answer was lost: it is looked for before anything is written again. */
export interface Doubt {
  readonly key: string
  readonly stored: string
  readonly expiresAt: number
  /** Every write leaves the end where it is: it tells none of them from another. */
  readonly endStays: boolean
  readonly snapshot: Snapshot
  /** Whether its cookie was to end with the browser. */
  readonly browserLength: boolean
}

/** What a cookie tells the client: its key, and for how long. */
export interface Told {
  readonly key: string
  /** In ms since the epoch. */
  readonly expiresAt: number
  readonly browserLength: boolean
}

/**
 * What a client is told of a login in doubt: the new key, the old one, and when, in ms since the epoch. The next request looks
 * which of the two has the session.
 */
export function keyInDoubt(to: string, from: string, time: number): string {
  return `${to}.${from}.${time.toString(36)}`
}

/** The keys in what {@link keyInDoubt} has made; undefined for anything else. */
function readDoubt(value: string): { to: string; from: string; time: number } | undefined {
  const [to, from, time, ...more] = value.split('.')
  if (!time || more.length > 0 || !isSessionKey(to!) || !isSessionKey(from!)) return undefined
  return { to: to!, from: from!, time: Number.parseInt(time, 36) }
}

/**
 * For so many keys one request asks the store at the most. Honest browsers have a handful of cookies of one name, from other paths
 * and domains; but each costs a call to the store, and a page of a neighbouring subdomain can plant hundreds.
 */
export const MOST_KEYS = 20

/**
 * Where a session stands whose client sent these values, none of them looked at yet; undefined if none could be a key.
 *
 * Of more than {@link MOST_KEYS} the last ones count: browsers send those with longer paths first, of which a stranger can plant
 * any number, and behind ours come only those of shorter paths and of parent domains.
 * @param isAny Whether any text may be a key, as of a stateless store's, which makes no calls.
 */
export function standingOf(values: readonly string[], isAny: boolean): Standing | undefined {
  const candidates: Candidate[] = []
  let keys = 0
  for (let at = values.length - 1; at >= 0; at--) {
    const value = values[at]!
    const candidate = isAny || isSessionKey(value) ? { key: value } : candidateInDoubt(value)
    if (!candidate) continue
    keys += candidate.orElse ? 2 : 1
    if (keys > MOST_KEYS && !isAny) break
    candidates.push(candidate)
  }
  return candidates.length > 0 ? { is: 'unloaded', candidates: candidates.toReversed() } : undefined
}

function candidateInDoubt(value: string): Candidate | undefined {
  const doubt = readDoubt(value)
  return doubt && { key: doubt.from, orElse: { key: doubt.to, time: doubt.time } }
}

/** What the client has not been told yet of what was stored: a cookie, or to forget the one it has. */
export type Untold = Told | 'delete' | undefined

/** What an adapter tells of a request's cookie. */
export interface CookieInfo {
  /** Whether the request came over HTTPS, for `secure: 'auto'`. Default false. */
  readonly secure?: boolean
  /** The cookie's attributes, where this response's differ from the manager's. */
  readonly cookie?: Omit<CookieOptions, 'name' | 'format'> | undefined
}

/** What a session needs of its manager. */
export interface Manager {
  readonly settings: ExpirySettings
  readonly codec: Codec
  readonly merging: Merging
  readonly now: () => number
  /** Bookkeeping that the application may see: Django shows `_session_expiry`. */
  readonly shown: readonly string[]
  /** Asks the store at once, or says why it cannot be asked now. */
  load(state: SessionState): void
  save(state: SessionState): Promise<void>
}

/** A session's state. Not part of the public interface. */
export interface SessionState {
  readonly manager: Manager
  standing: Standing
  draft: Draft
  /** Keys that must die before anything is acknowledged. */
  condemned: readonly Condemned[]
  /** The session gets a new key at the next write. */
  cycled: boolean
  moving: Moving | undefined
  doubt: Doubt | undefined
  /** A write that was in doubt, and not there when it was looked for, may still arrive; and it cannot be made twice. */
  unsure: boolean
  accessed: boolean
  /** The application wanted to take something out of a session whose content is not known. */
  tookUnknown: boolean
  /** What the application said of `modified`; undefined: look at the changes. */
  modified: boolean | undefined
  untold: Untold
  /** The same, of a write that is not acknowledged yet. */
  owed: Untold
  /** Asked for the cookie's attributes when a cookie is due; undefined once none can be sent any more. */
  cookieInfo: (() => CookieInfo) | undefined
  /** What the response is told of its cookie, from the commit on. */
  response: CookieInfo | undefined
  /** Nobody looked at the session, and shared caches may keep the response: it must carry no cookie. From the commit on. */
  isShared: boolean
  /** The application has flushed a session that can be ended. */
  flushed: boolean
  /** The key that the client holds, or will when it has the response. */
  clientKey: string | undefined
  /** The keys that the request was sent with, if they had ended or were retired when they were looked for and none opened a session. */
  goneKeys: readonly string[]
  /** The response's headers are out, so no cookie can be sent any more. */
  sent: boolean
  /** The writes under way: the next one waits for this. It never rejects. */
  line: Promise<void> | undefined
  /** A load under way, shared by all who wait for it. */
  loading: Promise<unknown> | undefined
}

/**
 * What earlier versions left under a key that was replaced. It is read as a retired key, so that an upgrade logs nobody out.
 */
const EARLIER_RETIRED = '{"_session_moved":true}'

/** Whether a record stands for a key that another one has replaced. */
export function isRetired({ data }: SessionRecord): boolean {
  return data === RETIRED || data === EARLIER_RETIRED
}

/** The session ends here: its key must die, and what comes is a new session. */
export function condemn(state: SessionState): void {
  const { standing, draft, moving, doubt, goneKeys } = state
  switch (standing.is) {
    case 'stored':
      condemnKey(state, standing.key, draft.base!.stored, standing.since, moving?.ends)
      break
    case 'unreadable':
      condemnKey(state, standing.key, standing.stored, standing.since)
      break
    case 'retired':
      refuseToEnd(state, standing.key, new SessionGoneError())
      break
    case 'unavailable':
      refuseToEnd(state, standing.key, standing.error)
      break
    default:
      if (doubt) condemnKey(state, doubt.key, doubt.stored)
  }
  // Another process may be about to acknowledge their end: until nobody believes a copy any more, this one must not either.
  if (standing.is !== 'stored' && !doubt) for (const key of goneKeys) condemnGone(state, key)
  if (moving?.to !== undefined) condemnKey(state, moving.to, moving.stored)
  state.standing = NEW
  state.draft = new Draft(state.manager.codec, state.manager.merging)
  state.cycled = false
  state.moving = state.doubt = state.owed = undefined
  state.goneKeys = NO_KEYS
}

/** A key must die, instead of whatever was known of it. */
export function condemnKey(
  state: SessionState,
  key: string,
  stored: string,
  since: number = state.manager.now(),
  retirements: readonly number[] = [],
): void {
  oblige(state, { key, stored, since, retirements })
}

/** A key of the client's has ended, or been retired: what is left is to be certain of it. */
function condemnGone(state: SessionState, key: string): void {
  if (!state.condemned.some((one) => one.key === key)) oblige(state, { key, isGone: true })
}

function refuseToEnd(state: SessionState, key: string, refusal: SessionError): void {
  oblige(state, { key, refusal, isGone: refusal instanceof SessionGoneError })
}

const OBLIGATION: Omit<Condemned, 'key'> = {
  stored: '',
  isAsked: true,
  refusal: undefined,
  isGone: false,
  since: 0,
  retirements: [],
}

/** Takes on an obligation, in place of an earlier one for the same key. */
export function oblige(
  state: SessionState,
  one: Pick<Condemned, 'key'> & Partial<Condemned>,
): void {
  const others = state.condemned.filter(({ key }) => key !== one.key)
  state.condemned = [...others, { ...OBLIGATION, ...one }]
}

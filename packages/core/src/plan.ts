// What a write must do, from a snapshot of the session and the time. Pure: the writer carries it out.
import { SessionGoneError, SessionStoreError, type SessionError } from './errors.ts'
import type { Condemned, Standing } from './standing.ts'

/** A session at one moment, as far as a plan needs it. */
export interface Situation {
  readonly standing: Standing
  /** Whether it holds nothing. */
  readonly empty: boolean
  /** Whether the request changed it, or said so. */
  readonly modified: boolean
  /** Whether it is to get a new key. */
  readonly cycled: boolean
  /** Whether the request wanted to take something out of a session whose content it does not know. */
  readonly tookUnknown: boolean
  readonly condemned: readonly Condemned[]
  /** Whether nobody looked at it, and shared caches may keep the response: it must carry no cookie. */
  readonly isShared: boolean
  /** When it ends if it is written now, in ms since the epoch. */
  readonly expiresAt: number
}

/** The manager's options, as far as a plan needs them. */
export interface PlanOptions {
  /** Renew a session that was not changed. */
  readonly saveEveryRequest: boolean
  /** Renew it only if that moves its end by so many seconds. */
  readonly touchAfter: number
}

/** What a write must do. Condemned keys are ended besides. */
export type Plan =
  /** Nothing was changed, or the application said not to write. */
  | { readonly to: 'leave' }
  /** Nothing may be written in this session's place. */
  | { readonly to: 'refuse'; readonly error: SessionError }
  /** A record under a new key. */
  | { readonly to: 'create' }
  /** The record, as this request has changed it. */
  | { readonly to: 'save' }
  /** The record's end alone. */
  | { readonly to: 'renew' }
  /** The record under a new key, and the old key retired. */
  | { readonly to: 'move' }
  /** The record is to go. */
  | { readonly to: 'end' }

const LEAVE: Plan = { to: 'leave' }

/** @param now The current time in ms since the epoch. */
export function plan(situation: Situation, options: PlanOptions, now: number): Plan {
  const { standing, empty, modified, cycled, tookUnknown, condemned, isShared, expiresAt } =
    situation
  const over = empty || expiresAt <= now
  const begins = !over && modified
  const refusal = condemned.find((one) => one.refusal && !(begins && isReplaceable(one)))?.refusal
  if (refusal) return { to: 'refuse', error: refusal }
  switch (standing.is) {
    case 'unloaded':
      return LEAVE
    case 'unavailable':
      return modified || tookUnknown ? { to: 'refuse', error: standing.error } : LEAVE
    case 'retired':
      // A login gets a session of its own; whatever else was meant for the session under its new key.
      if (begins && cycled) return { to: 'create' }
      return modified || tookUnknown ? { to: 'refuse', error: new SessionGoneError() } : LEAVE
    case 'unreadable':
      if (tookUnknown) return { to: 'refuse', error: unreadable() }
      return begins ? { to: 'create' } : LEAVE
    case 'new':
      return begins ? { to: 'create' } : LEAVE
    default:
  }
  if (!modified) {
    if (over || isShared || !options.saveEveryRequest) return LEAVE
    const moved = Math.abs(expiresAt - standing.expiresAt)
    return moved >= options.touchAfter * 1000 ? { to: 'renew' } : LEAVE
  }
  if (over) return { to: 'end' }
  return { to: cycled ? 'move' : 'save' }
}

/** A key that another request has replaced needs no end where a login begins a session of its own. */
function isReplaceable({ refusal }: Condemned): boolean {
  return refusal instanceof SessionGoneError
}

/** What is thrown where a stored session would have to be read that this manager cannot read. */
export function unreadable(cause?: unknown): SessionStoreError {
  const message =
    'The stored session could not be decoded, so nothing can be changed in it. Was it written with another codec? flush() ends it.'
  return new SessionStoreError(message, cause)
}

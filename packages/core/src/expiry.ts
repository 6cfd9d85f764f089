// When a session ends: Django's rules, and an absolute lifetime besides.
import { MAX_EXPIRES_AT } from './store.ts'

/** Where a custom expiry is kept in the data, as Django keeps it: seconds, 0, or a date in ISO 8601. */
export const EXPIRY_KEY = '_session_expiry'

/** What the manager's options say of expiry. */
export interface ExpirySettings {
  /** Seconds. */
  readonly maxAge: number
  readonly expireAtBrowserClose: boolean
  /** Seconds since the session's creation; undefined for no such limit. */
  readonly absoluteMaxAge: number | undefined
}

/** A custom expiry as stored: seconds of inactivity (0: browser-length), or a moment in ms since the epoch. */
type CustomExpiry = { seconds: number } | { at: number } | undefined

/** Reads what `_session_expiry` holds. Anything that is no expiry counts as none. */
function parse(stored: unknown): CustomExpiry {
  if (typeof stored === 'number' && Number.isFinite(stored)) return { seconds: stored }
  if (typeof stored === 'string') {
    const at = Date.parse(stored)
    if (!Number.isNaN(at)) return { at }
  }
  return undefined
}

/**
 * A moment as a record may have it for its end: a whole number of milliseconds, from 0 to {@link MAX_EXPIRES_AT}.
 * @param moment In ms since the epoch; what lies outside is moved to the nearer end. Not NaN.
 */
export function toExpiresAt(moment: number): number {
  return Math.max(0, Math.round(Math.min(moment, MAX_EXPIRES_AT)))
}

/**
 * When a session that is saved now ends, in ms since the epoch.
 * @param stored What `_session_expiry` holds.
 * @param created When the session was created, in ms since the epoch, where that is known.
 * @param now The current time in ms since the epoch.
 */
export function expiresAt(
  stored: unknown,
  settings: ExpirySettings,
  created: number | undefined,
  now: number,
): number {
  const custom = parse(stored)
  const end =
    custom && 'at' in custom ? custom.at : now + (custom?.seconds || settings.maxAge) * 1000
  const limit =
    settings.absoluteMaxAge === undefined
      ? MAX_EXPIRES_AT
      : (created ?? now) + settings.absoluteMaxAge * 1000
  return toExpiresAt(Math.min(end, limit))
}

/** Whether the cookie ends with the browser. */
export function endsWithBrowser(stored: unknown, settings: ExpirySettings): boolean {
  const custom = parse(stored)
  if (custom === undefined) return settings.expireAtBrowserClose
  return 'seconds' in custom && custom.seconds === 0
}

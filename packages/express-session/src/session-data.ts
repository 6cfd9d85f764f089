// What express-session keeps: one object with the session's fields, and beside them the cookie, which holds the expiry.
import { isDate } from 'node:util/types'
import { toExpiresAt } from '@coatcheck/core/adapter'

/** The cookie inside a session, as JSON has it. */
export interface StoredCookie {
  /** Milliseconds; null for a cookie that ends with the browser. */
  originalMaxAge?: number | null
  /** A date in ISO 8601; null for a cookie that ends with the browser. */
  expires?: string | Date | null
  [attribute: string]: unknown
}

/** A session, as express-session hands it to a store and gets it back. */
export interface StoredSession {
  cookie: StoredCookie
  [field: string]: unknown
}

/** How long a session lives whose cookie ends with the browser, in seconds: a day, as connect-redis and others have it. */
export const BROWSER_LENGTH_TTL = 86_400

/** When a session ends, in ms since the epoch, if its cookie says so; an invalid date says nothing. */
export function storedEnd({ cookie }: StoredSession): number | undefined {
  const expires: unknown = cookie?.expires
  // An empty one, and 0, are how a cookie says that it ends with the browser.
  if (!expires || !(typeof expires === 'string' || typeof expires === 'number' || isDate(expires)))
    return undefined
  const end = new Date(expires).getTime()
  return Number.isNaN(end) ? undefined : toExpiresAt(end)
}

/** When a session ends, in ms since the epoch: from now on, where its cookie does not say. */
export function endOf(session: StoredSession, ttl: number, now: number): number {
  const maxAge: unknown = session.cookie?.originalMaxAge
  return (
    storedEnd(session) ?? toExpiresAt(now + (Number.isFinite(maxAge) ? Number(maxAge) : ttl * 1000))
  )
}

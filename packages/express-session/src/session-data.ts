// What express-session keeps: one object with the session's fields, and beside them the cookie, which holds the expiry.

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

/** When a session ends, in ms since the epoch. */
export function endOf({ cookie }: StoredSession, ttl: number, now: number): number {
  const { expires, originalMaxAge } = cookie ?? {}
  const end = expires ? new Date(expires).getTime() : Number.NaN
  if (!Number.isNaN(end)) return end
  return now + (typeof originalMaxAge === 'number' ? originalMaxAge : ttl * 1000)
}

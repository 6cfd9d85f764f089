// The cookie in a session that is handed to a store of express-session: with the members of express-session's own, which may
// not be installed any more after the move.
import { toExpiresAt } from '@coatcheck/core/adapter'
import type { StoredCookie } from './session-data.ts'

/** Stores that compare whole seconds end a session up to so many ms early; its end that counts stands in `expires`. */
const SPARE = 1000

/**
 * Stores take a session's end from whichever member suits them: `expires` as a Date or as text (connect-redis, connect-pg-simple,
 * connect-mongo, connect-session-sequelize, express-mysql-session), `maxAge` (connect-session-knex, connect-sqlite3,
 * better-sqlite3-session-store, memorystore, prisma-session-store), `originalMaxAge` (session-file-store). What they store is its JSON.
 */
export class StoreCookie {
  path: unknown = '/'
  // The names are express-session's.
  /* oxlint-disable no-underscore-dangle */
  _expires: Date
  originalMaxAge: number
  httpOnly: unknown = true
  declare secure?: unknown
  declare domain?: unknown
  declare sameSite?: unknown
  declare priority?: unknown
  declare partitioned?: unknown

  /**
   * @param attributes Those that the session's cookie has so far; what is no attribute of a cookie is left out.
   * @param maxAge How long the session lives from now on, in ms.
   */
  constructor(attributes: StoredCookie | undefined, expiresAt: number, maxAge: number) {
    this._expires = new Date(expiresAt)
    this.originalMaxAge = maxAge
    const names = ['path', 'httpOnly', 'secure', 'domain', 'sameSite', 'priority', 'partitioned']
    for (const name of names) {
      if (attributes?.[name] !== undefined) Object.assign(this, { [name]: attributes[name] })
    }
  }

  get expires(): Date {
    return this._expires
  }

  set expires(date: Date) {
    this._expires = date
    this.originalMaxAge = date.getTime() - Date.now()
  }

  /** What is left, in ms, and a little: by the clock that stores add it to, whatever the application's is. */
  get maxAge(): number {
    return toExpiresAt(this._expires.getTime() + SPARE) - Date.now()
  }

  set maxAge(ms: number) {
    this.expires = new Date(Date.now() + ms)
  }

  get data(): object {
    const { originalMaxAge, partitioned, priority, expires, secure, httpOnly, domain } = this
    const { path, sameSite } = this
    return {
      originalMaxAge,
      partitioned,
      priority,
      expires,
      secure,
      httpOnly,
      domain,
      path,
      sameSite,
    }
  }

  toJSON(): object {
    return this.data
  }
}

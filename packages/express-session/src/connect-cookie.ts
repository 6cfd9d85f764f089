// The cookie of express-session, `connect.sid`, read and written by Coatcheck: nobody is logged out by the move.
import { Buffer } from 'node:buffer'
import { createHmac, timingSafeEqual } from 'node:crypto'
import { SessionUsageError, type CookieOptions } from '@coatcheck/core'
import { refuseOption } from '@coatcheck/core/store'

/** As the package cookie-signature, by which express-session signs. */
const sign = (key: string, secret: string) =>
  `${key}.${createHmac('sha256', secret).update(key).digest('base64').replace(/=+$/, '')}`

/** What {@link connectCookie} takes: the cookie's attributes, and express-session's secrets. */
export interface ConnectCookieOptions extends CookieOptions {
  /** What express-session has as its `secret`: the current one first, old ones after it. One that is undefined is refused. */
  readonly secrets: readonly (string | undefined)[]
}

/**
 * The `cookie` option for a manager that takes over from express-session: the same name (`connect.sid`), and the same
 * signature around the key.
 * @throws SessionUsageError if there is no secret, or a `maxAge` or `expires`, which Coatcheck has elsewhere.
 */
export function connectCookie({ secrets, ...cookie }: ConnectCookieOptions): CookieOptions {
  if (!areSecrets(secrets)) {
    const missing = Array.isArray(secrets) ? secrets.indexOf(undefined) : -1
    if (missing >= 0) {
      refuseOption(
        `connectCookie: \`secrets[${missing}]\` is undefined. Is the environment variable set that it comes from?`,
      )
    }
    throw new SessionUsageError(
      "connectCookie: `secrets` must be a list with express-session's secret, the current one first.",
      'ERR_SESSION_OPTIONS',
    )
  }
  for (const name of ['maxAge', 'expires']) {
    if (!(name in cookie)) continue
    throw new SessionUsageError(
      `connectCookie: \`${name}\` has no meaning here. How long a session lives is an option of the manager: \`session({ maxAge: seconds })\`.`,
      'ERR_SESSION_OPTIONS',
    )
  }
  return {
    name: 'connect.sid',
    ...cookie,
    format: {
      write: (key) => `s:${sign(key, secrets[0])}`,
      read(value) {
        if (!value.startsWith('s:')) return undefined
        const given = Buffer.from(value.slice(2))
        const key = value.slice(2, value.lastIndexOf('.'))
        const genuine = secrets.some((secret) => {
          const expected = Buffer.from(sign(key, secret))
          return given.length === expected.length && timingSafeEqual(given, expected)
        })
        return genuine ? key : undefined
      },
    },
  }
}

function areSecrets(secrets: readonly (string | undefined)[]): secrets is [string, ...string[]] {
  return Array.isArray(secrets) && secrets.length > 0 && secrets.every(Boolean)
}

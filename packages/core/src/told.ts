// What the client is told: the cookie for what was stored, whether the response is a success or not.
import { sessionCookie, type CookieOptions, type SessionCookie } from './cookie.ts'
import type { SessionHeaders } from './headers.ts'
import type { CookieInfo, SessionState, Told, Untold } from './standing.ts'

/** What telling needs of the manager's options. */
export interface TellOptions {
  /** The manager's own cookie. */
  readonly cookie: SessionCookie
  readonly cookieOptions: CookieOptions | undefined
  readonly now: () => number
}

/** The headers for what was stored so far. */
export function headersOf(
  options: TellOptions,
  { untold, accessed }: SessionState,
  info: CookieInfo,
): SessionHeaders {
  const vary = accessed || untold !== undefined
  if (untold === undefined) return { vary }
  const cookie = cookieFor(options, info)
  const { secure = false } = info
  const setCookie =
    untold === 'delete'
      ? cookie.remove(secure)
      : cookie.write(untold.key, maxAgeOf(options, untold), secure)
  return { setCookie, vary }
}

/**
 * Throws if the client could not be given this cookie: before anything is stored that could not be found again.
 * @throws SessionTooLargeError past 4096 bytes; SessionUsageError for attributes that a browser would refuse.
 */
export function assertSendable(
  options: TellOptions,
  state: SessionState,
  told: Exclude<Untold, undefined>,
): void {
  const info = state.response ?? state.cookieInfo?.()
  if (!info?.cookie && options.cookie.fits(told === 'delete' ? '' : told.key)) return
  // Without the request's word the line may turn out to need `Secure`.
  const { secure = info === undefined } = info ?? {}
  const cookie = info ? cookieFor(options, info) : options.cookie
  if (told !== 'delete') cookie.assertFits(told.key, maxAgeOf(options, told), secure)
}

/** The cookie as a response is to have it. */
function cookieFor({ cookie, cookieOptions }: TellOptions, info: CookieInfo): SessionCookie {
  return info.cookie ? sessionCookie({ ...cookieOptions, ...info.cookie }) : cookie
}

/** In seconds; undefined for as long as the browser runs. */
function maxAgeOf({ now }: TellOptions, { expiresAt, browserLength }: Told): number | undefined {
  return browserLength ? undefined : Math.ceil((expiresAt - now()) / 1000)
}

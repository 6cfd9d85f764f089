// What the client is told: the cookie for what was stored, whether the response is a success or not.
import { isPromise, type Awaitable } from './awaitable.ts'
import { sessionCookie, type CookieOptions, type SessionCookie } from './cookie.ts'
import { siteDataHeader, type SiteData } from './clear-site-data.ts'
import type { SessionHeaders } from './headers.ts'
import { refuseOption } from './options.ts'
import type { CookieInfo, SessionState, Told, Untold } from './standing.ts'

/** What telling needs of the manager's options. */
export interface TellOptions {
  /** The manager's own cookie. */
  readonly cookie: SessionCookie
  readonly cookieOptions: CookieOptions | undefined
  readonly clearSiteData: readonly SiteData[] | undefined
  readonly now: () => number
}

/** The headers for what was stored so far. */
export function headersOf(
  options: TellOptions,
  state: SessionState,
  info: CookieInfo,
): SessionHeaders {
  const { accessed, isShared } = state
  // To forget a cookie that is no session's can wait for a response that is for nobody else.
  const untold = isShared ? undefined : state.untold
  const headers: SessionHeaders = { vary: accessed || untold !== undefined }
  if (showsSession(state)) headers.private = true
  const clearSiteData = siteDataOf(options, state)
  if (clearSiteData !== undefined) headers.clearSiteData = clearSiteData
  if (untold === undefined) return headers
  const cookie = cookieFor(options, info)
  const { secure = false } = info
  headers.setCookie =
    untold === 'delete'
      ? cookie.remove(secure)
      : cookie.write(untold.key, maxAgeOf(options, untold), secure)
  return headers
}

/** Whether the response may show what a stored session holds, or held before this request was to end it. */
function showsSession({ accessed, standing, condemned }: SessionState): boolean {
  return accessed && (standing.is === 'stored' || condemned.some(({ isGone }) => !isGone))
}

/** What the browser is to throw away: once a flush has ended what it was to end, and not before. */
function siteDataOf(
  { clearSiteData }: TellOptions,
  { flushed, condemned, untold }: SessionState,
): string | undefined {
  if (!clearSiteData || !flushed || condemned.length > 0) return undefined
  return siteDataHeader(clearSiteData, typeof untold === 'object')
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
  if (!info.cookie) return cookie
  if (isPromise(info.cookie as Awaitable<unknown>)) {
    refuseOption('cookieFor must answer at once, and answered with a promise')
  }
  // What the next request is read by is the manager's own.
  const { name } = cookie.identity
  const format = cookieOptions?.format
  return sessionCookie({ ...cookieOptions, ...info.cookie, name, format } as CookieOptions)
}

/** In seconds; undefined for as long as the browser runs. */
function maxAgeOf({ now }: TellOptions, { expiresAt, browserLength }: Told): number | undefined {
  return browserLength ? undefined : Math.ceil((expiresAt - now()) / 1000)
}

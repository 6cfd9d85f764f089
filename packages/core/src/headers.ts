// What a committed session adds to the response's headers, for every adapter alike.
import { changesToKeepPrivate, goesBeforeCacheControl, type HeaderChange } from './cache-control.ts'
import { joinSiteData } from './clear-site-data.ts'
import { warnOfEach } from './events.ts'

/** What {@link Sessions.commit} asks the adapter to send. */
export interface SessionHeaders {
  /** The Set-Cookie line to add to those already there. */
  setCookie?: string
  /** The response depends on the cookie. */
  vary: boolean
  /**
   * The response may show what a session held: a browser is not to show it again when its visitor has logged out and goes back.
   */
  private?: boolean
  /** The value of Clear-Site-Data, with the option `clearSiteData` after a logout. */
  clearSiteData?: string
}

/** A response's headers, as the standard `Headers` has them. */
export interface HeaderTarget {
  get(name: string): string | null | undefined
  set(name: string, value: string): void
  /** For Set-Cookie alone. */
  append(name: string, value: string): void
  /** The names of all that are set, in small letters, where to ask for them costs less than to ask for ten headers. */
  names?(): readonly string[]
}

/**
 * Adds a session's headers: Set-Cookie beside the others, `Vary: Cookie` if the session was read, Clear-Site-Data beside what the
 * handler has set there. And it tells caches:
 * - A response with a session's cookie is for its visitor alone. Without a Cache-Control of the handler's it gets `no-store`; one
 *   that leaves room for shared caches becomes `private`, and what CDNs obey before it `no-store`. If the handler had asked them to
 *   keep it, a warning `PUBLIC_RESPONSE` says so.
 * - A response that shows a session gets `no-store` where the handler has set no Cache-Control.
 * @see https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html#web-content-caching
 */
export function addSessionHeaders(target: HeaderTarget, headers: SessionHeaders): void {
  const { setCookie, vary, clearSiteData } = headers
  if (setCookie !== undefined) {
    target.append('Set-Cookie', setCookie)
    keepPrivate(target)
  } else if (headers.private && !target.get('Cache-Control')) {
    target.set('Cache-Control', 'no-store')
  }
  if (vary) {
    const present = target.get('Vary')
    if (!present) target.set('Vary', 'Cookie')
    else if (!/(?:^|,)\s*(?:\*|cookie)\s*(?:,|$)/i.test(present)) {
      target.set('Vary', `${present}, Cookie`)
    }
  }
  if (clearSiteData !== undefined) {
    target.set('Clear-Site-Data', joinSiteData(target.get('Clear-Site-Data'), clearSiteData))
  }
}

/** Keeps a response with a session's cookie out of shared caches, whatever the handler has said. */
function keepPrivate(target: HeaderTarget): void {
  if (target.names && !target.get('Cache-Control') && !goesBeforeCacheControl(target.names())) {
    target.set('Cache-Control', 'no-store')
    return
  }
  const changes = changesToKeepPrivate((name) => target.get(name))
  for (const { name, after } of changes) target.set(name, after)
  const shared = changes.filter(({ wasShared }) => wasShared)
  if (shared.length === 0) return
  warnOfEach(
    'PUBLIC_RESPONSE',
    () =>
      `A response that sets a session's cookie asked shared caches to keep it, and they would have given the cookie to other visitors: changed ${shared.map(inWords).join('; ')}. Change no session in a public route, or declare the route private.`,
  )
}

function inWords({ name, before, after }: HeaderChange): string {
  return `'${name}: ${before}' to '${name}: ${after}'`
}

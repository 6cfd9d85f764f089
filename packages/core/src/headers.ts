// What a committed session adds to the response's headers, for every adapter alike.

/** What {@link Sessions.commit} asks the adapter to send. */
export interface SessionHeaders {
  /** The Set-Cookie line to add to those already there. */
  setCookie?: string
  /** The response depends on the cookie. */
  vary: boolean
}

/** A response's headers, as the standard `Headers` has them. */
export interface HeaderTarget {
  get(name: string): string | null | undefined
  set(name: string, value: string): void
  append(name: string, value: string): void
}

/**
 * Adds a session's headers: Set-Cookie beside the others, `Vary: Cookie` if the session was read, and
 * `Cache-Control: no-cache="Set-Cookie"` where a cookie is set and the handler has set no Cache-Control of its own.
 * @see https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.4
 */
export function addSessionHeaders(target: HeaderTarget, { setCookie, vary }: SessionHeaders): void {
  if (setCookie !== undefined) {
    target.append('Set-Cookie', setCookie)
    if (!target.get('Cache-Control')) target.set('Cache-Control', 'no-cache="Set-Cookie"')
  }
  if (vary) {
    const present = target.get('Vary')
    if (!present) target.set('Vary', 'Cookie')
    else if (!/(?:^|,)\s*(?:\*|cookie)\s*(?:,|$)/i.test(present)) {
      target.set('Vary', `${present}, Cookie`)
    }
  }
}

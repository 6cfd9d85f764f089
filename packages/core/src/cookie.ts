// The session's cookie: its settings and their rules, reading it, and the Set-Cookie line.
import { Buffer } from 'node:buffer'
import { parseCookie, stringifySetCookie, type SetCookie } from 'cookie'
import { SessionTooLargeError, SessionUsageError } from './errors.ts'

/** How a key stands in its cookie, where it is not the cookie's value itself: signed by another library, for one. */
export interface CookieFormat {
  /** The key in a cookie's value; undefined if the value is forged or malformed. */
  read(value: string): string | undefined
  /** The cookie's value for a key. */
  write(key: string): string
}

/** The session cookie's name and attributes. */
export interface CookieOptions {
  /** Default `sessionid`, as Django's. The prefixes `__Host-` and `__Secure-` bring their rules. */
  readonly name?: string
  /** Default `/`. */
  readonly path?: string
  /** Default: the host that set it, and no other. */
  readonly domain?: string
  /** Only over HTTPS. `'auto'` (default): if the request came over HTTPS. */
  readonly secure?: boolean | 'auto'
  /** Hidden from scripts in the page. Default true. */
  readonly httpOnly?: boolean
  /** When other sites' requests carry the cookie; false leaves that to the browser. Default `lax`. */
  readonly sameSite?: 'strict' | 'lax' | 'none' | false
  /** Kept apart for each top-level site (CHIPS); needs `secure: true`. Default false. */
  readonly partitioned?: boolean
  /** How the key stands in the cookie. Default: as it is. */
  readonly format?: CookieFormat
}

/**
 * How large the whole Set-Cookie line may be: name, value and attributes, as every browser must keep it.
 * @see https://www.rfc-editor.org/rfc/rfc6265#section-6.1
 */
export const MAX_COOKIE_BYTES = 4096

/** The longest age that a cookie of ours has, in seconds: until the year 9999. */
const MAX_AGE = 253_402_300_800

/** The session cookie of one manager. */
export interface SessionCookie {
  /**
   * The keys in a Cookie header, in its order, each once: a browser sends every cookie of the name, from whatever path or domain.
   * Empty text stands for those that are forged or malformed.
   */
  read(header: string | undefined): readonly string[]
  /**
   * The Set-Cookie line.
   * @param maxAge Seconds; undefined for as long as the browser runs.
   * @throws SessionTooLargeError past 4096 bytes.
   */
  write(key: string, maxAge: number | undefined, secure: boolean): string
  /** Whether {@link write} takes this key, whatever the age; false where that must be tried. */
  fits(key: string): boolean
  /**
   * Throws what {@link write} would throw.
   * @throws SessionTooLargeError past 4096 bytes.
   */
  assertFits(key: string, maxAge: number | undefined, secure: boolean): void
  /** The Set-Cookie line that deletes the cookie. */
  remove(secure: boolean): string
}

/**
 * Calls `refuse` with the reason if browsers would drop a cookie for its attributes.
 * @see https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
 */
export function assertCookieRules(
  cookie: {
    readonly name: string
    readonly path?: string | undefined
    readonly domain?: string | undefined
    readonly secure?: boolean | 'auto' | undefined
    readonly sameSite?: 'strict' | 'lax' | 'none' | false | undefined
    readonly partitioned?: boolean | undefined
  },
  refuse: (reason: string) => void,
): void {
  const { name, path, domain, secure = false, sameSite, partitioned } = cookie
  if (name.startsWith('__Host-') && (secure !== true || path !== '/' || domain !== undefined)) {
    refuse("must have secure: true, path: '/' and no domain, or browsers drop it (prefix __Host-)")
  }
  if (name.startsWith('__Secure-') && secure !== true) {
    refuse('must have secure: true, or browsers drop it (prefix __Secure-)')
  }
  if (sameSite === 'none' && secure === false) {
    refuse("must have secure: true with sameSite: 'none', or browsers drop it")
  }
  if (partitioned && secure !== true) {
    refuse('must have secure: true with partitioned: true, or browsers drop it')
  }
}

const NO_VALUES: readonly string[] = []

/** The values of all cookies of a name in a Cookie header, in its order, each once. */
export function readCookies(header: string | undefined, name: string): readonly string[] {
  const at = header?.indexOf(name) ?? -1
  if (header === undefined || at < 0) return NO_VALUES
  // The parser tells the first one alone; nearly always there is no other.
  if (header.indexOf(name, at + name.length) < 0) {
    const value = parseCookie(header)[name]
    return value === undefined ? NO_VALUES : [value]
  }
  const values = new Set<string>()
  for (const pair of header.split(';')) {
    const value = parseCookie(pair)[name]
    if (value !== undefined) values.add(value)
  }
  return [...values]
}

/** @throws SessionUsageError for options that a browser would refuse. */
export function sessionCookie(options: CookieOptions = {}): SessionCookie {
  const { name = 'sessionid', path = '/', domain, secure = 'auto', httpOnly = true } = options
  const { sameSite = 'lax', partitioned = false, format } = options

  const refuse = (reason: string) => {
    throw new SessionUsageError(`The session cookie '${name}' ${reason}.`, 'ERR_SESSION_OPTIONS')
  }
  assertCookieRules({ name, path, domain, secure, sameSite, partitioned }, refuse)

  const attributes: Omit<SetCookie, 'name' | 'value'> = { path, httpOnly, partitioned }
  if (sameSite !== false) attributes.sameSite = sameSite
  if (domain !== undefined) attributes.domain = domain
  const line = (value: string, more: Partial<SetCookie>, secureRequest: boolean) =>
    stringifySetCookie({
      ...attributes,
      ...more,
      name,
      value,
      secure: secure === 'auto' ? secureRequest : secure,
    })
  /** A line with the longest key and age: where that fits, a plain key always does. */
  const longest = () => line('k'.repeat(64), { maxAge: MAX_AGE }, true)
  let fitsAnyKey = false
  try {
    fitsAnyKey = longest().length <= MAX_COOKIE_BYTES && !format
  } catch (error) {
    refuse(`cannot be written: ${(error as Error).message}`)
  }
  /** The last line: what was checked before a write is what is sent after it. */
  let last = { key: '', maxAge: undefined as number | undefined, secureRequest: false, text: '' }
  function write(key: string, maxAge: number | undefined, secureRequest: boolean): string {
    const { text: before } = last
    if (last.key === key && last.maxAge === maxAge && last.secureRequest === secureRequest) {
      if (before !== '') return before
    }
    const value = format ? format.write(key) : key
    const text = line(value, maxAge === undefined ? {} : { maxAge }, secureRequest)
    const bytes = Buffer.byteLength(text)
    if (bytes > MAX_COOKIE_BYTES) {
      throw new SessionTooLargeError(
        `The session's cookie '${name}'`,
        bytes,
        MAX_COOKIE_BYTES,
        'Browsers drop what is larger. Keep less in the session, or use an engine that stores it on the server.',
      )
    }
    last = { key, maxAge, secureRequest, text }
    return text
  }

  return {
    read(header) {
      const values = readCookies(header, name)
      if (!format || values.length === 0) return values
      return [...new Set(values.map((value) => format.read(value) ?? ''))]
    },
    write,
    fits: (key) => fitsAnyKey && key.length <= 64,
    assertFits: (key, maxAge, secureRequest) => void write(key, maxAge, secureRequest),
    remove: (secureRequest) => line('', { maxAge: 0, expires: new Date(0) }, secureRequest),
  }
}

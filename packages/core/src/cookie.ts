// The session's cookie: its settings and their rules, reading it, and the Set-Cookie line.
import { Buffer } from 'node:buffer'
import { parseCookie, stringifySetCookie, type SetCookie } from 'cookie'
import { SessionTooLargeError } from './errors.ts'
import { warnOfEach } from './events.ts'
import { assertOptions, refuseOption, type OptionRules } from './options.ts'
import { anything, inWords, rule } from './rules.ts'

/** How a key stands in its cookie, where it is not the cookie's value itself: signed by another library, for one. */
export interface CookieFormat {
  /** The key in a cookie's value; undefined if the value is forged or malformed. */
  read(value: string): string | undefined
  /** The cookie's value for a key. */
  write(key: string): string
}

/** The session cookie's name and attributes. What browsers would ignore, or drop the cookie for, is refused at the start. */
export interface CookieOptions {
  /**
   * Default `sessionid`, as Django's. Letters, digits and any of ``!#$%&'*+-.^_`|~``. The prefixes `__Secure-`, `__Host-`, `__Http-`
   * and `__Host-Http-` bring their rules, in capitals or not; with `__Host-` no other host can plant a cookie of the name.
   */
  readonly name?: string
  /** Default `/`. Begins with a slash; up to 1024 bytes. */
  readonly path?: string
  /** Default: the host that set it, and no other. A host's name alone, without scheme and port. */
  readonly domain?: string
  /** Only over HTTPS. `'auto'` (default): if the request came over HTTPS, and always with `sameSite: 'none'`. */
  readonly secure?: boolean | 'auto'
  /** Hidden from scripts in the page. Default true. */
  readonly httpOnly?: boolean
  /**
   * When other sites' requests carry the cookie; false leaves that to the browser. Default `lax`. With `none` the cookie is
   * `Secure`, or browsers would drop it.
   */
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

/**
 * How long browsers keep a cookie at the most, in seconds: 400 days. A longer age is cut.
 * @see https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#section-5.5
 */
export const MAX_COOKIE_AGE = 34_560_000

/** A longer value of an attribute is ignored by browsers, in bytes. */
const MAX_ATTRIBUTE_BYTES = 1024

/** The session cookie of one manager. */
export interface SessionCookie {
  /** What tells it from another cookie. */
  readonly identity: { readonly name: string; readonly path: string; readonly domain?: string }
  /**
   * The keys in a Cookie header, in its order, each once: a browser sends every cookie of the name, from whatever path or domain.
   * Empty text stands for those that are forged or malformed.
   */
  read(header: string | undefined): readonly string[]
  /**
   * The Set-Cookie line.
   * @param maxAge Seconds; undefined for as long as the browser runs. Beyond 400 days it is cut, as browsers do.
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

/** What {@link assertCookieRules} looks at. */
export interface CookieRules {
  readonly name: string
  readonly path?: string | undefined
  readonly domain?: string | undefined
  readonly secure?: boolean | 'auto' | undefined
  readonly httpOnly?: boolean | undefined
  readonly sameSite?: 'strict' | 'lax' | 'none' | false | undefined
  readonly partitioned?: boolean | undefined
}

/** Names by which browsers know that a cookie must have been set in a certain way; in capitals or not. */
const PREFIXES = ['__Host-Http-', '__Host-', '__Http-', '__Secure-']

const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/

/** Labels of letters, digits and hyphens; browsers ignore a dot before them. */
const DOMAIN = /^\.?[a-z\d]([a-z\d-]{0,61}[a-z\d])?(\.[a-z\d]([a-z\d-]{0,61}[a-z\d])?)*$/i

/**
 * Calls `refuse` with the reason if browsers would drop a cookie for its attributes, or ignore one of them. It is for `refuse` to
 * throw.
 * @see https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis
 */
export function assertCookieRules(cookie: CookieRules, refuse: (reason: string) => void): void {
  const { name, path, domain, secure = false, httpOnly = false, sameSite, partitioned } = cookie
  if (typeof name !== 'string' || !TOKEN.test(name)) {
    refuse("has a name that cannot be sent: letters, digits and any of !#$%&'*+-.^_`|~")
  }
  assertTypes(cookie, refuse)
  if (path !== undefined && !path.startsWith('/')) {
    refuse(`must have a path that begins with /, or browsers ignore it, and has ${inWords(path)}`)
  }
  if (domain !== undefined && !DOMAIN.test(domain)) {
    refuse(
      `must have a host's name alone as its domain, such as example.org, and has ${inWords(domain)}`,
    )
  }
  for (const [attribute, value = ''] of Object.entries({ path, domain })) {
    const bytes = Buffer.byteLength(value)
    if (bytes <= MAX_ATTRIBUTE_BYTES) continue
    refuse(`has a ${attribute} of ${bytes} bytes: browsers ignore more than ${MAX_ATTRIBUTE_BYTES}`)
  }
  const prefix = PREFIXES.find((one) => name.toLowerCase().startsWith(one.toLowerCase()))
  if (prefix) {
    const isHost = prefix.startsWith('__Host-')
    const isHttp = prefix.endsWith('Http-')
    const isKept =
      secure === true &&
      (!isHost || (path === '/' && domain === undefined)) &&
      (!isHttp || httpOnly)
    const rules = `secure: true${isHttp ? ', httpOnly: true' : ''}${isHost ? ", path: '/' and no domain" : ''}`
    if (!isKept) refuse(`must have ${rules}, or browsers drop it (prefix ${prefix})`)
  }
  if (sameSite === 'none' && secure === false) {
    refuse("must have secure: true with sameSite: 'none', or browsers drop it")
  }
  if (partitioned && secure !== true) {
    refuse('must have secure: true with partitioned: true, or browsers drop it')
  }
}

/** What JavaScript may have passed, where TypeScript would not have. */
function assertTypes(cookie: CookieRules, refuse: (reason: string) => void): void {
  const { secure, sameSite } = cookie
  for (const name of ['path', 'domain'] as const) {
    const value: unknown = cookie[name]
    if (value === undefined || typeof value === 'string') continue
    refuse(`must have text as its ${name}, and has ${inWords(value)}`)
  }
  for (const name of ['httpOnly', 'partitioned'] as const) {
    const value: unknown = cookie[name]
    if (value === undefined || typeof value === 'boolean') continue
    refuse(`must have ${name}: true or false, and has ${inWords(value)}`)
  }
  if (secure !== undefined && typeof secure !== 'boolean' && secure !== 'auto') {
    refuse(`must have secure: true, false or 'auto', and has ${inWords(secure)}`)
  }
  if (sameSite === undefined || ['strict', 'lax', 'none', false].includes(sameSite)) return
  // Express has `true` for it.
  const given = String(sameSite).trim().toLowerCase().replace('true', 'strict')
  const meant = ['strict', 'lax', 'none'].find((one) => one === given)
  const hint = meant ? `: did you mean '${meant}'?` : ''
  refuse(
    `must have sameSite: 'strict', 'lax', 'none' or false, and has ${inWords(sameSite)}${hint}`,
  )
}

function warnOfHttp(name: string): void {
  warnOfEach(
    'COOKIE_NEEDS_HTTPS',
    () =>
      `The session cookie '${name}' has sameSite: 'none', so it is sent with Secure, but the request came over plain HTTP, where browsers drop such a cookie (but for localhost). Serve by HTTPS; behind a proxy that does, have the framework trust it.`,
  )
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

/** What they may be is asked by {@link assertCookieRules}. */
const ATTRIBUTES: OptionRules<CookieOptions> = {
  name: anything,
  path: anything,
  domain: anything,
  secure: anything,
  httpOnly: anything,
  sameSite: anything,
  partitioned: anything,
  format: rule(
    'an object with read() and write()',
    (format) => typeof format?.read === 'function' && typeof format.write === 'function',
  ),
}

const AGE =
  'how long a session lives is the option `maxAge` of createSessions, in seconds, and the cookie follows it'
const ELSEWHERE = {
  maxAge: AGE,
  expires: AGE,
  signed: 'keys are random and need no signature; leave it out',
}

/** @throws SessionUsageError for options that a browser would refuse. */
export function sessionCookie(options: CookieOptions = {}): SessionCookie {
  assertOptions('createSessions: `cookie`', options, ATTRIBUTES, ELSEWHERE)
  const { name = 'sessionid', path = '/', domain, secure = 'auto', httpOnly = true } = options
  const { sameSite = 'lax', partitioned = false, format } = options

  const refuse = (reason: string) => {
    refuseOption(`The session cookie '${name}' ${reason}`)
  }
  assertCookieRules({ name, path, domain, secure, httpOnly, sameSite, partitioned }, refuse)

  const attributes: Omit<SetCookie, 'name' | 'value'> = { path, httpOnly, partitioned }
  if (sameSite !== false) attributes.sameSite = sameSite
  if (domain !== undefined) attributes.domain = domain
  /** What follows the value. */
  const endOf = (more: Partial<SetCookie>, secureRequest: boolean) =>
    stringifySetCookie({
      ...attributes,
      ...more,
      name,
      value: '',
      secure: secure === 'auto' ? secureRequest || sameSite === 'none' : secure,
    }).slice(`${name}=`.length)
  const pair = (value: string) => stringifySetCookie({ name, value })
  /** A line with the longest key and age: where that fits, a plain key always does. */
  const longest = () => pair('k'.repeat(64)) + endOf({ maxAge: MAX_COOKIE_AGE }, true)
  let fitsAnyKey = false
  try {
    fitsAnyKey = longest().length <= MAX_COOKIE_BYTES && !format
  } catch (error) {
    refuse(`cannot be written: ${(error as Error).message}`)
  }
  /** The last end: that of the next line too, where both sessions are saved for equally long. */
  let end: { maxAge: number | undefined; secureRequest: boolean; text: string } | undefined
  function lastEnd(maxAge: number | undefined, secureRequest: boolean): string {
    if (end === undefined || end.maxAge !== maxAge || end.secureRequest !== secureRequest) {
      const age = maxAge === undefined ? {} : { maxAge: Math.min(maxAge, MAX_COOKIE_AGE) }
      end = { maxAge, secureRequest, text: endOf(age, secureRequest) }
    }
    return end.text
  }
  /** The last line: what was checked before a write is what is sent after it. A format may write the same key otherwise the next time. */
  let last = { key: '', end: '', text: '' }
  function write(key: string, maxAge: number | undefined, secureRequest: boolean): string {
    const ending = lastEnd(maxAge, secureRequest)
    if (secure === 'auto' && sameSite === 'none' && !secureRequest) warnOfHttp(name)
    if (last.key === key && last.end === ending && last.text !== '') return last.text
    const text = pair(format ? format.write(key) : key) + ending
    // The library writes nothing but ASCII.
    if (text.length > MAX_COOKIE_BYTES) {
      throw new SessionTooLargeError(
        `The session's cookie '${name}'`,
        text.length,
        MAX_COOKIE_BYTES,
        'Browsers drop what is larger. Keep less in the session, or use an engine that stores it on the server.',
      )
    }
    if (!format) last = { key, end: ending, text }
    return text
  }

  return {
    identity: { name, path, ...(domain !== undefined && { domain }) },
    read(header) {
      const values = readCookies(header, name)
      if (!format || values.length === 0) return values
      return [...new Set(values.map((value) => format.read(value) ?? ''))]
    },
    write,
    fits: (key) => fitsAnyKey && key.length <= 64,
    assertFits: (key, maxAge, secureRequest) => void write(key, maxAge, secureRequest),
    remove: (secureRequest) => pair('') + endOf({ maxAge: 0, expires: new Date(0) }, secureRequest),
  }
}

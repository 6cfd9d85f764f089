// Plain and signed cookies, as in Django's guide: what the request brought, and what the response sets.
import { Buffer } from 'node:buffer'
import { SessionTooLargeError, SessionUsageError } from '@coatcheck/core'
import { assertCookieRules, MAX_COOKIE_BYTES, readCookies } from '@coatcheck/core/adapter'
import { assertSecrets, createSigner, type Signer } from '@coatcheck/core/signing'
import {
  assertOptions,
  inWords,
  refuseOption,
  rules,
  systemClock,
  type OptionRules,
} from '@coatcheck/core/store'
import { parseCookie, parseSetCookie, stringifySetCookie } from 'cookie'
import {
  readCookieHeader,
  setCookieLines,
  type RequestLike,
  type ResponseLike,
} from './carriers.ts'

export type { RequestLike, ResponseLike } from './carriers.ts'

/** A cookie's attributes. Unset ones are not sent, but for `path`. */
export interface CookieAttributes {
  /** Seconds until the browser forgets it: 400 days (34,560,000) at the most, as browsers cut what is longer. Default: with the browser. */
  readonly maxAge?: number
  /** When the browser forgets it, within the same 400 days; browsers take `maxAge` first. */
  readonly expires?: Date
  /** Default: the host that set it, and no other. A host's name alone, without scheme and port. */
  readonly domain?: string
  /** Default `/`. Begins with a slash. */
  readonly path?: string
  /** Only over HTTPS. Default false, as Django's. */
  readonly secure?: boolean
  /** Hidden from scripts in the page. Default false, as Django's. */
  readonly httpOnly?: boolean
  /** When other sites' requests carry it; `none` needs `secure`. Default: as the browser decides. */
  readonly sameSite?: 'strict' | 'lax' | 'none'
  /** Kept apart for each top-level site (CHIPS); needs `secure`. */
  readonly partitioned?: boolean
  /** Which cookies a browser gives up first when it has too many. */
  readonly priority?: 'low' | 'medium' | 'high'
}

/** What a signed cookie takes besides. */
export interface Signing {
  /** Keeps cookies of one name and different meaning apart. Default empty. */
  readonly salt?: string
}

/** What {@link createCookies} takes. */
export interface CookiesOptions {
  /** For signed cookies: the current secret first, old ones after it. At least 32 characters each; one that is undefined is refused. */
  readonly secrets?: readonly (string | undefined)[]
  /** Attributes of every cookie that says nothing else. */
  readonly defaults?: CookieAttributes
  /**
   * Also reads the signed cookies of Django before 5.2.15 and 6.0.6: its setting `SIGNED_COOKIE_LEGACY_SALT_FALLBACK`. Their
   * signature does not tell where the name ends and the salt begins: what is signed as `a` with the salt `bc` is genuine as
   * `ab` with `c` too (CVE-2026-6873). Written are the new ones alone. Default false; true for as long as such cookies live.
   */
  readonly legacySalt?: boolean
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** The cookies of one request and its response. */
export interface Cookies {
  /**
   * The value that the browser sent under `name`, of several from different paths or domains the first; `fallback` (default
   * undefined) if there is none.
   */
  get(name: string): string | undefined
  get(name: string, fallback: string): string
  /** The names of all that the browser sent. */
  names(): string[]
  /**
   * Sets a cookie, in place of one of the same name, domain and path that this response set before.
   * @throws SessionUsageError for a name, value or attribute that cannot be sent or that browsers drop;
   * SessionTooLargeError if the whole line is larger than 4096 bytes. Nothing is sent then.
   */
  set(name: string, value: string, attributes?: CookieAttributes): void
  /** Has the browser forget a cookie. Name the `domain` and `path` that it was set with. */
  delete(name: string, attributes?: CookieAttributes): void
  /**
   * The value of a signed cookie, of several of the name the first that is genuine; `fallback` (default undefined) if there is
   * none: it was changed, is older than `maxAge` seconds, or was signed with another salt or secret.
   * @throws SessionUsageError for options that are none, such as a `maxAge` of NaN, or if there are no secrets.
   */
  getSigned(name: string, options?: Signing & { readonly maxAge?: number }): string | undefined
  getSigned(
    name: string,
    options: Signing & { readonly maxAge?: number; readonly fallback: string },
  ): string
  /**
   * Sets a cookie with a signature and the time beside its value. Anybody can read it, and nobody can change it.
   * @throws what `set` throws, and SessionUsageError if there are no secrets.
   */
  setSigned(name: string, value: string, options?: CookieAttributes & Signing): void
}

/**
 * Makes the function that gives access to the cookies of a request and its response: Node's, Express', Fastify's, Koa's
 * (`ctx, ctx`), Hono's (`c, c`), or a `Request` and the `Headers` or `Response` to send.
 *
 * Signed cookies have the format of `set_signed_cookie` of Django 5.2.15, 6.0.6 and newer.
 * @throws SessionUsageError for defaults that browsers would refuse, or secrets that are too short.
 * @see https://docs.djangoproject.com/en/stable/ref/request-response/#django.http.HttpResponse.set_signed_cookie
 */
export function createCookies(
  options: CookiesOptions = {},
): (request: RequestLike, response: ResponseLike) => Cookies {
  assertOptions('createCookies', options, {
    secrets: rules.secrets,
    defaults: rules.dictionary,
    legacySalt: rules.flag,
    now: rules.clock,
  })
  const { secrets, defaults = {}, legacySalt = false, now = systemClock } = options
  // Django keeps these apart from all else that it signs.
  if (secrets !== undefined) assertSecrets(secrets)
  const keys = secrets?.map((secret) => `django.http.cookies${secret}`)
  assertOptions('createCookies: `defaults`', defaults, PLAIN)
  line('name', '', defaults)

  function signer(salt: string): Signer {
    if (!keys) {
      throw new SessionUsageError(
        'Signed cookies need a secret: createCookies({ secrets: [secret] }).',
        'ERR_SESSION_OPTIONS',
      )
    }
    return createSigner({ secrets: keys, salt, now })
  }

  return (request, response) => {
    for (const [what, given] of Object.entries({ request, response })) {
      if (typeof given === 'object' && given !== null) continue
      refuseOption(
        `cookies: takes the request and the response, and got ${inWords(given)} as the ${what}`,
      )
    }
    let parsed: Record<string, string | undefined> | undefined
    const received = () => (parsed ??= parseCookie(readCookieHeader(request) ?? ''))
    const get = (name: string) => received()[name]

    const send = (name: string, value: string, attributes: CookieAttributes) => {
      const text = line(name, value, { ...defaults, ...attributes })
      setCookieLines(response, (lines) => [...lines.filter((other) => !isSame(other, text)), text])
    }

    return {
      get: (name: string, fallback?: string) => get(name) ?? (fallback as string),
      names: () => Object.keys(received()),
      set(name, value, attributes = {}) {
        assertOptions('cookies.set', attributes, PLAIN)
        send(name, value, attributes)
      },
      delete(name, attributes = {}) {
        assertOptions('cookies.delete', attributes, PLAIN)
        send(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
      },
      getSigned(name: string, signing: SignedReading = {}) {
        assertOptions('cookies.getSigned', signing, READING)
        const { salt = '', maxAge, fallback } = signing
        const values = readCookies(readCookieHeader(request), name)
        if (values.length === 0) return fallback as string
        const salts = [saltOf(name, salt), ...(legacySalt ? [name + salt] : [])]
        const signers = salts.map(signer)
        for (const signed of values) {
          for (const { unsign } of signers) {
            const value = unsign(signed, maxAge)
            if (value !== undefined) return value
          }
        }
        return fallback as string
      },
      setSigned(name, value, signing = {}) {
        assertOptions('cookies.setSigned', signing, ATTRIBUTES)
        const { salt = '', ...attributes } = signing
        send(name, signer(saltOf(name, salt)).sign(value), attributes)
      },
    }
  }
}

/**
 * What a signed cookie is signed for, as Django since 5.2.15 and 6.0.6 writes it: the salt's length, in code points as Python
 * counts, keeps each pair of a salt and a name apart from every other.
 */
function saltOf(name: string, salt: string): string {
  return `django.http.cookies.v2:${[...salt].length}:${salt}${name}`
}

/** What the values may be is asked by `assertCookieRules` and the package cookie. */
const ATTRIBUTES: OptionRules<CookieAttributes & { salt?: string }> = {
  maxAge: rules.age('a number of seconds', (value) => typeof value === 'number'),
  expires: rules.anything,
  domain: rules.anything,
  path: rules.anything,
  secure: rules.anything,
  httpOnly: rules.anything,
  sameSite: rules.anything,
  partitioned: rules.anything,
  priority: rules.oneOf('low', 'medium', 'high'),
  salt: rules.text,
}
const { salt: _, ...PLAIN } = ATTRIBUTES

type SignedReading = Signing & { maxAge?: number; fallback?: string }
const AGE = rules.age(
  'a number of seconds',
  (value) => typeof value === 'number' && !Number.isNaN(value),
)
const READING: OptionRules<SignedReading> = {
  salt: rules.text,
  maxAge: { ...AGE, holds: (value) => value === Infinity || AGE.holds(value) },
  fallback: rules.text,
}

/** The Set-Cookie line. @throws SessionUsageError, SessionTooLargeError. */
function line(
  name: string,
  value: string,
  { path = '/', ...attributes }: CookieAttributes,
): string {
  const refuse = (reason: string): never => {
    throw new SessionUsageError(`The cookie '${String(name)}' ${reason}.`, 'ERR_COOKIE')
  }
  if (typeof value !== 'string') refuse(`needs a string as its value, and got ${typeof value}`)
  assertCookieRules({ name, path, ...attributes }, refuse)
  if ((attributes.secure as unknown) === 'auto') refuse('must have secure: true or false')
  let text = ''
  try {
    text = stringifySetCookie({ name, value, path, ...attributes })
  } catch (error) {
    refuse(`cannot be written: ${(error as Error).message}`)
  }
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_COOKIE_BYTES) {
    const advice = 'Browsers drop what is larger. Keep less in it, or keep it in the session.'
    throw new SessionTooLargeError(`The cookie '${name}'`, bytes, MAX_COOKIE_BYTES, advice)
  }
  return text
}

/** Whether a browser would take two Set-Cookie lines for the same cookie. One without a path has the request's, not `/`. */
function isSame(one: string, other: string): boolean {
  const [a, b] = [parseSetCookie(one), parseSetCookie(other)]
  return a.name === b.name && hostOf(a.domain) === hostOf(b.domain) && a.path === b.path
}

/** A domain as browsers compare it. */
function hostOf(domain: string | undefined): string | undefined {
  return domain?.toLowerCase().replace(/^\./, '')
}

// A visitor: somebody whose browser has a session of the application's, made by its own manager.
import { createSessions, type Fields, type Session, type SessionData } from '@coatcheck/core'
import type { Sessions, SessionsOptions } from '@coatcheck/core'
import {
  inWords,
  isSessionKey,
  RETIRED,
  refuseOption,
  rules,
  SessionUsageError,
} from '@coatcheck/core/store'
import { watch } from './unknown-visitors.ts'

/** A cookie as Playwright's `context.addCookies()` takes it and `context.cookies()` gives it. */
export interface BrowserCookie {
  readonly name: string
  readonly value: string
  readonly domain: string
  readonly path: string
  /** Seconds since the Unix epoch; -1 for one that ends with the browser. */
  readonly expires: number
  readonly httpOnly: boolean
  readonly secure: boolean
  readonly sameSite: 'Strict' | 'Lax' | 'None'
}

/** A response of fetch's and Hono's, with a `Headers`; or of supertest's, Fastify's `inject`, node:http's, with an object by names in small letters. */
export interface Answer {
  readonly headers: object
}

/** Somebody with a session, as a test's client is to be. */
export interface Visitor<D extends object = SessionData> {
  /** The Cookie header: for supertest, `.set('Cookie', ann.cookie)`. Empty for who has no session. */
  readonly cookie: string
  /** The same as headers: for `inject({ headers })`, `app.request(path, { headers })` and `fetch(url, { headers })`. */
  readonly headers: { readonly cookie?: string }
  /**
   * The cookie as a browser would have it from a page of `url`: `await context.addCookies(ann.cookies(url))` of Playwright. Empty for who has no session.
   * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no URL.
   */
  cookies(url: string): BrowserCookie[]
  /**
   * What the visitor's session holds by now, opened anew by the cookie: for looking at. Empty if it has ended.
   * @throws SessionUsageError (code ERR_SESSION_VISITOR) if the session has another key by now, which the visitor was not given: after
   * a login, {@link take} its response. SessionStoreError if the backend fails.
   */
  session(): Promise<Session<D>>
  /**
   * Does what a browser does with a response: keeps the session's cookie that it sets, or forgets it, as after a login or logout. One that sets
   * none changes nothing.
   * @param response The response; or the cookies of a browser, `await context.cookies()`, which has none where the session's is not among them.
   * @throws SessionUsageError (code ERR_SESSION_VISITOR) if the cookie opens nothing at this visitor's manager: the application's is another.
   * SessionStoreError if the backend fails.
   */
  take(response: Answer | readonly BrowserCookie[]): Promise<void>
}

/**
 * Makes a session with the application's own manager, as a login would, and gives what a test's client needs to be its owner.
 * @param sessions The application's manager, what `createSessions()` returned, or its options. Of options the store must be
 * the application's own one.
 * @param data What the session holds. Without it the visitor has no session yet.
 * @throws what making the session throws: SessionStoreError if the backend fails or `migrate()` was not called, SessionTooLargeError,
 * SessionEncodeError; SessionUsageError (code ERR_SESSION_OPTIONS) for what is no manager and no data.
 */
export async function visitor<D extends object = SessionData>(
  sessions: Sessions<D> | SessionsOptions<D>,
  data: Partial<Fields<D>> = {},
): Promise<Visitor<D>> {
  const manager = createSessions<D>(sessions)
  if (!rules.dictionary.holds(data)) {
    refuseOption(`visitor: the data must be an object, as { user: 'ann' }, and is ${inWords(data)}`)
  }
  const first = await manager.open(undefined)
  first.update(data)
  // As over HTTPS, by which every cookie may be sent.
  await manager.commit(first, { secure: true })
  const line = (secure: boolean) => manager.headers(first, { secure }).setCookie
  return createVisitor(manager, line, first.key)
}

/** @param given The Set-Cookie line that the visitor was given, over HTTPS or not. */
function createVisitor<D extends object>(
  manager: Sessions<D>,
  given: (secure: boolean) => string | undefined,
  givenKey: string | undefined,
): Visitor<D> {
  const { name } = manager.cookie
  let line = given
  let key = givenKey
  /** The site whose page a browser was given the cookie for. */
  let site: string | undefined
  if (key !== undefined) watch(manager.store, key)
  const pair = () => line(true)?.split(';', 1)[0] ?? ''
  const open = async () => manager.load(await manager.open(pair()))

  return {
    get cookie() {
      return pair()
    },
    get headers() {
      const cookie = pair()
      return cookie ? { cookie } : {}
    },
    cookies(url) {
      if (!URL.canParse(url)) {
        refuseOption(
          `visitor.cookies: the page's URL must be one, as 'http://localhost:3000', and is ${inWords(url)}`,
        )
      }
      const { protocol, hostname } = new URL(url)
      site = hostname
      const text = line(protocol === 'https:')
      return text === undefined ? [] : [toBrowserCookie(text, hostname)]
    },
    async session() {
      const session = await open()
      if (session.key === undefined && (await isRetired(manager, key))) {
        throw new SessionUsageError(
          "visitor: this session has another key since, as a login gives it, and the visitor still has the old cookie. Hand it the login's response: `await visitor.take(response)`.",
          'ERR_SESSION_VISITOR',
        )
      }
      return session
    },
    async take(response) {
      const next = Array.isArray(response)
        ? lineOfBrowser(response as readonly BrowserCookie[], name, site)
        : lineOf(response as Answer, name)
      if (next === undefined) return
      line = () => (isDeletion(next) ? undefined : next)
      key = undefined
      if (isDeletion(next)) return
      ;({ key } = await open())
      if (key === undefined) {
        throw new SessionUsageError(
          `visitor: the response sets a cookie '${name}' that this visitor's manager does not know, so the application has another store. Give visitor() the application's own manager, what createSessions() returned.`,
          'ERR_SESSION_VISITOR',
        )
      }
      watch(manager.store, key)
    },
  }
}

async function isRetired({ store }: Sessions<any>, key: string | undefined): Promise<boolean> {
  return key !== undefined && isSessionKey(key) && (await store.load(key))?.data === RETIRED
}

/** The last Set-Cookie line for the session's cookie; undefined if there is none. */
function lineOf(response: Answer, name: string): string | undefined {
  const headers: unknown = (response as Answer | undefined)?.headers
  if (typeof headers !== 'object' || headers === null) {
    refuseOption(
      'visitor.take: what was given is no response with headers: hand it that of fetch, Hono, supertest or inject, or the cookies of a browser, `await context.cookies()`',
    )
  }
  const { getSetCookie } = headers as { getSetCookie?: unknown }
  const lines =
    typeof getSetCookie === 'function'
      ? (headers as Headers).getSetCookie()
      : [(headers as Record<string, string | string[] | undefined>)['set-cookie'] ?? []].flat()
  return lines.findLast((one) => one.startsWith(`${name}=`))
}

/** The Set-Cookie line for what a browser has of the site under the session's name, or has no more. */
function lineOfBrowser(
  cookies: readonly BrowserCookie[],
  name: string,
  site: string | undefined,
): string {
  const found = cookies.find(
    (cookie) => cookie.name === name && (site === undefined || isSentTo(site, cookie)),
  )
  if (!found) return `${name}=; Max-Age=0`
  const { value, domain, path, expires, httpOnly, secure, sameSite } = found
  const maxAge = Math.ceil(expires - Date.now() / 1000)
  const attributes = [
    `Path=${path}`,
    domain.startsWith('.') && `Domain=${domain}`,
    expires > 0 && `Max-Age=${maxAge}`,
    httpOnly && 'HttpOnly',
    secure && 'Secure',
    `SameSite=${sameSite}`,
  ]
  return [`${name}=${value}`, ...attributes.filter(Boolean)].join('; ')
}

/** Whether a browser sends a cookie to this host: one with a domain also to the hosts below it. */
function isSentTo(host: string, { domain }: BrowserCookie): boolean {
  return domain.startsWith('.') ? `.${host}`.endsWith(domain) : host === domain
}

/** Whether a browser forgets the cookie by this line: `Max-Age` comes before `Expires`, by which frameworks delete. */
function isDeletion(line: string): boolean {
  const attributes = attributesOf(line)
  const maxAge = attributes.get('max-age')
  if (maxAge !== undefined) return Number(maxAge) <= 0
  return Date.parse(attributes.get('expires') ?? '') <= Date.now()
}

/** A Set-Cookie line's attributes, by their names in small letters. */
function attributesOf(line: string): Map<string, string> {
  const attributes = line.split(/;\s*/).slice(1)
  return new Map(
    attributes.map((attribute) => {
      const [name = '', value = ''] = attribute.split('=', 2)
      return [name.toLowerCase(), value]
    }),
  )
}

const SAME_SITE = { strict: 'Strict', lax: 'Lax', none: 'None' } as const

function toBrowserCookie(line: string, hostname: string): BrowserCookie {
  const [pair = ''] = line.split(';', 1)
  const at = pair.indexOf('=')
  const attributes = attributesOf(line)
  const domain = attributes.get('domain')
  const maxAge = attributes.get('max-age')
  const sameSite = attributes.get('samesite')?.toLowerCase() as keyof typeof SAME_SITE | undefined
  return {
    name: pair.slice(0, at),
    value: pair.slice(at + 1),
    domain: domain ? `.${domain.replace(/^\./, '')}` : hostname,
    path: attributes.get('path') ?? '/',
    // By the browser's clock, which is not the test's.
    expires: maxAge === undefined ? -1 : Math.floor(Date.now() / 1000) + Number(maxAge),
    httpOnly: attributes.has('httponly'),
    secure: attributes.has('secure'),
    // Without it browsers do as with Lax.
    sameSite: (sameSite && SAME_SITE[sameSite]) ?? 'Lax',
  }
}

// The preset: a manager whose cookie, data, store and expiry are those of a Django site.
import {
  createSessions,
  type CookieOptions,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import {
  assertOptions,
  refuseOption,
  rules,
  systemClock,
  type OptionRules,
} from '@coatcheck/core/store'
import { secretsOf, type DjangoKeys } from './signing.ts'
import type { DjangoEngine } from './site.ts'

/** The settings of a Django site that concern its sessions, by Django's names and with Django's defaults. */
export interface DjangoSettings {
  /** Seconds. Default 1,209,600: two weeks. */
  readonly SESSION_COOKIE_AGE?: number
  /** Default `sessionid`. */
  readonly SESSION_COOKIE_NAME?: string
  /** Default null: the host that set it, and no other. */
  readonly SESSION_COOKIE_DOMAIN?: string | null
  /** Default `/`. */
  readonly SESSION_COOKIE_PATH?: string
  /** Default false. */
  readonly SESSION_COOKIE_SECURE?: boolean
  /** Default true. */
  readonly SESSION_COOKIE_HTTPONLY?: boolean
  /** Default `Lax`; false sends no attribute. */
  readonly SESSION_COOKIE_SAMESITE?: 'Lax' | 'Strict' | 'None' | false
  /** Default false. */
  readonly SESSION_EXPIRE_AT_BROWSER_CLOSE?: boolean
  /** Default false. */
  readonly SESSION_SAVE_EVERY_REQUEST?: boolean
}

/** What {@link djangoSessions} takes. */
export interface DjangoSessionsOptions<D extends object = SessionData>
  extends
    DjangoKeys,
    Pick<
      SessionsOptions<D>,
      | 'absoluteMaxAge'
      | 'concurrency'
      | 'ifUnavailable'
      | 'lazy'
      | 'maxBytes'
      | 'merge'
      | 'now'
      | 'touchAfter'
    > {
  /** Where the Django site keeps its sessions: `djangoDb(…)`, `djangoFile(…)`, `djangoSignedCookies()`, … */
  readonly engine: DjangoEngine
  /** The site's settings that are not Django's defaults. */
  readonly settings?: DjangoSettings
  /**
   * What session data is signed with besides the secret. Default `django.contrib.sessions.SessionStore`; a site with a
   * session engine of its own has the name of that class at the end.
   */
  readonly keySalt?: string
}

/**
 * Makes the manager of sessions that are shared with a Django site (3.1 and newer): every adapter takes it as it takes one of
 * `createSessions`.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a secret that is missing or too short, or a setting that is unknown
 * or cannot work.
 * @see https://docs.djangoproject.com/en/stable/ref/settings/#sessions
 */
export function djangoSessions<D extends object = SessionData>(
  options: DjangoSessionsOptions<D>,
): Sessions<D> {
  assertOptions<DjangoSessionsOptions>('djangoSessions', options, OPTIONS)
  if (options.engine === undefined) {
    refuseOption('djangoSessions: `engine` is missing: pass one, such as djangoDb(store)')
  }
  secretsOf(options)
  const { secretKey, fallbackKeys, engine, settings = {}, now = systemClock, ...rest } = options
  const { keySalt = 'django.contrib.sessions.SessionStore', ...manager } = rest
  assertOptions('djangoSessions: `settings`', settings, SETTINGS)
  const {
    SESSION_COOKIE_AGE: maxAge = 1_209_600,
    SESSION_COOKIE_NAME: name = 'sessionid',
    SESSION_EXPIRE_AT_BROWSER_CLOSE: expireAtBrowserClose = false,
    SESSION_SAVE_EVERY_REQUEST: saveEveryRequest = false,
  } = settings
  const keys = fallbackKeys ? { secretKey, fallbackKeys } : { secretKey }
  const { store, codec } = engine({ keys, keySalt, cookieName: name, cookieAge: maxAge, now })
  return createSessions<D>({
    ...manager,
    now,
    store,
    codec,
    maxAge,
    expireAtBrowserClose,
    saveEveryRequest,
    cookie: cookieOf(settings, name),
    shownBookkeeping: ['_session_expiry'],
  })
}

const { anything } = rules
const OPTIONS: OptionRules<DjangoSessionsOptions> = {
  secretKey: { ...rules.text, secret: true },
  fallbackKeys: { ...rules.texts, secret: true },
  engine: rules.rule('an engine, such as djangoDb(store)', rules.callable.holds),
  settings: rules.dictionary,
  keySalt: rules.text,
  now: rules.clock,
  // By createSessions.
  absoluteMaxAge: anything,
  concurrency: anything,
  ifUnavailable: anything,
  lazy: anything,
  maxBytes: anything,
  merge: anything,
  touchAfter: anything,
}

function cookieOf(settings: DjangoSettings, name: string): CookieOptions {
  const { SESSION_COOKIE_DOMAIN: domain, SESSION_COOKIE_SAMESITE: sameSite = 'Lax' } = settings
  return {
    name,
    path: settings.SESSION_COOKIE_PATH ?? '/',
    secure: settings.SESSION_COOKIE_SECURE ?? false,
    httpOnly: settings.SESSION_COOKIE_HTTPONLY ?? true,
    sameSite: sameSite && (sameSite.toLowerCase() as 'lax' | 'strict' | 'none'),
    ...(domain ? { domain } : {}),
  }
}

const SETTINGS: OptionRules<DjangoSettings> = {
  SESSION_COOKIE_AGE: rules.seconds,
  SESSION_COOKIE_NAME: rules.text,
  SESSION_COOKIE_DOMAIN: rules.rule(
    'text or null',
    (value) => value === null || typeof value === 'string',
  ),
  SESSION_COOKIE_PATH: rules.text,
  SESSION_COOKIE_SECURE: rules.flag,
  SESSION_COOKIE_HTTPONLY: rules.flag,
  SESSION_COOKIE_SAMESITE: rules.rule(
    "'Lax', 'Strict', 'None' or false",
    (value) => value === false || /^(lax|strict|none)$/i.test(value),
  ),
  SESSION_EXPIRE_AT_BROWSER_CLOSE: rules.flag,
  SESSION_SAVE_EVERY_REQUEST: rules.flag,
}

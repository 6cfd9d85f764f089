// The preset: a manager whose cookie, data, store and expiry are those of a Django site.
import {
  createSessions,
  SessionUsageError,
  type CookieOptions,
  type SessionData,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import { systemClock } from '@coatcheck/core/store'
import type { DjangoKeys } from './signing.ts'
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
  const { secretKey, fallbackKeys, engine, settings = {}, now = systemClock, ...rest } = options
  const { keySalt = 'django.contrib.sessions.SessionStore', ...manager } = rest
  assertSettings(settings)
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

const KNOWN: Record<keyof DjangoSettings, true> = {
  SESSION_COOKIE_AGE: true,
  SESSION_COOKIE_NAME: true,
  SESSION_COOKIE_DOMAIN: true,
  SESSION_COOKIE_PATH: true,
  SESSION_COOKIE_SECURE: true,
  SESSION_COOKIE_HTTPONLY: true,
  SESSION_COOKIE_SAMESITE: true,
  SESSION_EXPIRE_AT_BROWSER_CLOSE: true,
  SESSION_SAVE_EVERY_REQUEST: true,
}

function assertSettings(settings: DjangoSettings): void {
  for (const name of Object.keys(settings)) {
    if (Object.hasOwn(KNOWN, name)) continue
    throw new SessionUsageError(
      `djangoSessions: the setting ${name} is not among those that \`settings\` takes: ${Object.keys(KNOWN).join(', ')}.`,
      'ERR_SESSION_OPTIONS',
    )
  }
  const sameSite = settings.SESSION_COOKIE_SAMESITE
  if (sameSite !== undefined && sameSite !== false && !/^(lax|strict|none)$/i.test(sameSite)) {
    throw new SessionUsageError(
      'djangoSessions: SESSION_COOKIE_SAMESITE must be Lax, Strict, None or false.',
      'ERR_SESSION_OPTIONS',
    )
  }
}

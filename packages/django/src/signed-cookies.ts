// Django's signed_cookies engine: the session's data, signed, is the cookie's value.
import { SessionGoneError, type SessionRecord, type SessionStore } from '@coatcheck/core'
import { expiryOf, sealing, type DjangoEngine } from './site.ts'

const SALT = 'django.contrib.sessions.backends.signed_cookies'

/**
 * Django's `backends.signed_cookies`. A token is dead when it is older than `SESSION_COOKIE_AGE`, as in Django, or when the
 * expiry that its session was given has come, which Django leaves to the browser.
 */
export function djangoSignedCookies(): DjangoEngine {
  return (site) => {
    const { seal, unseal, codec } = sealing(site, SALT)
    const load = (token: string): SessionRecord | undefined => {
      const opened = unseal(token)
      if (!opened) return undefined
      const { json, signedAt } = opened
      const expiresAt = Math.min(
        expiryOf(json, signedAt, site.cookieAge),
        signedAt + site.cookieAge * 1000,
      )
      return expiresAt > site.now() ? { data: token, expiresAt } : undefined
    }
    const store: SessionStore = {
      traits: { sync: true, stateless: true },
      load,
      // The data is sealed, and so a token already.
      create: (_key, { data }) => data,
      save: (_token, { data }) => data,
      touch(token) {
        if (!load(token)) throw new SessionGoneError()
        return seal(unseal(token)!.json)
      },
      delete() {},
    }
    return { store, codec }
  }
}

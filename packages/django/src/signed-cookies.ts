// Django's signed_cookies engine: the session's data, signed, is the cookie's value.
import { SessionGoneError, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import { dataCodec, expiryOf, sealing, type DjangoEngine } from './site.ts'

const SALT = 'django.contrib.sessions.backends.signed_cookies'

/**
 * Django's `backends.signed_cookies`. A token is dead when it is older than `SESSION_COOKIE_AGE`, as in Django, or when the
 * expiry that its session was given has come, which Django leaves to the browser.
 */
export function djangoSignedCookies(): DjangoEngine {
  return (site) => {
    const { seal, unseal } = sealing(site, SALT)
    const load = (token: string): SessionRecord | undefined => {
      const opened = unseal(token)
      if (!opened) return undefined
      const { json, signedAt } = opened
      const expiresAt = Math.min(
        expiryOf(json, signedAt, site.cookieAge),
        signedAt + site.cookieAge * 1000,
      )
      return expiresAt > site.now() ? { data: json, expiresAt } : undefined
    }
    const store: SessionStore = {
      traits: { sync: true, stateless: true },
      load,
      create: (_key, { data }) => seal(data),
      save: (_token, { data }) => seal(data),
      touch(token) {
        const record = load(token)
        if (!record) throw new SessionGoneError()
        return seal(record.data)
      },
      delete() {},
    }
    return { store, codec: dataCodec }
  }
}

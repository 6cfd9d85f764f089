// Who is logged in, as django.contrib.auth keeps it in the session.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Buffer } from 'node:buffer'
import type { Session } from '@coatcheck/core'
import { assertSecrets } from '@coatcheck/core/signing'
import { inWords, refuseOption } from '@coatcheck/core/store'
import { secretsOf, type DjangoKeys } from './signing.ts'

/** The user of a session, as `django.contrib.auth.login` noted it. */
export interface DjangoUser {
  /** The user's primary key, as text: `_auth_user_id`. */
  readonly id: string
  /** The class that authenticated the user: `_auth_user_backend`. */
  readonly backend: string
  /** What a change of the user's password makes invalid: `_auth_user_hash`. Empty if the site keeps none. */
  readonly hash: string
}

/** A user's primary key as a database's client gives it. Kept is its text, as Django keeps it. */
export type DjangoUserId = string | number | bigint

const ID = '_auth_user_id'
const BACKEND = '_auth_user_backend'
const HASH = '_auth_user_hash'
/** Where `CSRF_USE_SESSIONS` keeps the token. */
const CSRF_TOKEN = '_csrftoken'

/** A session of whatever type: the keys are Django's. */
type AnySession = Session<any>

/**
 * The user that is logged in; undefined if there is none. That the password has not been changed since, which logs a user out
 * of Django, is for {@link verifyDjangoUser} to say.
 */
export function getDjangoUser(session: AnySession): DjangoUser | undefined {
  const id = keptId(session)
  const backend: unknown = session.get(BACKEND)
  const hash: unknown = session.get(HASH)
  if (id === undefined || typeof backend !== 'string') return undefined
  return { id, backend, hash: typeof hash === 'string' ? hash : '' }
}

/**
 * Logs a user in, as `django.contrib.auth.login` does. A visitor's session gets a new key and keeps its data. The same user's
 * session keeps its key too. One of another user, or of the same user under another password, is emptied first.
 * As `login` rotates the CSRF token, one that `CSRF_USE_SESSIONS` keeps in the session goes, and Django makes the next.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for an `id` that is no key.
 * @see https://docs.djangoproject.com/en/stable/topics/auth/default/#django.contrib.auth.login
 */
export function setDjangoUser(
  session: AnySession,
  user: Omit<DjangoUser, 'id'> & { readonly id: DjangoUserId },
): void {
  const id = textOf('setDjangoUser', user.id)
  if (!session.has(ID)) session.cycleKey()
  else if (!isOf(session, id) || (user.hash && !isSame(session.get(HASH), user.hash))) {
    session.flush()
  }
  session.update({ [ID]: id, [BACKEND]: user.backend, [HASH]: user.hash })
  session.delete(CSRF_TOKEN)
}

/**
 * Whether the user who is logged in has still the password of the login, as `django.contrib.auth.get_user` asks at every
 * request. A login under one of the `fallbackKeys` gets a new session key and the current key's hash, as Django 5.2
 * renews it. One under another password is ended: the session is flushed. False too, and nothing ended, if nobody is logged in.
 * @param password The user's `password` column.
 * @throws SessionUsageError as {@link djangoAuthHash}.
 * @see https://docs.djangoproject.com/en/stable/topics/auth/default/#session-invalidation-on-password-change
 */
export function verifyDjangoUser(session: AnySession, password: string, keys: DjangoKeys): boolean {
  const user = getDjangoUser(session)
  if (!user) return false
  const current = djangoAuthHash(password, keys.secretKey)
  if (isSame(user.hash, current)) return true
  if (isDjangoUserCurrent(user, password, keys)) {
    session.cycleKey()
    session.set(HASH, current)
    return true
  }
  session.flush()
  return false
}

/**
 * Keeps a session in which the user's own password was changed logged in, as `django.contrib.auth.update_session_auth_hash`
 * does: it gets a new key, and the hash of the new password. The user's other sessions end, as their hash is that of the old
 * one. A session of another user, such as the administrator who changed it, gets a new key alone.
 * Django takes a login that is void already for nobody's: ask {@link verifyDjangoUser} first, which ends it.
 * @param user The `id` of whose password was changed, and `hash`: what {@link djangoAuthHash} makes of the new one.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for an `id` that is no key.
 * @see https://docs.djangoproject.com/en/stable/topics/auth/default/#django.contrib.auth.update_session_auth_hash
 */
export function updateDjangoAuthHash(
  session: AnySession,
  user: Pick<DjangoUser, 'hash'> & { readonly id: DjangoUserId },
): void {
  const id = textOf('updateDjangoAuthHash', user.id)
  session.cycleKey()
  if (isOf(session, id)) session.set(HASH, user.hash)
}

/** The key of who is logged in; a number is that of a login code of the site's own. */
function keptId(session: AnySession): string | undefined {
  const id: unknown = session.get(ID)
  if (typeof id === 'string') return id
  return typeof id === 'number' || typeof id === 'bigint' ? String(id) : undefined
}

/** Whether the session is logged in as the user of this key. */
function isOf(session: AnySession, id: string): boolean {
  const kept = keptId(session)
  return kept !== undefined && comparable(kept) === comparable(id)
}

const UUID = /^[\da-f]{8}(-?)[\da-f]{4}\1[\da-f]{4}\1[\da-f]{4}\1[\da-f]{12}$/i

/** A UUID as databases without such a type keep it, by its digits alone, where Django's session has dashes. */
function comparable(id: string): string {
  return UUID.test(id) ? id.replaceAll('-', '').toLowerCase() : id
}

function textOf(by: string, id: DjangoUserId): string {
  if (typeof id === 'string' || typeof id === 'bigint' || Number.isSafeInteger(id))
    return String(id)
  return refuseOption(
    `${by}: \`id\` must be the user's primary key, as text, a whole number or a BigInt, and is ${inWords(id)}`,
  )
}

function isSame(given: unknown, good: string): boolean {
  const [one, other] = [Buffer.from(typeof given === 'string' ? given : ''), Buffer.from(good)]
  return one.length === other.length && timingSafeEqual(one, other)
}

const HASH_SALT = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'

/**
 * The hash that ties a session to a password: `AbstractBaseUser.get_session_auth_hash()` of Django 3.1 and newer.
 * @param password The user's `password` column: the encoded hash, not what the user types.
 * @param secretKey `SECRET_KEY` of the site.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a password that is no text, and a missing or short secret.
 * @see https://docs.djangoproject.com/en/stable/topics/auth/customizing/#django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash
 */
export function djangoAuthHash(password: string, secretKey: string | undefined): string {
  assertSecrets([secretKey])
  if (typeof password !== 'string') {
    refuseOption("djangoAuthHash: `password` must be text: the user's `password` column")
  }
  const key = createHash('sha256').update(`${HASH_SALT}${secretKey}`).digest()
  return createHmac('sha256', key).update(password).digest('hex')
}

/**
 * Whether a session's user still has the password that was used to log in, without a change of the session: where there is
 * one to change, {@link verifyDjangoUser} renews and ends logins as Django does.
 * @param password The user's `password` column.
 * @throws SessionUsageError as {@link djangoAuthHash}.
 */
export function isDjangoUserCurrent(user: DjangoUser, password: string, keys: DjangoKeys): boolean {
  return secretsOf(keys).some((secret) => isSame(user.hash, djangoAuthHash(password, secret)))
}

// Who is logged in, as django.contrib.auth keeps it in the session.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { Buffer } from 'node:buffer'
import type { Session } from '@coatcheck/core'
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

const ID = '_auth_user_id'
const BACKEND = '_auth_user_backend'
const HASH = '_auth_user_hash'

/** A session of whatever type: the keys are Django's. */
type AnySession = Session<any>

/**
 * The user that is logged in; undefined if there is none. That the password has not been changed since, which logs a user out
 * of Django, is for {@link isDjangoUserCurrent} to say.
 */
export function getDjangoUser(session: AnySession): DjangoUser | undefined {
  const id: unknown = session.get(ID)
  const backend: unknown = session.get(BACKEND)
  const hash: unknown = session.get(HASH, '')
  if (typeof id !== 'string' || typeof backend !== 'string' || typeof hash !== 'string') {
    return undefined
  }
  return { id, backend, hash }
}

/**
 * Logs a user in, as `django.contrib.auth.login` does: the session gets a new key, and one of another user is emptied first.
 * @see https://docs.djangoproject.com/en/stable/topics/auth/default/#django.contrib.auth.login
 */
export function setDjangoUser(session: AnySession, user: DjangoUser): void {
  const before = getDjangoUser(session)
  const same = before?.id === user.id && before.hash === user.hash
  if (before && !same) session.flush()
  else session.cycleKey()
  session.set(ID, user.id)
  session.set(BACKEND, user.backend)
  session.set(HASH, user.hash)
}

const HASH_SALT = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'

/**
 * The hash that ties a session to a password: `AbstractBaseUser.get_session_auth_hash()` of Django 3.1 and newer.
 * @param password The user's `password` column: the encoded hash, not what the user types.
 * @see https://docs.djangoproject.com/en/stable/ref/contrib/auth/ (session verification)
 */
export function djangoAuthHash(password: string, secretKey: string): string {
  const key = createHash('sha256').update(`${HASH_SALT}${secretKey}`).digest()
  return createHmac('sha256', key).update(password).digest('hex')
}

/**
 * Whether a session's user still has the password that was used to log in. Django asks this at every request, and a Node
 * application that honours Django's logins must too, or a change of the password logs nobody out there.
 * @param password The user's `password` column.
 */
export function isDjangoUserCurrent(user: DjangoUser, password: string, keys: DjangoKeys): boolean {
  const given = Buffer.from(user.hash)
  return secretsOf(keys).some((secret) => {
    const good = Buffer.from(djangoAuthHash(password, secret))
    return good.length === given.length && timingSafeEqual(good, given)
  })
}

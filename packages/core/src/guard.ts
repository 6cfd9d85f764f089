// The store as the manager uses it: whatever it throws is an error of the library's, and it answers as its traits say.
import { isPromise, type Awaitable } from './awaitable.ts'
import { SessionError, SessionStoreError, SessionUsageError } from './errors.ts'
import { reasonIn } from './reason.ts'
import type { SessionStore } from './store.ts'

/** A store whose plain errors are SessionStoreErrors, with what it threw as the `cause`. */
export function guard(store: SessionStore): SessionStore {
  return {
    get traits() {
      return store.traits ?? {}
    },
    load(key, latest) {
      try {
        return answer('load', inTurn(store, store.load(key, latest)))
      } catch (error) {
        return fail('load', error)
      }
    },
    create(key, record) {
      try {
        return answer('create', store.create(key, record))
      } catch (error) {
        return fail('create', error)
      }
    },
    save(key, record, expected) {
      try {
        return answer('save', store.save(key, record, expected))
      } catch (error) {
        return fail('save', error)
      }
    },
    touch(key, expiresAt, from) {
      try {
        return answer('renew', store.touch(key, expiresAt, from))
      } catch (error) {
        return fail('renew', error)
      }
    },
    delete(key) {
      try {
        return answer('delete', store.delete(key))
      } catch (error) {
        return fail('delete', error)
      }
    },
  }
}

function answer<T>(what: string, answered: Awaitable<T>): Awaitable<T> {
  if (!isPromise(answered)) return answered
  return Promise.resolve(answered).catch((error) => fail(what, error))
}

function fail(what: string, error: unknown): never {
  if (error instanceof SessionError) throw error
  throw new SessionStoreError(`The store failed to ${what} a session${reasonIn(error)}.`, error)
}

/** @throws SessionUsageError if a store that has promised to answer at once does not: what is read meanwhile would be empty. */
function inTurn<T>({ traits }: SessionStore, answered: Awaitable<T>): Awaitable<T> {
  if (!traits?.sync || !isPromise(answered)) return answered
  Promise.resolve(answered).catch(() => {})
  throw new SessionUsageError(
    'The store has the trait `sync`, and its load() answers with a promise. Leave the trait out: a wrapper that copies the traits of the store it wraps answers later than that.',
    'ERR_SESSION_OPTIONS',
  )
}

// A decorator over any server-side store: what lies at rest names no key that a thief could use.
import { createHash } from 'node:crypto'
import { after } from './awaitable.ts'
import { isSessionKey } from './key.ts'
import { assertStore, refuseOption } from './options.ts'
import type { SessionStore } from './store.ts'

/**
 * A store that hands only the SHA-256 of each key to `store`. The client's cookie holds the key itself, which cannot be
 * calculated back: a copy of the database or a backup logs nobody in. Sessions stored before are not found any more.
 * @throws SessionUsageError for a stateless store, which has no keys at rest.
 */
export function hashKeys<S extends SessionStore>(store: S): SessionStore & Pick<S, 'migrate'> {
  assertStore('hashKeys: `store`', store)
  if (store.traits?.stateless) {
    refuseOption('hashKeys: this store keeps nothing on the server, so there are no keys to hash')
  }
  return {
    ...(store.traits && { traits: store.traits }),
    load: (key, latest) => store.load(hash(key), latest),
    create: (key, record) => after(store.create(hash(key), record), () => key),
    save: (key, record, expected) => after(store.save(hash(key), record, expected), () => key),
    touch: (key, expiresAt, from) => after(store.touch(hash(key), expiresAt, from), () => key),
    delete: (key) => store.delete(hash(key)),
    ...(store.clearExpired && { clearExpired: (options) => store.clearExpired!(options) }),
    ...(store.migrate && { migrate: () => store.migrate!() }),
    ...(store.close && { close: () => store.close!() }),
  }
}

/** A malformed key stays malformed, so that the store treats it as such. */
function hash(key: string): string {
  return isSessionKey(key) ? createHash('sha256').update(key).digest('hex') : key
}

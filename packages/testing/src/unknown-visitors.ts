// Notices when an application does not know a visitor that its test has made: it has another store.
import { subscribe } from 'node:diagnostics_channel'
import type { UnknownKey } from '@coatcheck/core'
import { hashForEvents } from '@coatcheck/core/adapter'
import { RETIRED, warnDeveloper, type SessionStore } from '@coatcheck/core/store'

/** The visitors' keys, by what the channel calls them; a store that nobody has any more is let go, and they with it. */
const visitors = new Map<string, { readonly store: WeakRef<SessionStore>; readonly key: string }>()
let isListening = false

/** Warns once if a request comes with this key to a manager that does not know it, while `store` still has its session. */
export function watch(store: SessionStore, key: string): void {
  if (!isListening) {
    subscribe('coatcheck:unknown-key', (event) => void look((event as UnknownKey).key))
  }
  isListening = true
  for (const [hash, one] of visitors) if (!one.store.deref()) visitors.delete(hash)
  visitors.set(hashForEvents(key), { store: new WeakRef(store), key })
}

async function look(hash: string): Promise<void> {
  const found = visitors.get(hash)
  if (!found) return
  try {
    const record = await found.store.deref()?.load(found.key)
    if (!record || record.data === RETIRED) return
  } catch {
    // A store that is closed or away tells nothing.
    return
  }
  warnDeveloper(
    'VISITOR_UNKNOWN',
    "A request came with the cookie of a test's visitor, and the application does not know its session: it has another store. Give visitor() the application's own manager, what createSessions() returned, or its very store.",
  )
}

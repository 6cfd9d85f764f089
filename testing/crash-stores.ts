// The stores that promise to survive the death of their process, by name.
import { join } from 'node:path'
import type { SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'

export function openDurable(engine: string, path: string): SessionStore {
  if (engine === 'file') return fileStore(path)
  const store = sqliteStore(join(path, 'sessions.sqlite'))
  store.migrate()
  return store
}

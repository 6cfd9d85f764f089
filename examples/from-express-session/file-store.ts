// What both applications have in common: the store, and the secret of its cookies.
import { createRequire } from 'node:module'
import expressSession, { type Store } from 'express-session'

export const SECRET = process.env['SESSION_SECRET'] ?? 'keyboard cat'

const FileStore = createRequire(import.meta.url)('session-file-store')(expressSession)

/** The sessions in the folder `SESSIONS`. */
export function openFileStore(): Store {
  return new FileStore({
    path: process.env['SESSIONS'] ?? 'sessions',
    logFn() {},
    reapInterval: -1,
  })
}

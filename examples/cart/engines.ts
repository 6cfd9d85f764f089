// One line decides where the sessions are kept: every engine, as `pnpm start --engine <name>` opens it.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createKey, type SessionStore } from '@coatcheck/core/store'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'

const url = (variable: string, fallback: string) => process.env[variable] ?? fallback

const engines: Record<string, (folder: string) => SessionStore> = {
  sqlite: (folder) => sqliteStore(join(folder, 'sessions.sqlite')),
  file: (folder) => fileStore(join(folder, 'sessions')),
  'signed-cookie': (folder) => signedCookieStore({ secrets: [secretIn(folder)] }),
  lru: () => lruStore(),
  'cached-db': (folder) =>
    cachedDbStore({ cache: lruStore(), db: migrated(sqliteStore(join(folder, 'cached.sqlite'))) }),
  redis: () => redisStore(url('REDIS_URL', 'redis://localhost:6379')),
  postgres: () => postgresStore(url('POSTGRES_URL', 'postgres://postgres@localhost/postgres')),
  mysql: () => mysqlStore(url('MYSQL_URL', 'mysql://root@localhost/test')),
}

/** Every engine's name. */
export const engineNames = Object.keys(engines)

/** Those that need no server: the page shows them side by side. */
export const embedded = ['sqlite', 'file', 'signed-cookie', 'lru', 'cached-db'] as const

/**
 * Opens an engine, ready to be used, with what it keeps on this machine in `folder`.
 * @throws Error if there is no engine of that name; what the engine throws if its server cannot be reached.
 */
export async function openEngine(name: string, folder: string): Promise<SessionStore> {
  const open = Object.hasOwn(engines, name) ? engines[name] : undefined
  if (!open)
    throw new Error(`There is no engine '${name}'. Choose one of: ${engineNames.join(', ')}`)
  mkdirSync(folder, { recursive: true })
  const store = open(folder)
  try {
    if ('migrate' in store) await (store.migrate as () => unknown)()
    // A server that is not there is better heard of now than by the first visitor.
    await store.load(createKey())
  } catch (error) {
    await store.close?.()
    throw error
  }
  return store
}

function migrated<S extends SessionStore & { migrate(): void }>(store: S): S {
  store.migrate()
  return store
}

/** The secret that signs cookies: made at the first start, and kept, so that the cookies of yesterday still count. */
function secretIn(folder: string): string {
  const file = join(folder, 'secret')
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o600 })
  return readFileSync(file, 'utf8')
}

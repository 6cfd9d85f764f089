// The stores of the field as they are published, each set up as its README says.
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { StoreTraits } from '@coatcheck/core/store'
import type { ExpressStore } from '@coatcheck/express-session'
import Database from 'better-sqlite3'
import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import { ConnectSessionKnexStore } from 'connect-session-knex'
import expressSession from 'express-session'
import knex from 'knex'
import pg from 'pg'
import { createClient } from 'redis'
import type { Places } from '../testing/subjects.ts'

const require = createRequire(import.meta.url)

/** A store, and what lets go of it. */
export interface OpenedPeer {
  store: ExpressStore
  close(): unknown
}

/** One store of the field. */
export interface Peer {
  /** Its package, for the version. */
  readonly package: string
  /** The server it needs, by its name in services.ts. */
  readonly needs?: 'redis' | 'postgres'
  readonly traits?: Omit<StoreTraits, 'sync'>
  /** Opens it on what `name` (letters, digits, underscores) stands for. */
  open(name: string, places: Places): OpenedPeer | Promise<OpenedPeer>
}

const inMemory = { ephemeral: true, unshared: true } as const
const nothing = () => {}

export const peers: Record<string, Peer> = {
  MemoryStore: {
    package: 'express-session',
    traits: inMemory,
    open: () => ({ store: new expressSession.MemoryStore(), close: nothing }),
  },
  memorystore: {
    package: 'memorystore',
    traits: inMemory,
    open() {
      const MemoryStore = require('memorystore')(expressSession)
      const store = new MemoryStore({ checkPeriod: 86_400_000 })
      return { store, close: () => store.stopInterval() }
    },
  },
  'session-file-store': {
    package: 'session-file-store',
    open(name, { folder }) {
      const FileStore = require('session-file-store')(expressSession)
      const options = { path: join(folder, name), logFn: nothing, reapInterval: -1 }
      return { store: new FileStore(options), close: nothing }
    },
  },
  'better-sqlite3-session-store': {
    package: 'better-sqlite3-session-store',
    open(name, { folder }) {
      mkdirSync(folder, { recursive: true })
      const client = new Database(join(folder, `${name}.sqlite`))
      const SqliteStore = require('better-sqlite3-session-store')(expressSession)
      // It leaves no way to stop its timer, which the process would wait for.
      const { setInterval } = globalThis
      globalThis.setInterval = ((...args: Parameters<typeof setInterval>) =>
        setInterval(...args).unref()) as typeof setInterval
      const store = new SqliteStore({ client, expired: { clear: true, intervalMs: 900_000 } })
      globalThis.setInterval = setInterval
      return { store, close: () => client.close() }
    },
  },
  'connect-session-knex': {
    package: 'connect-session-knex',
    async open(name, { folder }) {
      mkdirSync(folder, { recursive: true })
      const connection = knex({
        client: 'better-sqlite3',
        connection: { filename: join(folder, `${name}.sqlite`) },
        useNullAsDefault: true,
      })
      const store = new ConnectSessionKnexStore({ knex: connection, cleanupInterval: 0 })
      // It makes its table by itself; a close before that is a rejection that nobody can catch.
      await (store as unknown as { ready: Promise<void> }).ready
      return { store: store as ExpressStore, close: () => connection.destroy() }
    },
  },
  'connect-redis': {
    package: 'connect-redis',
    needs: 'redis',
    async open(name, places) {
      const client = createClient({ url: places['redis']! }).on('error', nothing)
      await client.connect()
      return {
        store: new RedisStore({ client, prefix: `${name}:` }),
        close: () => client.isOpen && client.destroy(),
      }
    },
  },
  'connect-pg-simple': {
    package: 'connect-pg-simple',
    needs: 'postgres',
    async open(name, places) {
      const pool = new pg.Pool({ connectionString: places['postgres'] }).on('error', nothing)
      const table = readFileSync(require.resolve('connect-pg-simple/table.sql'), 'utf8')
      const sql = table.replaceAll('"session"', `"${name}"`).replaceAll('session_', `${name}_`)
      const { rowCount } = await pool.query('SELECT 1 FROM pg_tables WHERE tablename = $1', [name])
      if (!rowCount) await pool.query(sql.replaceAll('IDX_session', `IDX_${name}`))
      const PgStore = connectPgSimple(expressSession)
      const store = new PgStore({ pool, tableName: name, pruneSessionInterval: false })
      let ended: Promise<void> | undefined
      return { store, close: () => (ended ??= pool.end()) }
    },
  },
}

/** The version of an installed package. */
export function versionOf(name: string): string {
  let folder = require.resolve(name)
  for (;;) {
    folder = join(folder, '..')
    try {
      const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      if (manifest.name === name) return manifest.version
    } catch {
      // Not here.
    }
  }
}

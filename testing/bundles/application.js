// What an application in a bundle may have: every engine, with its driver found by itself, and with it passed. Nothing listens at port 1.
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { toExpressStore } from '@coatcheck/express-session'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import Database from 'better-sqlite3'
import session from 'express-session'
import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { createPool } from 'mysql2/promise'
import pg from 'pg'

const alone = {
  sqlite: () => sqliteStore(':memory:'),
  postgres: () => postgresStore('postgres://127.0.0.1:1/app'),
  mysql: () => mysqlStore('mysql://127.0.0.1:1/app'),
  redis: () => redisStore('redis://127.0.0.1:1'),
  lru: () => lruStore(),
  bridge: () => asStore(toExpressStore(lruStore({ LRUCache }))),
  file: () => fileStore('sessions'),
  'signed-cookie': () => signedCookieStore({ secrets: ['s'.repeat(32)] }),
}
const passed = {
  sqlite: () => sqliteStore(new Database(':memory:')),
  postgres: () => postgresStore(new pg.Pool({ connectionString: 'postgres://127.0.0.1:1/app' })),
  mysql: () => mysqlStore(createPool('mysql://127.0.0.1:1/app')),
  redis: () => {
    const client = new Redis('redis://127.0.0.1:1', { maxRetriesPerRequest: 0 })
    return redisStore(client.on('error', () => {}))
  },
  lru: () => lruStore({ LRUCache }),
  bridge: () => asStore(toExpressStore(lruStore({ LRUCache }), { Store: session.Store })),
  'cached-db': () => {
    const db = sqliteStore(new Database(':memory:'))
    db.migrate()
    return cachedDbStore({ cache: lruStore({ LRUCache }), db })
  },
}

/** What express-session asks of a store for a visitor who comes back. */
function asStore(store) {
  const cookie = { originalMaxAge: null }
  return { load: () => void store.createSession({}, { cookie }) }
}

/** What each engine answers, in words: `works`, or its error. */
export async function report(way) {
  const said = {}
  for (const [name, open] of Object.entries(way === 'passed' ? passed : alone)) {
    try {
      const store = open()
      await store.migrate?.()
      await store.load('k'.repeat(32))
      said[name] = 'works'
    } catch (error) {
      said[name] = `${error.code}: ${error.message}`
    }
  }
  return said
}

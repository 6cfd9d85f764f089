// Every engine beside the driver below it and beside its peers: read and write, one at a time and a hundred at once.
import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { createKey, type SessionStore } from '@coatcheck/core/store'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import Database from 'better-sqlite3'
import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { mariadb, postgres, redis } from '../testing/services.ts'
import type { Places } from '../testing/subjects.ts'
import { measure, saveResults, toMarkdown, type Contender, type Result } from './harness.ts'
import { peers, type OpenedPeer } from './peers.ts'

const SESSIONS = 10_000
const EXPIRES = Date.now() + 86_400_000
const require = createRequire(import.meta.url)

const wanted = process.argv.slice(2)
const payloads: Record<string, object> = {
  '200 B': {
    user: { id: 12_345, name: 'Ann Example' },
    cart: [
      { id: 'coat', n: 2 },
      { id: 'hat', n: 1 },
    ],
    theme: 'dark',
    language: 'en',
    csrf: 'k'.repeat(64),
    visits: 1,
  },
  '3 KB': {
    user: { id: 12_345, name: 'Ann Example' },
    visits: 1,
    text: randomBytes(2200).toString('base64'),
  },
}

const keys = Array.from({ length: SESSIONS }, createKey)
const keyOf = (n: number) => keys[n % SESSIONS]!
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-'))
const closing: (() => unknown)[] = []
const all: { title: string; results: Result[] }[] = []

async function report(title: string, contenders: Contender[], atOnce = 1): Promise<void> {
  const results = await measure(title, contenders, atOnce)
  all.push({ title, results })
  console.log(toMarkdown(title, results))
}

const parse = (record: { data: string } | undefined) => JSON.parse(record!.data)

/** Reads and writes of a store of ours, as a request does them: compare-and-swap on the text that was read. */
async function ours(name: string, store: SessionStore, payload: object) {
  const texts = new Map<string, string>()
  const first = JSON.stringify(payload)
  for (const key of keys) {
    await store.create(key, { data: first, expiresAt: EXPIRES })
    texts.set(key, first)
  }
  let visits = 0
  const sync = store.traits?.sync
  const read: Contender = {
    name,
    role: 'ours',
    run: sync
      ? (n) => parse(store.load(keyOf(n)) as { data: string })
      : async (n) => parse(await store.load(keyOf(n))),
  }
  const write: Contender = {
    name,
    role: 'ours',
    run(n) {
      const key = keyOf(n)
      const data = JSON.stringify({ ...payload, visits: visits++ })
      const saving = store.save(key, { data, expiresAt: EXPIRES }, texts.get(key))
      texts.set(key, data)
      return saving
    },
  }
  return { read, write }
}

/** A store of express-session, called as that calls it. */
async function peer(name: string, places: Places, payload: object) {
  const opened: OpenedPeer = await peers[name]!.open(`bench_${createKey().slice(0, 8)}`, places)
  closing.push(opened.close)
  const cookie = {
    originalMaxAge: 86_400_000,
    expires: new Date(EXPIRES),
    httpOnly: true,
    path: '/',
  }
  const set = (key: string, value: object) =>
    new Promise<void>((resolve, reject) => {
      opened.store.set(key, { cookie, ...value }, (error) =>
        error ? reject(error as Error) : resolve(),
      )
    })
  for (const key of keys) await set(key, payload)
  let visits = 0
  const read: Contender = {
    name,
    role: 'peer',
    run: (n) =>
      new Promise((resolve, reject) => {
        opened.store.get(keyOf(n), (error, session) =>
          error || !session ? reject(error ?? new Error('gone')) : resolve(session),
        )
      }),
  }
  const write: Contender = {
    name,
    role: 'peer',
    run: (n) => set(keyOf(n), { ...payload, visits: visits++ }),
  }
  return { read, write }
}

const raw = (run: (n: number) => unknown, name: string): Contender => ({ name, role: 'raw', run })

const engines: Record<string, (payload: object, label: string) => Promise<void>> = {
  async sqlite(payload, label) {
    const file = (name: string) => join(folder, `${name}-${label.replaceAll(' ', '')}.sqlite`)
    const database = new Database(file('raw'))
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = NORMAL')
    database.exec(
      'CREATE TABLE s (k varchar(64) PRIMARY KEY, d text NOT NULL, e datetime NOT NULL); CREATE INDEX s_e ON s (e)',
    )
    const insert = database.prepare('INSERT INTO s VALUES (?, ?, ?)')
    const select = database.prepare('SELECT d, e FROM s WHERE k = ?')
    const swap = database.prepare('UPDATE s SET d = ?, e = ? WHERE k = ? AND e > ? AND d = ?')
    const end = new Date(EXPIRES).toISOString()
    const texts = new Map<string, string>()
    for (const key of keys) {
      texts.set(key, JSON.stringify(payload))
      insert.run(key, texts.get(key), end)
    }
    let visits = 0
    const store = sqliteStore(file('ours'))
    store.migrate()
    const [mine, theirs] = [
      await ours('sqlite', store, payload),
      await peer('better-sqlite3-session-store', { folder }, payload),
    ]
    await report(`SQLite, ${label}: read`, [
      raw(
        (n) => JSON.parse((select.get(keyOf(n)) as { d: string }).d),
        'better-sqlite3: prepared get',
      ),
      mine.read,
      theirs.read,
    ])
    await report(`SQLite, ${label}: write`, [
      raw((n) => {
        const key = keyOf(n)
        const data = JSON.stringify({ ...payload, visits: visits++ })
        swap.run(data, end, key, '2026', texts.get(key))
        texts.set(key, data)
      }, 'better-sqlite3: prepared compare-and-swap'),
      mine.write,
      theirs.write,
    ])
    database.close()
    await store.close?.()
  },

  async lru(payload, label) {
    const cache = new LRUCache<string, string>({ max: 100_000 })
    for (const key of keys) cache.set(key, JSON.stringify(payload))
    let visits = 0
    const mine = await ours('lru', lruStore(), payload)
    const [memory, memorystore] = [
      await peer('MemoryStore', { folder }, payload),
      await peer('memorystore', { folder }, payload),
    ]
    await report(`Memory, ${label}: read`, [
      raw((n) => JSON.parse(cache.get(keyOf(n))!), 'lru-cache, JSON'),
      mine.read,
      memory.read,
      memorystore.read,
    ])
    await report(`Memory, ${label}: write`, [
      raw(
        (n) => void cache.set(keyOf(n), JSON.stringify({ ...payload, visits: visits++ })),
        'lru-cache, JSON',
      ),
      mine.write,
      memory.write,
      memorystore.write,
    ])
  },

  async file(payload, label) {
    const path = join(folder, `raw-${label.replaceAll(' ', '')}`)
    mkdirSync(path)
    for (const key of keys) writeFileSync(join(path, key), JSON.stringify(payload))
    let visits = 0
    const mine = await ours(
      'file',
      fileStore(join(folder, `ours-${label.replaceAll(' ', '')}`)),
      payload,
    )
    const theirs = await peer('session-file-store', { folder }, payload)
    await report(`Files, ${label}: read`, [
      raw((n) => JSON.parse(readFileSync(join(path, keyOf(n)), 'utf8')), 'readFileSync'),
      mine.read,
      theirs.read,
    ])
    await report(`Files, ${label}: write`, [
      raw(
        (n) =>
          writeFileSync(join(path, keyOf(n)), JSON.stringify({ ...payload, visits: visits++ })),
        'writeFileSync, in place',
      ),
      mine.write,
      theirs.write,
    ])
  },

  async 'signed-cookie'(payload, label) {
    if (label !== '200 B') return
    const secret = 'a secret of thirty-two characters or more'
    const key = createSecretKey(Buffer.from(secret))
    const sign = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
    const body = () =>
      Buffer.from(JSON.stringify({ ...payload, visits: visits++ })).toString('base64url')
    let visits = 0
    const text = body()
    const signed = { text, signature: sign(text) }
    const contender = (name: string, encrypt: boolean) => {
      const store = signedCookieStore({ secrets: [secret], encrypt })
      const token = store.create('', {
        data: JSON.stringify(payload),
        expiresAt: EXPIRES,
      }) as string
      console.log(
        `${name}: a token of ${token.length} characters for ${JSON.stringify(payload).length} bytes`,
      )
      return {
        read: {
          name,
          role: 'ours',
          run: () => JSON.parse((store.load(token) as { data: string }).data),
        } as Contender,
        write: {
          name,
          role: 'ours',
          run: () =>
            store.create('', {
              data: JSON.stringify({ ...payload, visits: visits++ }),
              expiresAt: EXPIRES,
            }),
        } as Contender,
      }
    }
    const [plain, sealed] = [
      contender('signed-cookie', false),
      contender('signed-cookie, encrypted', true),
    ]
    const { sealData, unsealData } = require('iron-session') as typeof import('iron-session')
    const iron = await sealData(payload, { password: secret })
    console.log(`iron-session: a token of ${iron.length} characters`)
    const ironRead: Contender = {
      name: 'iron-session',
      role: 'peer',
      run: () => unsealData(iron, { password: secret }),
    }
    const ironWrite: Contender = {
      name: 'iron-session',
      role: 'peer',
      run: () => sealData({ ...payload, visits: visits++ }, { password: secret }),
    }
    await report('Signed cookie: verify', [
      raw(() => {
        if (sign(signed.text) !== signed.signature) throw new Error('forged')
        return JSON.parse(Buffer.from(signed.text, 'base64url').toString())
      }, 'HMAC-SHA256, base64url, JSON'),
      plain.read,
      sealed.read,
      ironRead,
    ])
    await report('Signed cookie: sign', [
      raw(() => sign(body()), 'HMAC-SHA256, base64url, JSON'),
      plain.write,
      sealed.write,
      ironWrite,
    ])
  },

  async redis(payload, label) {
    const server = await redis.launch!()
    closing.push(() => server[Symbol.asyncDispose]())
    const client = new Redis(server.url)
    const own = new Redis(server.url)
    closing.push(
      () => client.disconnect(),
      () => own.disconnect(),
    )
    for (const key of keys)
      await client.set(`raw:${key}`, JSON.stringify(payload), 'PX', 86_400_000)
    client.defineCommand('swap', {
      numberOfKeys: 1,
      lua: "if redis.call('GET', KEYS[1]) ~= ARGV[3] then return -1 end redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1",
    })
    const texts = new Map(keys.map((key) => [key, JSON.stringify(payload)]))
    let visits = 0
    const mine = await ours('redis', redisStore(own), payload)
    const theirs = await peer('connect-redis', { folder, redis: server.url }, payload)
    for (const atOnce of [1, 100]) {
      const how = atOnce === 1 ? 'one at a time' : `${atOnce} at once`
      await report(
        `Redis, ${label}, ${how}: read`,
        [
          raw(async (n) => JSON.parse((await client.get(`raw:${keyOf(n)}`))!), 'ioredis: GET'),
          mine.read,
          theirs.read,
        ],
        atOnce,
      )
      await report(
        `Redis, ${label}, ${how}: write`,
        [
          raw((n) => {
            const key = keyOf(n)
            const data = JSON.stringify({ ...payload, visits: visits++ })
            const saving = (client as any).swap(`raw:${key}`, data, 86_400_000, texts.get(key))
            texts.set(key, data)
            return saving
          }, 'ioredis: compare-and-swap by script'),
          mine.write,
          theirs.write,
        ],
        atOnce,
      )
    }
  },

  async postgres(payload, label) {
    const server = await postgres.launch!()
    closing.push(() => server[Symbol.asyncDispose]())
    const pool = new pg.Pool({ connectionString: server.url }).on('error', () => {})
    const own = new pg.Pool({ connectionString: server.url }).on('error', () => {})
    await pool.query(
      'CREATE TABLE raw (k varchar(64) PRIMARY KEY, d text NOT NULL, e timestamptz NOT NULL)',
    )
    const end = new Date(EXPIRES).toISOString()
    for (const key of keys)
      await pool.query({
        name: 'i',
        text: 'INSERT INTO raw VALUES ($1, $2, $3)',
        values: [key, JSON.stringify(payload), end],
      })
    const texts = new Map(keys.map((key) => [key, JSON.stringify(payload)]))
    let visits = 0
    const store = postgresStore(own)
    await store.migrate()
    const mine = await ours('postgres', store, payload)
    const theirs = await peer('connect-pg-simple', { folder, postgres: server.url }, payload)
    for (const atOnce of [1, 100]) {
      const how = atOnce === 1 ? 'one at a time' : `${atOnce} at once`
      await report(
        `PostgreSQL, ${label}, ${how}: read`,
        [
          raw(
            async (n) =>
              JSON.parse(
                (
                  await pool.query({
                    name: 'r',
                    text: 'SELECT d, e FROM raw WHERE k = $1',
                    values: [keyOf(n)],
                  })
                ).rows[0].d,
              ),
            'pg: prepared SELECT',
          ),
          mine.read,
          theirs.read,
        ],
        atOnce,
      )
      await report(
        `PostgreSQL, ${label}, ${how}: write`,
        [
          raw((n) => {
            const key = keyOf(n)
            const data = JSON.stringify({ ...payload, visits: visits++ })
            const saving = pool.query({
              name: 'w',
              text: 'UPDATE raw SET d = $1, e = $2 WHERE k = $3 AND e > $4 AND d = $5',
              values: [data, end, key, '2026-01-01', texts.get(key)],
            })
            texts.set(key, data)
            return saving
          }, 'pg: prepared compare-and-swap'),
          mine.write,
          theirs.write,
        ],
        atOnce,
      )
    }
    await Promise.all([pool.end(), own.end()])
  },

  async mysql(payload, label) {
    const server = await mariadb.launch!()
    closing.push(() => server[Symbol.asyncDispose]())
    const pool = mysql.createPool({ uri: server.url, charset: 'utf8mb4' })
    const own = mysql.createPool({ uri: server.url, charset: 'utf8mb4' })
    await pool.query(
      'CREATE TABLE raw (k varchar(64) PRIMARY KEY, d longtext NOT NULL, e datetime(6) NOT NULL)',
    )
    const end = new Date(EXPIRES).toISOString().slice(0, 23).replace('T', ' ')
    for (const key of keys)
      await pool.execute('INSERT INTO raw VALUES (?, ?, ?)', [key, JSON.stringify(payload), end])
    const texts = new Map(keys.map((key) => [key, JSON.stringify(payload)]))
    let visits = 0
    const store = mysqlStore(own)
    await store.migrate()
    const mine = await ours('mysql', store, payload)
    for (const atOnce of [1, 100]) {
      const how = atOnce === 1 ? 'one at a time' : `${atOnce} at once`
      await report(
        `MariaDB, ${label}, ${how}: read`,
        [
          raw(async (n) => {
            const [rows] = await pool.execute('SELECT d, e FROM raw WHERE k = ?', [keyOf(n)])
            return JSON.parse((rows as { d: string }[])[0]!.d)
          }, 'mysql2: prepared SELECT'),
          mine.read,
        ],
        atOnce,
      )
      await report(
        `MariaDB, ${label}, ${how}: write`,
        [
          raw((n) => {
            const key = keyOf(n)
            const data = JSON.stringify({ ...payload, visits: visits++ })
            const saving = pool.execute(
              'UPDATE raw SET d = ?, e = ? WHERE k = ? AND e > ? AND BINARY d = BINARY ?',
              [data, end, key, '2026-01-01', texts.get(key)!],
            )
            texts.set(key, data)
            return saving
          }, 'mysql2: prepared compare-and-swap'),
          mine.write,
        ],
        atOnce,
      )
    }
    await Promise.all([pool.end(), own.end()])
  },
}

try {
  for (const [name, run] of Object.entries(engines)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    for (const [label, payload] of Object.entries(payloads)) {
      await run(payload, label)
      for (const close of closing.splice(0).toReversed()) await close()
    }
  }
  if (wanted.length === 0) {
    saveResults('store', { sessions: SESSIONS, results: all })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

// One application of the benchmark of requests, in a process of its own: it sends its port, and at each message its processor time.
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createKey, type SessionStore } from '@coatcheck/core/store'
import Database from 'better-sqlite3'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { load } from './checkout.ts'
import { peers } from './peers.ts'

const require = createRequire(import.meta.url)
const [framework, name = 'alone', redisUrl = '', root = ''] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-requests-'))
const SECRET = 'a secret of thirty-two characters or more'
/** Two weeks, in seconds: what sessions live by our default. */
const MAX_AGE = 1_209_600
const user = {
  id: 12_345,
  name: 'Ann Example',
  cart: [{ id: 'coat', n: 2 }],
  theme: 'dark',
  csrf: 'k'.repeat(32),
}

async function sqliteTable(): Promise<{ file: string; store: SessionStore }> {
  const { sqliteStore } = await load(root, '@coatcheck/db/sqlite')
  const file = join(folder, 'sessions.sqlite')
  const store = sqliteStore(file)
  store.migrate()
  return { file, store }
}

const engines: Record<string, () => Promise<SessionStore>> = {
  lru: async () => (await load(root, '@coatcheck/cache/lru')).lruStore(),
  sqlite: async () => (await sqliteTable()).store,
  'signed-cookie': async () =>
    (await load(root, '@coatcheck/signed-cookie')).signedCookieStore({ secrets: [SECRET] }),
  redis: async () => (await load(root, '@coatcheck/cache/redis')).redisStore(redisUrl),
}
const ours = await engines[name]?.()

/** What the routes do, by the kind of session that the application has. */
interface Hands {
  login(request: any, n: number, response: any): void
  read(request: any): unknown
  write(request: any): unknown
}
const objects: Hands = {
  login({ session: s }, n) {
    s.user = user
    s.n = n
  },
  read: ({ session: s }) => s.n,
  write: ({ session: s }) => (s.n += 1),
}
const dictionaries: Hands = {
  login({ session: s }, n) {
    s.set('user', user)
    s.set('n', n)
  },
  read: ({ session: s }) => s.get('n'),
  write({ session: s }) {
    const n = s.get('n') + 1
    s.set('n', n)
    return n
  },
}
const nothing: Hands = { login() {}, read: () => 0, write: () => 0 }

const end = () => new Date(Date.now() + MAX_AGE * 1000).toISOString()
const keyOf = (request: any): string => request.headers.cookie.slice('key='.length)

/** The statements that a session on SQLite cannot do without, on the same table and with the same settings, and nothing else. */
async function statements(): Promise<Hands> {
  const { file, store } = await sqliteTable()
  await store.close?.()
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = NORMAL')
  const insert = database.prepare('INSERT INTO coatcheck_session VALUES (?, ?, ?)')
  const select = database
    .prepare('SELECT session_data FROM coatcheck_session WHERE session_key = ?')
    .pluck()
  const update = database.prepare(
    'UPDATE coatcheck_session SET session_data = ?, expire_date = ? WHERE session_key = ?',
  )
  const find = (key: string) => JSON.parse(select.get(key) as string)
  return {
    login(_request, n, response) {
      const key = createKey()
      insert.run(key, JSON.stringify({ user, n }), end())
      response.setHeader('Set-Cookie', `key=${key}`)
    },
    read: (request) => find(keyOf(request)).n,
    write(request) {
      const key = keyOf(request)
      const data = find(key)
      data.n += 1
      update.run(JSON.stringify(data), end(), key)
      return data.n
    },
  }
}

async function onExpress(): Promise<number> {
  const app = express()
  let hands = nothing
  if (ours) {
    const { session } = await load(root, '@coatcheck/express')
    app.use(session({ store: ours }))
    hands = dictionaries
  } else if (name === 'cookie-session') {
    app.use(require('cookie-session')({ keys: [SECRET], maxAge: MAX_AGE * 1000 }))
    hands = objects
  } else if (name === 'raw-sqlite') {
    hands = await statements()
  } else if (name !== 'alone') {
    const { store } = await peers[name === 'memory' ? 'MemoryStore' : name]!.open('bench', {
      folder,
      redis: redisUrl,
    })
    app.use(
      expressSession({
        store: store as expressSession.Store,
        secret: SECRET,
        resave: false,
        saveUninitialized: false,
        rolling: false,
        cookie: { maxAge: MAX_AGE * 1000 },
      }),
    )
    hands = objects
  }
  app.get('/login', (request, response) => {
    hands.login(request, Number(request.query['n']), response)
    response.json({ ok: true })
  })
  app.get('/untouched', (_request, response) => response.json({ n: 0 }))
  app.get('/read', (request, response) => response.json({ n: hands.read(request) }))
  app.get('/write', (request, response) => response.json({ n: hands.write(request) }))
  return new Promise((resolve) => {
    const server = app.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

async function onFastify(): Promise<number> {
  const app = Fastify()
  let hands = nothing
  if (ours) {
    const { session } = await load(root, '@coatcheck/fastify')
    await app.register(session, { store: ours })
    hands = dictionaries
  } else if (name === 'memory') {
    await app.register(require('@fastify/cookie'))
    await app.register(require('@fastify/session'), {
      secret: SECRET,
      saveUninitialized: false,
      rolling: false,
      cookie: { secure: false, maxAge: MAX_AGE * 1000 },
    })
    hands = objects
  } else if (name === 'secure-session') {
    await app.register(require('@fastify/secure-session'), {
      key: Buffer.alloc(32, 7),
      expiry: MAX_AGE,
      cookie: { path: '/', httpOnly: true, maxAge: MAX_AGE },
    })
    hands = dictionaries
  }
  app.get('/login', async (request, reply) => {
    hands.login(request, Number((request.query as { n: string }).n), reply.raw)
    return { ok: true }
  })
  app.get('/untouched', async () => ({ n: 0 }))
  app.get('/read', async (request) => ({ n: hands.read(request) }))
  app.get('/write', async (request) => ({ n: hands.write(request) }))
  await app.listen({ port: 0 })
  return (app.server.address() as AddressInfo).port
}

const port = await (framework === 'fastify' ? onFastify() : onExpress())
process.on('message', () => process.send!(process.cpuUsage()))
process.on('disconnect', () => {
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
})
process.send!({ port })

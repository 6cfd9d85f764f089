// One application of the HTTP benchmark, in a process of its own: argv names it; it prints its port.
import { mkdtempSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import type { SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { session } from '@coatcheck/express'
import { session as fastifySession } from '@coatcheck/fastify'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { peers } from './peers.ts'

const require = createRequire(import.meta.url)
const [framework, name = 'alone', redisUrl = ''] = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-http-'))
const SECRET = 'a secret of thirty-two characters or more'
const user = {
  id: 12_345,
  name: 'Ann Example',
  cart: [{ id: 'coat', n: 2 }],
  theme: 'dark',
  csrf: 'k'.repeat(32),
}

const engines: Record<string, () => SessionStore> = {
  lru: () => lruStore(),
  sqlite() {
    const store = sqliteStore(join(folder, 'sessions.sqlite'))
    store.migrate()
    return store
  },
  'signed-cookie': () => signedCookieStore({ secrets: [SECRET] }),
  file: () => fileStore(join(folder, 'sessions')),
  redis: () => redisStore(redisUrl),
}
const ours = engines[name]

/** What the routes do, by the kind of session that the application has. */
interface Hands {
  login(request: any): void
  read(request: any): unknown
  write(request: any): unknown
}
const objects: Hands = {
  login: ({ session: s }) => {
    s.user = user
    s.n = 0
  },
  read: ({ session: s }) => s.n,
  write: ({ session: s }) => (s.n = (s.n ?? 0) + 1),
}
const dictionaries: Hands = {
  login: ({ session: s }) => s.update({ user, n: 0 }),
  read: ({ session: s }) => s.get('n'),
  write({ session: s }) {
    const n = s.get('n', 0) + 1
    s.set('n', n)
    return n
  },
}
const nothing: Hands = { login() {}, read: () => 0, write: () => 0 }

async function onExpress() {
  const app = express()
  let hands = nothing
  if (ours) {
    app.use(session({ store: ours() }))
    hands = dictionaries
  } else if (name === 'cookie-session') {
    app.use(require('cookie-session')({ keys: [SECRET] }))
    hands = objects
  } else if (name !== 'alone') {
    const { store } = await peers[name]!.open('bench', { folder, redis: redisUrl })
    app.use(
      expressSession({
        store: store as expressSession.Store,
        secret: SECRET,
        resave: false,
        saveUninitialized: false,
      }),
    )
    hands = objects
  }
  app.get('/login', (request, response) => {
    hands.login(request)
    response.json({ ok: true })
  })
  app.get('/untouched', (_request, response) => response.json({ n: 0 }))
  app.get('/read', (request, response) => response.json({ n: hands.read(request) }))
  app.get('/write', (request, response) => response.json({ n: hands.write(request) }))
  const server = app.listen(0, '127.0.0.1', () =>
    console.log((server.address() as AddressInfo).port),
  )
}

async function onFastify() {
  const app = Fastify()
  let hands = nothing
  if (ours) {
    await app.register(fastifySession, { store: ours() })
    hands = dictionaries
  } else if (name === '@fastify/session') {
    await app.register(require('@fastify/cookie'))
    await app.register(require('@fastify/session'), {
      secret: SECRET,
      cookie: { secure: false },
      saveUninitialized: false,
    })
    hands = objects
  } else if (name === '@fastify/secure-session') {
    await app.register(require('@fastify/secure-session'), { key: Buffer.alloc(32, 7) })
    hands = {
      login({ session: s }) {
        s.set('user', user)
        s.set('n', 0)
      },
      read: ({ session: s }) => s.get('n'),
      write({ session: s }) {
        const n = (s.get('n') ?? 0) + 1
        s.set('n', n)
        return n
      },
    }
  }
  app.get('/login', async (request) => {
    hands.login(request)
    return { ok: true }
  })
  app.get('/untouched', async () => ({ n: 0 }))
  app.get('/read', async (request) => ({ n: hands.read(request) }))
  app.get('/write', async (request) => ({ n: hands.write(request) }))
  await app.listen({ port: 0 })
  console.log((app.server.address() as AddressInfo).port)
}

await (framework === 'fastify' ? onFastify() : onExpress())

// The application of a fault's trial, in a process of its own: Express over a store, on a Unix socket. Told to, it closes.
import { once } from 'node:events'
import { flushCompileCache } from 'node:module'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createSessions, type Session } from '@coatcheck/core'
import type { SessionStore } from '@coatcheck/core/store'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { getSession, session } from '@coatcheck/express'
import express, { type ErrorRequestHandler } from 'express'
import { Cluster, Redis } from 'ioredis'

/** What the application opens: the name of one of `stores`, and the addresses of its servers. */
export interface Site {
  readonly store: keyof typeof stores
  readonly urls: readonly string[]
}

/** What a visitor's session holds. */
export interface Visit {
  n: number
}

interface Opened {
  readonly store: SessionStore
  /** The store works on a client of the application's, whose end is the application's business. */
  readonly onOwnClient?: boolean
}

const at = (url = '') => ({ host: new URL(url).hostname, port: Number(new URL(url).port) })
/** As an application behind Sentinel has it; with the failover detector it hears of a new master from Sentinel itself. */
const onSentinel = (url: string | undefined, failoverDetector: boolean): Opened => ({
  store: redisStore(
    new Redis({
      sentinels: [at(url)],
      name: 'sessions',
      maxRetriesPerRequest: 0,
      failoverDetector,
    }).on('error', () => {}),
  ),
  onOwnClient: true,
})
const stores = {
  redis: ([url]) => ({ store: redisStore(url!) }),
  sentinel: ([url]) => onSentinel(url, false),
  'sentinel with detector': ([url]) => onSentinel(url, true),
  async cluster(urls) {
    const cluster = new Cluster(urls.map(at), {
      clusterRetryStrategy: (attempt) => Math.min(attempt * 50, 1000),
      redisOptions: { maxRetriesPerRequest: 0 },
    }).on('error', () => {})
    await once(cluster, 'ready')
    return { store: redisStore(cluster), onOwnClient: true }
  },
  postgres: ([url]) => ({ store: postgresStore(url!) }),
  pgbouncer: ([url]) => ({ store: postgresStore(url!) }),
  mysql: ([url]) => ({ store: mysqlStore(url!) }),
  'cached-db'([redis, postgres]) {
    const db = postgresStore(postgres!)
    const store = cachedDbStore({ cache: redisStore(redis!), db })
    return { store: { ...store, migrate: () => db.migrate() } }
  },
} satisfies Record<string, (urls: readonly string[]) => Opened | Promise<Opened>>

const { site, socket } = JSON.parse(process.argv[2]!) as { site: Site; socket: string }
const { store, onOwnClient } = (await stores[site.store](site.urls)) as Opened
await store.migrate?.()
const sessions = createSessions<Visit>({ store })

const change = (visitor: Session<Visit>) => visitor.update('n', (n = 0) => n + 1)
/** What a visitor may do; the answer is what the session holds then. */
const acts: Record<string, (visitor: Session<Visit>) => unknown> = {
  look: () => {},
  change,
  login: (visitor) => (visitor.cycleKey(), change(visitor)),
  logout: (visitor) => visitor.flush(),
}
const app = express().use(session(sessions))
for (const [name, act] of Object.entries(acts)) {
  app.post(`/${name}`, async (request, response) => {
    const visitor = await getSession<Visit>(request)
    act(visitor)
    response.send(`${visitor.get('n', 0)}`)
  })
}
app.use(((error, _request, response, _next) => {
  response.status(error.status ?? 500).send(error.code ?? String(error))
}) satisfies ErrorRequestHandler)

const server = app.listen(socket)
// So that no idle connection is closed just when a visitor uses it.
server.keepAliveTimeout = 60_000
await once(server, 'listening')

process.once('message', async () => {
  const since = performance.now()
  await sessions.close()
  process.send!({ closed: performance.now() - since })
  server.close()
  server.closeAllConnections()
  process.disconnect()
  // Otherwise nothing must keep the process.
  if (onOwnClient) process.exit()
})
// Otherwise the first ones would write it at their end, all at once.
flushCompileCache()
process.send!('up')

// Every engine as a subject of the conformance suite: how it is opened, and how its backend is taken away.
import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import type { OpenOptions, Outage, Subject } from '@coatcheck/conformance'
import { hashKeys, type SessionStore } from '@coatcheck/core'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore, type SqliteConnection } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import Database from 'better-sqlite3'
import { Cluster, Redis } from 'ioredis'
import { bunBinary, openBunStore } from './bun-store.ts'
import { proxiesByUrl, proxyTo, type Proxy } from './proxy.ts'
import { redisClients, redisClusterClients, type OpenRedis } from './redis-clients.ts'

/** Where engines find a folder and the servers that are there: the URLs by the names of `kinds` in services.ts. */
export type Places = { folder: string } & Partial<Record<string, string>>

/** How one engine is proven. */
interface Plan {
  /** The servers it needs. The first one is its backend. */
  readonly needs?: readonly string[]
  readonly traits?: Subject['traits']
  readonly freshFor?: number
  open(options: OpenOptions, places: Places): SessionStore | Promise<SessionStore>
  /** For a backend that is no server. */
  outage?(places: Places): Outage
}

const SECRET = 'a secret for tests, of 32 characters or more'

async function migrated<S extends SessionStore & { migrate(): void | Promise<void> }>(store: S) {
  await store.migrate()
  return store
}

/** The folder is renamed, and renamed back. */
export const folderAway = ({ folder }: Places): Outage => ({
  begin: ({ name }) => renameSync(join(folder, name), join(folder, `${name}.away`)),
  end: ({ name }) => renameSync(join(folder, `${name}.away`), join(folder, name)),
})

/** The table is renamed, and renamed back. */
export const tableAway =
  (
    at: (name: string) => { file: string; table: string },
    open: (file: string) => { exec(sql: string): unknown; close(): unknown } = (file) =>
      new Database(file),
  ) =>
  ({ folder }: Places): Outage => {
    const run = (name: string, sql: (table: string) => string) => {
      const { file, table } = at(name)
      const connection = open(join(folder, file))
      connection.exec(sql(table))
      connection.close()
    }
    return {
      begin: ({ name }) => run(name, (table) => `ALTER TABLE ${table} RENAME TO ${table}_away`),
      end: ({ name }) => run(name, (table) => `ALTER TABLE ${table}_away RENAME TO ${table}`),
    }
  }
const ownFile = (name: string) => ({ file: `${name}.sqlite`, table: 'coatcheck_session' })
const ownTable = tableAway(ownFile)

const sqlite: Plan = {
  open: ({ now, name }, { folder }) =>
    migrated(sqliteStore(join(folder, `${name}.sqlite`), { now })),
  outage: ownTable,
}
const postgres: Plan = {
  needs: ['postgres'],
  open: ({ now, name }, places) =>
    migrated(postgresStore(places['postgres']!, { now, table: name })),
}
const redis: Plan = {
  needs: ['redis'],
  open: ({ now, name }, places) => redisStore(places['redis']!, { now, prefix: `${name}:` }),
}

const plans: Record<string, Plan> = {
  sqlite,
  postgres,
  mysql: {
    needs: ['mariadb'],
    open: ({ now, name }, places) => migrated(mysqlStore(places['mariadb']!, { now, table: name })),
  },
  file: {
    open: ({ now, name }, { folder }) => fileStore(join(folder, name), { now }),
    outage: folderAway,
  },
  lru: {
    traits: { evicts: true, ephemeral: true, unshared: true },
    // Room for fewer sessions than the suite fills in, so that the trait is put to the test.
    open: ({ now }) => lruStore({ now, max: 1000 }),
  },
  redis,
  'redis cluster': {
    needs: ['redisCluster'],
    open: ({ now, name }, places) => openCluster(places['redisCluster']!, { now, name }),
  },
  'signed-cookie': {
    traits: { stateless: true },
    open: ({ now, name }) => signedCookieStore({ secrets: [SECRET], salt: name, now }),
  },
  'signed-cookie encrypted': {
    traits: { stateless: true },
    open: ({ now, name }) =>
      signedCookieStore({ secrets: [SECRET], salt: name, encrypt: true, now }),
  },
  'cached-db (redis over postgres)': {
    freshFor: 5000,
    needs: ['postgres', 'redis'],
    open: async (options, places) =>
      cachedDbStore({
        now: options.now,
        cache: await redis.open(options, places),
        db: await postgres.open(options, places),
      }),
  },
  'cached-db (lru over sqlite)': {
    freshFor: 5000,
    traits: { unshared: true },
    open: async (options, places) =>
      cachedDbStore({
        now: options.now,
        cache: lruStore({ now: options.now }),
        db: await sqlite.open(options, places),
      }),
    outage: ownTable,
  },
}
for (const [name, plan] of Object.entries(plans)) {
  if (plan.traits?.stateless) continue
  plans[`hashKeys(${name})`] = {
    ...plan,
    open: async (options, places) => hashKeys(await plan.open(options, places)),
  }
}

/** The names of all engines, in the order of the docs. */
export const engineNames: readonly string[] = Object.keys(plans)

// The same engines on a connection of the application's own.
plans['sqlite on a connection of its own'] = {
  open: async ({ now, name }, { folder }) => {
    const connection = new Database(join(folder, 'shared.sqlite'))
    connection.pragma('journal_mode = WAL')
    const store = await migrated(sqliteStore(connection, { now, table: name }))
    return { ...store, close: () => void connection.close() }
  },
  outage: tableAway((name) => ({ file: 'shared.sqlite', table: name })),
}
plans['sqlite by node:sqlite'] = {
  open: async ({ now, name }, { folder }) => {
    const connection = new DatabaseSync(join(folder, `${name}.sqlite`), { timeout: 5000 })
    connection.exec('PRAGMA journal_mode = WAL')
    const store = await migrated(sqliteStore(connection as SqliteConnection, { now }))
    return {
      ...store,
      close() {
        if (connection.isOpen) connection.close()
      },
    }
  },
  // By the same library: two copies of SQLite in one process take each other's locks away.
  outage: tableAway(ownFile, (file) => new DatabaseSync(file, { timeout: 5000 })),
}
plans['redis on a client of its own, with keyPrefix and auto-pipelining'] = {
  needs: ['redis'],
  open({ now, name }, places) {
    const client = new Redis(places['redis']!, {
      keyPrefix: 'app:',
      enableAutoPipelining: true,
      maxRetriesPerRequest: 0,
    }).on('error', () => {})
    return {
      ...redisStore(client, { now, prefix: `${name}:` }),
      close: () => client.disconnect(),
    }
  },
}

// And Redis by clients of every other library.
for (const [library, open] of Object.entries<OpenRedis>(redisClients)) {
  plans[`redis by ${library}`] = onClient('redis', open)
}
for (const [library, open] of Object.entries<OpenRedis>(redisClusterClients)) {
  plans[`redis cluster by ${library}`] = onClient('redisCluster', open)
}
if (bunBinary) {
  plans['redis by Bun'] = {
    needs: ['redis'],
    open: ({ now, name }, places) => openBunStore(places['redis']!, { now, prefix: `${name}:` }),
  }
}

/** The names of the engines on Redis by other libraries than ioredis. */
export const redisEngines: readonly string[] = Object.keys(plans).filter((name) =>
  /^redis (?:cluster )?by /.test(name),
)

/** The servers that an engine needs. */
export const needsOf = (engine: string): readonly string[] => plans[engine]?.needs ?? []

/** An engine as a subject, at `places` as they are. */
export function subjectAt(engine: string, places: Places): Subject {
  const plan = plans[engine]!
  return {
    name: engine,
    traits: plan.traits ?? {},
    ...(plan.freshFor && { freshFor: plan.freshFor }),
    module: new URL(
      `./subject-module.ts?${new URLSearchParams({ engine, ...places })}`,
      import.meta.url,
    ),
    open: (options) => plan.open(options, places),
    ...(plan.outage && { outage: plan.outage(places) }),
  }
}

/** An engine as a subject whose servers can be taken away: it reaches each through a proxy, from other processes too. */
export async function engineSubject(engine: string, places: Places): Promise<Subject & Disposable> {
  const proxies = new Map<string, readonly Proxy[]>()
  const proxied: Places = { ...places }
  for (const need of needsOf(engine)) {
    const own = proxiesByUrl.get(places[need]!)
    if (own) proxies.set(need, own)
    else {
      const { url, proxy } = await proxyTo(places[need]!)
      proxied[need] = url
      proxies.set(need, [proxy])
    }
  }
  const backend = proxies.get(needsOf(engine)[0] ?? '')
  return {
    ...subjectAt(engine, proxied),
    ...(backend && {
      outage: {
        begin: () => backend.forEach((proxy) => proxy.cut()),
        end: async () => void (await Promise.all(backend.map((proxy) => proxy.restore()))),
      },
    }),
    [Symbol.dispose]() {
      for (const [need, opened] of proxies) {
        if (!proxiesByUrl.has(places[need]!)) opened.forEach((proxy) => proxy.cut())
      }
    },
  }
}

/** A store on a client that closes with it. */
function onClient(need: string, openClient: OpenRedis): Plan {
  return {
    needs: [need],
    async open({ now, name }, places) {
      const { client, close } = await openClient(places[need]!)
      return { ...redisStore(client, { now, prefix: `${name}:` }), close }
    },
  }
}

/** A store on a cluster client that closes with it. */
async function openCluster(urls: string, { now, name }: OpenOptions): Promise<SessionStore> {
  const nodes = urls.split(',').map((url) => new URL(url))
  const cluster = new Cluster(
    nodes.map(({ hostname, port }) => ({ host: hostname, port: Number(port) })),
    {
      retryDelayOnFailover: 0,
      clusterRetryStrategy: (attempt) => Math.min(attempt * 50, 1000),
      redisOptions: { maxRetriesPerRequest: 0 },
    },
  ).on('error', () => {})
  await once(cluster, 'ready')
  return {
    ...redisStore(cluster, { now, prefix: `${name}:` }),
    close: () => cluster.disconnect(),
  }
}

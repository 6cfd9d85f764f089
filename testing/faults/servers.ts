// The servers of the table, how an application reaches each, and what befalls them.
import { spawnSync } from 'node:child_process'
import { startAgain } from '../chaos/site.ts'
import { findProgram } from '../needs.ts'
import { openProxy, type Proxy } from '../proxy.ts'
import { mariadb, pgbouncer, postgres, redis, type Service } from '../services.ts'
import type { Site } from './application.ts'
import { NO_NAMESPACES, proxyPort, type Link, type Network } from './network.ts'
import { ask, clusterIsWhole, startCluster, startSentinel, until } from './redis.ts'
import { query } from './sql.ts'

/** What befalls a server. */
export interface Fault {
  readonly name: string
  /** Begins it; resolves when it is there. */
  begin(): unknown
  /** Ends it; resolves when the server is back, for whoever asks it anew. */
  end(): unknown
  /** Waits until the next fault may come. */
  settle?(): unknown
  /** It has no length of its own: it ends as soon as it has begun. */
  readonly isBrief?: boolean
  /** What was acknowledged since so many ms before it may be lost. */
  readonly loses?: number
  /** Why it cannot be tried on this machine. */
  readonly impossible?: string
}

/** A server that is up, and what can befall it. */
export interface Running {
  readonly site: Site
  readonly faults: readonly Fault[]
  stop(): Promise<void>
}

/** A server of the table. */
export interface Server {
  readonly name: string
  /** What it is made of: a program, and how a user gets it. */
  readonly programs: readonly (readonly [name: string, path: string | undefined, how: string])[]
  start(network: Network): Promise<Running>
}

/** How late a slow server answers, in ms. */
const SLOW = 2000
/** Redis replicates after it has answered: what it has acknowledged within so long before a failover may be lost, in ms. */
const LAST_SECOND = 1000

/** A server, a way to it that can be taken away, and how it is stopped in order. */
interface Struck {
  readonly service: Service
  /** All ways to it; those to the server itself first. */
  readonly proxies: readonly Proxy[]
  readonly link: Link
  readonly signal?: NodeJS.Signals
}

/** A fault, its begin and its end. */
const fault = (
  name: string,
  begin: () => unknown,
  end: () => unknown,
  more: Partial<Fault> = {},
): Fault => ({ name, begin, end, ...more })

/** A server that is down refuses connections; while it starts it hangs up, or says that it starts. */
async function stopAndCut({ service, proxies }: Struck, signal: NodeJS.Signals): Promise<void> {
  await service.stop(signal)
  proxies[0]!.cut()
}
async function startAndRestore({ service, proxies }: Struck): Promise<void> {
  await proxies[0]!.restore()
  await startAgain(service)
}
const killed = (struck: Struck): Fault =>
  fault(
    'killed',
    () => stopAndCut(struck, 'SIGKILL'),
    () => startAndRestore(struck),
  )
const restarted = (struck: Struck): Fault =>
  fault(
    'restarted',
    () => stopAndCut(struck, struck.signal ?? 'SIGTERM'),
    () => startAndRestore(struck),
    { isBrief: true },
  )
const stopped = ({ service }: Struck): Fault =>
  fault(
    'stopped',
    () => service.freeze(true),
    () => service.freeze(false),
  )
const onTheWay = ({ proxies, link }: Struck): Fault[] => [
  fault(
    'cut',
    () => proxies.forEach((proxy) => proxy.cut()),
    () => Promise.all(proxies.map((proxy) => proxy.restore())),
  ),
  fault(
    'half-open',
    () => link.lose!(true),
    () => link.lose!(false),
    link.lose ? {} : { impossible: NO_NAMESPACES },
  ),
  fault(
    'slow',
    () => proxies.forEach((proxy) => proxy.delay(SLOW)),
    () => proxies.forEach((proxy) => proxy.delay(0)),
  ),
]
const common = (struck: Struck): Fault[] => [
  killed(struck),
  restarted(struck),
  stopped(struck),
  ...onTheWay(struck),
]

/** A Redis without room refuses what would take more. */
const full = (ports: readonly number[]): Fault => {
  const limit = (bytes: number) => () =>
    Promise.all(ports.map((port) => ask(port, 'config', 'set', 'maxmemory', `${bytes}`)))
  return fault('full', limit(1), limit(0))
}

/** Waits until a replica has all that its primary has. */
const replicates = (port: number) =>
  until('A replica that is up to date', async () =>
    /master_link_status:up/.test(await ask(port, 'info', 'replication')),
  )

/**
 * A primary hands over to its replica, which has all that it acknowledged, and stays up as the replica of that one. A new
 * connection leads to the new primary, as by a name that has another address now; one that is there stays where it is.
 */
const handedOver = (proxy: Proxy, primary: number, replica: number): Fault => {
  const handOver = async (from: number, to: number) => {
    await ask(from, 'failover', 'to', '127.0.0.1', `${to}`)
    await replicates(from)
    proxy.pointTo(to)
  }
  return fault(
    'failed over',
    async () => {
      await ask(replica, 'replicaof', '127.0.0.1', `${primary}`)
      await replicates(replica)
      await handOver(primary, replica)
    },
    () => {},
    {
      isBrief: true,
      async settle() {
        await handOver(replica, primary)
        await ask(replica, 'replicaof', 'no', 'one')
      },
    },
  )
}

const portOf = (url: string) => Number(new URL(url).port)

/** A way to a server by a link of its own, and the URL by which the application takes it. */
async function reach(service: Service, network: Network, url = service.url) {
  const link = network.link()
  const proxy = await openProxy('127.0.0.1', portOf(service.url), {
    host: link.host,
    own: proxyPort(),
  })
  const reached = new URL(url)
  reached.host = `${link.host}:${proxy.port}`
  return { url: reached.href, struck: { service, proxies: [proxy], link } satisfies Struck }
}

/** Stops services and the ways to them. */
const stopAll = (services: readonly Service[], proxies: readonly Proxy[]) => async () => {
  for (const proxy of proxies) proxy.cut()
  for (const service of services) await service[Symbol.asyncDispose]()
}

/** PostgreSQL refuses writes, for all; or, of a demoted primary, on the connections that are there. */
function readOnly(url: string): Fault[] {
  const set = (value: string, database = 'RESET default_transaction_read_only') =>
    query(url, [
      `ALTER DATABASE postgres ${database}`,
      `ALTER SYSTEM SET default_transaction_read_only = ${value}`,
      'SELECT pg_reload_conf()',
    ])
  return [
    fault(
      'read-only',
      () => set('on'),
      () => set('off'),
    ),
    fault(
      'failed over',
      () => set('on', 'SET default_transaction_read_only = off'),
      () => {},
      { isBrief: true, settle: () => set('off') },
    ),
  ]
}

/** The same of MariaDB, whose users learn of a new right when they connect again. */
function readOnlyMariadb(root: string, user: string): Fault[] {
  const set = (value: 0 | 1) => query(root, [`SET GLOBAL read_only = ${value}`])
  return [
    fault(
      'read-only',
      () => set(1),
      () => set(0),
    ),
    fault(
      'failed over',
      () => query(root, ['SET GLOBAL read_only = 1', `GRANT READ ONLY ADMIN ON *.* TO ${user}`]),
      () => {},
      {
        isBrief: true,
        settle: () =>
          query(root, ['SET GLOBAL read_only = 0', `REVOKE READ ONLY ADMIN ON *.* FROM ${user}`]),
      },
    ),
  ]
}

const redisProgram = ['Redis', findProgram('redis-server'), redis.how] as const
const postgresProgram = [
  'PostgreSQL',
  postgres.launch &&
    (spawnSync('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin/postgres | tail -1'], {
      encoding: 'utf8',
    }).stdout.trim() ||
      findProgram('postgres')),
  postgres.how,
] as const

/** A cached-db, and its two servers. */
async function startCached(network: Network) {
  const [cache, db] = await Promise.all([redis.launch!(), postgres.launch!()])
  const ways = [await reach(cache, network), await reach(db, network)] as const
  return {
    ways,
    site: { store: 'cached-db', urls: ways.map(({ url }) => url) } satisfies Site,
    stop: stopAll(
      [cache, db],
      ways.flatMap(({ struck }) => struck.proxies),
    ),
  }
}

/** The signal by which PostgreSQL stops without waiting for its clients to leave, as its service does. */
const FAST: NodeJS.Signals = 'SIGINT'

/** A Redis, its replica and a Sentinel, as the application's own client finds them. */
const sentinelServer = (name: string, store: Site['store'], only = ''): Server => ({
  name,
  programs: [redisProgram],
  async start(network) {
    const link = network.link()
    const { sentinel, nodes, master, whole } = await startSentinel(link.host)
    const proxies = [...nodes, sentinel].map(({ proxy }) => proxy)
    /** The master that a fault befalls: after it, another one may be. */
    let struck = nodes[0]!
    const strike = async () => (struck = await master())
    const way = (): Struck => ({ service: struck.service, proxies: [struck.proxy], link })
    const isReplica = async () => /role:slave/.test(await ask(struck.port, 'info', 'replication'))
    const anotherLeads = () =>
      until('A failover', async () => {
        const leads = await master()
        return leads !== struck && /role:master/.test(await ask(leads.port, 'info', 'replication'))
      })
    /** Sentinel itself is not to notice what befalls the way of the application. */
    const patience = (ms: number) =>
      ask(sentinel.port, 'sentinel', 'set', 'sessions', 'down-after-milliseconds', `${ms}`)
    const away = onTheWay({ service: sentinel.service, proxies, link }).map((one) => ({
      ...one,
      begin: async () => (await patience(60_000), await one.begin()),
      end: () => one.end(),
      settle: async () => (await patience(500), await whole()),
    }))
    return {
      site: { store, urls: [sentinel.service.url] },
      faults: [
        fault(
          'failed over: the master killed',
          async () => {
            await strike()
            await stopAndCut(way(), 'SIGKILL')
            await anotherLeads()
          },
          () => {},
          {
            isBrief: true,
            loses: LAST_SECOND,
            async settle() {
              await startAndRestore(way())
              // As Sentinel does after some ten seconds.
              const { hostname, port } = new URL((await master()).service.url)
              await ask(struck.port, 'replicaof', hostname, port)
              await ask(struck.port, 'config', 'rewrite')
              await whole()
            },
          },
        ),
        fault(
          'failed over: as planned',
          async () => {
            await strike()
            await ask(sentinel.port, 'sentinel', 'failover', 'sessions')
            await anotherLeads()
            // Until Sentinel has told it, the old master takes writes that nobody will have.
            await until('The old master as a replica', isReplica)
          },
          () => {},
          { isBrief: true, loses: LAST_SECOND, settle: whole },
        ),
        fault(
          'failed over: the master stopped',
          async () => {
            ;(await strike()).service.freeze(true)
            await anotherLeads()
          },
          async () => {
            struck.service.freeze(false)
            await until('The old master as a replica', isReplica)
          },
          { loses: LAST_SECOND, settle: whole },
        ),
        fault(
          'restarted',
          async () => (await strike(), await stopAndCut(way(), 'SIGTERM')),
          () => startAndRestore(way()),
          { isBrief: true, loses: LAST_SECOND, settle: whole },
        ),
        ...away,
        full(nodes.map(({ port }) => port)),
      ].filter((one) => one.name.includes(only)),
      stop: stopAll(
        [sentinel, ...nodes].map(({ service }) => service),
        proxies,
      ),
    }
  },
})

/** All servers, in the table's order. */
export const servers: readonly Server[] = [
  {
    name: 'Redis',
    programs: [redisProgram],
    async start(network) {
      const [service, standby] = await Promise.all([redis.launch!(), redis.launch!()])
      const { url, struck } = await reach(service, network)
      const [own, other] = [portOf(service.url), portOf(standby.url)]
      return {
        site: { store: 'redis', urls: [url] },
        faults: [...common(struck), full([own]), handedOver(struck.proxies[0]!, own, other)],
        stop: stopAll([service, standby], struck.proxies),
      }
    },
  },
  sentinelServer('Redis with Sentinel', 'sentinel'),
  sentinelServer(
    'Redis with Sentinel, and failoverDetector',
    'sentinel with detector',
    'failed over',
  ),
  {
    name: 'Redis Cluster',
    programs: [redisProgram],
    async start(network) {
      const link = network.link()
      const nodes = await startCluster(link.host)
      const proxies = nodes.map(({ proxy }) => proxy)
      const one: Struck = { ...nodes[0]!, proxies: [proxies[0]!], link }
      const whole = () => clusterIsWhole(nodes)
      const ofOne = [killed(one), restarted(one), stopped(one)].map((each) => ({
        ...each,
        name: `one of three ${each.name}`,
        // The others take some time to believe in it again.
        end: async () => (await each.end(), await whole()),
      }))
      return {
        site: { store: 'cluster', urls: nodes.map(({ service }) => service.url) },
        faults: [...ofOne, ...onTheWay({ ...one, proxies }), full(nodes.map(({ port }) => port))],
        stop: stopAll(
          nodes.map(({ service }) => service),
          proxies,
        ),
      }
    },
  },
  {
    name: 'PostgreSQL',
    programs: [postgresProgram],
    async start(network) {
      const service = await postgres.launch!()
      const { url, struck } = await reach(service, network)
      return {
        site: { store: 'postgres', urls: [url] },
        faults: [...common({ ...struck, signal: FAST }), ...readOnly(service.url)],
        stop: stopAll([service], struck.proxies),
      }
    },
  },
  {
    name: 'PgBouncer before PostgreSQL',
    programs: [['PgBouncer', findProgram('pgbouncer'), pgbouncer(undefined).how], postgresProgram],
    async start(network) {
      const behind = await postgres.launch!()
      const front = await pgbouncer(behind.url).launch!()
      const { url, struck } = await reach(front, network)
      const back: Struck = {
        service: behind,
        link: struck.link,
        signal: FAST,
        proxies: [await openProxy('127.0.0.1', portOf(behind.url))],
      }
      return {
        site: { store: 'pgbouncer', urls: [url] },
        faults: [
          ...common({ ...struck, signal: 'SIGTERM' }),
          ...[killed(back), restarted(back), stopped(back), ...readOnly(behind.url)].map((one) => ({
            ...one,
            name: `PostgreSQL behind it ${one.name}`,
          })),
        ],
        stop: stopAll([front, behind], [...struck.proxies, ...back.proxies]),
      }
    },
  },
  {
    name: 'MariaDB',
    programs: [['MariaDB', findProgram('mariadbd', 'mysqld'), mariadb.how]],
    async start(network) {
      const service = await mariadb.launch!()
      const user = "'app'@'%'"
      await query(service.url, [
        'CREATE DATABASE app',
        `CREATE USER ${user}`,
        `GRANT ALL ON app.* TO ${user}`,
      ])
      const url = `mysql://app@127.0.0.1:${portOf(service.url)}/app`
      const way = await reach(service, network, url)
      return {
        site: { store: 'mysql', urls: [way.url] },
        faults: [...common(way.struck), ...readOnlyMariadb(service.url, user)],
        stop: stopAll([service], way.struck.proxies),
      }
    },
  },
  {
    name: 'cached-db, its Redis struck',
    programs: [redisProgram, postgresProgram],
    async start(network) {
      const { ways, ...cached } = await startCached(network)
      const { struck } = ways[0]
      return { ...cached, faults: [...common(struck), full([portOf(struck.service.url)])] }
    },
  },
  {
    name: 'cached-db, its PostgreSQL struck',
    programs: [redisProgram, postgresProgram],
    async start(network) {
      const { ways, ...cached } = await startCached(network)
      const { struck } = ways[1]
      const faults = [...common({ ...struck, signal: FAST }), ...readOnly(struck.service.url)]
      return { ...cached, faults }
    },
  },
]

// The servers of the table, how an application reaches each, and what befalls them.
import { findProgram } from '../needs.ts'
import { openProxy } from '../proxy.ts'
import { mariadb, pgbouncer, postgres, postgresBinary, redis } from '../services.ts'
import type { Site } from './application.ts'
import { clusterServer } from './cluster.ts'
import type { Network } from './network.ts'
import { full, handedOver, readOnly, readOnlyMariadb } from './roles.ts'
import { sentinelServer } from './sentinel.ts'
import { query } from './sql.ts'
import {
  common,
  killed,
  portOf,
  reach,
  restarted,
  stopAll,
  stopped,
  type Fault,
  type Struck,
} from './strikes.ts'

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

const redisProgram = ['Redis', findProgram('redis-server'), redis.how] as const
const postgresProgram = ['PostgreSQL', postgresBinary, postgres.how] as const

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
  clusterServer,
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
          ...[killed(back), restarted(back), stopped(back), readOnly(behind.url)[0]!].map(
            (one) => ({
              ...one,
              name: `PostgreSQL behind it ${one.name}`,
            }),
          ),
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

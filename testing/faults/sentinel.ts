// Redis with a replica and Sentinel, and how it fails over.
import { findProgram } from '../needs.ts'
import { redis } from '../services.ts'
import type { Site } from './application.ts'
import { ask, KEEPS, LOCALHOST, startNode, until, type Node } from './redis.ts'
import { full } from './roles.ts'
import type { Server } from './servers.ts'
import { fault, onTheWay, startAndRestore, stopAll, stopAndCut, type Struck } from './strikes.ts'

/** Redis replicates after it has answered: what it has acknowledged within so long before a failover may be lost, in ms. */
const LAST_SECOND = 1000

interface Sentinel {
  readonly sentinel: Node
  readonly nodes: readonly Node[]
  /** The node that Sentinel names as the master. */
  master(): Promise<Node>
  /** Waits until there is a master, and the other one is its replica. */
  whole(): Promise<void>
}

/** Starts a master, its replica, and a Sentinel that watches them as `sessions`. */
async function startSentinel(host: string): Promise<Sentinel> {
  const settings =
    (more: string[] = []) =>
    (_port: number, announced: number) => [
      `bind ${LOCALHOST}`,
      ...KEEPS,
      'repl-diskless-sync-delay 0',
      ...more,
      `replica-announce-ip ${host}`,
      `replica-announce-port ${announced}`,
    ]
  const first = await startNode(host, settings())
  const second = await startNode(host, settings([`replicaof ${host} ${first.proxy.port}`]))
  const nodes = [first, second]
  const sentinel = await startNode(
    host,
    () => [
      `bind ${LOCALHOST}`,
      `sentinel monitor sessions ${host} ${first.proxy.port} 1`,
      'sentinel down-after-milliseconds sessions 500',
      'sentinel failover-timeout sessions 2000',
    ],
    true,
  )
  const master = async () => {
    const named = await ask(sentinel.port, 'sentinel', 'get-master-addr-by-name', 'sessions')
    return nodes.find(({ proxy }) => named.includes(`${proxy.port}`))!
  }
  const self: Sentinel = {
    sentinel,
    nodes,
    master,
    whole: () =>
      until('A master with its replica', async () => {
        const known = await ask(sentinel.port, 'sentinel', 'replicas', 'sessions')
        return (
          /state=online/.test(await ask((await master()).port, 'info', 'replication')) &&
          /master-link-status\s+ok/.test(known) &&
          !/flags\s+\S*(down|disconnected)/.test(known)
        )
      }),
  }
  await self.whole()
  return self
}

/** A Redis, its replica and a Sentinel, as the application's own client finds them. */
export const sentinelServer = (name: string, store: Site['store'], only = ''): Server => ({
  name,
  programs: [['Redis', findProgram('redis-server'), redis.how]],
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

// Redis with a replica and Sentinel, and Redis Cluster, each node behind a proxy whose address it gives as its own.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { findProgram } from '../needs.ts'
import { openProxy, type Proxy } from '../proxy.ts'
import { folderFor, freePort, service, type Service } from '../services.ts'
import { proxyPort } from './network.ts'

/** A server and the way to it. */
export interface Node {
  readonly service: Service
  readonly proxy: Proxy
  /** Its own port, past the proxy. */
  readonly port: number
}

const LOCALHOST = '127.0.0.1'
/** Sentinels and clusters have formed by then, in ms. */
const FORMED = 60_000

const run = promisify(execFile)

/** What a Redis answers to a command; nothing if it does not. */
export async function ask(port: number, ...command: string[]): Promise<string> {
  try {
    return (await run('redis-cli', ['-p', `${port}`, ...command], { timeout: 2000 })).stdout
  } catch {
    return ''
  }
}

/** Waits until something is so. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + FORMED
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${FORMED} ms`)
    await setTimeout(20)
  }
}

/** Starts a Redis by a file of settings, which Sentinel and the cluster write their own to. */
async function startNode(
  host: string,
  settings: (port: number, announced: number) => readonly string[],
  isSentinel = false,
): Promise<Node> {
  const port = await freePort()
  const own = proxyPort()
  const folder = folderFor('redis')
  const file = join(folder, 'redis.conf')
  writeFileSync(file, [`port ${port}`, `dir ${folder}`, ...settings(port, own), ''].join('\n'))
  const server = await service(folder, {
    url: `redis://${host}:${own}`,
    program: findProgram('redis-server')!,
    args: [file, ...(isSentinel ? ['--sentinel'] : [])],
    ready: async () => (await ask(port, 'ping')).startsWith('PONG'),
  })
  return { service: server, port, proxy: await openProxy(LOCALHOST, port, { host, own }) }
}

/** What a Redis that keeps all that it acknowledges is told. */
const KEEPS = ['appendonly yes', 'appendfsync always', 'save ""']

export interface Sentinel {
  readonly sentinel: Node
  readonly nodes: readonly Node[]
  /** The node that Sentinel names as the master. */
  master(): Promise<Node>
  /** Waits until there is a master, and the other one is its replica. */
  whole(): Promise<void>
}

export async function startSentinel(host: string): Promise<Sentinel> {
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

/** Three masters without replicas. */
export async function startCluster(host: string): Promise<readonly Node[]> {
  const nodes = await Promise.all(
    [1, 2, 3].map(() =>
      startNode(host, (port, announced) => [
        `bind ${host === LOCALHOST ? host : `${LOCALHOST} ${host}`}`,
        'protected-mode no',
        'cluster-enabled yes',
        'cluster-node-timeout 2000',
        `cluster-announce-ip ${host}`,
        `cluster-announce-port ${announced}`,
        ...KEEPS,
        `cluster-announce-bus-port ${port + 10_000}`,
      ]),
    ),
  )
  const hosts = nodes.map(({ port }) => `${LOCALHOST}:${port}`)
  await run('redis-cli', ['--cluster', 'create', ...hosts, '--cluster-yes'], { timeout: FORMED })
  await clusterIsWhole(nodes)
  return nodes
}

/** Every node knows where all the slots are, or it would send clients to and fro. */
export const clusterIsWhole = (nodes: readonly Node[]): Promise<void> =>
  until('A cluster that is whole', async () => {
    for (const { port } of nodes) {
      const slots = await ask(port, 'cluster', 'slots')
      if (!nodes.every(({ proxy }) => slots.includes(`${proxy.port}`))) return false
      if (!/cluster_state:ok/.test(await ask(port, 'cluster', 'info'))) return false
      if (/fail/.test(await ask(port, 'cluster', 'nodes'))) return false
    }
    return true
  })

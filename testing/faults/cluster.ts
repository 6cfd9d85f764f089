// Redis Cluster: three masters without replicas, of which one is struck, or the way to all.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { findProgram } from '../needs.ts'
import { redis } from '../services.ts'
import { ask, KEEPS, LOCALHOST, startNode, until, type Node } from './redis.ts'
import { full } from './roles.ts'
import type { Server } from './servers.ts'
import { killed, onTheWay, restarted, stopAll, stopped, type Struck } from './strikes.ts'

/** Starts three nodes, and makes them one cluster. */
async function startCluster(host: string): Promise<readonly Node[]> {
  const nodes = await Promise.all(
    [1, 2, 3].map(() =>
      startNode(host, (port, announced) => [
        `bind ${host === LOCALHOST ? host : `${LOCALHOST} ${host}`}`,
        'protected-mode no',
        'cluster-enabled yes',
        'cluster-node-timeout 2000',
        `cluster-announce-ip ${host}`,
        `cluster-announce-port ${announced}`,
        `cluster-announce-bus-port ${port + 10_000}`,
        ...KEEPS,
      ]),
    ),
  )
  const hosts = nodes.map(({ port }) => `${LOCALHOST}:${port}`)
  await promisify(execFile)('redis-cli', ['--cluster', 'create', ...hosts, '--cluster-yes'])
  await clusterIsWhole(nodes)
  return nodes
}

/** Every node knows where all the slots are, or it would send clients to and fro. */
const clusterIsWhole = (nodes: readonly Node[]): Promise<void> =>
  until('A cluster that is whole', async () => {
    for (const { port } of nodes) {
      const slots = await ask(port, 'cluster', 'slots')
      if (!nodes.every(({ proxy }) => slots.includes(`${proxy.port}`))) return false
      if (!/cluster_state:ok/.test(await ask(port, 'cluster', 'info'))) return false
      if (/fail/.test(await ask(port, 'cluster', 'nodes'))) return false
    }
    return true
  })

/** A cluster as the application's own client finds it. */
export const clusterServer: Server = {
  name: 'Redis Cluster',
  programs: [['Redis', findProgram('redis-server'), redis.how]],
  async start(network) {
    const link = network.link()
    const nodes = await startCluster(link.host)
    const proxies = nodes.map(({ proxy }) => proxy)
    const one: Struck = { ...nodes[0]!, proxies: [proxies[0]!], link }
    const whole = () => clusterIsWhole(nodes)
    const ofOne = [killed(one), restarted(one), stopped(one)].map((each) => ({
      ...each,
      name: `one of three ${each.name}`,
    }))
    const faults = [
      ...ofOne,
      ...onTheWay({ ...one, proxies }),
      full(nodes.map(({ port }) => port)),
    ].map((each) => ({
      ...each,
      // The nodes take some time to believe in each other again; on a busy machine also after a fault of the way.
      end: async () => (await each.end(), await whole()),
    }))
    return {
      site: { store: 'cluster', urls: nodes.map(({ service }) => service.url) },
      faults,
      stop: stopAll(
        nodes.map(({ service }) => service),
        proxies,
      ),
    }
  },
}

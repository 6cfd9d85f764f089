// Clients of ioredis, and of iovalkey, which is made of it.
import { errorMonitor } from 'node:events'
import { setImmediate } from 'node:timers'
import { hashOf, isThere, type Link, type LinkState, type Run } from './link.ts'

/** As much of a `Redis` or `Cluster` of ioredis or iovalkey as the engine uses. */
export interface IoredisClient {
  readonly status: string
  readonly options?: object
  defineCommand(name: string, definition: { numberOfKeys: number; lua: string }): void
  /** Not of what only looks like a client, as those of tests may. */
  getex?(key: string): Promise<unknown>
  on(event: string | symbol, listener: (...args: any[]) => void): unknown
  connect(): Promise<unknown>
  disconnect(reconnect?: boolean): void
  /** Its socket, once it has one. */
  readonly stream?: IoredisStream | null
  /** Of a Cluster: its connections. */
  nodes?(): readonly IoredisNode[]
}

interface IoredisStream {
  readonly bytesRead?: number
  destroy(): unknown
  cork?(): void
  uncork?(): void
}

/** A Cluster's connection to one of its nodes. */
export interface IoredisNode {
  readonly status: string
  ping(): Promise<unknown>
  disconnect(reconnect?: boolean): void
}

/** As much as is looked at of how a client was made. */
interface IoredisOptions {
  readonly host?: string
  readonly port?: number
  readonly path?: string
  readonly sentinels?: unknown
  readonly name?: string
  readonly role?: string
  readonly readOnly?: boolean
  readonly retryStrategy?: unknown
}

/** What a client's `status` means; in every other one it answers at once, if only with an error. */
const STATES: Readonly<Record<string, LinkState>> = {
  wait: 'idle',
  connecting: 'connecting',
  connect: 'greeting',
  reconnecting: 'connecting',
  close: 'connecting',
  disconnecting: 'connecting',
  ready: 'ready',
}

/** @returns The option by which a client reaches replicas alone, if it has one: they take no changes, and hear of others' late. */
export function replicaOption(client: IoredisClient): string | undefined {
  const { role, readOnly }: IoredisOptions = client.options ?? {}
  if (role === 'slave') return "role: 'slave'"
  return readOnly === true ? 'readOnly: true' : undefined
}

/** A client as the engine calls it. */
export function ioredisLink(client: IoredisClient): Link {
  const options: IoredisOptions = client.options ?? {}
  const commands = client as unknown as Record<string, Run>
  let corked: IoredisStream | undefined

  /** What is sent in one turn goes to the network in one piece: by itself ioredis makes a system call for each command. */
  function sendTogether(): void {
    const { stream } = client
    if (!stream?.cork || stream === corked) return
    corked = stream
    stream.cork()
    setImmediate(() => {
      corked = undefined
      stream.uncork!()
    })
  }

  return {
    place: placeOf(client, options),
    state: () => STATES[client.status] ?? 'closed',

    // ioredis sends a command's hash, and its text only where the server lacks it. The name holds the hash too, so that two versions of
    // this package on one client do not use each other's.
    script(lua) {
      const name = `coatcheck_${hashOf(lua)}`
      if (!(name in client)) client.defineCommand(name, { numberOfKeys: 1, lua })
      return (...args) => {
        sendTogether()
        return commands[name]!(...args)
      }
    },
    ...(client.getex && {
      getex(key) {
        sendTogether()
        return client.getex!(key)
      },
    }),

    connect: () => void client.connect().catch(() => {}),
    watch({ ready, closed, trouble }) {
      client.on(errorMonitor, trouble)
      client.on('node error', trouble)
      client.on('ready', ready)
      client.on('close', closed)
      client.on('end', closed)
    },
    bytesRead: () => client.stream?.bytesRead,

    ...(client.nodes
      ? { dropSilent: () => void dropSilentNodes(client.nodes!()) }
      : {
          reconnect(isSilent) {
            if (typeof options.retryStrategy !== 'function') return false
            client.disconnect(true)
            // A goodbye would be waited for in vain.
            if (isSilent) client.stream?.destroy()
            return true
          },
        }),
  }
}

/** The Cluster makes new connections where it still needs them. */
async function dropSilentNodes(nodes: readonly IoredisNode[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      if (node.status !== 'ready' && node.status !== 'connect') return
      if (!(await isThere(() => node.ping()))) node.disconnect(true)
    }),
  )
}

function placeOf(
  client: IoredisClient,
  { host, port, path, sentinels, name }: IoredisOptions,
): string {
  if (client.nodes) return 'Cluster'
  if (sentinels) return `${name} by Sentinel`
  return path ?? (host === undefined ? 'client' : `${host}:${port}`)
}

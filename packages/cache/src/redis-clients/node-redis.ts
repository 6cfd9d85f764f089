// Clients of node-redis (the package redis, 5 and newer).
import { errorMonitor } from 'node:events'
import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { CLOSED } from '../redis-failure.ts'
import { addressOf, byHash, isThere, SENT_WITHIN, type Link, type Run } from './link.ts'

/** As much of what `createClient`, `createCluster`, `createSentinel` and `createClientPool` of node-redis return as the engine uses. */
export interface NodeRedisClient {
  readonly isOpen: boolean
  /** Not of a pool. */
  readonly isReady?: boolean
  connect(): Promise<unknown>
  destroy(): unknown
  on(event: string | symbol, listener: (...args: any[]) => void): unknown
  withCommandOptions(options: any): object
}

/** A client of a single connection. */
interface SingleClient extends NodeRedisClient {
  readonly options?: {
    readonly readonly?: boolean
    readonly socket?: {
      readonly host?: string
      readonly port?: number
      readonly path?: string
      readonly reconnectStrategy?: unknown
    }
  }
  sendCommand(args: readonly string[]): Promise<unknown>
}

interface ClusterClient extends NodeRedisClient {
  readonly masters: readonly { readonly client?: SingleClient }[]
}

/** A client whose commands have options of the engine's. */
interface Commands {
  getEx(key: string, options: object): Promise<unknown>
  eval(lua: string, options: EvalOptions): Promise<unknown>
  evalSha(hash: string, options: EvalOptions): Promise<unknown>
}
interface EvalOptions {
  keys: string[]
  arguments: string[]
}

/** How an application ends a client. */
const ENDINGS = ['close', 'destroy', 'disconnect', 'quit', 'QUIT']

/** A connection that was destroyed has let go of its client after this time, in ms. */
const LET_GO = 10

/** @returns The option by which a client is made for a replica, if it has it. */
export const replicaOption = (client: NodeRedisClient): string | undefined =>
  (client as SingleClient).options?.readonly === true ? 'readonly: true' : undefined

/** A client as the engine calls it. */
export function nodeRedisLink(client: NodeRedisClient): Link {
  if ('masters' in client) return clusterLink(client as ClusterClient)
  if ('totalClients' in client) return manyLink(client, 'client pool')
  if ('getMasterNode' in client) return manyLink(client, 'Sentinel')
  return singleLink(client as SingleClient)
}

/** By the client's own commands, which know its `keyPrefix` and a Cluster's nodes. */
function scriptOf(client: NodeRedisClient, commands: () => Commands, lua: string): Run {
  return byHash(lua, async (command, script, key, args) => {
    assertOpen(client)
    const options = { keys: [key], arguments: args }
    const answer = await (command === 'EVAL'
      ? commands().eval(script, options)
      : commands().evalSha(script, options))
    // With RESP 2 it is one from the time on that the client has subscribed to something, until it connects anew.
    return Buffer.isBuffer(answer) ? answer.toString() : answer
  })
}

function assertOpen(client: NodeRedisClient): void {
  if (!client.isOpen) throw new Error(CLOSED)
}

/** Of a type that is none, the client sends GETEX without an option. */
const NO_OPTION = { type: undefined }

function singleLink(client: SingleClient): Link {
  let isGreeting = false
  let isReopening = false
  let unsent = new AbortController()
  let commands = commandsOf()

  /** What the client has not yet sent when a connection ends it keeps for the next one. Without a mapping answers are text. */
  function commandsOf(): Commands {
    const options = { typeMapping: {}, abortSignal: unsent.signal, timeout: undefined }
    return client.withCommandOptions(options) as Commands
  }

  function forgetUnsent(): void {
    isGreeting = false
    unsent.abort()
    unsent = new AbortController()
    commands = commandsOf()
  }

  return {
    place: placeOf(client),
    state() {
      if (client.isReady) return 'ready'
      if (client.isOpen) return isGreeting ? 'greeting' : 'connecting'
      return isReopening ? 'connecting' : 'closed'
    },
    script: (lua) => scriptOf(client, () => commands, lua),
    getex(key) {
      assertOpen(client)
      return commands.getEx(key, NO_OPTION)
    },

    watch({ ready, closed, trouble }) {
      client.on('connect', () => (isGreeting = true))
      client.on('ready', ready)
      client.on('end', () => {
        forgetUnsent()
        // It has ended when the last answer has come, which is still on its way to who asked.
        setImmediate(closed)
      })
      client.on(errorMonitor, (error) => {
        trouble(error)
        if (client.isReady) return
        forgetUnsent()
        closed()
      })
    },

    reconnect(isSilent) {
      // One that is not open the application has closed, though it may still wait for answers.
      const isOpen = client.isOpen || isReopening
      if (!isOpen || client.options?.socket?.reconnectStrategy === false) return false
      if (isSilent) reopen()
      // The server answers what came before, and hangs up.
      else client.sendCommand(['QUIT']).catch(() => {})
      return true
    },
  }

  function reopen(): void {
    if (isReopening) return
    isReopening = true
    client.destroy()
    const methods = ENDINGS.map((name) => [name, Reflect.get(client, name)] as const)
    const letGo = setTimeout(() => {
      cease()
      client.connect().catch(() => {})
    }, LET_GO)
    // The application may end it meanwhile, which would find nothing to end.
    for (const [name] of methods) Reflect.set(client, name, async () => cease())
    function cease(): void {
      clearTimeout(letGo)
      isReopening = false
      for (const [name, method] of methods) Reflect.set(client, name, method)
    }
  }
}

/** A client with connections of its own, of which it tells little. */
function manyLink(client: NodeRedisClient, place: string): Link {
  // What the client has not sent within this time it does not send.
  const commands = client.withCommandOptions({ typeMapping: {}, timeout: SENT_WITHIN }) as Commands
  return {
    place,
    state: () => (client.isOpen ? 'ready' : 'closed'),
    script: (lua) => scriptOf(client, () => commands, lua),
    watch({ trouble }) {
      client.on(errorMonitor, trouble)
      client.on('node-error', trouble)
    },
  }
}

function clusterLink(client: ClusterClient): Link {
  return { ...manyLink(client, 'Cluster'), dropSilent: () => void dropSilentNodes(client) }
}

/** Nodes that do not answer are connected to anew. */
async function dropSilentNodes(cluster: ClusterClient): Promise<void> {
  await Promise.all(
    cluster.masters.map(async ({ client }) => {
      if (!client?.isReady || (await isThere(() => client.sendCommand(['PING'])))) return
      // The application may have closed it meanwhile.
      if (!client.isOpen) return
      client.destroy()
      setTimeout(() => {
        if (cluster.isOpen) client.connect().catch(() => {})
      }, LET_GO)
    }),
  )
}

function placeOf({ options }: SingleClient): string {
  const { host = 'localhost', port = 6379, path } = options?.socket ?? {}
  return path ?? addressOf(host, port)
}

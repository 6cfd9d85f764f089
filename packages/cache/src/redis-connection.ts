// How the Redis engine calls: each call is sent once, ends in time, and a connection that is of no use is made anew.
import { errorMonitor } from 'node:events'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers'
import { setTimeout as wait } from 'node:timers/promises'
import { SessionStoreError } from '@coatcheck/core/store'
import { isNotMaster, isTimeout, showable, whyOf, wordOf } from './redis-failure.ts'

/** As much of an ioredis `Redis` or `Cluster` as the engine uses. */
export interface RedisClient {
  readonly status: string
  readonly options?: object
  defineCommand(name: string, definition: { numberOfKeys: number; lua: string }): void
  on(event: string | symbol, listener: (...args: any[]) => void): unknown
  connect(): Promise<unknown>
  disconnect(reconnect?: boolean): void
  /** Its socket, once it has one. */
  readonly stream?: { destroy(): unknown } | null
  /** Of a Cluster: its connections. */
  nodes?(): readonly RedisNode[]
}

/** A Cluster's connection to one of its nodes. */
export interface RedisNode {
  readonly status: string
  ping(): Promise<unknown>
  disconnect(reconnect?: boolean): void
}

/** As much as is looked at of how a client was made. */
export interface ClientOptions {
  readonly host?: string
  readonly port?: number
  readonly path?: string
  readonly sentinels?: unknown
  readonly name?: string
  readonly role?: string
  readonly readOnly?: boolean
  readonly retryStrategy?: unknown
}

/** A request waits this long for Redis, in ms, and then hears of the failure. */
export const TIMEOUT = 5000

/** How often it is looked for calls that have waited too long, in ms. */
const TIMER = 250
const MOST_TICKS = TIMEOUT / TIMER

/** How often it is looked whether the last calls have ended, in ms. */
const SETTLE_EVERY = 10

/** A connection is not dropped sooner than so long after the last one, in ms: where there is no master, reconnecting finds none. */
const DROP_EVERY = 1000

/** A node of a Cluster that takes longer than this to say that it is there, in ms, is not. */
const PING_WITHIN = 1000

/** What a client is while it makes its connection. In every other state it answers at once, if only with an error. */
const CONNECTING = new Set(['connecting', 'connect', 'reconnecting', 'close', 'disconnecting'])

/** Sends a command, turns the driver's errors into the library's, and makes of the answer what `read` returns or throws. */
export type Send = <R>(
  what: string,
  command: () => Promise<unknown>,
  read: (answer: unknown) => R,
) => Promise<R>

/** A call under way. */
interface Call {
  readonly what: string
  readonly command: () => Promise<unknown>
  /** Takes the answer; throws what it means, where that is an error. */
  readonly take: (answer: unknown) => void
  readonly reject: (error: unknown) => void
  /** The tick in which it began. */
  readonly since: number
  /** The connection that it went by; undefined while it waits for one. */
  connection: number | undefined
  isSecondTry: boolean
}

/** How the stores on a client call. */
export interface Connection {
  readonly send: Send
  /** Resolves when the calls that are under way now have ended, which each does in time. */
  settled(): Promise<void>
}

/** One for each client, whatever stores are on it. */
const connections = new WeakMap<RedisClient, Connection>()

/** The client's connection, and what happens to it. */
export function connectionOf(client: RedisClient): Connection {
  let connection = connections.get(client)
  if (!connection) connections.set(client, (connection = createConnection(client)))
  return connection
}

/**
 * All calls may take equally long, so the one that waits longest is the first: one timer serves them all. It also is the
 * clock, as asking the time for each call would cost more than the rest of this.
 *
 * A call that finds no connection waits here for one and not in the client's queue: there it would be sent when nobody waits
 * any more. For the same reason one that is under way when the connection breaks fails at once: the client may send it
 * again, and would then give the answer to a second try.
 */
function createConnection(client: RedisClient): Connection {
  const options: ClientOptions = client.options ?? {}
  const place = placeOf(client, options)
  const calls = new Set<Call>()
  let timer: NodeJS.Timeout | undefined
  let tick = 0
  /** When nothing was left to look for, and the ticks stopped. */
  let stoppedAt = performance.now()
  /** Counts the connections. */
  let connection = 0
  let isUp = client.status === 'ready'
  let isDropping = false
  let droppedAt = -Infinity
  /** The tick since which the connection has owed an answer and given none. */
  let silentSince: number | undefined
  /** Why there is no connection. */
  let trouble: unknown

  client.on(errorMonitor, noteTrouble)
  client.on('node error', noteTrouble)
  client.on('ready', onReady)
  client.on('close', onClose)
  client.on('end', onClose)

  function noteTrouble(error: unknown): void {
    trouble = error
  }

  function onReady(): void {
    connection++
    isUp = true
    isDropping = false
    trouble = undefined
    for (const call of calls) if (call.connection === undefined) send(call)
  }

  /** Those who wait for a connection wait for one try, and for the one that follows a drop. */
  function onClose(): void {
    const isFirst = isUp || isDropping
    isUp = false
    isDropping = false
    silentSince = undefined
    for (const call of calls) {
      if (isFirst && call.connection === undefined) continue
      fail(call, whyOf(trouble) || 'the connection was closed', trouble)
    }
  }

  function start(call: Call): void {
    if (client.status === 'wait') client.connect().catch(() => {})
    if (!isDropping && !CONNECTING.has(client.status)) send(call)
  }

  function send(call: Call): void {
    call.connection = connection
    silentSince ??= tick
    try {
      call.command().then(
        (answer) => onAnswer(call, answer),
        (error) => onError(call, error),
      )
    } catch (error) {
      onError(call, error)
    }
  }

  function onAnswer(call: Call, answer: unknown): void {
    const isAwaited = calls.delete(call)
    silentSince = calls.size > 0 ? tick : undefined
    if (!isAwaited) return
    try {
      call.take(answer)
    } catch (error) {
      call.reject(error)
    }
  }

  function onError(call: Call, error: unknown): void {
    if (wordOf(error)) silentSince = calls.size > 1 ? tick : undefined
    else if (isTimeout(error)) onUnanswered()
    if (!calls.has(call)) return
    if (isNotMaster(error) && mayTryAgain(call)) {
      call.isSecondTry = true
      call.connection = undefined
      start(call)
    } else {
      const closed = client.status === 'ready' ? '' : 'the connection is closed'
      fail(call, whyOf(error) || whyOf(trouble) || closed || 'the client has not sent it', error)
    }
  }

  function fail(call: Call, why: string, cause: unknown = new Error(why)): void {
    calls.delete(call)
    const message = `Redis (${place}) failed to ${call.what} a session: ${why}.`
    call.reject(new SessionStoreError(message, showable(cause)))
  }

  /** What has not been done can be sent again: on a connection that is made anew, by this call or by another. */
  function mayTryAgain(call: Call): boolean {
    if (call.isSecondTry || client.nodes) return false
    return call.connection !== connection || drop()
  }

  /** Has the client connect anew, if it does that and has not just done so. What was sent before is still answered. */
  function drop(): boolean {
    if (isDropping) return true
    const time = performance.now()
    if (time - droppedAt < DROP_EVERY || typeof options.retryStrategy !== 'function') return false
    droppedAt = time
    isDropping = true
    client.disconnect(true)
    return true
  }

  /** A call has had no answer in time. While a client is `connecting` it has a bound of its own, and may not be disturbed. */
  function onUnanswered(): void {
    const isSilent = silentSince !== undefined && tick - silentSince >= MOST_TICKS
    if (client.nodes) void dropSilentNodes(client.nodes())
    else if ((isSilent || client.status === 'connect') && drop()) {
      // A goodbye would be waited for in vain.
      client.stream?.destroy()
    }
  }

  /** The ticks go on, as many later as would have come meanwhile. */
  function startTimer(): void {
    tick += Math.floor((performance.now() - stoppedAt) / TIMER)
    timer = setTimeout(onTick, TIMER).unref()
  }

  function onTick(): void {
    tick++
    let isLate = false
    for (const call of calls) {
      if (tick - call.since <= MOST_TICKS) break
      isLate = true
      const why = whyOf(trouble)
      fail(call, `${why && `${why}, and `}no answer within ${TIMEOUT} ms`, trouble)
    }
    if (isLate) onUnanswered()
    timer = calls.size > 0 ? setTimeout(onTick, TIMER).unref() : undefined
    if (!timer) stoppedAt = performance.now()
  }

  return {
    send: (what, command, read) =>
      new Promise((resolve, reject) => {
        if (!timer) startTimer()
        const call: Call = {
          what,
          command,
          take: (answer) => resolve(read(answer)),
          reject,
          since: tick,
          connection: undefined,
          isSecondTry: false,
        }
        calls.add(call)
        start(call)
      }),

    async settled() {
      const underWay = [...calls]
      while (underWay.some((call) => calls.has(call))) await wait(SETTLE_EVERY)
    },
  }
}

/** Drops a Cluster's connections to nodes that do not answer; the Cluster makes new ones where it still needs them. */
async function dropSilentNodes(nodes: readonly RedisNode[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      if (node.status !== 'ready' && node.status !== 'connect') return
      const late = new Promise((resolve) => setTimeout(resolve, PING_WITHIN, false).unref())
      const isThere = await Promise.race([
        node.ping().then(
          () => true,
          () => true,
        ),
        late,
      ])
      if (!isThere) node.disconnect(true)
    }),
  )
}

/** Which Redis a client is for, in words without its password. */
function placeOf(
  client: RedisClient,
  { host, port, path, sentinels, name }: ClientOptions,
): string {
  if (client.nodes) return 'Cluster'
  if (sentinels) return `${name} by Sentinel`
  return path ?? (host === undefined ? 'client' : `${host}:${port}`)
}

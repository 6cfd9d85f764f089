// How the Redis engine calls: each call is sent once, ends in time, and a connection that is of no use is made anew.
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers'
import { setTimeout as wait } from 'node:timers/promises'
import { SessionStoreError } from '@coatcheck/core/store'
import { InOrder, type Placed } from './in-order.ts'
import { TIMEOUT, type Link } from './redis-clients/link.ts'
import { linkOf, type RedisClient } from './redis-clients/pick.ts'
import {
  isNotMaster,
  isRefusedSelect,
  isTimeout,
  showable,
  whyOf,
  wordOf,
} from './redis-failure.ts'

export { assertRedisClient, type RedisClient } from './redis-clients/pick.ts'

/** How often it is looked for calls that have waited too long, in ms: 20 times in less than their time, as timers are late. */
const TIMER = 240
/** A call that began in a tick is late in the next one after so many. */
const MOST_TICKS = Math.floor(TIMEOUT / TIMER) - 1

/** How often it is looked whether the last calls have ended, in ms. */
const SETTLE_EVERY = 10

/** A connection is not dropped sooner than so long after the last one, in ms: where there is no master, reconnecting finds none. */
const DROP_EVERY = 1000

/** Sends a command, turns the driver's errors into the library's, and makes of the answer what `read` returns or throws. */
export type Send = <R>(
  what: string,
  command: () => Promise<unknown>,
  read: (answer: unknown) => R,
) => Promise<R>

/** A call under way. */
interface Call extends Placed {
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
  if (!connection) connections.set(client, (connection = createConnection(linkOf(client))))
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
function createConnection(link: Link): Connection {
  const calls = new InOrder<Call>()
  let timer: NodeJS.Timeout | undefined
  let tick = 0
  /** When nothing was left to look for, and the ticks stopped. */
  let stoppedAt = performance.now()
  /** Counts the connections. */
  let connection = 0
  let isUp = link.state() === 'ready'
  let isDropping = false
  let droppedAt = -Infinity
  /** The tick since which the connection has owed an answer and said nothing. */
  let silentSince: number | undefined
  /** How many bytes had come then. */
  let bytesBefore: number | undefined
  /** Why there is no connection. */
  let trouble: unknown

  link.watch?.({ ready: onReady, closed: onClose, trouble: noteTrouble })

  function noteTrouble(error: unknown): void {
    trouble = error
  }

  function onReady(): void {
    connection++
    isUp = true
    isDropping = false
    silentSince = undefined
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
    if (link.state() === 'idle') link.connect?.()
    const state = link.state()
    // What was to end the connection may get no answer either.
    if (isDropping) silentSince ??= tick
    if (!isDropping && (state === 'ready' || state === 'closed')) send(call)
  }

  function send(call: Call): void {
    call.connection = connection
    noteSilence()
    try {
      call.command().then(
        (answer) => onAnswer(call, answer),
        (error) => onError(call, error),
      )
    } catch (error) {
      onError(call, error)
    }
  }

  /**
   * A client may have thrown an answer away that came too late for a time of its own (`commandTimeout`): what has come since
   * tells that the server is there.
   */
  function noteSilence(): void {
    const bytes = link.bytesRead?.()
    if (bytes !== bytesBefore) silentSince = undefined
    bytesBefore = bytes
    silentSince ??= tick
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
    if ((isNotMaster(error) || isRefusedSelect(error)) && mayTryAgain(call)) {
      call.isSecondTry = true
      call.connection = undefined
      start(call)
    } else {
      const why = whyOf(error) || whyOf(trouble)
      const closed = link.state() === 'ready' ? '' : 'the connection is closed'
      fail(call, why || closed || 'the client does not say why, and it may have been done', error)
    }
  }

  function fail(call: Call, why: string, cause: unknown = new Error(why)): void {
    calls.delete(call)
    const message = `Redis (${link.place}) failed to ${call.what} a session: ${why}.`
    call.reject(new SessionStoreError(message, showable(cause)))
  }

  /** What has not been done can be sent again: on a connection that is made anew, by this call or by another. */
  function mayTryAgain(call: Call): boolean {
    if (call.isSecondTry || !link.reconnect) return false
    return call.connection !== connection || drop()
  }

  /** Has the client connect anew, if it does that and has not just done so. */
  function drop(isSilent = false): boolean {
    if (isDropping && !isSilent) return true
    const time = performance.now()
    if (!isDropping && time - droppedAt < DROP_EVERY) return false
    droppedAt = time
    isDropping = true
    const isGiven = link.reconnect!(isSilent)
    if (!isGiven) isDropping = false
    return isGiven
  }

  /** A call has had no answer in time. While a client is `connecting` it has a bound of its own, and may not be disturbed. */
  function onUnanswered(): void {
    const isSilent = silentSince !== undefined && tick - silentSince >= MOST_TICKS
    if (link.dropSilent) link.dropSilent()
    else if (link.reconnect && (isSilent || link.state() === 'greeting')) drop(true)
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
          place: -1,
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

// What the engine needs of a client of Redis, whichever library it is of.
import { createHash } from 'node:crypto'
// Not the global, which an application's tests may have replaced by timers that stand still.
import { setTimeout } from 'node:timers'
import { wordOf } from '../redis-failure.ts'

/** A request waits this long for Redis, in ms, and then hears of the failure. */
export const TIMEOUT = 5000

/** A client that keeps commands back sends one within this time, in ms, or never: sooner than its request hears of a failure. */
export const SENT_WITHIN = TIMEOUT - 500

/** Sends a script of a single key; resolves to Redis' answer, whatever the client has made of it. */
export type Run = (key: string, ...args: (string | number)[]) => Promise<unknown>

/**
 * What a client does. It connects when it is asked to (`idle`), makes its connection (`connecting`), has one on which the server has not
 * said that it is ready (`greeting`), has one (`ready`), or answers at once with an error (`closed`).
 */
export type LinkState = 'idle' | 'connecting' | 'greeting' | 'ready' | 'closed'

/** What a client tells of its connection. */
export interface LinkEvents {
  ready(): void
  /** There is none any more, or a try to make one has failed. */
  closed(): void
  /** Why there will be none. */
  trouble(error: unknown): void
}

/** A client, as the engine calls it. What its library cannot do is left out. */
export interface Link {
  /** Which Redis it is for, in words without its password. */
  readonly place: string
  state(): LinkState
  /** Makes a command of a script. */
  script(lua: string): Run
  /** Reads a value by GETEX without an option, where the client sends that to the master as the change which it is to Redis. Throws or rejects. */
  getex?(key: string): Promise<unknown>
  /** Has an `idle` client connect. */
  connect?(): void
  watch?(events: LinkEvents): void
  /**
   * Has the client connect anew. What was sent before is still answered, unless the server is silent: then nothing is waited for.
   * @returns Whether it does.
   */
  reconnect?(isSilent: boolean): boolean
  /** Of a client with many connections: drops those whose server does not answer. */
  dropSilent?(): void
  /** How much has come on the connection, in bytes. */
  bytesRead?(): number | undefined
}

/** The hash by which a server knows a script. */
export const hashOf = (lua: string): string => createHash('sha1').update(lua).digest('hex')

/**
 * For a client that has no scripts of its own: the text goes with the first call, and again where the server lacks it; otherwise its hash.
 * @param send Sends EVAL with the text, or EVALSHA with the hash.
 * @param translate Makes of the library's error the server's. Default as it is.
 */
export function byHash(
  lua: string,
  send: (
    command: 'EVAL' | 'EVALSHA',
    script: string,
    key: string,
    args: string[],
  ) => Promise<unknown>,
  translate: (error: unknown) => unknown = (error) => error,
): Run {
  const hash = hashOf(lua)
  let isSent = false

  async function run(command: 'EVAL' | 'EVALSHA', key: string, args: string[]): Promise<unknown> {
    try {
      return await send(command, command === 'EVAL' ? lua : hash, key, args)
    } catch (error) {
      const told = translate(error)
      if (command === 'EVAL' || wordOf(told) !== 'NOSCRIPT') throw told
      return run('EVAL', key, args)
    }
  }

  return (key, ...args) => {
    const command = isSent ? 'EVALSHA' : 'EVAL'
    isSent = true
    return run(command, key, args.map(String))
  }
}

/** A server that takes longer than this to say that it is there, in ms, is not. */
const PING_WITHIN = 1000

/** Whether a server answers. An error is an answer too. */
export async function isThere(ping: () => Promise<unknown>): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => {
    setTimeout(resolve, PING_WITHIN, false).unref()
  })
  const answered = ping().then(
    () => true,
    () => true,
  )
  return Promise.race([answered, late])
}

/** A server's name and port, as an error names it. */
export const addressOf = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`

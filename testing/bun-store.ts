// The Redis engine over Bun's own client, as a store of this process: the calls are made in a process of Bun's.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import {
  KeyExistsError,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  type SessionStore,
} from '@coatcheck/core/store'
import { asLine, type BunAnswer, type BunCall } from './runtimes/bun-calls.ts'

const runtimes = join(import.meta.dirname, 'runtimes')
const binary = join(runtimes, 'node_modules/@oven/bun-linux-x64/bin/bun')

/** Bun; undefined where npm has no build of it for this machine. */
export const bunBinary: string | undefined = existsSync(binary) ? binary : undefined

interface Waiting {
  resolve(value: any): void
  reject(error: Error): void
}
const waiting = new Map<number, Waiting>()
let child: ChildProcessWithoutNullStreams | undefined
let ids = 0

/** This process stays for answers that it waits for, and for nothing else. */
function hold(isHeld: boolean): void {
  const output = child!.stdout as unknown as Socket
  if (isHeld) output.ref()
  else output.unref()
}

function start(): ChildProcessWithoutNullStreams {
  const started = spawn(binary, ['run', join(runtimes, 'bun-redis.ts')])
  started.unref()
  for (const stream of [started.stdin, started.stderr]) (stream as unknown as Socket).unref()
  started.stderr.pipe(process.stderr)
  createInterface({ input: started.stdout }).on('line', (line) => {
    const { id, result, error }: BunAnswer = JSON.parse(line)
    const { resolve, reject } = waiting.get(id)!
    waiting.delete(id)
    if (waiting.size === 0) hold(false)
    if (error) reject(asError(error))
    else resolve(result)
  })
  return started
}

function asError({ code, message, hasCause }: NonNullable<BunAnswer['error']>): Error {
  if (code === 'ERR_SESSION_GONE') return new SessionGoneError()
  if (code === 'ERR_SESSION_CONFLICT') return new SessionConflictError()
  if (code === 'ERR_SESSION_KEY_EXISTS') return new KeyExistsError()
  if (code === 'ERR_SESSION_STORE') {
    return new SessionStoreError(message, hasCause ? new Error(message) : undefined)
  }
  return new SessionUsageError(message)
}

/** Opens a store over a client of Bun's. */
export function openBunStore(
  url: string,
  { now = Date.now, prefix = 'session:' }: { now?: () => number; prefix?: string } = {},
): SessionStore & { close(): Promise<void> } {
  const store = ++ids
  const call =
    (method: string) =>
    (...args: unknown[]): Promise<any> => {
      child ??= start()
      // JSON would make null of what is left out.
      while (args.length > 0 && args.at(-1) === undefined) args.pop()
      const sent: BunCall = { id: ++ids, store, url, prefix, time: now(), method, args }
      hold(true)
      child.stdin.write(`${asLine(sent)}\n`)
      return new Promise((resolve, reject) => waiting.set(sent.id, { resolve, reject }))
    }
  return {
    load: call('load'),
    create: call('create'),
    save: call('save'),
    touch: call('touch'),
    delete: call('delete'),
    close: call('close'),
  }
}

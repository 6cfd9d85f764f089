// Cases that need several processes: a few that stay, each opening the store anew for every job.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Work } from './turmoil.ts'

/** What another process does to the store, or through a manager over it. */
export type Job =
  /** Adds 1 to the number under `key`, by compare-and-swap; resolves to how often. */
  | { readonly do: 'increment'; readonly key: string; readonly times: number }
  /** Loads the record; resolves to its data, or to the code of the error, of the opening too. */
  | { readonly do: 'look'; readonly key: string }
  /** Creates a record under each key; resolves to the keys for which it succeeded. */
  | { readonly do: 'create'; readonly keys: readonly string[] }
  /** Saves and touches without a look at the data until the session has gone; resolves to how often. */
  | { readonly do: 'hammer'; readonly key: string }
  /** Deletes the record. */
  | { readonly do: 'delete'; readonly key: string }
  /** Retires the key, or ends the session, without a look at the data. */
  | { readonly do: 'retire' | 'end'; readonly key: string }
  /** Touches each record from the same end; resolves to the keys for which it succeeded. */
  | { readonly do: 'renew'; readonly keys: readonly string[]; readonly from: number }
  /** Touches the record. */
  | { readonly do: 'touch'; readonly key: string; readonly times: number }
  /** Requests that append each value to the session's `cart`; resolves to the values that were acknowledged. */
  | { readonly do: 'append'; readonly cookie: string; readonly values: readonly number[] }
  /** A request that logs in; resolves to the new cookie. */
  | { readonly do: 'login'; readonly cookie: string }
  /** Removes what has expired; resolves to how many. */
  | { readonly do: 'sweep' }
  /** Works on keys while the backend comes and goes; resolves to the calls that it made. */
  | ({ readonly do: 'work' } & Work)

/** What a job resolves to. */
export type Outcome = any

/** What a process is told besides: the store's name, and the time that stands still there (unset: the system's). */
export interface Setting {
  readonly name: string
  readonly time: number | undefined
}

/** How long a process may take to start or to do its job, in ms, on a machine that is busy. */
const TIMEOUT = 60_000

/** The processes of each module. They end with this one: their channel closes. */
const pools = new Map<string, ChildProcess[]>()

/** Runs each job in a process of its own, all at the same time, and with them `meanwhile`, once every store is open. */
export async function inProcesses(
  module: string | URL,
  setting: Setting,
  jobs: readonly Job[],
  meanwhile?: () => Promise<void>,
): Promise<Outcome[]> {
  const url = urlOf(module)
  const pool = (pools.get(url) ?? []).filter(({ connected, killed }) => connected && !killed)
  pools.set(url, pool)
  while (pool.length < jobs.length) pool.push(start(url))
  const workers = pool.slice(0, jobs.length)
  // Ready first, so that they begin together.
  await all(workers.map((worker) => ask(worker, { setting })))
  const beside = meanwhile?.()
  const working = workers.map((worker, at) => ask(worker, { job: jobs[at]! }))
  const [outcomes] = await all([all(working), beside])
  return outcomes
}

/** Waits for all, so that nothing goes on behind the back of the next case, and then fails if one of them did. */
async function all<T extends readonly unknown[] | []>(
  tasks: T,
): Promise<{ -readonly [N in keyof T]: Awaited<T[N]> }> {
  await Promise.allSettled(tasks)
  return Promise.all(tasks)
}

/** A module by its URL, or by a path as the command line has it. */
export function urlOf(module: string | URL): string {
  return /^[a-z]{2,}:/i.test(String(module))
    ? String(module)
    : pathToFileURL(resolve(String(module))).href
}

function start(url: string): ChildProcess {
  const own = import.meta.url
  const worker = fork(new URL(`./worker${extname(new URL(own).pathname)}`, own), [url], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Most of what such a process does is to compile the same modules as the one before it.
    env: { NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'), ...process.env },
  })
  worker.unref()
  worker.channel?.unref()
  return worker
}

async function ask(worker: ChildProcess, question: object): Promise<Outcome> {
  const over = new AbortController()
  const timer = setTimeout(() => {
    // It is still busy, and would answer the next case.
    worker.kill('SIGKILL')
    over.abort(new Error('A process of the suite took too long'))
  }, TIMEOUT)
  worker.channel?.ref()
  try {
    if (!worker.connected) throw new Error('A process of the suite has ended')
    worker.send(question)
    const gone = once(worker, 'exit', { signal: over.signal }).then(() => {
      throw new Error('A process of the suite ended before its job was done')
    })
    const [answer] = await Promise.race([once(worker, 'message', { signal: over.signal }), gone])
    if ('error' in answer) throw new Error(`In another process: ${answer.error}`)
    return answer.result
  } finally {
    clearTimeout(timer)
    over.abort()
    worker.channel?.unref()
  }
}

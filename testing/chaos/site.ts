// The application of a fault test: processes that reach Redis and PostgreSQL by proxies of their own; and what can befall them.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { postgresStore } from '@coatcheck/db/postgres'
import { Redis } from 'ioredis'
import { proxyTo } from '../proxy.ts'
import { startAgain, type Service } from '../services.ts'
import type { Answer, Question, WorkerOptions } from './worker.ts'

const PROCESSES = 4

/** Something that befalls a place, such as `Redis of 2`, and ends: one at a time. */
export interface Fault {
  readonly what: string
  readonly places: readonly string[]
  /** How long it may take, in ms. */
  readonly longest: number
  begin(): unknown
  end(): unknown
}

export type Worker = Awaited<ReturnType<typeof openWorker>>

/** @param forgets Redis comes back from a crash without its last writes. */
export async function openSite(
  [redis, postgres]: readonly [Service, Service],
  options: Pick<WorkerOptions, 'freshFor' | 'cachedDb'>,
  forgets: boolean,
) {
  const db = postgresStore(postgres.url)
  await db.migrate()
  await db.close?.()
  const admin = new Redis(redis.url, { maxRetriesPerRequest: 0 }).on('error', () => {})
  const opening = Array.from({ length: PROCESSES }, () => openWorker(redis, postgres, options))
  const workers = await Promise.all(opening)
  return {
    workers,
    faults: [...faultsOf(redis, postgres, admin, forgets), ...workers.flatMap(faultsOfWorker)],
    async [Symbol.asyncDispose]() {
      admin.disconnect()
      await Promise.all(workers.map((worker) => worker.kill()))
      for (const worker of workers) worker.redis.cut()
      for (const worker of workers) worker.postgres.cut()
    },
  }
}

async function openWorker(redisServer: Service, postgresServer: Service, options: object) {
  const redis = await proxyTo(redisServer.url)
  const postgres = await proxyTo(postgresServer.url)
  const argument = JSON.stringify({ ...options, redis: redis.url, postgres: postgres.url })
  const waiting = new Map<number, (answer: Answer) => void>()
  let child: ChildProcess
  let exit: Promise<void>
  let asked = 0
  const worker = {
    redis: redis.proxy,
    postgres: postgres.proxy,
    /** Whether it takes requests. */
    isUp: false,
    /** What is never answered, as its process has died, is answered `DIED`. */
    ask(question: Question): Promise<Answer> {
      return new Promise((resolve) => {
        waiting.set(++asked, resolve)
        child.send({ n: asked, question }, () => {})
      })
    },
    async start() {
      child = fork(`${import.meta.dirname}/worker.ts`, [argument])
      exit = once(child, 'exit').then(() => {
        worker.isUp = false
        for (const resolve of waiting.values()) resolve({ code: 'DIED' })
        waiting.clear()
      })
      await once(child, 'message')
      worker.isUp = true
      child.on('message', ({ n, answer }: { n: number; answer: Answer }) => {
        waiting.get(n)?.(answer)
        waiting.delete(n)
      })
    },
    /** Lets it answer what it was asked, and close its store. */
    close() {
      worker.isUp = false
      child.send('close')
      return exit
    },
    kill() {
      worker.isUp = false
      child.kill('SIGKILL')
      return exit
    },
    freeze: (frozen: boolean) => child.kill(frozen ? 'SIGSTOP' : 'SIGCONT'),
  }
  await worker.start()
  return worker
}

type Act = () => unknown
const fault = (what: string, at: string, longest: number, [begin, end]: [Act, Act]): Fault => ({
  what,
  places: at.split(', '),
  longest,
  begin,
  end,
})
const frozen = (it: { freeze(frozen: boolean): unknown }): [Act, Act] => [
  () => it.freeze(true),
  () => it.freeze(false),
]

function faultsOf(redis: Service, postgres: Service, admin: Redis, forgets: boolean): Fault[] {
  const memory = (most: number) => () => admin.config('SET', 'maxmemory', most)
  const crash = async () => {
    // It comes back as it was a moment ago.
    if (forgets) await admin.save().catch(() => {})
    if (forgets) await setTimeout(Math.random() * 400)
    await redis.stop('SIGKILL')
  }
  return [
    // One that forgets is back before its copies are too old.
    fault('Redis killed', 'Redis', forgets ? 1 : 3000, [crash, redis.start]),
    fault('Redis stopped', 'Redis', 3000, [redis.stop, redis.start]),
    fault('Redis frozen', 'Redis', 5000, frozen(redis)),
    fault('Redis full', 'Redis', 5000, [memory(1), memory(0)]),
    fault('Redis emptied', 'Redis', 1, [() => admin.flushall(), () => {}]),
    fault('PostgreSQL killed', 'PostgreSQL', 1500, [
      () => postgres.stop('SIGKILL'),
      () => startAgain(postgres),
    ]),
    fault('PostgreSQL frozen', 'PostgreSQL', 5000, frozen(postgres)),
  ]
}

function faultsOfWorker(worker: Worker, n: number): Fault[] {
  const { redis, postgres, start, close, kill } = worker
  let flickering: NodeJS.Timeout | undefined
  /** Connections break, and what was under way is not answered. */
  const flicker = () => {
    postgres.cut()
    void postgres.restore()
    flickering = globalThis.setTimeout(flicker, Math.random() * 100)
  }
  const both: [Act, Act] = [
    () => (redis.cut(), flicker()),
    () => (clearTimeout(flickering), redis.restore()),
  ]
  const of = (what: string, at: string, longest: number, acts: [Act, Act]) =>
    fault(`a process ${what}`, at.replaceAll('own', `${n}`), longest, acts)
  return [
    of('cut off from Redis', 'Redis of own', 6000, [redis.cut, redis.restore]),
    of('with a silent Redis', 'Redis of own', 6000, frozen(redis)),
    of('cut off from PostgreSQL', 'PostgreSQL of own', 3000, [postgres.cut, postgres.restore]),
    // Longer than the driver waits: what it has sent takes effect when nobody waits for it any more.
    of('with a silent PostgreSQL', 'PostgreSQL of own', 12_000, frozen(postgres)),
    of(
      'cut off from Redis, its PostgreSQL flickers',
      'Redis of own, PostgreSQL of own',
      5000,
      both,
    ),
    of('killed', 'process own', 1000, [kill, start]),
    of('closed', 'process own', 1000, [close, start]),
    of('frozen', 'process own', 4000, frozen(worker)),
  ]
}

// A storm of requests over one adapter: all ways of answering mixed, one save in five fails, clients hang up. Run as a script
// it takes the number of requests and a framework's name (default: 10,000, and one framework for each adapter).
import { readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionStoreError, type SessionStore } from '@coatcheck/core/store'
import { askHttp1, askHttp2, type Ask, type Heard } from './client.ts'
import { catchAll, running, trial, type Trial } from './judge.ts'
import { MARK } from './pages.ts'
import { headerOf, listen, servers } from './servers.ts'
import { begin, type Seen, type Way } from './visit.ts'
import { waysOn } from './ways.ts'

/** One for each adapter, and HTTP/2. */
export const STORMED = ['Express 5', 'node:http2', 'Koa by hand', 'Koa', 'Fastify', 'Hono', 'fetch']

/** The way that a server must still have in the end. */
const SIMPLEST = /^(end|ctx.body of a string|reply.send of a string|a Response)$/

const CLIENTS = 40
/** So long a client waits for a byte, in ms: with all of them at work a slow machine takes its time. */
const PATIENCE = 30_000
/** One save of so many fails. */
const FAILING = 5
/** One client of so many hangs up. */
const LEAVING = 10
/** What a process may hold more than before, in bytes: caches and pools that fill up once. */
const MORE = 40e6

/** The same order of chances in each run. */
function chances(seed: number): (one_in: number) => boolean {
  return (count) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
    return (seed >> 8) % count === 0
  }
}

/** A store that takes a few ms, and fails now and then. */
function unreliable(chance: (one_in: number) => boolean): SessionStore {
  const store = lruStore({ max: 1000 })
  const after = async <T>(call: () => T | Promise<T>): Promise<T> => {
    await setTimeout(5)
    if (chance(FAILING)) throw new SessionStoreError('The backend is away.')
    return call()
  }
  return {
    ...store,
    traits: { ephemeral: true, unshared: true },
    create: (...args) => after(() => store.create(...args)),
    save: (...args) => after(() => store.save(...args)),
  }
}

/** A way that can be stormed, and how it looks without a session. */
interface Stormed {
  readonly way: Way
  readonly name: string
  readonly plain: Trial
}

/** The ways that need no application of their own and leave nothing behind on a plain server. */
async function calmWays(framework: string): Promise<Stormed[]> {
  const ways = [...waysOn(framework)].filter(
    ([name, { before, after, onError, setUp, ask }]) =>
      !before &&
      !after &&
      !onError &&
      !setUp &&
      !ask?.hangUp &&
      !ask?.slow &&
      !/^\d+ MB/.test(name) &&
      // Its agent keeps connections of its own.
      !/proxy|fetched/.test(name),
  )
  const found = await Promise.all(
    ways.map(async ([name, way]): Promise<Stormed[]> => {
      const plain = await trial(framework, way, 'plain')
      const calm =
        plain.uncaught.length === 0 &&
        plain.heard.connection !== 'silent' &&
        plain.heard.stray === '' &&
        plain.heard.answers.length <= (way.ask?.times ?? 1) &&
        plain.seen.every(({ pending, settled, sources }) => {
          return pending.size === 0 && settled && sources.every((source) => source.destroyed)
        })
      return calm ? [{ way, name, plain }] : []
    }),
  )
  return found.flat()
}

const openFiles = () => readdirSync('/proc/self/fd').length

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function memory(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** What is wrong with what the client heard of a way. */
function wrong({ plain, way }: Stormed, heard: Heard): string[] {
  if (heard.stray) return [`no HTTP: ${heard.stray}`]
  if (way.exempt?.client || way.exempt?.failing) return []
  return heard.answers.flatMap(({ status, body, whole }, at) => {
    const intended = plain.heard.answers[at]
    const failed = status.includes('503')
    if (status !== intended?.status && !failed) return [`${status} for ${intended?.status}`]
    if (failed && body.includes(MARK)) return ['bytes of the page in a 503']
    return whole || intended?.whole === false ? [] : ['an answer that is not whole']
  })
}

/** Storms one framework with so many requests; says what is wrong. The process must have called `catchAll`. */
export async function storm(framework: string, requests: number): Promise<string[]> {
  const { serve, protocol } = servers[framework]!
  const ask = protocol === 1 ? askHttp1 : askHttp2
  const ways = await calmWays(framework)
  const chance = chances(1)
  const uncaught: string[] = []
  const faults = new Map<string, number>()
  const fault = (what: string) => void faults.set(what, (faults.get(what) ?? 0) + 1)
  /** Of each request that is not over: the way's name, and what its handler saw. */
  const open = new Map<Seen, { name: string; left: boolean }>()

  await running.run(uncaught, async () => {
    const all: Way = { answer: () => {} }
    const server = await serve(
      all,
      (given) => {
        const [index, left] = headerOf(given, 'x-way')!.split(',')
        const { way, name } = ways[Number(index)]!
        const seen: Seen[] = []
        try {
          return begin(way, given, seen)
        } finally {
          open.set(seen[0]!, { name, left: left === 'left' })
        }
      },
      unreliable(chance),
    )
    const port = await listen(server)
    const request = async (number: number) => {
      const index = number % ways.length
      const stormed = ways[index]!
      // A pipe without a pipeline leaves its source open when the client hangs up, on a plain server too.
      // Over http2 a pipeline waits for ever on a plain server, as the response does not tell it of the stream's end.
      const tells = protocol === 1 || !/generator|pipeline/.test(stormed.name)
      const isClean = tells && stormed.plain.seen.every(({ sources }) => !sources.length)
      const leaves = chance(LEAVING) && isClean
      const asked: Partial<Ask> = {
        ...stormed.way.ask,
        headers: { ...stormed.way.ask?.headers, 'x-way': `${index},${leaves ? 'left' : 'stays'}` },
        ...(leaves && { hangUp: number % 12 }),
        patience: PATIENCE,
      }
      const heard = await ask(port, asked, () => {})
      if (leaves) return
      for (const what of wrong(stormed, heard)) fault(`${stormed.name}: ${what}`)
      if (heard.connection === 'silent') fault(`${stormed.name}: the connection hangs`)
      settle()
    }
    const settle = () => {
      for (const [seen, { left }] of open) {
        const { settled, pending, sources } = seen
        const over = settled && (left || pending.size === 0)
        if (over && sources.every((source) => source.destroyed)) open.delete(seen)
      }
    }
    const volley = async (from: number, to: number) => {
      let next = from
      const client = async () => {
        while (next < to) await request(next++)
      }
      await Promise.all(Array.from({ length: CLIENTS }, client))
      // Events that follow the client's leaving.
      for (let tries = 0; tries < 500; tries++) {
        settle()
        if (open.size === 0 && (await connectionsOf(server)) === 0) break
        await setTimeout(20)
      }
    }

    // What is made once is made before it is counted.
    await volley(0, Math.min(ways.length, requests / 2))
    faults.clear()
    open.clear()
    const before = { files: openFiles(), memory: memory() }
    await volley(0, requests)

    for (const { name } of open.values())
      fault(`${name}: it waits for ever, or a source stays open`)
    const connections = await connectionsOf(server)
    if (connections > 0) fault(`${connections} connections are left`)
    // A stream that is destroyed closes its file a little later.
    for (let tries = 0; openFiles() > before.files && tries < 500; tries++) await setTimeout(20)
    const files = openFiles() - before.files
    if (files > 0) fault(`${files} files are left open`)
    open.clear()
    const more = memory() - before.memory
    if (more > MORE) fault(`${Math.round(more / 1e6)} MB are left`)
    const simplest = ways.findIndex(({ name }) => SIMPLEST.test(name))
    const calm = await ask(port, { headers: { 'x-way': `${simplest},stays` } }, () => {})
    if (calm.answers.length !== 1 || calm.connection !== 'open') fault('the server answers no more')
    server.close()
  })
  for (const what of uncaught) fault(`uncaught: ${what}`)
  return [...faults].map(([what, times]) => `${what} (${times})`)
}

const connectionsOf = (server: {
  getConnections(tell: (error: Error | null, count: number) => void): unknown
}) => new Promise<number>((resolve) => server.getConnections((_error, count) => resolve(count)))

if (import.meta.main) {
  catchAll()
  const [requests = '10000', ...only] = process.argv.slice(2)
  for (const framework of only.length ? only : STORMED) {
    const start = Date.now()
    const faults = await storm(framework, Number(requests))
    const seconds = ((Date.now() - start) / 1000).toFixed(1)
    console.log([`${framework}: ${requests} requests, ${seconds} s`, ...faults].join('\n  '))
    if (faults.length > 0) process.exitCode = 1
    process.send?.({ framework, faults })
  }
  process.exit()
}

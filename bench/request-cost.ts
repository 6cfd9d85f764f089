// What a session adds to a request in the server's processor time: many servers side by side, each loaded for half a second in turn.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { redis } from '../testing/services.ts'
import { HERE } from './checkout.ts'
import { progress, saveResults } from './harness.ts'
import { MODES, requestContenders, type Mode } from './request-contenders.ts'
import { measureOnce, proveWrites, SESSIONS, start, type Server } from './request-load.ts'
import { againstTable, costTable, goalsTable } from './request-tables.ts'
import { wrk } from './wrk.ts'

/** How long a server is loaded at a time, in ms. */
const SLICE = 500
/** And how long before, for it to warm up: Node has compiled by then what is compiled at all. */
const WARM_UP = 1500
const QUICK_ROUNDS = 4

const USAGE = `node bench/request-cost.ts [options]
  --framework express,fastify   which frameworks (default: all)
  --store lru,memory            which stores, beside the framework alone (default: all)
  --mode untouched,read,write   what the handler does (default: all)
  --rounds 10                   how often each is measured (default: 10)
  --quick                       four rounds
  --against ../other            measure ours of another checkout too, in the same rounds`

const { values: options } = parseArgs({
  options: {
    framework: { type: 'string' },
    store: { type: 'string' },
    mode: { type: 'string' },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    against: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}

/** What was chosen of the names there are. */
function chosen(option: 'framework' | 'store' | 'mode', names: readonly string[]): string[] {
  const wanted = options[option]?.split(',') ?? [...names]
  const unknown = wanted.find((name) => !names.includes(name))
  if (unknown === undefined) return names.filter((name) => wanted.includes(name))
  console.error(`There is no ${option} '${unknown}'. Choose of: ${names.join(', ')}\n\n${USAGE}`)
  process.exit(2)
}

const rounds = Number(options.rounds ?? (options.quick ? QUICK_ROUNDS : 10))
if (!Number.isInteger(rounds) || rounds < 1) {
  console.error(`--rounds must be a whole number from 1, but it is '${options.rounds}'\n\n${USAGE}`)
  process.exit(2)
}
if (!wrk) {
  console.error(
    'The benchmark of requests needs wrk, which is not installed. Run: apt-get install wrk (Debian, Ubuntu) or brew install wrk (macOS)',
  )
  process.exit(2)
}
const frameworks = chosen('framework', Object.keys(requestContenders))
const stores = chosen('store', [
  ...new Set(frameworks.flatMap((framework) => Object.keys(requestContenders[framework]!))),
])
const modes = chosen('mode', MODES) as Mode[]

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-wrk-'))

/** Has Redis wait for the disk beside its answers, as is its default: the wait is not the server's processor time, and few requests would be measured. */
async function syncEachSecond(url: string): Promise<void> {
  const client = new Redis(url)
  await client.config('SET', 'appendfsync', 'everysec')
  client.disconnect()
}

const results: object[] = []
const needsRedis = stores.some((store) => store.endsWith('redis'))
if (needsRedis && !redis.launch) throw new Error(redis.how)
const redisServer = needsRedis ? await redis.launch!() : undefined
const redisUrl = redisServer?.url ?? ''
if (redisServer) await syncEachSecond(redisServer.url)
const servers: Server[] = []
try {
  for (const framework of frameworks) {
    for (const [name, { role }] of Object.entries(requestContenders[framework]!)) {
      if (!stores.includes(name) && role !== 'alone') continue
      const roots = [HERE]
      if (options.against && role === 'ours') roots.push(resolve(options.against))
      for (const root of roots) {
        progress(`${framework}: starting ${name}`)
        servers.push(await start(framework, name, root, { folder, redisUrl }))
      }
    }
    for (const mode of modes) {
      const written = servers.map(() => 0)
      for (let round = 0; round <= rounds; round++) {
        for (let step = 0; step < servers.length; step++) {
          // Another one begins each round, so that none is always behind the same neighbour.
          const at = (step + round) % servers.length
          const server = servers[at]!
          progress(`${framework}, ${mode}: ${server.label}, round ${round} of ${rounds}`)
          const ms = round === 0 ? WARM_UP : SLICE
          const { requests, ...one } = await measureOnce(server, mode, ms)
          written[at]! += requests
          if (round > 0) server.seen[mode].push(one)
        }
      }
      if (mode === 'write') {
        for (const [at, server] of servers.entries()) await proveWrites(server, written[at]!)
      }
      progress()
      console.log(costTable(framework, mode, servers))
    }
    console.log(goalsTable(framework, modes, servers))
    if (options.against) console.log(againstTable(framework, modes, servers))
    const measured = servers.map(({ name, label, role, seen }) => ({ name, label, role, seen }))
    results.push({ framework, measured })
    for (const server of servers.splice(0)) server.process.disconnect()
  }
  const isWhole = !options.framework && !options.store && !options.mode && !options.against
  if (isWhole) saveResults('request-cost', { rounds, sessions: SESSIONS, results })
} finally {
  for (const server of servers) server.process.disconnect()
  rmSync(folder, { recursive: true, force: true })
  await redisServer?.[Symbol.asyncDispose]()
}

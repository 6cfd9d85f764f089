// What a session adds to a request in the server's processor time: many servers side by side, each loaded for half a second in turn.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { redis } from '../testing/services.ts'
import { HERE } from './checkout.ts'
import { progress, saveResults } from './harness.ts'
import { MODES, requestContenders, type Mode } from './request-contenders.ts'
import { againstTable, costTable, goalsTable, type Measured } from './request-tables.ts'
import { load, writeScript } from './wrk.ts'

const SESSIONS = 200
/** How long a server is loaded at a time, in ms. */
const SLICE = 500
/** And how long before, for it to warm up: Node has compiled by then what is compiled at all. */
const WARM_UP = 2000
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
const frameworks = chosen('framework', Object.keys(requestContenders))
const stores = chosen('store', [
  ...new Set(frameworks.flatMap((framework) => Object.keys(requestContenders[framework]!))),
])
const modes = chosen('mode', MODES) as Mode[]

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-wrk-'))

/** A server that runs, and the sessions that it has. */
interface Server extends Measured {
  readonly process: ChildProcess
  readonly url: string
  readonly cookies: string[]
  /** Whether the session itself is in the cookie, so that a change needs the cookie of the answer. */
  readonly isStateless: boolean
}

/** What a fetch found: the number in the answer, and the cookie if there is a new one. */
async function ask({ url }: { url: string }, path: string, cookie?: string) {
  const response = await fetch(`${url}${path}`, cookie ? { headers: { cookie } } : {})
  if (response.status !== 200) throw new Error(`${url}${path}: status ${response.status}`)
  const lines = response.headers.getSetCookie()
  const { n } = (await response.json()) as { n: number }
  return { n, cookie: lines.map((line) => line.split(';')[0]).join('; ') }
}

/** The number that the session of a cookie starts with, so that no session can be taken for another. */
const firstOf = (session: number) => session * 1_000_000

async function start(framework: string, name: string, root: string, redisUrl: string) {
  const { label, role } = requestContenders[framework]![name]!
  const child = fork(
    `${import.meta.dirname}/request-server.ts`,
    [framework, name, redisUrl, root],
    { env: { ...process.env, NODE_ENV: 'production' } },
  )
  const [{ port }] = await once(child, 'message')
  const url = `http://127.0.0.1:${port}`
  const cookies: string[] = []
  for (let session = 0; session < SESSIONS; session++) {
    const { cookie } = await ask({ url }, `/login?n=${firstOf(session)}`)
    if (!cookie && role !== 'alone') throw new Error(`${label}: a login gave no cookie`)
    cookies.push(cookie || `sessionid=${String(session).padStart(32, '0')}`)
  }
  const isStateless = /cookie|secure/.test(name)
  const other = root === HERE ? undefined : root
  const server: Server = {
    name,
    label,
    role,
    other,
    url,
    cookies,
    isStateless,
    process: child,
    seen: { untouched: [], read: [], write: [] },
  }
  await proveSessions(server)
  for (const mode of MODES) writeScript(scriptOf(server, mode), `/${mode}`, cookies)
  return server
}

const scriptOf = ({ process: { pid } }: Server, mode: Mode) => join(folder, `${pid}-${mode}.lua`)

/** Makes sure that a server does what it is measured for: each cookie opens its own session, changes are kept, none is made anew. */
async function proveSessions(server: Server): Promise<void> {
  if (server.role === 'alone') return
  const { cookies, label, isStateless } = server
  const expect = (what: string, is: unknown, should: unknown) => {
    if (is !== should) throw new Error(`${label}: ${what}: ${is} where ${should} is right`)
  }
  for (const [session, cookie] of cookies.entries()) {
    const read = await ask(server, '/read', cookie)
    expect('the number of a session', read.n, firstOf(session))
    expect('a cookie after reading', read.cookie, '')
    const untouched = await ask(server, '/untouched', cookie)
    expect('a cookie after nothing', untouched.cookie, '')
    const written = await ask(server, '/write', cookie)
    expect('a changed number', written.n, firstOf(session) + 1)
    if (isStateless) expect('whether the cookie is another', written.cookie !== cookie, true)
    else if (written.cookie) expect('the cookie after a change', written.cookie, cookie)
    const again = await ask(server, '/read', written.cookie || cookie)
    expect('the number after a change', again.n, firstOf(session) + 1)
  }
}

/** Makes sure that what was written under load is there: a change each for the requests, but for the few that met on one session. */
async function proveWrites(server: Server, requests: number): Promise<void> {
  if (server.role === 'alone') return
  let changes = 0
  for (const [session, cookie] of server.cookies.entries()) {
    changes += (await ask(server, '/read', cookie)).n - firstOf(session)
  }
  const least = server.isStateless ? 0 : requests * 0.95
  if (changes < least) {
    throw new Error(`${server.label}: ${changes} changes are there after ${requests} requests`)
  }
}

/** A server's processor time until now, in microseconds. */
async function usageOf({ process: child }: Server): Promise<NodeJS.CpuUsage> {
  child.send('usage')
  return (await once(child, 'message'))[0]
}

async function measureOnce(server: Server, mode: Mode, ms: number) {
  const before = await usageOf(server)
  const { requests, rate } = await load(server.url, scriptOf(server, mode), ms)
  const after = await usageOf(server)
  const user = (after.user - before.user) / requests
  const system = (after.system - before.system) / requests
  return { requests, rate, user, system }
}

const results: object[] = []
const needsRedis = stores.some((store) => store.endsWith('redis'))
if (needsRedis && !redis.launch) throw new Error(redis.how)
const redisServer = needsRedis ? await redis.launch!() : undefined
const servers: Server[] = []
try {
  for (const framework of frameworks) {
    for (const [name, { role }] of Object.entries(requestContenders[framework]!)) {
      if (!stores.includes(name) && role !== 'alone') continue
      const roots = [HERE]
      if (options.against && role === 'ours') roots.push(resolve(options.against))
      for (const root of roots) {
        progress(`${framework}: starting ${name}`)
        servers.push(await start(framework, name, root, redisServer?.url ?? ''))
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
          const { requests, ...one } = await measureOnce(
            server,
            mode,
            round === 0 ? WARM_UP : SLICE,
          )
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

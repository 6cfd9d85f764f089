// Requests per second and p99, by autocannon from this process, over applications in processes of their own, in turn.
import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import autocannon from 'autocannon'
import { redis } from '../testing/services.ts'
import { count, markdownTable, median, progress, saveResults } from './harness.ts'

const ROUNDS = 3
/** Seconds. */
const DURATION = 2
const CONNECTIONS = 10
const SESSIONS = 200
const ROUTES = ['untouched', 'read', 'write'] as const

const contenders: Record<string, readonly string[]> = {
  express: [
    'alone',
    'lru',
    'sqlite',
    'signed-cookie',
    'redis',
    'file',
    'MemoryStore',
    'better-sqlite3-session-store',
    'connect-redis',
    'session-file-store',
    'cookie-session',
  ],
  fastify: [
    'alone',
    'lru',
    'sqlite',
    'signed-cookie',
    '@fastify/session',
    '@fastify/secure-session',
  ],
}

interface Application {
  name: string
  url: string
  process: ChildProcess
  cookies: string[]
  seen: Record<(typeof ROUTES)[number], { rps: number; p99: number }[]>
}

const wanted = process.argv[2]
const server = await redis.launch!()
const summary: object[] = []

async function start(framework: string, name: string): Promise<Application> {
  const child = spawn(
    process.execPath,
    [`${import.meta.dirname}/http-server.ts`, framework, name, server.url],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_ENV: 'production' },
    },
  )
  let port = ''
  for await (const line of createInterface(child.stdout!)) {
    port = line
    break
  }
  const url = `http://127.0.0.1:${port}`
  const cookies: string[] = []
  for (let n = 0; n < (name === 'alone' ? 1 : SESSIONS); n++) {
    const lines = (await fetch(`${url}/login`)).headers.getSetCookie()
    cookies.push(lines.map((line) => line.split(';')[0]).join('; '))
  }
  return { name, url, process: child, cookies, seen: { untouched: [], read: [], write: [] } }
}

async function measure({ url, cookies }: Application, route: string) {
  const result = await autocannon({
    url: `${url}/${route}`,
    connections: CONNECTIONS,
    duration: DURATION,
    requests: cookies.map((cookie) => ({ path: `/${route}`, headers: cookie ? { cookie } : {} })),
  })
  if (result.errors > 0 || result.non2xx > 0) {
    throw new Error(
      `${url}/${route}: ${result.errors} errors, ${result.non2xx} answers that are not 2xx`,
    )
  }
  return { rps: result.requests.average, p99: result.latency.p99 }
}

try {
  for (const [framework, names] of Object.entries(contenders)) {
    if (wanted && wanted !== framework) continue
    const applications: Application[] = []
    for (const name of names) applications.push(await start(framework, name))
    for (let round = 0; round <= ROUNDS; round++) {
      for (const route of ROUTES) {
        for (const application of applications) {
          progress(`${framework}, ${route}: ${application.name}, round ${round} of ${ROUNDS}`)
          const one = await measure(application, route)
          // The first round only warms up.
          if (round > 0) application.seen[route].push(one)
        }
      }
    }
    const alone = applications[0]!
    const rps = (application: Application, route: (typeof ROUTES)[number]) =>
      median(application.seen[route].map((one) => one.rps))
    const rows = applications.map((application) => [
      application.name,
      ...ROUTES.flatMap((route) => [
        count(rps(application, route)),
        (rps(application, route) / rps(alone, route)).toFixed(2),
        median(application.seen[route].map((one) => one.p99)),
      ]),
    ])
    const head = ROUTES.flatMap((route) => [`${route}, requests/s`, 'of alone', 'p99, ms'])
    progress()
    console.log(`### ${framework}\n\n${markdownTable(['', ...head], rows)}`)
    summary.push({
      framework,
      applications: applications.map(({ name, seen }) => ({ name, seen })),
    })
    for (const application of applications) application.process.kill('SIGKILL')
  }
  if (!wanted) {
    saveResults('http', { connections: CONNECTIONS, sessions: SESSIONS, results: summary })
  }
} finally {
  await server[Symbol.asyncDispose]()
}
process.exit(0)

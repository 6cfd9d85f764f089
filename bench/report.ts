// Writes docs/benchmarks.md from what the last whole runs of the benchmarks left in bench/results.
import { readFileSync, writeFileSync } from 'node:fs'
import { toMarkdown, type Result } from './harness.ts'

const read = (name: string) => JSON.parse(readFileSync(`bench/results/${name}.json`, 'utf8'))
const store = read('store') as {
  date: string
  node: string
  sessions: number
  results: { title: string; results: Result[] }[]
}
const http = read('http') as {
  date: string
  node: string
  connections: number
  sessions: number
  results: { framework: string; applications: Application[] }[]
}

interface Application {
  name: string
  seen: Record<string, { rps: number; p99: number }[]>
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!
const speed = ({ seen }: Application, route: string) => median(seen[route]!.map(({ rps }) => rps))

const httpTables = http.results.map(({ framework, applications }) => {
  const routes = Object.keys(applications[0]!.seen)
  const rows = applications.map((application) => {
    const cells = routes.map((route) => {
      const share = speed(application, route) / speed(applications[0]!, route)
      return `${Math.round(speed(application, route)).toLocaleString('en')} | ${share.toFixed(2)}`
    })
    return `| ${application.name} | ${cells.join(' | ')} |`
  })
  return `### ${framework}

| | ${routes.map((route) => `${route}, requests/s | of ${framework} alone`).join(' | ')} |
| --- |${routes.map(() => ' --: | --: |').join('')}
${rows.join('\n')}
`
})

writeFileSync(
  'docs/benchmarks.md',
  `# Benchmarks

By \`pnpm bench\`, on a machine of two cores with ${store.node}. Everything in a table was measured in one run, in turn, several
rounds; the figures are medians, and the ratios are what counts. Each peer at its defaults, as its README sets it up. Servers are
private and keep what they acknowledge (Redis: append-only, fsync on every write; PostgreSQL and MariaDB: their defaults). On SQLite
the raw driver and Coatcheck run in WAL mode with \`synchronous = NORMAL\`; better-sqlite3-session-store leaves SQLite's default, a
rollback journal with a full fsync on every write. A write of Coatcheck's is always a compare-and-swap; a peer's overwrites.

## HTTP

${http.date.slice(0, 10)}. autocannon from another process, ${http.connections} connections, ${http.sessions} sessions, keep-alive. "untouched": a
session cookie is sent and the handler does not look; "read": one value is read; "write": one value is read and changed.

${httpTables.join('\n')}
## Engines

${store.date.slice(0, 10)}. ${store.sessions.toLocaleString('en')} sessions, JSON in and out.

${store.results.map(({ title, results }) => toMarkdown(title, results)).join('\n')}`,
)

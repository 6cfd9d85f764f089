// Writes docs/benchmarks.md and its charts from what the last whole runs of the benchmarks left in bench/results.
import { readFileSync, writeFileSync } from 'node:fs'
import { barChart, type Group } from './chart.ts'
import { count, markdownTable as table, median, toMarkdown, type Result } from './harness.ts'

const read = <T>(name: string) =>
  JSON.parse(readFileSync(`bench/results/${name}.json`, 'utf8')) as T & {
    date: string
    node: string
  }
const store = read<{ sessions: number; results: { title: string; results: Result[] }[] }>('store')
const http = read<{
  connections: number
  sessions: number
  results: { framework: string; applications: Application[] }[]
}>('http')
const contention = read<{
  requests: number
  results: { name: string; sequential: number[]; atOnce: number[]; ratio: number }[]
}>('contention')
const scale = read<{
  results: { title: string; results: Result[] }[]
  spreads: Record<string, number>
  memory: Record<string, number>
}>('scale')
const sweep = read<{
  results: { kind: string; expired: number; live: number; plain: Clearing[]; swept: Clearing[] }[]
}>('sweep')

interface Application {
  name: string
  seen: Record<string, { rps: number; p99: number }[]>
}
interface Clearing {
  total: number
  stall: number
  saves: number
}

const day = ({ date }: { date: string }) => date.slice(0, 10)
const OURS = new Set(['lru', 'sqlite', 'signed-cookie', 'redis', 'file'])
const label = (name: string) => (OURS.has(name) ? `**${name}**` : name)

const speed = ({ seen }: Application, route: string) => median(seen[route]!.map(({ rps }) => rps))

const httpTables = http.results.map(({ framework, applications }) => {
  const routes = Object.keys(applications[0]!.seen)
  const rows = applications.map((application) => [
    label(application.name),
    ...routes.flatMap((route) => [
      count(speed(application, route)),
      (speed(application, route) / speed(applications[0]!, route)).toFixed(2),
      median(application.seen[route]!.map(({ p99 }) => p99)),
    ]),
  ])
  writeFileSync(
    `docs/images/bench-${framework}.svg`,
    barChart(
      `${framework}: requests per second`,
      routes.map((route): Group => {
        const bars = applications.map((application) => ({
          name: application.name,
          value: speed(application, route),
          kind: application.name === 'alone' ? 'raw' : OURS.has(application.name) ? 'ours' : 'peer',
        }))
        return { title: route, bars: bars as Group['bars'] }
      }),
    ),
  )
  const head = routes.flatMap((route) => [`${route}, requests/s`, 'of alone', 'p99, ms'])
  return `### ${framework}

![Requests per second on ${framework}, untouched, read and write](images/bench-${framework}.svg)

${table(['', ...head], rows)}`
})

const charted = store.results.filter(({ title }) => /200 B|^Signed/.test(title))
writeFileSync(
  'docs/images/bench-engines.svg',
  barChart(
    'Engines, a session of 200 bytes: operations per second',
    charted.map(({ title, results }) => ({
      title: title.replace(', 200 B', ''),
      bars: results.map(({ name, role, median: value }) => ({ name, value, kind: role })),
    })),
  ),
)

const scaleRows = scale.results.map(({ title, results }) => [
  title,
  ...results.map((result) => count(result.median)),
  scale.spreads[title]!.toFixed(2),
])
const of = (list: Clearing[], what: keyof Clearing) => median(list.map((one) => one[what]))
const sweepRows = sweep.results.map(({ kind, plain, swept }) => {
  const [deleting, stall] = [of(plain, 'total'), of(swept, 'stall')]
  return [
    kind,
    (deleting / 1000).toFixed(1),
    count(of(plain, 'stall')),
    (of(swept, 'total') / 1000).toFixed(1),
    (of(swept, 'total') / deleting).toFixed(1),
    count(stall),
    `1/${count(deleting / stall)}`,
  ]
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

${day(http)}. autocannon from another process, ${http.connections} connections, ${http.sessions} sessions, keep-alive. "untouched": a
session cookie is sent and the handler does not look; "read": one value is read; "write": one value is read and changed.

${httpTables.join('\n')}
## Two requests at once

${day(contention)}. ${contention.requests} requests on one session, each of which changes it: one after the other, and all at once. Nothing is
lost. Each of those that come at once finds the session changed, and is decoded and encoded once more; without a disk or a network to
wait for, that is all there is to see.

${table(
  ['', 'one after the other, ms', 'at once, ms', 'ratio'],
  contention.results.map(({ name, sequential, atOnce, ratio }) => [
    name,
    median(sequential).toFixed(1),
    median(atOnce).toFixed(1),
    ratio.toFixed(2),
  ]),
)}
## A million sessions

${day(scale)}. Operations per second with so many sessions of 200 bytes, each in its turn. Where the driver below is a function call, its
own spread stands above: it is that of the processor's caches and of the depth of the tree.

${table(['', '1,000', '100,000', '1,000,000', 'fastest to slowest'], scaleRows)}
In memory, a session of ${count(scale.memory['payload']!)} bytes (key and text) takes ${count(scale.memory['lru']!)} bytes of heap with lru, and ${count(scale.memory['MemoryStore']!)} with express-session's MemoryStore.

## Sweeps

${day(sweep)}. ${count(sweep.results[0]!.expired)} expired rows among ${count(sweep.results[0]!.expired + sweep.results[0]!.live)}, cleared by one plain DELETE and by \`clearExpired()\`, while another process saves
live sessions one after the other; the stall is its longest save.

${table(
  [
    '',
    'plain DELETE, s',
    'stall, ms',
    'clearExpired, s',
    'of the DELETE',
    'stall, ms',
    'of the DELETE',
  ],
  sweepRows,
)}
A batch must write its pages to the log before the next one: on SQLite and MariaDB the rows of a batch lie on as many pages of the index
over the keys, which a single DELETE writes once, and that is where the time goes. On PostgreSQL a DELETE only marks rows, and stops
nobody; its stall, and ours, is the disk's.

## Engines

${day(store)}. ${count(store.sessions)} sessions, JSON in and out.

![Operations per second of each engine, beside the raw driver and its peers](images/bench-engines.svg)

${store.results.map(({ title, results }) => toMarkdown(title, results)).join('\n')}`,
)

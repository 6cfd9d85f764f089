// Writes docs/benchmarks.md and its charts from what the last whole runs of the benchmarks left in bench/results.
import { readFileSync, writeFileSync } from 'node:fs'
import { barChart, type Group } from './chart.ts'
import { count, markdownTable as table, median, type Result } from './harness.ts'
import { MODES, type Mode } from './request-contenders.ts'
import { costTable, goalsTable, userAdded, type Measured } from './request-tables.ts'
import type { Operation } from './sides.ts'
import { GOAL, ratiosTable, reached, speedsTable, type StoreTable } from './store-tables.ts'

const read = <T>(name: string) =>
  JSON.parse(readFileSync(`bench/results/${name}.json`, 'utf8')) as T & {
    date: string
    node: string
  }
const requests = read<{
  rounds: number
  sessions: number
  results: { framework: string; measured: Measured[] }[]
}>('request-cost')
const store = read<{ sessions: number; rounds: number; tables: StoreTable[]; leftOut: string[] }>(
  'store',
)
const contention = read<{
  requests: number
  results: { name: string; sequential: number[]; atOnce: number[]; ratio: number }[]
}>('contention')
const hits = read<{ visitors: number; duration: number; head: string[]; rows: string[][] }>(
  'hit-rate',
)
const scale = read<{
  results: { title: string; results: Result[] }[]
  spreads: Record<string, number>
  memory: Record<string, number>
}>('scale')
const sweep = read<{
  results: { kind: string; expired: number; live: number; plain: Clearing[]; swept: Clearing[] }[]
}>('sweep')

interface Clearing {
  total: number
  stall: number
  saves: number
}

const day = ({ date }: { date: string }) => date.slice(0, 10)

/** What each server adds to a request, as a chart. */
function requestChart(framework: string, all: readonly Measured[]): void {
  const groups = MODES.map((mode: Mode): Group => {
    const bars = all
      .filter(({ role }) => role !== 'alone')
      .map((one) => ({
        name: one.label,
        value: userAdded(one, all, mode),
        kind: one.role as 'raw' | 'ours' | 'peer',
      }))
    return { title: mode, bars }
  })
  const title = `${framework}: user time that a session adds to a request, µs (shorter is better)`
  writeFileSync(`docs/images/bench-${framework}.svg`, barChart(title, groups))
}

/** The speeds of the engines with small sessions, where there are many calls at once with ten, as a chart. */
function storesChart(): void {
  const operations: readonly Operation[] = ['read', 'write']
  const groups = store.tables
    .filter(({ title }) => title.includes('200 B') && !/, (1|100) at once/.test(title))
    .flatMap(({ title, rows }) =>
      operations.map((operation): Group => {
        const bars = rows.flatMap(({ name, role: kind, speeds }) => {
          const speed = speeds[operation]
          return speed ? [{ name, value: speed.median, kind }] : []
        })
        return { title: `${title.replace(', 200 B', '')}: ${operation}`, bars }
      }),
    )
  const title = 'Engines, a session of 200 bytes: operations a second (longer is better)'
  writeFileSync('docs/images/bench-engines.svg', barChart(title, groups))
}

for (const { framework, measured } of requests.results) requestChart(framework, measured)
storesChart()

const goalTables = requests.results.map(({ framework, measured }) =>
  goalsTable(framework, MODES, measured),
)
const costTables = requests.results.map(
  ({ framework, measured }) => `### ${framework}

![User time that a session adds to a request on ${framework}, untouched, read and write](images/bench-${framework}.svg)

${MODES.map((mode) => costTable(framework, mode, measured)).join('\n')}`,
)
const { reached: fast, of: all } = reached(store.tables)
const leftOut = store.leftOut.map((word) => `${word}\n`).join('\n')

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

By \`pnpm bench\`, with Node ${store.node}. Everything in a table was measured in one run, in turn, several
rounds; the figures are medians, and the ratios are what counts. Each peer as its README sets it up. Servers are
private and keep what they acknowledge (Redis: append-only, fsync on every write, but once a second where
processor time is measured; PostgreSQL and MariaDB: their defaults). On SQLite
the raw driver and Coatcheck run in WAL mode with \`synchronous = NORMAL\`; better-sqlite3-session-store leaves SQLite's default, a
rollback journal with a full fsync on every write. A write of Coatcheck's is always a compare-and-swap; a peer's overwrites.

## Goals

A goal that is not reached says so. Processor time: what a session adds to a request, in user time of the server's process.

${goalTables.join('\n')}
Stores: operations a second of those of the driver below, goal ≥ ${GOAL}. ${fast} of ${all} reach it; those that do not are **bold**. "of the
peer": of those of the first peer of [the tables below](#engines).

${ratiosTable(store.tables)}
${leftOut}
## What a session adds to a request

${day(requests)}. The server's own processor time (\`process.cpuUsage()\`), divided by the requests that it has answered, less that of the
framework alone. All servers run side by side, each in a process of its own, and are loaded in turn by wrk (16 connections, ${requests.sessions}
sessions in turn, half a second at a time, ${requests.rounds} rounds after one that warms up), so that a noisy machine is noisy to all of them. In
brackets: between which two figures the middle half of the rounds lies; where it is wide, the machine had something else to do, and the
ratios are rough. "untouched": a session's cookie is sent and the handler does not look;
"read": one value is read; "write": one value is read and changed.

Before anything is measured, every one of the sessions is read, changed and read again, and after the load the changes are counted (of
those that are kept on the server): a server that does not do what it says ends the benchmark. Ours run at their defaults. express-session has \`resave: false\`, \`saveUninitialized: false\` and \`rolling:
false\`, @fastify/session \`saveUninitialized: false\` and \`rolling: false\` (ours sends its cookie when the session has changed), and all have a
cookie of two weeks, which is our default. signed-cookie and cookie-session sign, @fastify/secure-session encrypts too. The statements by hand are a SELECT by
key, and for a write an UPDATE by key, prepared, on the same table and with the same settings: nothing of what makes a session safe.

${costTables.join('\n')}
## Two requests at once

${day(contention)}. ${contention.requests} requests on one session, each of which changes it: one after the other, and all at once. Every change must be
there at the end, or the benchmark fails.

${table(
  ['', 'one after the other, ms', 'at once, ms', 'ratio'],
  contention.results.map(({ name, sequential, atOnce, ratio }) => [
    name,
    median(sequential).toFixed(1),
    median(atOnce).toFixed(1),
    ratio.toFixed(2),
  ]),
)}
## What cached-db saves its database

The share of reads that the database is not asked for, by how visitors come and by \`freshFor\`: ${hits.visitors} visitors over ${hits.duration / 60} minutes, on a clock that the
benchmark sets, so that the machine's speed does not matter. The cache is lru, the database SQLite.

${table(['', ...hits.head], hits.rows)}
## A million sessions

${day(scale)}. Operations per second with so many sessions of 200 bytes, each in its turn. Where the driver below is a function call, its
own spread stands above.

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
\`clearExpired()\` deletes in batches. Of the DELETE's it is compared in the whole time, and in the stall.

## Engines

${day(store)}. ${count(store.sessions)} sessions in their turn, JSON in and out; ${store.rounds} rounds. "touch" renews a session. The driver does the same by
hand: prepared statements, or scripts, that compare and swap.

![Operations a second of each engine, beside the raw driver and its peers](images/bench-engines.svg)

${store.tables.map(speedsTable).join('\n')}`,
)

// How many reads cached-db answers without its database, by how visitors come and how long a copy is believed.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createKey, type SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { markdownTable, progress, saveResults } from './harness.ts'

const VISITORS = 20
/** How long they come, in seconds of a clock that the benchmark sets itself: nothing here depends on the machine. */
const DURATION = 600
/** How long a copy is believed, in seconds; the first is the default, the last the most. */
const FRESH_FOR = [5, 30, 60]
/** One request of so many changes its session. */
const CHANGES = [0, 10]

/** Numbers from 0 to 1 that are the same in each run: a linear congruential generator with the constants of Numerical Recipes. */
function createRandom(): () => number {
  let state = 1
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32
}

/** How long it is from a visitor's request to the next, in seconds, for the n-th. */
const patterns: Record<string, (n: number, random: () => number) => number> = {
  'a page of ten requests in a second, every 30 s': (n) => (n % 10 === 9 ? 29.1 : 0.1),
  'asks every second': () => 1,
  'a click every 3 s': () => 3,
  'a request every 5 s on average, at random': (_n, random) => -5 * Math.log(1 - random()),
  'a click every 10 s': () => 10,
}

/** Whose turn it is when, in ms, in order. */
function visitsOf(pattern: (typeof patterns)[string]): { visitor: number; at: number }[] {
  const random = createRandom()
  const visits = Array.from({ length: VISITORS }, (_, visitor) => {
    const own: { visitor: number; at: number }[] = []
    let at = random() * 30
    for (let n = 0; at < DURATION; n++) {
      own.push({ visitor, at: Math.round(at * 1000) })
      at += pattern(n, random)
    }
    return own
  })
  return visits.flat().toSorted((a, b) => a.at - b.at)
}

/** The share of reads that the database was not asked for. */
async function hitRate(
  pattern: (typeof patterns)[string],
  freshFor: number,
  changeEvery: number,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-hit-rate-'))
  const start = Date.now()
  let time = start
  const now = () => time
  const database = sqliteStore(join(folder, 'sessions.sqlite'), { now })
  database.migrate()
  let asked = 0
  const db: SessionStore = {
    ...database,
    load(key, latest) {
      asked++
      return database.load(key, latest)
    },
  }
  const store = cachedDbStore({ cache: lruStore({ now }), db, freshFor, now })
  const expiresAt = start + 86_400_000
  const keys = Array.from({ length: VISITORS }, createKey)
  for (const key of keys) database.create(key, { data: '{"n":0}', expiresAt })
  let reads = 0
  let missed = 0
  for (const { visitor, at } of visitsOf(pattern)) {
    time = start + at
    const key = keys[visitor]!
    const before = asked
    const { data } = (await store.load(key))!
    if (asked > before) missed++
    reads++
    if (changeEvery > 0 && reads % changeEvery === 0) {
      await store.save(key, { data: `{"n":${reads}}`, expiresAt }, data)
    }
    // The copy is put into the cache beside the request.
    await setImmediate()
  }
  await store.close?.()
  rmSync(folder, { recursive: true, force: true })
  return 1 - missed / reads
}

const results: { pattern: string; rates: number[] }[] = []
const columns = CHANGES.flatMap((changeEvery) =>
  FRESH_FOR.map((freshFor) => ({ changeEvery, freshFor })),
)
for (const [name, pattern] of Object.entries(patterns)) {
  const rates: number[] = []
  for (const { changeEvery, freshFor } of columns) {
    progress(`${name}, ${freshFor} s`)
    rates.push(await hitRate(pattern, freshFor, changeEvery))
  }
  results.push({ pattern: name, rates })
}
progress()
const head = columns.map(
  ({ changeEvery, freshFor }) =>
    `${freshFor} s${changeEvery > 0 ? `, one in ${changeEvery} changes` : ''}`,
)
const rows = results.map(({ pattern, rates }) => [
  pattern,
  ...rates.map((rate) => `${(rate * 100).toFixed(0)} %`),
])
console.log(markdownTable(['', ...head], rows))
saveResults('hit-rate', { visitors: VISITORS, duration: DURATION, head, rows })

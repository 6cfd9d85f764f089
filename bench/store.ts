// Every engine beside the driver below it and beside its peers: reads, writes and touches, one at a time and many at once.
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { HERE } from './checkout.ts'
import { file } from './engines/file.ts'
import { lru } from './engines/memory.ts'
import { mysql } from './engines/mysql.ts'
import { postgres } from './engines/postgres.ts'
import { redis } from './engines/redis.ts'
import { signedCookie } from './engines/signed-cookie.ts'
import { sqlite } from './engines/sqlite.ts'
import { measure, QUICK, saveResults, THOROUGH, type Result } from './harness.ts'
import { OPERATIONS, SESSIONS, type Engine, type Operation } from './sides.ts'
import { ratiosTable, speedsTable, type StoreTable } from './store-tables.ts'

const engines: Record<string, Engine> = {
  sqlite,
  lru,
  file,
  'signed-cookie': signedCookie,
  redis,
  postgres,
  mysql,
}

const USAGE = `node bench/store.ts [engines] [options]
  engines             any of ${Object.keys(engines).join(', ')} (default: all)
  --quick             fewer and shorter rounds
  --against ../other  measure ours of another checkout too, in the same rounds`

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    against: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const unknown = positionals.find((name) => !(name in engines))
if (options.help || unknown !== undefined) {
  console.log(unknown === undefined ? USAGE : `There is no engine '${unknown}'.\n\n${USAGE}`)
  process.exit(unknown === undefined ? 0 : 2)
}
const roots = [HERE, ...(options.against ? [resolve(options.against)] : [])]
const pace = options.quick ? QUICK : THOROUGH

const small = {
  user: { id: 12_345, name: 'Ann Example' },
  cart: [
    { id: 'coat', n: 2 },
    { id: 'hat', n: 1 },
  ],
  theme: 'dark',
  language: 'en',
  csrf: 'k'.repeat(64),
  visits: 1,
}
const large = {
  user: { id: 12_345, name: 'Ann Example' },
  visits: 1,
  text: randomBytes(2200).toString('base64'),
}

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-bench-'))
const tables: StoreTable[] = []
const leftOut: string[] = []

/** Measures an engine with sessions of one size, for each number of calls at once. */
async function run(engine: Engine, size: string, payload: object, levels: readonly number[]) {
  const closing: (() => unknown)[] = []
  const own = join(folder, `${engine.title}-${size}`)
  mkdirSync(own)
  try {
    const sides = await engine.open({
      payload,
      folder: own,
      roots,
      atEnd: (close) => closing.push(close),
      leaveOut(what, why) {
        const word = `${what} is left out: ${why}`
        if (!leftOut.includes(word)) leftOut.push(word)
      },
    })
    for (const atOnce of levels) {
      const how = engine.atOnce.length === 1 ? '' : `, ${atOnce} at once`
      const title = `${engine.title}, ${size}${how}`
      const speeds = sides.map((): Partial<Record<Operation, Result>> => ({}))
      for (const operation of OPERATIONS) {
        const able = sides.flatMap((side, at) => {
          const doIt = side[operation]
          return doIt ? [{ name: side.name, run: doIt, at }] : []
        })
        const results = await measure(`${title}: ${operation}`, able, pace, atOnce)
        for (const [n, { at }] of able.entries()) speeds[at]![operation] = results[n]!
      }
      const rows = sides.map(({ name, role, driver, other }, at) => ({
        name,
        role,
        ...(driver && { driver }),
        other,
        speeds: speeds[at]!,
      }))
      tables.push({ title, rows })
      console.log(speedsTable(tables.at(-1)!))
    }
  } finally {
    for (const close of closing.toReversed()) await close()
  }
}

try {
  for (const [name, engine] of Object.entries(engines)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    await run(engine, '200 B', small, engine.atOnce)
    // What a larger session costs shows at any number of calls.
    await run(engine, '3 KB', large, [engine.atOnce[engine.atOnce.length >> 1]!])
  }
  console.log(ratiosTable(tables))
  for (const word of leftOut) console.log(word)
  if (positionals.length === 0 && !options.against) {
    saveResults('store', { sessions: SESSIONS, rounds: pace.rounds, tables, leftOut })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

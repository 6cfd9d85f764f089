// Whether speed and memory hold as the sessions grow in number: 1,000, 100,000 and 1,000,000 of 200 bytes.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { createKey, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import Database from 'better-sqlite3'
import { redis } from '../testing/services.ts'
import { measure, progress, saveResults, THOROUGH, type Contender, type Result } from './harness.ts'

const SIZES = [1_000, 100_000, 1_000_000]
const EXPIRES = Date.now() + 86_400_000
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-scale-'))

const payload = {
  user: { id: 12_345, name: 'Ann Example' },
  cart: [{ id: 'coat', n: 2 }],
  theme: 'dark',
  language: 'en',
  csrf: 'k'.repeat(64),
}
const FIRST = JSON.stringify({ ...payload, visits: 0 })

interface Opened {
  store: SessionStore
  /** The text under a key, read by the driver below alone; to see what of a change is the driver's. */
  raw?(key: string): string
  close?(): unknown
}

/** One store for each size, so that they can be measured in turn. */
const engines: Record<string, (size: number) => Promise<Opened>> = {
  async sqlite(size) {
    const path = join(folder, `${size}.sqlite`)
    const store = sqliteStore(path)
    store.migrate()
    const database = new Database(path)
    const select = database.prepare(
      'SELECT session_data, expire_date FROM coatcheck_session WHERE session_key = ?',
    )
    return {
      store,
      raw: (key) => (select.get(key) as { session_data: string }).session_data,
      close: () => database.close(),
    }
  },
  async lru() {
    return { store: lruStore({ max: 2_000_000, maxBytes: 4_000_000_000 }) }
  },
  async redis() {
    const server = await redis.launch!()
    return { store: redisStore(server.url), close: () => server[Symbol.asyncDispose]() }
  },
  async file(size) {
    const path = join(folder, `files-${size}`)
    const raw = (key: string) => readFileSync(join(path, key.slice(0, 2), key), 'utf8').slice(17)
    return { store: fileStore(path), raw }
  },
}

/** Fills a store, many at once where that helps. */
async function fill(store: SessionStore, keys: readonly string[], what: string): Promise<void> {
  const record = { data: FIRST, expiresAt: EXPIRES }
  const step = store.traits?.sync ? 1 : 500
  for (let at = 0; at < keys.length; at += step) {
    if (step === 1) store.create(keys[at]!, record)
    else await Promise.all(keys.slice(at, at + step).map((key) => store.create(key, record)))
    if (at % 10_000 === 0) progress(`${what}: ${at.toLocaleString('en')}`)
  }
}

const wanted = process.argv.slice(2)
const all: { title: string; results: Result[] }[] = []
const spreads: Record<string, number> = {}
console.log(
  `| operations/s | ${SIZES.map((size) => size.toLocaleString('en')).join(' | ')} | fastest to slowest |\n| --- | --: | --: | --: | --: |`,
)
for (const [name, open] of Object.entries(engines)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const contenders: Record<string, Contender[]> = { 'the driver: load': [], load: [], save: [] }
  const closing: (() => unknown)[] = []
  for (const size of SIZES) {
    const { store, raw, close } = await open(size)
    closing.push(async () => {
      await store.close?.()
      await close?.()
    })
    const keys = Array.from({ length: size }, createKey)
    await fill(store, keys, `${name}, filling ${size.toLocaleString('en')}`)
    const texts = new Map<string, string>()
    let visits = 0
    // A prime that is no factor of the size: every session has its turn, far from the one before.
    const keyOf = (n: number) => keys[(n * 7919) % size]!
    const label = { name: `${size.toLocaleString('en')} sessions` }
    if (raw) {
      contenders['the driver: load']!.push({ ...label, run: (n) => JSON.parse(raw(keyOf(n))) })
    }
    contenders['load']!.push({
      ...label,
      run: store.traits?.sync
        ? (n) => JSON.parse((store.load(keyOf(n)) as SessionRecord).data)
        : async (n) => JSON.parse((await store.load(keyOf(n)))!.data),
    })
    contenders['save']!.push({
      ...label,
      run(n) {
        const key = keyOf(n)
        const data = JSON.stringify({ ...payload, visits: visits++ })
        const expected = texts.get(key) ?? FIRST
        texts.set(key, data)
        return store.save(key, { data, expiresAt: EXPIRES }, expected)
      },
    })
  }
  for (const [what, of] of Object.entries(contenders)) {
    if (of.length === 0) continue
    const title = `${name}, ${what}`
    const results = await measure(title, of, THOROUGH)
    all.push({ title, results })
    const medians = results.map((result) => result.median)
    const spread = Math.max(...medians) / Math.min(...medians)
    spreads[title] = spread
    const cells = medians.map((median) => Math.round(median).toLocaleString('en'))
    console.log(`| ${title} | ${cells.join(' | ')} | ${spread.toFixed(2)} |`)
  }
  for (const close of closing) await close()
}

/** Bytes of heap for each of a million sessions, each contender in a process of its own. */
const memory: Record<string, number> = {}
if (wanted.length === 0 || wanted.includes('memory')) {
  for (const contender of ['payload', 'lru', 'MemoryStore']) {
    progress(`memory: ${contender}`)
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--expose-gc', `${import.meta.dirname}/memory.ts`, contender],
      { encoding: 'utf8' },
    )
    memory[contender] = Number(stdout)
    if (!(memory[contender] > 0)) throw new Error(stderr)
  }
  progress()
  console.log('### A million sessions in memory\n\n| | bytes a session |\n| --- | --: |')
  for (const [contender, bytes] of Object.entries(memory)) {
    console.log(`| ${contender} | ${Math.round(bytes)} |`)
  }
}
rmSync(folder, { recursive: true, force: true })
if (wanted.length === 0) saveResults('scale', { results: all, spreads, memory })
process.exit(0)

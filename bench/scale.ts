// Whether speed and memory hold as the sessions grow in number: 1,000, 100,000 and 1,000,000 of 200 bytes.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { createKey, type SessionStore } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import { redis } from '../testing/services.ts'
import {
  measure,
  progress,
  saveResults,
  toMarkdown,
  type Contender,
  type Result,
} from './harness.ts'

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

/** One store for each size, so that they can be measured in turn. */
const engines: Record<
  string,
  (size: number) => Promise<{ store: SessionStore; close?(): unknown }>
> = {
  async sqlite(size) {
    const store = sqliteStore(join(folder, `${size}.sqlite`))
    store.migrate()
    return { store }
  },
  async lru() {
    return { store: lruStore({ max: 2_000_000, maxBytes: 4_000_000_000 }) }
  },
  async redis() {
    const server = await redis.launch!()
    return { store: redisStore(server.url), close: () => server[Symbol.asyncDispose]() }
  },
  async file(size) {
    return { store: fileStore(join(folder, `files-${size}`)) }
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
for (const [name, open] of Object.entries(engines)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const loads: Contender[] = []
  const saves: Contender[] = []
  const closing: (() => unknown)[] = []
  for (const size of SIZES) {
    const { store, close } = await open(size)
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
    const label = `${size.toLocaleString('en')} sessions`
    const role = size === SIZES[0] ? 'raw' : 'ours'
    loads.push({
      name: label,
      role,
      run: (n) => store.load(keyOf(n)),
    })
    saves.push({
      name: label,
      role,
      run(n) {
        const key = keyOf(n)
        const data = JSON.stringify({ ...payload, visits: visits++ })
        const expected = texts.get(key) ?? FIRST
        texts.set(key, data)
        return store.save(key, { data, expiresAt: EXPIRES }, expected)
      },
    })
  }
  for (const [what, contenders] of [
    ['load', loads],
    ['save', saves],
  ] as const) {
    const title = `${name}: ${what}`
    const results = await measure(title, contenders)
    all.push({ title, results })
    console.log(toMarkdown(title, results))
    const medians = results.map((result) => result.median)
    spreads[title] = Math.max(...medians) / Math.min(...medians)
    console.log(`fastest to slowest: ${spreads[title].toFixed(2)}\n`)
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

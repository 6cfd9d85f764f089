// cached-db with a real Redis that is stopped, half dead, slow, a replica or full: requests do not wait for it again and again.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { redisStore } from '@coatcheck/cache/redis'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { Redis } from 'ioredis'
import { afterAll, expect, onTestFinished } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { openProxy, type Proxy } from '../../../testing/proxy.ts'
import { redis } from '../../../testing/services.ts'
import { cachedDbStore } from './index.ts'

// A server of its own, whatever the environment names: it is stopped.
const { variable: _variable, ...privateRedis } = redis
const { url, service, test } = await testWith(privateRedis)
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-cache-away-'))
afterAll(async () => {
  await service?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

/** A request that takes longer than this, in ms, has waited for the cache: the database answers in a few, and on a busy machine in some hundred; the cache is waited for for 900 or 1000. */
const WAITED = 800

const newKey = () => randomUUID().replaceAll('-', '')
const record = (data: string) => ({ data, expiresAt: Date.now() + 60_000 })

async function open() {
  const { hostname, port } = new URL(url!)
  const proxy = await openProxy(hostname, Number(port))
  const db = sqliteStore(join(folder, `${newKey()}.sqlite`))
  db.migrate()
  const cache = redisStore(`redis://${proxy.host}:${proxy.port}`)
  const store = cachedDbStore({ cache, db, freshFor: 1 })
  const admin = new Redis(url!, { maxRetriesPerRequest: 0 }).on('error', () => {})
  onTestFinished(async () => {
    await store.close!()
    proxy.cut()
    await admin.config('SET', 'maxmemory', '0')
    await admin.replicaof('NO', 'ONE')
    admin.disconnect()
  })
  return { store, proxy, admin }
}

/** Visitors who come one after the other, each to read and to save; how long each call took, in ms, and when it began. */
async function visits(store: Awaited<ReturnType<typeof open>>['store'], ms: number, atLeast = 0) {
  const key = newKey()
  await store.create(key, record('0'))
  const calls: { at: number; took: number }[] = []
  const started = performance.now()
  const timed = async (call: () => unknown) => {
    const at = performance.now()
    await call()
    calls.push({ at: at - started, took: performance.now() - at })
  }
  const isOver = () => performance.now() - started >= ms && calls.length > atLeast
  for (let n = 1; !isOver(); n++) {
    await timed(() => store.load(key))
    await timed(() => store.save(key, record(`${n}`), `${n - 1}`))
    await setTimeout(10)
  }
  return calls
}

const waitsIn = (calls: { took: number }[]) => calls.filter(({ took }) => took > WAITED)

const faults: Record<
  string,
  {
    begin: (to: { proxy: Proxy; admin: Redis }) => unknown
    end: (to: { proxy: Proxy; admin: Redis }) => unknown
    /** How many calls may wait. */
    waits: number
  }
> = {
  'is stopped (SIGSTOP)': {
    begin: () => service!.freeze(true),
    end: () => service!.freeze(false),
    waits: 2,
  },
  'neither answers nor hangs up': {
    begin: ({ proxy }) => proxy.freeze(true),
    end: ({ proxy }) => proxy.freeze(false),
    waits: 2,
  },
  'is cut off': {
    begin: ({ proxy }) => proxy.cut(),
    end: ({ proxy }) => proxy.restore(),
    waits: 2,
  },
  'answers after 900 ms': {
    begin: async ({ proxy }) => {
      proxy.delay(900)
      proxy.cut()
      await proxy.restore()
    },
    end: async ({ proxy }) => {
      proxy.delay(0)
      proxy.cut()
      await proxy.restore()
    },
    waits: 3,
  },
  'has become a replica (READONLY)': {
    begin: ({ admin }) => admin.replicaof('127.0.0.1', '1'),
    end: ({ admin }) => admin.replicaof('NO', 'ONE'),
    waits: 0,
  },
  'is full': {
    begin: ({ admin }) => admin.config('SET', 'maxmemory', '1'),
    end: ({ admin }) => admin.config('SET', 'maxmemory', '0'),
    waits: 0,
  },
}
for (const [what, { begin, end, waits }] of Object.entries(faults)) {
  test(`while the cache ${what}, at most ${waits} of a visitor's calls in 6 s wait for it, and no other`, async () => {
    const { store, proxy, admin } = await open()
    await visits(store, 300)
    await begin({ proxy, admin })
    try {
      const calls = await visits(store, 6000, 100)
      expect(calls.length).toBeGreaterThan(100)
      expect(waitsIn(calls).length).toBeLessThanOrEqual(waits)
    } finally {
      await end({ proxy, admin })
    }
    // It is of use again, soon.
    const key = newKey()
    await expect
      .poll(
        async () => {
          await Promise.resolve(store.create(key, record('1'))).catch(() => {})
          await store.load(key)
          return (await admin.keys(`session:${key}`)).length
        },
        { timeout: 30_000, interval: 100 },
      )
      .toBe(1)
  })
}

test('a cache that answers for a while and then does not, again and again, is left alone longer each time', async () => {
  const { store, proxy } = await open()
  await visits(store, 300)
  const over = new AbortController()
  const flapping = (async () => {
    while (!over.signal.aborted) {
      proxy.freeze(true)
      await setTimeout(1500)
      proxy.freeze(false)
      await setTimeout(1200)
    }
  })()
  const calls = await visits(store, 24_000)
  over.abort()
  await flapping
  expect(waitsIn(calls).length).toBeLessThanOrEqual(5)
})

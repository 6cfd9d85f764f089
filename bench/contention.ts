// 100 requests at once on one session, all changing it, beside 100 one after the other: how much longer, and is all there?
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createSessions, type SessionStore } from '@coatcheck/core'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { fileStore } from '@coatcheck/file'
import { mariadb, postgres, redis, type Kind } from '../testing/services.ts'
import { median, progress, saveResults } from './harness.ts'

const REQUESTS = 100
const ROUNDS = process.argv.includes('--quick') ? 3 : 9
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-contention-'))

async function migrated<S extends SessionStore & { migrate(): void | Promise<void> }>(store: S) {
  await store.migrate()
  return store
}
const sqliteAt = (name: string) => migrated(sqliteStore(join(folder, `${name}.sqlite`)))

/** How long it took, in ms. */
async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return performance.now() - start
}

const engines: Record<
  string,
  { kind?: Kind; open(url: string): SessionStore | Promise<SessionStore> }
> = {
  lru: { open: () => lruStore() },
  sqlite: { open: () => sqliteAt('sqlite') },
  file: { open: () => fileStore(join(folder, 'files')) },
  redis: { kind: redis, open: (url) => redisStore(url) },
  postgres: { kind: postgres, open: (url) => migrated(postgresStore(url)) },
  mysql: { kind: mariadb, open: (url) => migrated(mysqlStore(url)) },
  'cached-db (redis over sqlite)': {
    kind: redis,
    open: async (url) => cachedDbStore({ cache: redisStore(url), db: await sqliteAt('cached') }),
  },
}

const results: object[] = []
console.log(
  '| | 100 one after the other, ms | 100 at once, ms | ratio |\n| --- | --: | --: | --: |',
)
for (const [name, { kind, open }] of Object.entries(engines)) {
  const server = await kind?.launch!()
  const store = await open(server?.url ?? '')
  const sessions = createSessions<{ n: number }>({ store })
  const first = await sessions.open(undefined)
  first.set('n', 0)
  const { setCookie } = await sessions.commit(first)
  const cookie = setCookie!.split(';', 1)[0]

  const request = async () => {
    const session = await sessions.open(cookie)
    session.update('n', (n = 0) => n + 1)
    // The handler waits for something, so that other requests come in between.
    await setImmediate()
    await sessions.commit(session)
  }
  const [sequential, atOnce]: [number[], number[]] = [[], []]
  for (let round = 0; round <= ROUNDS; round++) {
    progress(`${name}, round ${round} of ${ROUNDS}`)
    const one = await timed(async () => {
      for (let n = 0; n < REQUESTS; n++) await request()
    })
    const other = await timed(() => Promise.all(Array.from({ length: REQUESTS }, request)))
    // The first round only warms up.
    if (round === 0) continue
    sequential.push(one)
    atOnce.push(other)
  }
  const n = (await sessions.open(cookie)).get('n')
  if (n !== 2 * REQUESTS * (ROUNDS + 1)) throw new Error(`${name}: ${n} changes are there`)
  progress()
  const ratio = median(atOnce) / median(sequential)
  console.log(
    `| ${name} | ${median(sequential).toFixed(1)} | ${median(atOnce).toFixed(1)} | ${ratio.toFixed(2)} |`,
  )
  results.push({ name, sequential, atOnce, ratio })
  await sessions.close()
  await server?.[Symbol.asyncDispose]()
}
rmSync(folder, { recursive: true, force: true })
saveResults('contention', { requests: REQUESTS, results })
process.exit(0)

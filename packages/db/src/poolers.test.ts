// PostgreSQL behind PgBouncer, where a connection is another one for each statement; and prepared statements that are not what they were.
import { randomUUID } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { SessionWarning } from '@coatcheck/core'
import pg from 'pg'
import { afterAll, beforeEach, expect } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { pgbouncer, postgres, type PoolMode } from '../../../testing/services.ts'
import { postgresStore, type PostgresStore } from './postgres.ts'

const database = await testWith(postgres)
const { url, test, service } = await testWith(pgbouncer(database.url))
afterAll(async () => {
  await service?.[Symbol.asyncDispose]()
  await database.service?.[Symbol.asyncDispose]()
})

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const freshKey = () => randomUUID().replaceAll('-', '')
const later = () => Date.now() + 60_000

/** The codes of the warnings that a test has seen. */
let warnings: string[] = []
const note = (message: unknown) => warnings.push((message as SessionWarning).code)
subscribe('coatcheck:warning', note)
afterAll(() => unsubscribe('coatcheck:warning', note))
beforeEach(() => void (warnings = []))

/** One visitor's request: every call of the contract, each looked at. */
async function visit(store: PostgresStore): Promise<void> {
  const key = freshKey()
  const expiresAt = later()
  await store.create(key, { data: '1', expiresAt })
  await store.save(key, { data: '2', expiresAt }, '1')
  await store.touch(key, expiresAt + 1, expiresAt)
  expect(await store.load(key)).toEqual({ data: '2', expiresAt: expiresAt + 1 })
  await store.delete(key)
  expect(await store.load(key)).toBeUndefined()
}

/** Two hundred requests at once over four stores, as over four processes. */
async function visits(stores: PostgresStore[]): Promise<void> {
  await stores[0]!.migrate()
  await Promise.all(Array.from({ length: 200 }, (_, n) => visit(stores[n % stores.length]!)))
  expect(await stores[0]!.clearExpired!()).toBe(0)
}

for (const prepare of [true, false]) {
  const told = prepare ? 'without the option, with one warning a store' : 'with prepare: false'

  test(`all of 200 requests at once behind transaction mode, ${told}`, async () => {
    const table = freshTable()
    const stores = [1, 2, 3, 4].map(() => postgresStore(url!, { table, prepare }))
    await visits(stores)
    const perStore = warnings.length / stores.length
    expect(new Set(warnings)).toEqual(new Set(prepare ? ['PREPARED_STATEMENTS'] : []))
    expect(perStore).toBeLessThanOrEqual(1)
    await Promise.all(stores.map((store) => store.close?.()))
  })

  test(`all of 200 requests at once on a pool of the application's behind transaction mode, ${told}`, async () => {
    const table = freshTable()
    const pools = [1, 2, 3, 4].map(() => new pg.Pool({ connectionString: url, max: 3 }))
    await visits(pools.map((pool) => postgresStore(pool, { table, prepare })))
    await Promise.all(pools.map((pool) => pool.end()))
  })

  test(`all of 200 requests at once on clients of the application's behind transaction mode, ${told}`, async () => {
    const table = freshTable()
    const clients = [1, 2, 3, 4].map(() => new pg.Client({ connectionString: url }))
    await Promise.all(clients.map((client) => client.connect()))
    await visits(clients.map((client) => postgresStore(client, { table, prepare })))
    await Promise.all(clients.map((client) => client.end()))
  })

  for (const mode of ['session', 'statement'] satisfies PoolMode[]) {
    test(`all of 200 requests at once behind ${mode} mode, ${told}`, async () => {
      await using bouncer = await pgbouncer(database.url, { mode, size: 5 }).launch!()
      const table = freshTable()
      const stores = [1, 2].map(() => {
        const pool = new pg.Pool({ connectionString: bouncer.url, max: 2 })
        return { pool, store: postgresStore(pool, { table, prepare }) }
      })
      await visits(stores.map(({ store }) => store))
      await Promise.all(stores.map(({ pool }) => pool.end()))
    })
  }
}

test('a PgBouncer that was restarted is found again', async () => {
  const store = postgresStore(url!, { table: freshTable() })
  await store.migrate()
  await visit(store)
  await service!.stop()
  await expect(store.load(freshKey())).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringContaining(`ECONNREFUSED 127.0.0.1:${new URL(url!).port}`),
  })
  await service!.start()
  await visit(store)
  await store.close?.()
})

// PostgreSQL, as a real server of its own: the conformance suite, and what only this engine has.
import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, expect } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { countRoundTrips } from '../../../testing/round-trips.ts'
import { postgresStore } from './postgres.ts'

const { url, test } = (await proveEngines('postgres'))['postgres']!
const pool = new pg.Pool({ connectionString: url })
pool.on('error', () => {})
afterAll(() => pool.end())

const freshTable = () => `test_${randomUUID().replaceAll('-', '')}`
const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('by a URL, with a pool of its own', async () => {
  const store = postgresStore(url!, { table: freshTable() })
  await store.migrate()
  await store.create(KEY, { data: '{}', expiresAt: later() })
  expect(await store.load(KEY)).toBeDefined()
  await store.close?.()
  await store.close?.()
})

test('a missing table is an error that says what to call', async () => {
  const store = postgresStore(pool, { table: freshTable() })
  await expect(async () => store.load(KEY)).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/Call store\.migrate\(\) once/),
  })
})

test('ten processes that migrate at once do not disturb each other', async () => {
  const table = freshTable()
  const stores = Array.from({ length: 10 }, () => postgresStore(pool, { table }))
  await Promise.all(stores.map((store) => store.migrate()))
})

for (const zone of ['Asia/Kolkata', 'America/St_Johns', 'UTC']) {
  test(`expiry is the same moment on a connection in time zone ${zone}`, async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(`SET TIME ZONE '${zone}'`)
    const store = postgresStore(client, { table: freshTable() })
    await store.migrate()
    const expiresAt = Date.UTC(2100, 6, 1, 0, 30, 0, 123)
    await store.create(KEY, { data: '{}', expiresAt })
    expect(await store.load(KEY)).toMatchObject({ expiresAt })
    await client.end()
  })
}

test('under SERIALIZABLE isolation a lost race is a conflict too', async () => {
  const strict = new pg.Pool({
    connectionString: url,
    options: '-c default_transaction_isolation=serializable',
  })
  const store = postgresStore(strict, { table: freshTable() })
  await store.migrate()
  await store.create(KEY, { data: 'old', expiresAt: later() })
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10 }, (_, n) =>
      store.save(KEY, { data: `${n}`, expiresAt: later() }, 'old'),
    ),
  )
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') expect(outcome.reason.code).toBe('ERR_SESSION_CONFLICT')
  }
  await strict.end()
})

test('a server that is not there is a SessionStoreError within seconds', async () => {
  const store = postgresStore('postgres://test@127.0.0.1:1/test')
  await expect(async () => store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await store.close?.()
})

test('each call is one round trip, once its statement is prepared', async () => {
  const relay = await countRoundTrips(url!)
  const store = postgresStore(relay.url, { table: freshTable() })
  await store.migrate()
  await relay.duringEach(store, 'o'.repeat(32))
  expect(await relay.duringEach(store, KEY)).toEqual({
    create: 1,
    load: 1,
    save: 1,
    touch: 1,
    delete: 1,
  })
  await store.close?.()
  relay.close()
})

// sqlStore over every client of a server, while that is stopped, silent and restarted, and while its statements lose to others.
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { createKey } from '@coatcheck/core/store'
import { sqlStore } from '@coatcheck/db/sql'
import { afterAll, describe, expect } from 'vitest'
import { testWith } from '../needs.ts'
import { mariadb, postgres, startAgain, type Kind } from '../services.ts'
import { clients, generatePrisma } from './clients.ts'

/** A call is over within 5 s, in ms; so much is for a machine that is busy with other tests. */
const BOUND = 8000

/** All is well again within so many ms of the server being back. */
const RECOVERY = 20_000

generatePrisma('postgresql')
/** A private server, as it is to be stopped. */
const own = ({ name, how, launch }: Kind) => testWith({ name, how, launch })
const servers = { postgres: await own(postgres), mariadb: await own(mariadb) }
afterAll(async () => {
  for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
})

const record = () => ({ data: '{"name":"Ann"}', expiresAt: Date.now() + 600_000 })

async function openStore(name: string, url: string) {
  const { open, dialect } = clients[name]!
  const client = await open(url)
  const key = createKey()
  const table = `faults_${key.replaceAll('-', '_').slice(0, 16)}`
  const store = sqlStore({ dialect, run: client.run, table })
  await store.migrate()
  await store.create(key, record())
  return { name, key, table, store, close: async () => void (await client.close()) }
}

type Opened = Awaited<ReturnType<typeof openStore>>

/** What a call fails with, which must say why, in time, and nothing of what was stored. */
async function causeOf({ name, key, store }: Opened): Promise<string> {
  const start = performance.now()
  const error: any = await Promise.resolve(store.load(key)).then(
    () => expect.unreachable(`${name} has answered`),
    (reason) => reason,
  )
  expect(performance.now() - start, name).toBeLessThan(BOUND)
  expect(error, name).toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(inspect(error, { depth: 9, showHidden: true }), name).not.toMatch(/Ann|SELECT/)
  expect(inspect(error, { depth: 9, showHidden: true }), name).not.toContain(key)
  return error.message.replace(/^.*? failed to load a session from '\w+'/, '')
}

async function isWellAgain({ name, key, store }: Opened): Promise<void> {
  const end = performance.now() + RECOVERY
  for (;;) {
    try {
      expect(await store.load(key)).toBeDefined()
      await store.save(key, record())
      return
    } catch (error) {
      if (performance.now() > end) throw new Error(`${name} is not well again`, { cause: error })
      await setTimeout(100)
    }
  }
}

describe.each(['postgres', 'mariadb'] as const)('%s', (kind) => {
  const { url, service, test } = servers[kind]
  const names = Object.keys(clients).filter((name) => clients[name]!.needs === kind)

  test('stopped, started again, silent, and back: errors in time that say why, and all is well after', async () => {
    const stores = await Promise.all(names.map((name) => openStore(name, url!)))
    const causes = async () => {
      const said = await Promise.all(stores.map(causeOf))
      return Object.fromEntries(stores.map(({ name }, at) => [name, said[at]]))
    }
    // PostgreSQL's children would answer once more after a SIGKILL; MariaDB knows no SIGINT.
    await service!.stop(kind === 'postgres' ? 'SIGINT' : 'SIGKILL')
    // The first call of each may find the connection that has broken.
    await causes()
    for (const [name, said] of Object.entries(await causes())) {
      expect(said, name).toMatch(/ECONNREFUSED|DatabaseNotReachable|ETIMEDOUT/)
    }
    await startAgain(service!)
    await Promise.all(stores.map(isWellAgain))
    service!.freeze(true)
    try {
      for (const [name, said] of Object.entries(await causes())) {
        expect(said, name).toMatch(/ETIMEDOUT/)
      }
    } finally {
      service!.freeze(false)
    }
    await Promise.all(stores.map(isWellAgain))
    // Some wait for an answer that will not come.
    for (const { close } of stores) void close().catch(() => {})
  })
})

servers.postgres.test(
  'under a stricter isolation what loses to others is run again, however a client wraps the error',
  async () => {
    const { default: pg } = await import('pg')
    const admin = new pg.Client({ connectionString: servers.postgres.url! })
    await admin.connect()
    await admin.query(`ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'serializable'`)
    for (const name of Object.keys(clients)) {
      if (clients[name]!.needs !== 'postgres') continue
      const { store, key, close } = await openStore(name, servers.postgres.url!)
      const saves = Array.from({ length: 60 }, (_, n) =>
        store.save(key, { ...record(), data: `{"n":${n}}` }),
      )
      expect(await Promise.all(saves), name).toHaveLength(60)
      await close()
    }
    await admin.query('ALTER ROLE CURRENT_USER RESET default_transaction_isolation')
    await admin.end()
  },
)

servers.mariadb.test('a deadlock is run again, however a client wraps the error', async () => {
  const { createConnection } = await import('mysql2/promise')
  for (const name of Object.keys(clients)) {
    if (clients[name]!.needs !== 'mariadb') continue
    const { store, table, close } = await openStore(name, servers.mariadb.url!)
    const ended = { data: 'x', expiresAt: 1 }
    for (const key of ['aaaaaaaa', 'bbbbbbbb']) await store.create(key, ended)
    const other = await createConnection(servers.mariadb.url!)
    await other.beginTransaction()
    // The one that has done more is not the one that the server ends.
    for (let n = 0; n < 50; n++) {
      await other.query(`INSERT INTO ${table} VALUES ('heavy-${n}', 'x', '2040-01-01')`)
    }
    await other.query(`UPDATE ${table} SET session_data = 'y' WHERE session_key = 'bbbbbbbb'`)
    const swept = store.clearExpired!()
    await setTimeout(300)
    await other.query(`UPDATE ${table} SET session_data = 'y' WHERE session_key = 'aaaaaaaa'`)
    await other.commit()
    expect(await swept, name).toBe(2)
    await other.end()
    await close()
  }
})

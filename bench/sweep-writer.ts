// The writer beside a sweep: saves one live session after the other, and tells how long the slowest save took.
import { setTimeout } from 'node:timers/promises'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import mysql from 'mysql2/promise'
import pg from 'pg'

const [kind, url, live] = process.argv.slice(2) as [string, string, string]
const store = {
  sqlite: () => sqliteStore(url, { busyTimeout: 120_000 }),
  postgres: () => postgresStore(new pg.Pool({ connectionString: url })),
  // A pool of its own, because the engine's gives up after 10 seconds, and how long it would wait is what is measured.
  mariadb: () => mysqlStore(mysql.createPool({ uri: url })),
}[kind]!()

const save = (n: number) =>
  store.save(`live${String(((n * 7919) % Number(live)) + 1).padStart(28, '0')}`, {
    data: JSON.stringify({ n, text: 'y'.repeat(190) }),
    expiresAt: Date.UTC(2100, 0, 1),
  })

const stop = new AbortController()
process.on('message', () => stop.abort())
await save(0)
process.send!('ready')
let [stall, saves] = [0, 0]
while (!stop.signal.aborted) {
  const start = performance.now()
  await save(saves)
  stall = Math.max(stall, performance.now() - start)
  saves++
  await setTimeout(1)
}
process.send!({ stall, saves })
process.exit(0)

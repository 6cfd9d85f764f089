// Clearing 1,000,000 expired rows out of 1,200,000 while another process writes: clearExpired() beside one plain DELETE.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import Database from 'better-sqlite3'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { mariadb, postgres } from '../testing/services.ts'
import { median, progress, saveResults } from './harness.ts'

const EXPIRED = 1_000_000
const LIVE = 200_000
const ROUNDS = 3

/** What the benchmark does with one database; the table is empty and indexed when it starts. */
interface Subject {
  readonly url: string
  /** Empties the table and fills it with the rows, in the database itself. */
  fill(): unknown
  deletePlainly(): unknown
  sweep(): number | Promise<number>
  close(): unknown
}

const DATA = JSON.stringify({ user: 12_345, theme: 'dark', text: 'x'.repeat(165) })

const sqliteRows = (count: number) =>
  `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
   INSERT INTO coatcheck_session`

/** Rows that ended within the last 30 days under random keys, and live ones under keys that the writer knows. */
const subjects: Record<string, () => Promise<Subject>> = {
  async sqlite() {
    const folder = mkdtempSync(join(tmpdir(), 'coatcheck-sweep-'))
    const url = join(folder, 'sessions.sqlite')
    const store = sqliteStore(url, { busyTimeout: 120_000 })
    store.migrate()
    const database = new Database(url, { timeout: 120_000 })
    database.pragma('synchronous = NORMAL')
    return {
      url,
      fill() {
        database.exec(`
          DELETE FROM coatcheck_session; VACUUM; BEGIN;
          ${sqliteRows(EXPIRED)} SELECT lower(hex(randomblob(16))), '${DATA}',
            strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || (i % 2592000) || ' seconds') FROM n;
          ${sqliteRows(LIVE)} SELECT printf('live%028d', i), '${DATA}', '2100-01-01 00:00:00.000000' FROM n;
          COMMIT; PRAGMA wal_checkpoint(TRUNCATE); ANALYZE;`)
      },
      deletePlainly: () =>
        database.exec(
          `DELETE FROM coatcheck_session WHERE expire_date <= strftime('%Y-%m-%d %H:%M:%f000', 'now')`,
        ),
      sweep: () => store.clearExpired!(),
      close() {
        store.close?.()
        database.close()
        rmSync(folder, { recursive: true })
      },
    }
  },

  async postgres() {
    const server = await postgres.launch!()
    const store = postgresStore(server.url)
    await store.migrate()
    const client = new pg.Client({ connectionString: server.url })
    client.on('error', () => {})
    await client.connect()
    return {
      url: server.url,
      fill: () =>
        client.query(`
          TRUNCATE coatcheck_session;
          INSERT INTO coatcheck_session
            SELECT md5(random()::text || i), '${DATA}', now() - (i % 2592000) * interval '1 second'
            FROM generate_series(1, ${EXPIRED}) i;
          INSERT INTO coatcheck_session
            SELECT 'live' || lpad(i::text, 28, '0'), '${DATA}', '2100-01-01'
            FROM generate_series(1, ${LIVE}) i;
          ANALYZE coatcheck_session;`),
      deletePlainly: () => client.query('DELETE FROM coatcheck_session WHERE expire_date <= now()'),
      sweep: () => store.clearExpired!(),
      async close() {
        await store.close!()
        await client.end()
        await server[Symbol.asyncDispose]()
      },
    }
  },

  async mariadb() {
    const server = await mariadb.launch!()
    const store = mysqlStore(server.url)
    await store.migrate()
    const client = await mysql.createConnection({ uri: server.url, multipleStatements: true })
    // A plain DELETE of this size makes a writer wait longer than the server's default of 50 seconds lets it.
    await client.query('SET GLOBAL innodb_lock_wait_timeout = 1000')
    return {
      url: server.url,
      fill: () =>
        client.query(`
          TRUNCATE coatcheck_session;
          INSERT INTO coatcheck_session
            SELECT md5(concat(rand(), seq)), '${DATA}', utc_timestamp(6) - INTERVAL seq % 2592000 SECOND
            FROM seq_1_to_${EXPIRED};
          INSERT INTO coatcheck_session
            SELECT concat('live', lpad(seq, 28, '0')), '${DATA}', '2100-01-01' FROM seq_1_to_${LIVE};
          ANALYZE TABLE coatcheck_session;`),
      deletePlainly: () =>
        client.query('DELETE FROM coatcheck_session WHERE expire_date <= utc_timestamp(6)'),
      sweep: () => store.clearExpired!(),
      async close() {
        await store.close!()
        await client.end()
        await server[Symbol.asyncDispose]()
      },
    }
  },
}

interface Seen {
  /** How long the clearing took, in ms. */
  total: number
  /** The longest that one save of the writer took meanwhile, in ms. */
  stall: number
  /** Saves of the writer meanwhile. */
  saves: number
}

/** Runs `clear` while a process of its own saves live sessions, one after the other. */
async function besideWriter(
  kind: string,
  url: string,
  clear: () => unknown,
): Promise<Seen & { result: unknown }> {
  const writer = fork(`${import.meta.dirname}/sweep-writer.ts`, [kind, url, String(LIVE)])
  await once(writer, 'message')
  const start = performance.now()
  const result = await clear()
  const total = performance.now() - start
  writer.send('stop')
  const [{ stall, saves }] = await once(writer, 'message')
  return { total, stall, saves, result }
}

const wanted = process.argv.slice(2)
const results: object[] = []
console.log(
  '| | plain DELETE, s | longest stall, ms | clearExpired, s | of the DELETE | longest stall, ms | of the DELETE |\n| --- | --: | --: | --: | --: | --: | --: |',
)
for (const [kind, open] of Object.entries(subjects)) {
  if (wanted.length > 0 && !wanted.includes(kind)) continue
  const subject = await open()
  const seen = { plain: [] as Seen[], swept: [] as Seen[] }
  for (let round = 1; round <= ROUNDS; round++) {
    progress(`${kind}, round ${round} of ${ROUNDS}: plain DELETE`)
    await subject.fill()
    seen.plain.push(await besideWriter(kind, subject.url, () => subject.deletePlainly()))
    progress(`${kind}, round ${round} of ${ROUNDS}: clearExpired`)
    await subject.fill()
    const swept = await besideWriter(kind, subject.url, () => subject.sweep())
    if (swept.result !== EXPIRED) throw new Error(`${kind}: ${swept.result} rows were cleared`)
    seen.swept.push(swept)
  }
  await subject.close()
  const of = (which: 'plain' | 'swept', what: keyof Seen) =>
    median(seen[which].map((one) => one[what]))
  const plain = of('plain', 'total')
  progress()
  console.log(
    `| ${kind} | ${(plain / 1000).toFixed(1)} | ${of('plain', 'stall').toFixed(0)} | ${(of('swept', 'total') / 1000).toFixed(1)} | ${(of('swept', 'total') / plain).toFixed(2)} | ${of('swept', 'stall').toFixed(0)} | 1/${(plain / of('swept', 'stall')).toFixed(0)} |`,
  )
  results.push({ kind, expired: EXPIRED, live: LIVE, ...seen })
}
if (wanted.length === 0) saveResults('sweep', { results })
process.exit(0)

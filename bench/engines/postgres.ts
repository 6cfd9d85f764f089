// PostgreSQL: pg with prepared statements, ours, and connect-pg-simple.
import pg from 'pg'
import { postgres as server } from '../../testing/services.ts'
import { load } from '../checkout.ts'
import { assertChanged, ours, peer, raw, type Engine } from '../sides.ts'

const DRIVER = 'pg'

export const postgres: Engine = {
  title: 'PostgreSQL',
  atOnce: [1, 10, 100],
  async open(place) {
    const { folder, payload, roots } = place
    if (!server.launch) throw new Error(server.how)
    const launched = await server.launch()
    place.atEnd(() => launched[Symbol.asyncDispose]())
    const connect = () => {
      const pool = new pg.Pool({ connectionString: launched.url }).on('error', () => {})
      place.atEnd(() => pool.end())
      return pool
    }
    const pool = connect()
    await pool.query(
      'CREATE TABLE raw (k varchar(64) PRIMARY KEY, d text NOT NULL, e timestamptz NOT NULL); CREATE INDEX raw_e ON raw (e)',
    )
    const run = (name: string, text: string, values: unknown[]) =>
      pool.query({ name, text, values })
    const sides = [
      await raw('pg, prepared statements', DRIVER, payload, {
        create: (key, data, end) =>
          run('create', 'INSERT INTO raw VALUES ($1, $2, $3)', [key, data, new Date(end)]),
        async read(key) {
          const { rows } = await run('read', 'SELECT d, e FROM raw WHERE k = $1', [key])
          return JSON.parse(rows[0].d)
        },
        async write(key, data, expected, end) {
          const { rowCount } = await run(
            'write',
            'UPDATE raw SET d = $1, e = $2 WHERE k = $3 AND e > $4 AND d = $5',
            [data, new Date(end), key, new Date(), expected],
          )
          assertChanged(rowCount)
        },
        async touch(key, end, from) {
          const { rowCount } = await run('touch', 'UPDATE raw SET e = $1 WHERE k = $2 AND e = $3', [
            new Date(end),
            key,
            new Date(from),
          ])
          assertChanged(rowCount)
        },
      }),
    ]
    for (const root of roots) {
      const { postgresStore } = await load(root, '@coatcheck/db/postgres')
      const store = postgresStore(connect())
      place.atEnd(() => store.close?.())
      await store.migrate()
      sides.push(await ours('postgres', DRIVER, root, payload, store))
    }
    return [...sides, await peer('connect-pg-simple', place, { folder, postgres: launched.url })]
  },
}

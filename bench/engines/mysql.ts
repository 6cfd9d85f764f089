// MariaDB: mysql2 with prepared statements, and ours.
import mysql2, { type ExecuteValues, type ResultSetHeader } from 'mysql2/promise'
import { mariadb } from '../../testing/services.ts'
import { load } from '../checkout.ts'
import { assertChanged, ours, raw, type Engine } from '../sides.ts'

const DRIVER = 'mysql2'
const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 23).replace('T', ' ')

export const mysql: Engine = {
  title: 'MariaDB',
  atOnce: [1, 10, 100],
  async open(place) {
    const { payload, roots } = place
    if (!mariadb.launch) throw new Error(mariadb.how)
    const launched = await mariadb.launch()
    place.atEnd(() => launched[Symbol.asyncDispose]())
    const connect = () => {
      const pool = mysql2.createPool({ uri: launched.url, charset: 'utf8mb4' })
      place.atEnd(() => pool.end())
      return pool
    }
    const pool = connect()
    await pool.query(
      'CREATE TABLE raw (k varchar(64) PRIMARY KEY, d longtext NOT NULL, e datetime(6) NOT NULL, INDEX raw_e (e))',
    )
    const change = async (sql: string, values: ExecuteValues) => {
      const [{ affectedRows }] = await pool.execute<ResultSetHeader>(sql, values)
      assertChanged(affectedRows)
    }
    const sides = [
      await raw('mysql2, prepared statements', DRIVER, payload, {
        create: (key, data, end) =>
          change('INSERT INTO raw VALUES (?, ?, ?)', [key, data, dateOf(end)]),
        async read(key) {
          const [rows] = await pool.execute('SELECT d, e FROM raw WHERE k = ?', [key])
          return JSON.parse((rows as { d: string }[])[0]!.d)
        },
        write: (key, data, expected, end) =>
          change('UPDATE raw SET d = ?, e = ? WHERE k = ? AND e > ? AND BINARY d = BINARY ?', [
            data,
            dateOf(end),
            key,
            dateOf(Date.now()),
            expected,
          ]),
        touch: (key, end, from) =>
          change('UPDATE raw SET e = ? WHERE k = ? AND e = ?', [dateOf(end), key, dateOf(from)]),
      }),
    ]
    for (const root of roots) {
      const { mysqlStore } = await load(root, '@coatcheck/db/mysql')
      const store = mysqlStore(connect())
      place.atEnd(() => store.close?.())
      await store.migrate()
      sides.push(await ours('mysql', DRIVER, root, payload, store))
    }
    return sides
  },
}

// SQLite: better-sqlite3 with prepared statements, ours, and better-sqlite3-session-store.
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { load } from '../checkout.ts'
import { assertChanged, ours, peer, raw, type Engine } from '../sides.ts'

const DRIVER = 'better-sqlite3'
const dateOf = (ms: number) => new Date(ms).toISOString()

export const sqlite: Engine = {
  title: 'SQLite',
  atOnce: [1],
  async open(place) {
    const { folder, payload, roots } = place
    const database = new Database(join(folder, 'raw.sqlite'))
    place.atEnd(() => database.close())
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = NORMAL')
    database.exec(
      'CREATE TABLE s (k varchar(64) PRIMARY KEY, d text NOT NULL, e datetime NOT NULL); CREATE INDEX s_e ON s (e)',
    )
    const insert = database.prepare('INSERT INTO s VALUES (?, ?, ?)')
    const select = database.prepare('SELECT d, e FROM s WHERE k = ?')
    const swap = database.prepare('UPDATE s SET d = ?, e = ? WHERE k = ? AND e > ? AND d = ?')
    const renew = database.prepare('UPDATE s SET e = ? WHERE k = ? AND e = ?')
    const sides = [
      await raw('better-sqlite3, prepared statements', DRIVER, payload, {
        create: (key, data, end) => insert.run(key, data, dateOf(end)),
        read: (key) => JSON.parse((select.get(key) as { d: string }).d),
        write: (key, data, expected, end) =>
          assertChanged(swap.run(data, dateOf(end), key, dateOf(Date.now()), expected).changes),
        touch: (key, end, from) => assertChanged(renew.run(dateOf(end), key, dateOf(from)).changes),
      }),
    ]
    for (const [at, root] of roots.entries()) {
      const { sqliteStore } = await load(root, '@coatcheck/db/sqlite')
      const store = sqliteStore(join(folder, `ours-${at}.sqlite`))
      place.atEnd(() => store.close?.())
      store.migrate()
      sides.push(await ours('sqlite', DRIVER, root, payload, store))
    }
    return [...sides, await peer('better-sqlite3-session-store', place, { folder })]
  },
}

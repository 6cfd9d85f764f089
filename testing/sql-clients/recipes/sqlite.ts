import type { DatabaseSync } from 'node:sqlite'
import type { SqlRun } from '@coatcheck/db/sql'

export const runBySqlite =
  (database: DatabaseSync): SqlRun =>
  (sql, parameters) => {
    const statement = database.prepare(sql)
    return sql.startsWith('SELECT')
      ? { rows: statement.all(...parameters) }
      : statement.run(...parameters)
  }

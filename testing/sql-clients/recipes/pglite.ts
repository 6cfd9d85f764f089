import type { SqlRun } from '@coatcheck/db/sql'
import type { PGlite } from '@electric-sql/pglite'

export const runByPglite =
  (database: PGlite): SqlRun =>
  async (sql, parameters) => {
    const { rows, affectedRows } = await database.query(sql, parameters)
    return { rows, changes: affectedRows }
  }

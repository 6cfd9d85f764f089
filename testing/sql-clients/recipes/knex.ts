import type { SqlRun } from '@coatcheck/db/sql'
import type { Knex } from 'knex'

export const runByKnex =
  (knex: Knex): SqlRun =>
  async (sql, parameters) => {
    const result = await knex.raw(sql.replaceAll(/\$\d+/g, '?'), parameters)
    // pg answers with an object, mysql2 with a list of what it has and the columns, better-sqlite3 with the rows.
    if (!Array.isArray(result)) {
      return { rows: result.rows, changes: result.rowCount ?? result.changes }
    }
    if (!sql.startsWith('SELECT')) return { changes: result[0]?.affectedRows }
    return { rows: Array.isArray(result[0]) ? result[0] : result }
  }

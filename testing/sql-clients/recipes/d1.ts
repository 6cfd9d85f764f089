import type { D1Database } from '@cloudflare/workers-types'
import type { SqlRun } from '@coatcheck/db/sql'

export const runByD1 =
  (database: D1Database): SqlRun =>
  async (sql, parameters) => {
    const { results, meta } = await database
      .prepare(sql)
      .bind(...parameters)
      .all()
    return { rows: results, changes: meta.changes }
  }

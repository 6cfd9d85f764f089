import type { SqlRun } from '@coatcheck/db/sql'
import type { Sql } from 'postgres'

export const runByPostgresJs =
  (client: Sql): SqlRun =>
  async (sql, parameters) => {
    const rows = await client.unsafe(sql, parameters, { prepare: true })
    return { rows, changes: rows.count }
  }

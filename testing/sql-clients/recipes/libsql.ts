import type { SqlRun } from '@coatcheck/db/sql'
import type { Client } from '@libsql/client'

export const runByLibsql =
  (client: Client): SqlRun =>
  async (sql, args) => {
    const { rows, rowsAffected } = await client.execute({ sql, args })
    return { rows, changes: rowsAffected }
  }

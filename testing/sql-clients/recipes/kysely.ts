import type { SqlRun } from '@coatcheck/db/sql'
import { CompiledQuery, type Kysely } from 'kysely'

export const runByKysely =
  (database: Kysely<any>): SqlRun =>
  async (sql, parameters) => {
    const query = CompiledQuery.raw(sql, parameters)
    const { rows, numAffectedRows } = await database.executeQuery(query)
    return { rows, changes: numAffectedRows }
  }

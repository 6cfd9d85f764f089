import type { SqlRun } from '@coatcheck/db/sql'
import type { DataSource } from 'typeorm'

export const runByTypeorm =
  (source: DataSource): SqlRun =>
  async (sql, parameters) => {
    const runner = source.createQueryRunner()
    try {
      const { records, affected } = await runner.query(sql, parameters, true)
      return { rows: records, changes: affected }
    } finally {
      await runner.release()
    }
  }

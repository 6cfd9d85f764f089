import type { SqlRun } from '@coatcheck/db/sql'
import type { Sequelize } from 'sequelize'

interface Result {
  readonly rowCount: number
}

export const runBySequelize =
  (sequelize: Sequelize): SqlRun =>
  async (sql, bind) => {
    const options = bind.length > 0 ? { bind } : {}
    // Not in the request's, which Sequelize.useCLS would take.
    const [rows, result] = await sequelize.query(sql, { ...options, transaction: null })
    const changes = typeof result === 'number' ? result : (result as Result).rowCount
    return { rows, changes }
  }

import type { SqlRun } from '@coatcheck/db/sql'
import type { Sequelize } from 'sequelize'

interface Result {
  readonly rowCount: number
}

export const runBySequelize =
  (sequelize: Sequelize): SqlRun =>
  async (sql, bind) => {
    const [rows, result] = await sequelize.query(sql, bind.length > 0 ? { bind } : {})
    const changes = typeof result === 'number' ? result : (result as Result).rowCount
    return { rows, changes }
  }

import type { SqlRun } from '@coatcheck/db/sql'
import { sql as template } from 'drizzle-orm'
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3'
import type { MySql2Database } from 'drizzle-orm/mysql2'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'

const query = (sql: string, parameters: unknown[]) => {
  const parts = sql.split(/\?|\$\d+/)
  const pairs = parts.flatMap((text, at) => [template.raw(text), template.param(parameters[at])])
  return template.join(pairs.slice(0, -1))
}

export const runByDrizzlePostgres =
  (database: NodePgDatabase<any>): SqlRun =>
  async (sql, parameters) => {
    const { rows, rowCount } = await database.execute(query(sql, parameters))
    return { rows, changes: rowCount ?? 0 }
  }

export const runByDrizzleMysql =
  (database: MySql2Database<any>): SqlRun =>
  async (sql, parameters) => {
    const [result] = await database.execute(query(sql, parameters))
    return Array.isArray(result) ? { rows: result } : { changes: result.affectedRows }
  }

export const runByDrizzleSqlite =
  (database: BetterSQLite3Database<any>): SqlRun =>
  (sql, parameters) =>
    sql.startsWith('SELECT')
      ? { rows: database.all(query(sql, parameters)) }
      : database.run(query(sql, parameters))

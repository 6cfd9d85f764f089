// How a statement is sent to PostgreSQL: prepared under its name, and answered with text.
import { createHash } from 'node:crypto'
import { warnDeveloper } from '@coatcheck/core/store'
import type { Answer, Parameter, Row, Statement } from './dialect.ts'
import type { PostgresConnection } from './postgres-connections.ts'
import { sqlState } from './postgres-dialect.ts'

/** Gives what PostgreSQL sends as text, whatever parsers the application has set; and no types of parameters, for which pg takes it too. */
const AS_TEXT = Object.assign([], { getTypeParser: () => String })

/** Made of the text, so that a name means one text, whichever version of this engine has prepared it. */
function nameOf(text: string): string {
  return `coatcheck_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`
}

/**
 * Makes what sends statements, prepared under their names for as long as that works.
 * @param prepare Whether they are prepared at all.
 */
export function createSender(prepare: boolean) {
  let isPrepared = prepare
  return async (
    connection: PostgresConnection,
    statement: Statement,
    parameters: readonly Parameter[],
  ): Promise<Answer> => {
    const { text } = statement
    const query = { text, values: parameters as Parameter[], types: AS_TEXT }
    if (statement.isDefinition || !isPrepared) return answerOf(await connection.query(query))
    const name = (statement.prepared ??= nameOf(text)) as string
    try {
      return answerOf(await connection.query({ ...query, name }))
    } catch (error) {
      // The name is taken, or means nothing: in both cases nothing was executed.
      const state = sqlState(error)
      if (state !== '42P05' && state !== '26000') throw error
      if (isPrepared) {
        warnDeveloper(
          'PREPARED_STATEMENTS',
          'The connections of postgresStore do not keep prepared statements apart, as PgBouncer in transaction mode does not, so from now on it prepares none. Set its option `prepare: false`.',
        )
        isPrepared = false
      }
      return answerOf(await connection.query(query))
    }
  }
}

function answerOf({ rows, rowCount }: { rows: Row[]; rowCount: number | null }): Answer {
  return { rows, changes: rowCount ?? 0 }
}

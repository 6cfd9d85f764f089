// How a statement gets to the database: what the engine asks of each way, and the way by connections.
import type { Awaitable } from '@coatcheck/core/store'
import { CALL_TIME, createCalls, LONG_TIME, type Connections } from './connections.ts'
import type { Answer, Parameter, Statement, Verdicts } from './dialect.ts'
import type { Action } from './table.ts'

/** Runs the statements of one engine. */
export interface Executor {
  /** Makes a method of the store of one: it fails once `close()` was called, which waits for the calls under way. */
  method<A extends [any?, any?, any?], T>(
    method: (...args: A) => Awaitable<T>,
  ): (...args: A) => Awaitable<T>
  /**
   * @param action For what: how long it may wait goes by that.
   * @param key Of the row that it is about; empty if it is about several, or none.
   */
  run(
    statement: Statement,
    parameters: readonly Parameter[],
    action: Action,
    key: string,
  ): Awaitable<Answer>
  /** Whether it answers at once where it can, and to a load always. */
  readonly isSync: boolean
  /** Whether `close()` was called: what goes on for long should stop. */
  readonly isClosed: boolean
  close(): Awaitable<void>
}

/**
 * An executor over connections.
 * @param send Sends a statement on one of them.
 */
export function executorOver<C extends object>(
  connections: Connections<C>,
  verdicts: Verdicts,
  send: (connection: C, statement: Statement, parameters: readonly Parameter[]) => Promise<Answer>,
): Executor {
  const calls = createCalls(connections, verdicts)
  return {
    isSync: false,
    method: calls.method,
    run: (statement, parameters, action, key) =>
      calls.run((connection) => send(connection, statement, parameters), {
        time: action === 'clearExpired' || action === 'migrate' ? LONG_TIME : CALL_TIME,
        name: key,
        isReading: statement.columns !== undefined,
      }),
    get isClosed() {
      return calls.isClosed
    },
    close: calls.close,
  }
}

// How a statement gets to the database: what the engine asks of each way, and the way by connections.
import { SessionError, type Awaitable } from '@coatcheck/core/store'
import { CALL_TIME, createCalls, LONG_TIME, timedOut, type Connections } from './connections.ts'
import type { Answer, Parameter, Statement, Verdicts } from './dialect.ts'
import type { Action } from './table.ts'

/** Sends one statement. */
export type Send = (statement: Statement, parameters: readonly Parameter[]) => Awaitable<Answer>

/** What a call does by statements, one after the other. Where it has to be done again it asks anew what time it is. */
export type Work<T> = (send: Send) => Awaitable<T>

/** Runs the statements of one engine. */
export interface Executor {
  /** Makes a method of the store of one: it fails once `close()` was called, which waits for the calls under way. */
  method<A extends [any?, any?, any?], T>(
    method: (...args: A) => Awaitable<T>,
  ): (...args: A) => Awaitable<T>
  /**
   * Does some work within one bound of time, from the beginning again where a statement of it was not executed because of others.
   * @param action For what: how long it may take goes by that.
   * @param key Of the row that it is about; empty if it is about several, or none.
   * @param isRepeatable It changes nothing, or nothing more when it is done twice.
   */
  run<T>(action: Action, work: Work<T>, key?: string, isRepeatable?: boolean): Awaitable<T>
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
  const calls = createCalls(connections, {
    ...verdicts,
    // What the engine throws is about the session, or the table, and not about the connection.
    isBroken: (error) => !(error instanceof SessionError) && verdicts.isBroken(error),
  })
  return {
    isSync: false,
    method: calls.method,
    run: (action, work, key = '', isRepeatable = false) =>
      calls.run(
        async (connection, isOver) =>
          work((statement, parameters) => {
            // Nobody waits for it any more, and would know that it was done.
            if (isOver()) throw timedOut()
            return send(connection, statement, parameters)
          }),
        {
          time: action === 'clearExpired' || action === 'migrate' ? LONG_TIME : CALL_TIME,
          name: key,
          isRepeatable,
        },
      ),
    get isClosed() {
      return calls.isClosed
    },
    close: calls.close,
  }
}

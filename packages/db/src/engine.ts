// The engine of every SQL database: the contract's methods, by a dialect's statements and whatever runs them.
import {
  after,
  attempt,
  isSessionKey,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  type Awaitable,
  type SessionError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { datesOf, formatDate, formatEnd, lastDateOf, parseDate } from './date.ts'
import type { Answer, Column, Dialect, Parameter, Row, Statement } from './dialect.ts'
import type { Executor, Send, Work } from './executor.ts'
import { assertData, assertKey, createLook, holdsKey, unknownShape, type Shape } from './shape.ts'
import { sweepBatches, sweepInOrder } from './sweep.ts'
import { assertBatchSize, failed, type Action } from './table.ts'

/** What an engine is made of. */
export interface EngineParts {
  readonly dialect: Dialect
  readonly executor: Executor
  readonly table: string
  readonly now: () => number
  /** What the database is called in errors, with its place. Default the dialect's name. */
  readonly database?: string
  /** Errors come by a client that may put anything into them. */
  readonly isForeign?: boolean
}

/** A store whose table has to be made. */
export interface Engine extends Required<SessionStore> {
  migrate(): Awaitable<void>
}

/** An engine that answers at once where its executor does. */
export function createEngine({
  dialect,
  executor,
  table,
  now,
  database = dialect.name,
  isForeign = false,
}: EngineParts): Omit<Engine, 'traits'> {
  const statements = dialect.statementsOf(table)

  function run<T>(
    action: Action,
    work: Work<T>,
    key?: string,
    isRepeatable?: boolean,
  ): Awaitable<T> {
    return attempt(
      () => executor.run(action, work, key, isRepeatable),
      (error) => {
        throw failed({ database, action, table, dialect, isForeign }, error)
      },
    )
  }

  /** What has ended by now, as the database has dates: below a millisecond too it is what a load calls ended. */
  const timeNow = () => lastDateOf(now())

  /** The columns of the table, or why nobody may look at them. */
  const columnsBy = (send: Send): Awaitable<Column<string>[] | { denied: unknown }> =>
    attempt<Column<string>[] | { denied: unknown }>(
      () =>
        after(send(statements.look, []), ({ rows }) =>
          rows!.map((row) => asColumn(row, statements.look.columns!)),
        ),
      (error) => {
        if (dialect.isDenied(error)) return { denied: error }
        throw error
      },
    )

  /** @param again What to do if there are none. */
  const shapeBy = (send: Send, again: () => Awaitable<Shape>): Awaitable<Shape> =>
    after(columnsBy(send), (columns) => {
      // Whoever may not look never may; anything else may be over at the next call.
      if ('denied' in columns) return unknownShape(table, columns.denied)
      return columns.length > 0 ? dialect.shapeOf(table, columns) : again()
    })

  /** @param unseen What to do if nothing is told of a table that is there. */
  const lookBy = (send: Send, unseen = () => unknownShape(table)): Awaitable<Shape> =>
    shapeBy(send, () =>
      // It is not there, and the database says so; or nothing is told of a temporary one; or it was made a moment ago.
      after(send(statements.select, ['']), () => shapeBy(send, unseen)),
    )

  /** A client that answers every SELECT with nothing has a table that is there, and no session in it. */
  const refuseUnseen = (): never => {
    throw new SessionStoreError(
      `The columns of '${table}' are not told, though it was made: does \`run\` give the rows of a SELECT?`,
    )
  }

  const migrateBy = (send: Send): Awaitable<Shape> =>
    after(columnsBy(send), (found) => {
      const columns = 'denied' in found ? [] : found
      const shape = columns.length > 0 ? dialect.shapeOf(table, columns) : undefined
      const made = dialect
        .migrationOf(table, columns)
        .reduce<Awaitable<unknown>>(
          (before, text) => after(before, () => send({ text, isDefinition: true }, [])),
          undefined,
        )
      return after(made, () => shape ?? lookBy(send, isForeign ? refuseUnseen : undefined))
    })

  /** Of no row, as no key is empty: where some is counted, a sweep would never come to an end. */
  const assertNoneCounted = (): Awaitable<void> =>
    run(
      'clearExpired',
      (send) =>
        after(send(statements.remove, ['']), ({ changes }) => {
          if (changes) throw wrongCount()
        }),
      '',
      true,
    )

  // Where others wait for it, it is bounded as a call is, whoever has begun it.
  const look = createLook(
    (action) => run(executor.isSync ? action : 'look', (send) => lookBy(send), '', true),
    !executor.isSync,
  )

  function recordIn(row: Row | undefined): SessionRecord | undefined {
    if (row === undefined) return undefined
    const data = 'data' in row ? row['data'] : (row as readonly unknown[])[0]
    const end = 'data' in row ? row['expires'] : (row as readonly unknown[])[1]
    if (typeof data !== 'string' || typeof end !== 'string') {
      throw new SessionStoreError(`A row in '${table}' does not hold text, so it is no session.`)
    }
    const expiresAt = parseDate(end)
    // A client may have made something else of it. Without one, a date that is none is never later.
    if (isForeign && Number.isNaN(expiresAt)) {
      throw new SessionStoreError(
        `A row in '${table}' has an end that is no date, such as '${formatDate(0)}', so it is no session.`,
      )
    }
    return expiresAt > now() ? { data, expiresAt } : undefined
  }

  const find = (send: Send, key: string): Awaitable<SessionRecord | undefined> =>
    after(send(statements.select, [key]), ({ rows }) => recordIn(rows![0]))

  /**
   * Writes one row.
   * @param condition What is expected to be there; undefined where anything may be.
   * @param isAsItWas Whether what is there now is as it was to be: a client may count a row that is left as it was as none.
   */
  function write(
    send: Send,
    key: string,
    [statement, parameters]: [Statement, Parameter[]],
    condition: unknown,
    isAsItWas: (found: SessionRecord) => boolean,
  ): Awaitable<string> {
    return after(send(statement, parameters), ({ changes }) => {
      if (changes) return key
      if (dialect.countsFound && condition === undefined) throw new SessionGoneError()
      return after(find(send, key), (found) => {
        if (!dialect.countsFound && found && found.data !== RETIRED && isAsItWas(found)) return key
        throw refusal(condition, found)
      })
    })
  }

  function insert(send: Send, key: string, data: string, end: string): Awaitable<Answer> {
    const { insert: statement, replaceExpired } = statements
    if (!replaceExpired) return send(statement, [key, data, end, timeNow()])
    return attempt(
      () => send(statement, [key, data, end]),
      (error) => {
        if (!dialect.isDuplicate!(error)) throw error
        return after(send(replaceExpired, [data, end, key, timeNow()]), (answer) =>
          answer.changes ? answer : insertSwept(send, [key, data, end]),
        )
      },
    )
  }

  /** What had ended may have been swept between the two statements: then nobody has the key. */
  const insertSwept = (send: Send, parameters: Parameter[]): Awaitable<Answer> =>
    attempt<Answer>(
      () => send(statements.insert, parameters),
      (error) => {
        if (!dialect.isDuplicate!(error)) throw error
        return { changes: 0 }
      },
    )

  const clearExpired = executor.method(
    ({
      batchSize = dialect.batchSize,
      signal,
    }: { batchSize?: number; signal?: AbortSignal } = {}) => {
      assertBatchSize(batchSize)
      const sweep = statements.expired ? sweepInOrder : sweepBatches
      return after(look('clearExpired'), () =>
        sweep({
          dialect,
          statements,
          time: timeNow(),
          batchSize,
          isOver: () => executor.isClosed || signal?.aborted === true,
          ...(isForeign && { betweenBatches: assertNoneCounted }),
          run: (statement, parameters) =>
            run(
              'clearExpired',
              (send) => send(statement, parameters),
              '',
              statement.columns !== undefined,
            ),
        }),
      )
    },
  )

  return {
    load: executor.method((key: string) => {
      if (!isSessionKey(key)) return undefined
      return after(look('load'), (shape) =>
        holdsKey(shape, key) ? run('load', (send) => find(send, key), key, true) : undefined,
      )
    }),

    create: executor.method((key: string, { data, expiresAt }: SessionRecord) => {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const end = formatEnd(expiresAt)
      return after(look('create'), (shape) => {
        assertKey(shape, key)
        assertData(shape, data)
        return run(
          'create',
          (send) =>
            after(insert(send, key, data, end), ({ changes }) => {
              if (!changes) throw new KeyExistsError()
              return key
            }),
          key,
        )
      })
    }),

    save: executor.method((key: string, { data, expiresAt }: SessionRecord, expected?: string) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      // If other data was expected, what is there now is another writer's, however alike.
      const isAsItWas = (found: SessionRecord) =>
        found.data === data &&
        found.expiresAt === expiresAt &&
        (expected === undefined || expected === data)
      const statement = (): [Statement, Parameter[]] => {
        const moment = now()
        const time = lastDateOf(moment)
        if (expiresAt <= moment) {
          return expected === undefined
            ? [statements.end, [key, time]]
            : [statements.endExpected, [key, time, expected]]
        }
        const end = formatEnd(expiresAt)
        return expected === undefined
          ? [statements.update, [data, end, key, time]]
          : [statements.updateExpected, [data, end, key, time, expected]]
      }
      return after(look('save'), (shape) => {
        if (!holdsKey(shape, key)) throw new SessionGoneError()
        // Only a retired key holds this, and that is never saved.
        if (expected === RETIRED) {
          return run('save', (send) =>
            after(find(send, key), (found): string => {
              throw refusal(expected, found)
            }),
          )
        }
        assertData(shape, data)
        return run('save', (send) => write(send, key, statement(), expected, isAsItWas), key)
      })
    }),

    touch: executor.method((key: string, expiresAt: number, from?: number) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const end = formatEnd(expiresAt)
      const isAsItWas = (found: SessionRecord) =>
        found.expiresAt === expiresAt && (from === undefined || from === expiresAt)
      const statement = (): [Statement, Parameter[]] =>
        from === undefined
          ? [statements.touch, [end, key, timeNow()]]
          : [statements.touchFrom, [end, key, timeNow(), ...datesOf(from)]]
      return after(look('touch'), (shape) => {
        if (!holdsKey(shape, key)) throw new SessionGoneError()
        return run('touch', (send) => write(send, key, statement(), from, isAsItWas), key)
      })
    }),

    delete: executor.method((key: string) => {
      if (!isSessionKey(key)) return
      return after(look('delete'), (shape) => {
        if (!holdsKey(shape, key)) return
        return run('delete', (send) => after(send(statements.remove, [key]), () => {}), key)
      })
    }),

    clearExpired: async (options) => clearExpired(options),

    close: () => executor.close(),

    migrate: executor.method(() => after(run('migrate', migrateBy, '', true), look.is)),
  }
}

/** Why nothing was changed under a condition, or without one, where this is what is there. */
function refusal(condition: unknown, found: SessionRecord | undefined): SessionError {
  return condition !== undefined && found?.data
    ? new SessionConflictError()
    : new SessionGoneError()
}

/** What a write answers that has changed nothing is more than none. */
export function wrongCount(): SessionStoreError {
  return new SessionStoreError(
    'sqlStore: `run` must answer a write with `changes`, how many rows that one has changed, and gave some for one that has changed none.',
  )
}

/** A row of text, whatever a client makes of it, by the columns' names. */
function asColumn(row: Row, names: readonly string[]): Column<string> {
  const values = Array.isArray(row)
    ? row
    : names.map((name) => (row as Record<string, unknown>)[name])
  return Object.fromEntries(
    names.map((name, at) => [name, values[at] == null ? null : String(values[at])]),
  )
}

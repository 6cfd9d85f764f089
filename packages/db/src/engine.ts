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
import { datesOf, formatDate, parseDate } from './date.ts'
import type { Answer, Column, Dialect, Parameter, Row, Statement } from './dialect.ts'
import type { Executor } from './executor.ts'
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

  function failure(action: Action, error: unknown): SessionError {
    return failed({ database, action, table, dialect, isForeign }, error)
  }

  function run(
    action: Action,
    statement: Statement,
    parameters: readonly Parameter[],
    key = '',
  ): Awaitable<Answer> {
    return attempt(
      () => executor.run(statement, parameters, action, key),
      (error) => {
        throw failure(action, error)
      },
    )
  }

  /** The columns of the table, or why nobody may look at them. */
  const columnsNow = (action: Action): Awaitable<Column<string>[] | { denied: unknown }> =>
    attempt<Column<string>[] | { denied: unknown }>(
      () =>
        after(executor.run(statements.look, [], action, ''), ({ rows }) =>
          rows!.map((row) => asColumn(row, statements.look.columns!)),
        ),
      (error) => {
        if (dialect.isDenied(error)) return { denied: error }
        throw failure('look', error)
      },
    )

  /** @param again What to do if there are none. */
  const shapeNow = (action: Action, again: () => Awaitable<Shape>): Awaitable<Shape> =>
    after(columnsNow(action), (columns) => {
      // Whoever may not look never may; anything else may be over at the next call.
      if ('denied' in columns) return unknownShape(table, columns.denied)
      return columns.length > 0 ? dialect.shapeOf(table, columns) : again()
    })

  const look = createLook(
    (action) =>
      shapeNow(action, () =>
        // It is not there, and the database says so; or nothing is told of a temporary one; or it was made a moment ago.
        after(run(action, statements.select, ['']), () =>
          shapeNow(action, () => unknownShape(table)),
        ),
      ),
    !executor.isSync,
  )

  function recordIn(row: Row | undefined): SessionRecord | undefined {
    if (row === undefined) return undefined
    const data = 'data' in row ? row['data'] : (row as readonly unknown[])[0]
    const end = 'data' in row ? row['expires'] : (row as readonly unknown[])[1]
    const expiresAt = typeof end === 'string' ? parseDate(end) : NaN
    if (typeof data !== 'string' || Number.isNaN(expiresAt)) {
      throw new SessionStoreError(`A row in '${table}' does not hold text, so it is no session.`)
    }
    return expiresAt > now() ? { data, expiresAt } : undefined
  }

  const find = (action: Action, key: string): Awaitable<SessionRecord | undefined> =>
    after(run(action, statements.select, [key], key), ({ rows }) => recordIn(rows![0]))

  /** What a write has changed; where it is nothing, `settle` says of what is there now whether it is as it was to be, or throws. */
  function changed(
    action: Action,
    statement: Statement,
    parameters: readonly Parameter[],
    key: string,
    settle: (found: SessionRecord | undefined) => string,
  ): Awaitable<string> {
    return after(run(action, statement, parameters, key), ({ changes }) =>
      changes ? key : after(find(action, key), settle),
    )
  }

  function insert(key: string, data: string, end: string, time: string): Awaitable<Answer> {
    const { insert: statement, replaceExpired } = statements
    if (!replaceExpired) return run('create', statement, [key, data, end, time], key)
    return attempt(
      () => executor.run(statement, [key, data, end], 'create', key),
      (error) => {
        if (!dialect.isDuplicate!(error)) throw failure('create', error)
        return run('create', replaceExpired, [data, end, key, time], key)
      },
    )
  }

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
          time: formatDate(now()),
          batchSize,
          isOver: () => executor.isClosed || signal?.aborted === true,
          run: (statement, parameters) => run('clearExpired', statement, parameters),
        }),
      )
    },
  )

  return {
    load: executor.method((key: string) => {
      if (!isSessionKey(key)) return undefined
      return after(look('load'), (shape) => (holdsKey(shape, key) ? find('load', key) : undefined))
    }),

    create: executor.method((key: string, { data, expiresAt }: SessionRecord) => {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      return after(look('create'), (shape) => {
        assertKey(shape, key)
        assertData(shape, data)
        const inserted = insert(key, data, formatDate(expiresAt), formatDate(now()))
        return after(inserted, ({ changes }) => {
          if (!changes) throw new KeyExistsError()
          return key
        })
      })
    }),

    save: executor.method((key: string, { data, expiresAt }: SessionRecord, expected?: string) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      return after(look('save'), (shape) => {
        if (!holdsKey(shape, key)) throw new SessionGoneError()
        const settle = (found: SessionRecord | undefined): string => {
          // A client may count a row that is left as it was as none. If other data was expected, what is there now is
          // another writer's, however alike.
          const asItWas = found?.data === data && found.expiresAt === expiresAt && data !== RETIRED
          if (asItWas && (expected === undefined || expected === data)) return key
          throw refusal(expected, found)
        }
        // Only a retired key holds this, and that is never saved.
        if (expected === RETIRED) return after(find('save', key), settle)
        assertData(shape, data)
        const moment = now()
        const time = formatDate(moment)
        if (expiresAt <= moment) {
          return expected === undefined
            ? changed('save', statements.end, [key, time], key, settle)
            : changed('save', statements.endExpected, [key, time, expected], key, settle)
        }
        const end = formatDate(expiresAt)
        return expected === undefined
          ? changed('save', statements.update, [data, end, key, time], key, settle)
          : changed(
              'save',
              statements.updateExpected,
              [data, end, key, time, expected],
              key,
              settle,
            )
      })
    }),

    touch: executor.method((key: string, expiresAt: number, from?: number) => {
      if (!isSessionKey(key)) throw new SessionGoneError()
      return after(look('touch'), (shape) => {
        if (!holdsKey(shape, key)) throw new SessionGoneError()
        const settle = (found: SessionRecord | undefined): string => {
          const asItWas = found?.expiresAt === expiresAt && found.data !== RETIRED
          if (asItWas && (from === undefined || from === expiresAt)) return key
          throw refusal(from, found)
        }
        const where = [formatDate(expiresAt), key, formatDate(now())]
        return from === undefined
          ? changed('touch', statements.touch, where, key, settle)
          : changed('touch', statements.touchFrom, [...where, ...datesOf(from)], key, settle)
      })
    }),

    delete: executor.method((key: string) => {
      if (!isSessionKey(key)) return
      return after(look('delete'), (shape) => {
        if (holdsKey(shape, key))
          return after(run('delete', statements.remove, [key], key), () => {})
      })
    }),

    clearExpired: async (options) => clearExpired(options),

    close: () => executor.close(),

    migrate: executor.method(() => {
      const definitions = dialect.migrationOf?.(table) ?? dialect.schemaOf(table)
      return after(columnsNow('migrate'), (columns) => {
        if (!('denied' in columns) && columns.length > 0) dialect.shapeOf(table, columns)
        const made = definitions.reduce<Awaitable<unknown>>(
          (before, text) => after(before, () => run('migrate', { text, isDefinition: true }, [])),
          undefined,
        )
        return after(made, () => after(look('migrate', true), () => {}))
      })
    }),
  }
}

/** Why nothing was changed under a condition, or without one, where this is what is there. */
function refusal(condition: unknown, found: SessionRecord | undefined): SessionError {
  return condition !== undefined && found?.data
    ? new SessionConflictError()
    : new SessionGoneError()
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

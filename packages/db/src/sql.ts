// Any SQL client: the same engine, over a function of the application's that runs one statement.
import {
  assertOptions,
  createKey,
  inWords,
  KeyExistsError,
  refuseOption,
  rules,
  SessionGoneError,
  SessionStoreError,
  systemClock,
  type Awaitable,
  type SessionStore,
} from '@coatcheck/core/store'
import { isOfAnotherDatabase } from './another-database.ts'
import { copyOf } from './causes.ts'
import type { Answer, Dialect, Parameter, Row, Statement } from './dialect.ts'
import { createEngine, wrongCount } from './engine.ts'
import { executorOver } from './executor.ts'
import { mysqlTextDialect } from './mysql-dialect.ts'
import { postgresDialect } from './postgres-dialect.ts'
import { sqliteDialect } from './sqlite-dialect.ts'
import { DEFAULT_TABLE, tableName } from './table.ts'

/** A kind of database: `mysql` is MariaDB too, `sqlite` what speaks as it does (libSQL, D1). */
export type SqlDialect = 'sqlite' | 'postgres' | 'mysql'

/** What a statement has given. */
export interface SqlAnswer {
  /**
   * Of a SELECT: its rows, each an object by the columns' names, as they stand in the statement, or a list in their order. Values are
   * text, numbers or null.
   */
  readonly rows?: readonly unknown[] | undefined
  /** Of an INSERT, UPDATE or DELETE: how many rows it has changed. On MySQL also how many it has matched, as the client is set. */
  readonly changes?: number | bigint | undefined
}

/**
 * Runs one statement, outside any transaction: what is stored within a request's would go with it, a logout too.
 *
 * @param sql One statement without a semicolon at its end. What begins with SELECT gives rows; INSERT, UPDATE and DELETE give changes; what
 * `migrate()` runs (CREATE, DO) gives nothing. Parameters stand in it as `?` or, for `postgres`, as `$1`, `$2` and so on: each number once,
 * in the order in which they stand, so that a client that knows only `?` can be given those. No other `?` is in it.
 * @param parameters Text and whole numbers.
 * @returns Its answer, or a promise of it. What it throws is the backend's failure: the database's own code must be on the error, or on
 * what its `cause` leads to.
 */
export type SqlRun = (sql: string, parameters: (string | number)[]) => Awaitable<SqlAnswer>

/** Options of {@link sqlStore}. */
export interface SqlStoreOptions {
  /** What the statements are written for. */
  readonly dialect: SqlDialect
  /** Runs a statement by the application's client. */
  readonly run: SqlRun
  /** The table's name. Default `coatcheck_session`. */
  readonly table?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** A session store on any SQL client. */
export interface SqlStore extends SessionStore {
  /**
   * Makes the table and its index where they are missing, as {@link schema} has them, and tries `run` out on a row that has ended, which
   * it takes away again. Throws SessionStoreError if the database refuses, or if `run` does not tell what a SELECT finds, or how many rows a
   * write has changed.
   */
  migrate(): Promise<void>
}

const DIALECTS = { sqlite: sqliteDialect, postgres: postgresDialect, mysql: mysqlTextDialect }

const dialectName = rules.oneOf(...Object.keys(DIALECTS))

/**
 * Keeps sessions in a table `(session_key, session_data, expire_date)`, as Django's database engine does, by a client or ORM that the
 * application has. Each call of the store runs one statement, or two; it fails after 5 seconds, without a way to cancel what `run` has
 * begun, and what has lost a race (a deadlock, a serialization failure, a busy file) is run again within them. Until the table has been looked
 * at, which the first call does, that has 5 seconds of its own. Sweeps have 30 for each batch, and so has `migrate()`. `close()` waits for the calls under way and leaves the client open.
 *
 * @throws SessionUsageError for a bad option.
 */
export function sqlStore(options: SqlStoreOptions): SqlStore {
  assertNoClient(options)
  assertOptions('sqlStore', options, {
    dialect: dialectName,
    run: rules.callable,
    table: tableName,
    now: rules.clock,
  })
  const { run, table = DEFAULT_TABLE, now = systemClock } = options
  const dialect = dialectOf('sqlStore', options.dialect)
  if (run === undefined) refuseOption('sqlStore: `run` must be a function, and is undefined')
  const answered = async ({ text }: Statement, parameters: readonly Parameter[]) => {
    try {
      return await run(text, [...parameters])
    } catch (error) {
      throw copyOf(error)
    }
  }
  const executor = executorOver(
    { most: Infinity, take: async () => options, free() {} },
    { isBroken: dialect.isBroken, isLostRace: dialect.isLostRace },
    async (_, statement, parameters) => answerOf(await answered(statement, parameters), statement),
  )
  const engine = createEngine({
    dialect: { ...dialect, meaningOf: meaningFor(options.dialect, dialect) },
    executor,
    table,
    now,
    isForeign: true,
  })
  return {
    ...engine,
    async migrate() {
      await engine.migrate()
      await assertCounts(engine)
    },
  }
}

/**
 * What makes the table and its index, for those who keep their migrations themselves: what `migrate()` makes. A list, since few clients
 * run several statements at once, and some silently run the first alone.
 *
 * @param dialect What it is written for.
 * @param options `table`: its name, by default `coatcheck_session`.
 * @returns Statements to be run in this order, each ended by a semicolon: joined by line breaks they are a migration's file.
 * @throws SessionUsageError for a bad option.
 */
export function schema(dialect: SqlDialect, options: { readonly table?: string } = {}): string[] {
  assertOptions('schema', options, { table: tableName })
  const statements = dialectOf('schema', dialect).schemaOf(options.table ?? DEFAULT_TABLE)
  return statements.map((statement) => `${statement};`)
}

/** @throws SessionUsageError for a client, or where it is, in the place of the options. */
function assertNoClient(options: unknown): void {
  const given = Object(options) as Partial<SqlStoreOptions>
  if (typeof given.dialect === 'string' || Object.hasOwn(given, 'run')) return
  const hint =
    typeof options === 'string'
      ? '. For a URL there are postgresStore and mysqlStore, for a file sqliteStore'
      : ''
  refuseOption(
    `sqlStore needs { dialect, run }, with a \`run\` from docs/clients.md, and got ${inWords(options)}${hint}`,
  )
}

const meaningFor = (name: SqlDialect, dialect: Dialect) => (error: unknown) =>
  isOfAnotherDatabase(name, error)
    ? `is \`dialect: '${name}'\` what \`run\` speaks?`
    : dialect.meaningOf?.(error)

/** @throws SessionStoreError if what `run` answers to a write does not say whether a row was changed. */
async function assertCounts(
  store: Pick<SessionStore, 'create' | 'touch' | 'delete'>,
): Promise<void> {
  const key = createKey()
  try {
    await store.create(key, { data: '{}', expiresAt: 0 })
    // What has ended is not touched.
    await store.touch(key, 0)
  } catch (error) {
    if (error instanceof SessionGoneError) return
    if (!(error instanceof KeyExistsError)) throw error
    throw nonsense('a write with `changes`, how many rows it has changed', 0)
  } finally {
    // A row that stays has ended: nobody sees it, and a sweep removes it.
    await Promise.resolve(store.delete(key)).catch(() => {})
  }
  throw wrongCount()
}

function dialectOf(by: string, name: SqlDialect) {
  if (Object.hasOwn(DIALECTS, name)) return DIALECTS[name]
  return refuseOption(`${by}: \`dialect\` must be ${dialectName.be}, and is ${inWords(name)}`)
}

/** @throws SessionStoreError for an answer that does not say what it must: it is no empty one, and no success. */
function answerOf(answer: SqlAnswer | undefined, { columns, isDefinition }: Statement): Answer {
  if (isDefinition) return {}
  const { rows, changes } = answer ?? {}
  if (columns) {
    if (!Array.isArray(rows)) throw nonsense('a SELECT with `rows`, a list', rows)
    const wrong = rows.findIndex((row) => !holds(row, columns))
    if (wrong < 0) return { rows: rows as Row[] }
    throw nonsense(`a SELECT with rows that hold ${columns.join(', ')}`, rows[wrong])
  }
  const isCount = typeof changes === 'bigint' || Number.isSafeInteger(changes)
  if (isCount && changes! >= 0) return { changes: changes! }
  throw nonsense('a write with `changes`, a whole number from 0 on', changes)
}

function holds(row: unknown, columns: readonly string[]): boolean {
  if (Array.isArray(row)) return row.length >= columns.length
  return typeof row === 'object' && row !== null && columns.every((name) => name in row)
}

function nonsense(what: string, given: unknown): SessionStoreError {
  const kind =
    typeof given === 'string' ? 'text' : typeof given === 'symbol' ? 'a symbol' : inWords(given)
  return new SessionStoreError(`sqlStore: \`run\` must answer ${what}, and gave ${kind}.`)
}

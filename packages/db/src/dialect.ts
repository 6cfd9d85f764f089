// What the engine must know of a database: its statements, what its errors mean, and what a table there can hold.
import type { Shape } from './shape.ts'

/** What stands in a statement's place: text, or a whole number. */
export type Parameter = string | number

/** A row: its values in the order of the columns, or by the columns' names. */
export type Row = readonly unknown[] | Readonly<Record<string, unknown>>

/** What a statement answers. */
export interface Answer {
  /** Of one that gives rows. */
  readonly rows?: readonly Row[]
  /** How many rows one has changed that gives none. */
  readonly changes?: number | bigint
}

/** A statement of one engine. */
export interface Statement {
  readonly text: string
  /** The columns of the rows that it gives; left out where it changes rows. */
  readonly columns?: readonly string[]
  /** It gives one row at the most. */
  readonly isOne?: boolean
  /** It makes a table or an index: it gives nothing, and is not worth preparing. */
  readonly isDefinition?: boolean
  /** What the engine's executor has made of it. */
  prepared?: unknown
}

/** The statements on a table, with the parameters in the order in which they stand in the text. Dates are `2026-11-24 15:04:05.123000`. */
export interface Statements {
  /** key: gives `data` and `expires`, as text. */
  readonly select: Statement
  /** key, data, end, now: in the place of what has ended too, unless there is {@link Statements.replaceExpired}. */
  readonly insert: Statement
  /** data, end, key, now: where {@link Statements.insert} takes key, data, end, and fails if the key is there. */
  readonly replaceExpired?: Statement
  /** data, end, key, now. */
  readonly update: Statement
  /** data, end, key, now, expected data. */
  readonly updateExpected: Statement
  /** key, now: as a save that ends the session. */
  readonly end: Statement
  /** key, now, expected data. */
  readonly endExpected: Statement
  /** end, key, now. */
  readonly touch: Statement
  /** end, key, now, after, last: while the end is between the two. */
  readonly touchFrom: Statement
  /** key. */
  readonly remove: Statement
  /** now: gives `key`, of no more than {@link CHUNK_SIZE} rows. Only where it is better to sweep in the order of the keys. */
  readonly expired?: Statement
  /** So many rows at a time: now, size; or now and so many keys, where there is {@link Statements.expired}. */
  sweep(size: number): Statement
  /** Gives the columns of the table; none where it is not there. */
  readonly look: Statement
}

/** So many expired keys (some 10 MB) are read at once where they are swept in their order. */
export const CHUNK_SIZE = 100_000

/** A column as a database tells of it: text, or null. */
export type Column<Name extends string> = Readonly<Record<Name, string | null>>

/** What a database's errors mean; on the error itself or, where a client wraps it, on what it is made around. */
export interface Verdicts {
  /** The connection is of no use any more, and so may be those that were opened before. */
  isBroken(error: unknown): boolean
  /** The driver itself has waited no longer, and the server may still work. Default never. */
  isUnanswered?(error: unknown): boolean
  /** The statement was not executed because of another one, and can be run again on what is stored then. */
  isLostRace(error: unknown): boolean
}

/** A kind of database. */
export interface Dialect extends Verdicts {
  /** In an error's words. */
  readonly name: string
  /** Rows that one batch of `clearExpired` removes. */
  readonly batchSize: number
  /** For so long, in parts of what a batch of a sweep took, the database stays free after it. */
  readonly rest?: number
  statementsOf(table: string): Statements
  /** What makes the table and its index where they are missing, a statement each. */
  schemaOf(table: string): readonly string[]
  /**
   * What of that `migrate()` runs.
   * @param columns Those that there are: none where there is no table, or nobody may look at it.
   */
  migrationOf(table: string, columns: readonly Column<any>[]): readonly string[]
  /** What a write changes is counted by what it has found, whatever the client: a row that stays as it was is one. */
  readonly countsFound?: boolean
  /**
   * What a table can hold.
   * @param columns Those that there are.
   * @throws SessionStoreError where something would be stored wrongly; what the database refuses itself is left to it.
   */
  shapeOf(table: string, columns: readonly Column<any>[]): Shape
  /** The table does not exist. */
  isMissing(error: unknown): boolean
  /** The user may not look at the columns, now or later. */
  isDenied(error: unknown): boolean
  /** The key of an insert is there already. */
  isDuplicate?(error: unknown): boolean
  /** There is no room for so much at once. */
  isFull?(error: unknown): boolean
  /** What an error means, in words. */
  meaningOf?(error: unknown): string | undefined
}

/** Makes a statement on a table, whose name stands where there is a `@` alone. @param quote What stands around names. */
export const statementsOn =
  (table: string, quote: string) =>
  (text: string, columns?: readonly string[]): Statement => ({
    text: text.replaceAll(/(?<!@)@(?!@)/g, quote + table + quote),
    ...(columns && { columns, isOne: columns === RECORD }),
    prepared: undefined,
  })

/** What `select` gives. */
export const RECORD = ['data', 'expires'] as const

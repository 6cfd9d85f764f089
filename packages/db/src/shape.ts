// What the table at hand can hold: it may be Django's, or one that somebody has made by hand, and hold less than our own.
import {
  after,
  reasonIn,
  SessionStoreError,
  SessionTooLargeError,
  warnDeveloper,
  type Awaitable,
} from '@coatcheck/core/store'
import type { Action } from './table.ts'

/** What a table can hold. */
export interface Shape {
  readonly table: string
  readonly key: {
    /** In the database's words: `varchar(40)`. */
    readonly type: string
    /** Characters that fit. */
    readonly width: number
    /** `aB` and `Ab` are the same to the database. */
    readonly ignoresCase: boolean
    /** What makes the column hold every key. */
    readonly mend: string
  }
  readonly data: {
    readonly type: string
    /** Characters and bytes that fit. */
    readonly characters: number
    readonly bytes: number
    /** The characters that it has: all, those of up to three bytes in UTF-8, or those of ASCII alone. */
    readonly repertoire: 'all' | 'utf8mb3' | 'ascii'
    readonly mend: string
  }
}

/**
 * What a table is taken to hold of which the server tells nothing, now or later: everything, with a warning.
 * @param error Why it does not tell.
 */
export function unknownShape(table: string, error?: unknown): Shape {
  warnDeveloper(
    'TABLE_UNCHECKED',
    `The database does not tell what the columns of the session table '${table}' are${reasonIn(error)}, so that keys which it cuts, or text that it garbles, would go unseen.`,
  )
  return {
    table,
    key: { type: '', width: Infinity, ignoresCase: false, mend: '' },
    data: { type: '', characters: Infinity, bytes: Infinity, repertoire: 'all', mend: '' },
  }
}

/**
 * Whether the table tells this key from every other one. One that it does not is not in it: it would be cut when it is written,
 * or found under another's name.
 */
export function holdsKey({ key: { width, ignoresCase } }: Shape, key: string): boolean {
  return key.length <= width && !(ignoresCase && /[A-Z]/.test(key))
}

/** @throws SessionStoreError for a key that is not told from every other one. */
export function assertKey(shape: Shape, key: string): void {
  if (holdsKey(shape, key)) return
  const { type, width, mend } = shape.key
  const problem =
    key.length > width
      ? `and would cut a key of ${key.length} characters`
      : 'and ignores case, so that it takes a key with capitals for another'
  throw unfit(shape.table, 'session_key', type, problem, mend)
}

const NOT_ASCII = /[^\0-\x7F]/
const SURROGATE = /[\uD800-\uDFFF]/

const PAIR = /[\uD800-\uDBFF][\uDC00-\uDFFF]/g

/** Characters as databases count them: a pair of surrogates is one. */
const charactersIn = (text: string) => text.length - (text.match(PAIR)?.length ?? 0)

/** @throws SessionTooLargeError or SessionStoreError for data that would be cut or garbled. */
export function assertData({ table, data: column }: Shape, data: string): void {
  const { type, characters, bytes, repertoire, mend } = column
  const count = data.length > characters ? charactersIn(data) : 0
  const isCounted = count > characters
  // A character takes three bytes at the most for each of its units.
  if (isCounted || (data.length * 3 > bytes && Buffer.byteLength(data) > bytes)) {
    throw new SessionTooLargeError(
      `The session's data, in the column session_data (${type}) of '${table}',`,
      Buffer.byteLength(data),
      isCounted ? characters : bytes,
      `Keep less in the session, or run: ${mend}`,
      isCounted ? count : undefined,
    )
  }
  if (repertoire === 'all') return
  if (!(repertoire === 'ascii' ? NOT_ASCII : SURROGATE).test(data)) return
  throw unfit(table, 'session_data', type, 'and would garble what is to be stored', mend)
}

/**
 * A table that cannot be used as it is.
 * @param type What the column is.
 * @param problem What is wrong with that, after "is X": `and ignores case`.
 * @param mend What to run.
 */
export function unfit(
  table: string,
  column: string,
  type: string,
  problem: string,
  mend: string,
): SessionStoreError {
  return new SessionStoreError(
    `The column ${column} of the session table '${table}' is ${type}, ${problem}. Run: ${mend}`,
  )
}

/** What has the table's name is something else. @param what Such as `a view`. */
export function noTable(table: string, what: string): SessionStoreError {
  return new SessionStoreError(
    `The session table '${table}' is ${what}, and not a table. Name the table by the option \`table\`, or take the name for one.`,
  )
}

/**
 * The three columns of a session table.
 * @throws SessionStoreError if one is not there.
 */
export function columnsOf<C>(
  table: string,
  columns: readonly C[],
  nameOf: (column: C) => string,
): [key: C, data: C, date: C] {
  const [key, data, date] = ['session_key', 'session_data', 'expire_date'].map((name) =>
    columns.find((column) => nameOf(column) === name),
  )
  if (key && data && date) return [key, data, date]
  throw new SessionStoreError(
    `The table '${table}' is no session table: it lacks a column session_key, session_data or expire_date. Name another one by the option \`table\`.`,
  )
}

/** Looks at a table before its first use, until that has succeeded once. */
export interface Look {
  (action: Action): Awaitable<Shape>
  /** What is known without a look. */
  is(shape: Shape): void
}

/** @param isShared Whether those that come meanwhile wait for the one that looks. */
export function createLook(look: (action: Action) => Awaitable<Shape>, isShared: boolean): Look {
  let shape: Shape | undefined
  let looking: Promise<Shape> | undefined

  function shapeFor(action: Action): Awaitable<Shape> {
    if (shape) return shape
    if (looking) return looking
    const found = look(action)
    if (!isShared) return after(found, (one) => (shape = one))
    const mine = (looking = Promise.resolve(found))
    mine.then(
      (one) => {
        shape ??= one
      },
      () => {
        looking = undefined
      },
    )
    return mine
  }
  return Object.assign(shapeFor, { is: (known: Shape) => void (shape = known) })
}

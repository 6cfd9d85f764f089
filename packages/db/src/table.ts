// What the three databases share: the table's name, and the words for what can go wrong.
import {
  addressInWords,
  reasonIn,
  reasonOf,
  refuseOption,
  rules,
  SessionError,
  SessionStoreError,
  SessionUsageError,
  wrongText,
} from '@coatcheck/core/store'
import { originOf } from './causes.ts'
import type { Dialect } from './dialect.ts'

/** The table's default name. */
export const DEFAULT_TABLE = 'coatcheck_session'

/** Rows that one batch of `clearExpired` removes: some 10 ms of locks on an ordinary disk. */
export const BATCH_SIZE = 1000

/** A table's name, as it is written into statements. */
export const tableName = rules.rule(
  "a table's name: letters, digits and underscores, 48 at the most",
  (name) => typeof name === 'string' && /^[A-Za-z_]\w{0,47}$/.test(name),
)

/**
 * @param by The engine, as an error names it.
 * @param such What it takes, in an error's words.
 * @param isUrl Whether a text is one that the driver understands.
 * @param methods What a connection of the application's must have.
 * @throws SessionUsageError for a database that is neither.
 */
export function assertDatabase<D>(
  by: string,
  database: D | undefined,
  such: string,
  isUrl: (text: string) => boolean,
  methods: readonly string[],
): asserts database is D {
  if (typeof database === 'string') {
    const [start] = /\w+:\/\//.exec(such) ?? []
    if (!isUrl(database)) refuseOption(`${by} needs ${such}, and got ${wrongText(database, start)}`)
    return
  }
  const has = (name: string) => typeof (database as any)?.[name] === 'function'
  const missing = methods.filter((name) => !has(name))
  if (missing.length === 0) return
  const lacking = missing.length < methods.length ? ` without ${missing.join(', ')}` : ''
  refuseOption(`${by} needs ${such}, and got ${addressInWords(database)}${lacking}`)
}

/** @throws SessionUsageError for a batch size that is not a whole number from 1 on. */
export function assertBatchSize(batchSize: number): void {
  if (Number.isSafeInteger(batchSize) && batchSize > 0) return
  throw new SessionUsageError(
    `clearExpired: \`batchSize\` must be a whole number from 1 on, and is ${String(batchSize)}.`,
  )
}

/** What an engine was doing when something failed, as "failed to" goes on before the table's name. */
export const ACTIONS = {
  load: 'load a session from',
  create: 'store a new session in',
  save: 'save a session in',
  touch: 'move the end of a session in',
  delete: 'delete a session from',
  clearExpired: 'remove expired sessions from',
  migrate: 'make the table',
  look: 'look at the columns of',
}

export type Action = keyof typeof ACTIONS

/** What a server's codes mean, where the user can mend it. */
const MEANINGS: Readonly<Record<string, string>> = {
  '25006': 'it takes no changes (a standby?)',
  '28000': 'this user may not connect so',
  '28P01': 'the password is wrong',
  '3D000': 'there is no such database',
  '3F000': 'there is no schema to make it in',
  '42501': 'this user may not do that',
  '42703': 'it is no session table, or lacks a column',
  '53300': 'it has as many connections as it takes',
  '57P03': 'it is starting up, or shutting down',
  ER_ACCESS_DENIED_ERROR: 'it does not know this user with this password',
  ER_ACCESS_DENIED_NO_PASSWORD_ERROR: 'it does not know this user without a password',
  ER_BAD_DB_ERROR: 'there is no such database',
  ER_BAD_FIELD_ERROR: 'it is no session table, or lacks a column',
  ER_CON_COUNT_ERROR: 'it has as many connections as it takes',
  ER_DBACCESS_DENIED_ERROR: 'this user may not use the database',
  ER_OPTION_PREVENTS_STATEMENT: 'it takes no changes (a replica?)',
  ER_TABLEACCESS_DENIED_ERROR: 'this user may not do that',
  HANDSHAKE_NO_SSL_SUPPORT: 'it has no TLS, which is asked for (ssl)',
}

/** What drivers say in sentences of their own, which have no code. */
const SENTENCES: Readonly<Record<string, string>> = {
  'The server does not support SSL connections': 'it has no TLS, which is asked for (sslmode)',
  'There was an error establishing an SSL connection': 'it does not understand TLS',
  'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string':
    'it asks for a password, and none is given',
  'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a non-empty string':
    'it asks for a password, and none is given',
  'Query read timeout': 'no answer in time (query_timeout)',
  'timeout exceeded when trying to connect': 'no connection in time (connectionTimeoutMillis)',
  'timeout expired': 'no connection in time (connectionTimeoutMillis)',
  'Connection terminated due to connection timeout':
    'no connection in time (connectionTimeoutMillis)',
  'Connection terminated': 'the connection was closed',
  'Connection terminated unexpectedly': 'the connection was closed',
  'Client was closed and is not queryable': "the application's client is closed",
  'Client has encountered a connection error and is not queryable':
    "the application's client has lost its connection",
  'Cannot use a pool after calling end on the pool': "the application's pool is closed",
  'Pool is closed.': "the application's pool is closed",
  "Can't add new command when connection is in closed state":
    "the application's connection is closed",
  // Of better-sqlite3, and of node:sqlite.
  'The database connection is not open': "the application's connection is closed",
  'database is not open': "the application's connection is closed",
}

/** The host and port of a URL, in brackets; empty for what is none. */
export function placeOf(database: unknown): string {
  if (typeof database !== 'string' || !URL.canParse(database)) return ''
  const { host } = new URL(database)
  return host && ` (${host})`
}

/** What of an error may be shown, whoever has made it. */
const SHOWN = ['code', 'errno', 'errcode', 'sqlState', 'severity', 'routine'] as const

/**
 * A server's error as it may be shown: its text, its detail and what a trigger says hold keys and data, and mysql2 puts the statement on it.
 * What is the system's is left as it is.
 */
function showable(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { sqlState, severity } = error as Error & Record<string, unknown>
  if (sqlState === undefined && severity === undefined) return error
  // The original's stack begins with its message.
  return shown(`The server said ${reasonOf(error) || 'no code'}`, error, error, '')
}

/**
 * An error of a client as it may be shown: ORMs put the statement and its parameters into their messages. Where it was thrown stays.
 * @param origin The error that it is made around.
 */
function shorn(error: unknown, origin: unknown): Error {
  const message = `The client failed${reasonIn(origin)}; its text is withheld, as clients put parameters into theirs: catch it within \`run\` to read it`
  return shown(message, error, origin, framesOf(error as Error))
}

/** The lines of a stack that follow the message as it is, which may hold lines that look like them; none where it is another one. */
function framesOf({ stack = '', message = '' }: Error): string {
  const [name = ''] = /^\w+(?: \[\w+\])?/.exec(stack) ?? []
  const head = name + (message && `: ${message}`)
  if (!stack.startsWith(head)) return ''
  return /^(?:\n {4}at .*)*/.exec(stack.slice(head.length))![0]
}

function shown(message: string, outer: unknown, origin: any, stack: string): Error {
  const { name } = outer as Error
  const error = new Error(message)
  error.name = /^[A-Z][A-Za-z]{0,40}Error$/.test(name) ? name : 'Error'
  error.stack = `${error.name}: ${message}${stack}`
  for (const field of SHOWN) {
    const value: unknown = origin[field]
    if (/^\w{1,60}$/.test(String(value ?? ''))) Object.assign(error, { [field]: value })
  }
  return error
}

function meaningOf(reason: string, error: unknown): string | undefined {
  if (Object.hasOwn(MEANINGS, reason)) return MEANINGS[reason]
  const { message: sentence = '' } = Object(error) as Error
  return Object.hasOwn(SENTENCES, sentence) ? SENTENCES[sentence] : undefined
}

/** What has failed. */
interface Failed {
  /** In an error's words, with its place. */
  readonly database: string
  readonly action: Action
  readonly table: string
  readonly dialect: Pick<Dialect, 'isMissing' | 'meaningOf'>
  /** It comes by a client that may put anything into its errors. */
  readonly isForeign: boolean
}

/** A backend's error as the library's. */
export function failed(
  { database, action, table, dialect, isForeign }: Failed,
  cause: unknown,
): SessionError {
  if (cause instanceof SessionError) return cause
  const origin = isForeign ? originOf(cause) : cause
  const reason = reasonOf(origin)
  const meaning = dialect.meaningOf?.(origin)
  const said = meaning
    ? meaning + reasonIn(origin)
    : [reason, meaningOf(reason, origin)].filter(Boolean).join(', ')
  return new SessionStoreError(
    dialect.isMissing(cause)
      ? `The session table '${table}' does not exist. Call store.migrate() once, at start-up or in a deploy step, or run what schema() of @coatcheck/db/sql returns.`
      : `${database} failed to ${ACTIONS[action]} '${table}'${said && `: ${said}`}.`,
    isForeign ? shorn(cause, origin) : showable(cause),
  )
}

// What an error is made around, as ORMs put errors of their own around a driver's; and what of an error is looked at that anybody may have made.
import { isIP } from 'node:net'

/** Errors in errors are looked at so deep: they may go round in a circle. */
const DEEPEST = 5

/** Where clients keep the error that theirs is made around. */
const PLACES = ['cause', 'original', 'driverError', 'driverAdapterError', 'meta'] as const

/** An error, and whatever it is made around, from the outermost on. */
export function* errorsIn(error: unknown, depth = DEEPEST): Generator<Record<string, unknown>> {
  if (typeof error !== 'object' || error === null || depth === 0) return
  const outer = error as Record<string, unknown>
  yield outer
  for (const place of PLACES) yield* errorsIn(outer[place], depth - 1)
}

/** The innermost of those that have a code, or of which there are several. */
export function originOf(error: unknown): unknown {
  let origin = error
  for (const one of errorsIn(error)) if ('code' in one || 'errors' in one) origin = one
  return origin
}

const isText = (value: unknown) => typeof value === 'string'

const textLike = (pattern: RegExp) => (value: unknown) =>
  isText(value) && pattern.test(value as string)

/** As databases and systems write codes, and no keys are: 23505, ER_LOCK_DEADLOCK, ECONNREFUSED. */
const isCode = textLike(/^[A-Z\d]{1,16}(_[A-Z\d]{1,16}){0,6}$/)

/** Prisma's words for why there is no connection, which stand in for the driver's code. */
const KINDS = new Set<unknown>([
  'AuthenticationFailed',
  'ConnectionClosed',
  'DatabaseAccessDenied',
  'DatabaseDoesNotExist',
  'DatabaseNotReachable',
  'SocketTimeout',
  'TlsConnectionError',
  'TooManyConnections',
])

/** What is looked at, and when: only `message`, `stack` and `name` may hold keys and data. */
const FIELDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  code: isCode,
  errno: Number.isSafeInteger,
  errcode: Number.isSafeInteger,
  sqlState: textLike(/^[A-Z\d]{5}$/),
  severity: textLike(/^(ERROR|FATAL|PANIC)$/),
  syscall: textLike(/^[a-z]{1,12}$/),
  address: (value) => isText(value) && isIP(value as string) > 0,
  port: Number.isSafeInteger,
  fatal: (value) => typeof value === 'boolean',
  message: isText,
  stack: isText,
  name: isText,
}

/** What a client has thrown, as far as it is looked at: plain objects, whatever it is and whatever happens when it is read. */
export function copyOf(error: unknown): Record<string, unknown> {
  return copyWithin(error, DEEPEST, new Set())
}

/** @param seen What is copied already. */
function copyWithin(error: unknown, depth: number, seen: Set<unknown>): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  if (typeof error !== 'object' || error === null || depth === 0 || seen.has(error)) return copy
  seen.add(error)
  const take = (field: string, holds: (value: unknown) => boolean, from = field) => {
    const value = read(error, from)
    if (copy[field] === undefined && holds(value)) copy[field] = value
  }
  for (const [field, holds] of Object.entries(FIELDS)) take(field, holds)
  // Prisma tells of a driver's error in words of its own.
  take('code', isCode, 'originalCode')
  take('code', (value) => KINDS.has(value), 'kind')
  take('message', isText, 'originalMessage')
  for (const place of PLACES) {
    const inner = read(error, place)
    if (typeof inner === 'object' && inner) copy[place] = copyWithin(inner, depth - 1, seen)
  }
  const errors = listIn(error).map((one) => copyWithin(one, depth - 1, seen))
  if (errors.length > 0) copy['errors'] = errors
  return copy
}

function read(error: object, name: string): unknown {
  try {
    return (error as Record<string, unknown>)[name]
  } catch {
    return undefined
  }
}

/** The first of several errors, such as those of a host with several addresses. */
function listIn(error: object): unknown[] {
  try {
    const { errors } = error as { errors?: unknown }
    return Array.isArray(errors) ? errors.slice(0, 10) : []
  } catch {
    return []
  }
}

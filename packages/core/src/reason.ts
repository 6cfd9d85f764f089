// What may be told of a backend's error: where it was looked for and what the system says, never its text, which may hold data.

/** As much of a system's or a driver's error as is looked at. */
interface Failure {
  readonly code?: unknown
  readonly syscall?: unknown
  readonly address?: unknown
  readonly hostname?: unknown
  readonly port?: unknown
  readonly errors?: unknown
  readonly cause?: unknown
}

/**
 * Why a backend failed, in few words that hold no key, no data and no path: `connect ECONNREFUSED 127.0.0.1:6379`, `getaddrinfo ENOTFOUND db`,
 * `write ENOSPC`, `57P01`. Empty where the error does not say.
 * @param error What a driver threw: a system error, one with a `code`, one with such a `cause`, or an AggregateError of such.
 */
export function reasonOf(error: unknown): string {
  try {
    return reasonWithin(error, DEEPEST)
  } catch {
    // An error may be an object that throws when it is looked at.
    return ''
  }
}

/** Causes of causes are looked at so deep: they may go round in a circle. */
const DEEPEST = 5

function reasonWithin(error: unknown, depth: number): string {
  if (typeof error !== 'object' || error === null || depth === 0) return ''
  const { code, syscall, address, hostname, port, errors, cause } = error as Failure
  // A host by name may have several addresses.
  if (Array.isArray(errors) && errors.length > 0) {
    const reasons = errors.slice(0, 10).map((one) => reasonWithin(one, depth - 1))
    return [...new Set(reasons)].filter(Boolean).join(', ')
  }
  if (!isWord(code)) return reasonWithin(cause, depth - 1)
  if (!isWord(syscall)) return code
  const host = isHost(address) ? address : isHost(hostname) ? hostname : ''
  const place =
    typeof port === 'number' ? `${host.includes(':') ? `[${host}]` : host}:${port}` : host
  return `${syscall} ${code} ${place}`.trimEnd()
}

/** The same in brackets, to stand in a sentence; empty where there is none. */
export function reasonIn(error: unknown): string {
  const reason = reasonOf(error)
  return reason && ` (${reason})`
}

/** A name such as ECONNREFUSED, SQLITE_FULL or 57P01. */
function isWord(value: unknown): value is string {
  return typeof value === 'string' && /^\w{2,60}$/.test(value)
}

/** A host's name or address; a socket's path too. */
function isHost(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.:%/-]{1,255}$/.test(value)
}

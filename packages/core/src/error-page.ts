// Where to read more: the last line of an error's or a warning's message leads to its code's heading in docs/errors.md.

const PAGE = 'https://github.com/coatcheck/coatcheck/blob/main/docs/errors.md'

/** The codes that have a heading there; one that an application or a store has made up has none. */
const EXPLAINED: ReadonlySet<string> = new Set([
  'ERR_COOKIE',
  'ERR_SESSION_CONFLICT',
  'ERR_SESSION_DRIVER_MISSING',
  'ERR_SESSION_ENCODE',
  'ERR_SESSION_GONE',
  'ERR_SESSION_HEADERS_SENT',
  'ERR_SESSION_KEY_EXISTS',
  'ERR_SESSION_NOT_AT_ONCE',
  'ERR_SESSION_NOT_LOADED',
  'ERR_SESSION_OPTIONS',
  'ERR_SESSION_STORE',
  'ERR_SESSION_TOO_LARGE',
  'ERR_SESSION_TWICE',
  'ERR_SESSION_USAGE',
  'ERR_SESSION_VISITOR',
  'CACHE_AWAY',
  'CHANGED_AFTER_HEADERS',
  'CLASH',
  'COOKIE_AGE',
  'COOKIE_NEEDS_HTTPS',
  'COOKIE_NOT_SENT',
  'CORRUPT_DATA',
  'IN_TRANSACTION',
  'MALFORMED_COOKIE',
  'PREPARED_STATEMENTS',
  'PUBLIC_RESPONSE',
  'READ_AS_PROPERTY',
  'STORE_UNAVAILABLE',
  'SWEEP_FAILED',
  'TABLE_ENGINE',
  'TABLE_UNCHECKED',
  'VISITOR_UNKNOWN',
])

/** What {@link withPage} puts behind a message. */
const POINTER =
  /\nSee https:\/\/github\.com\/coatcheck\/coatcheck\/blob\/main\/docs\/errors\.md#\w+/g

/**
 * The message with the place where its code is explained. It has a line of its own: a message may end in a command that is to be
 * copied. One that holds another's message names one place alone.
 */
export function withPage(message: string, code: string): string {
  const own = withoutPage(message)
  return EXPLAINED.has(code) ? `${own}\nSee ${PAGE}#${code.toLowerCase()}` : own
}

/** The message alone. */
function withoutPage(message: string): string {
  return message.includes(PAGE) ? message.replaceAll(POINTER, '') : message
}

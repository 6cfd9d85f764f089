// What the library reports and nobody has to handle, on node:diagnostics_channel.
import { channel } from 'node:diagnostics_channel'
import type { Path } from './merge.ts'
import type { Clash } from './strategies.ts'

/** What arrives on the channel `coatcheck:warning`. Never holds a key, a secret or session data. */
export interface SessionWarning {
  /** A stable name: `MALFORMED_COOKIE`, `CORRUPT_DATA`, `STORE_UNAVAILABLE`, `CHANGED_AFTER_HEADERS`, `CLASH` or `CACHE_AWAY`. */
  code: string
  /** What happened and what to do. */
  message: string
}

/** What arrives on the channel `coatcheck:conflict`: another request changed the session first. */
export interface SessionConflict {
  /** How often this commit has met a conflict so far, from 1 on. */
  attempt: number
}

/** What arrives on the channel `coatcheck:clash`: of two requests' changes of one value, one is lost. Never holds the values. */
export interface SessionClash {
  /** Where the value stands, from the session's key on: `['prefs', 'theme']`. */
  path: Path
}

const warnings = channel('coatcheck:warning')
const conflicts = channel('coatcheck:conflict')
const clashes = channel('coatcheck:clash')

/** The keys whose first clash was told of: not of more than so many, as keys may be made of anything. */
const told = new Set<string>()
const MOST_TOLD = 100

/** Something a client sent: reported to whoever listens, and to nobody else, so that a client cannot fill the log. */
export function warn(code: string, message: string): void {
  if (warnings.hasSubscribers) warnings.publish({ code, message } satisfies SessionWarning)
}

/**
 * Something that whoever develops or runs the application should know: on the channel `coatcheck:warning` or, where nobody listens
 * there, as a process warning, so that somebody sees it.
 * @param code A stable name, as `CACHE_AWAY`.
 * @param message What happened and what to do; no key, no secret, no session data.
 */
export function warnDeveloper(code: string, message: string): void {
  if (warnings.hasSubscribers) warn(code, message)
  else process.emitWarning(message, { type: 'CoatcheckWarning', code })
}

/** Reports that a save met newer data. */
export function reportConflict(attempt: number): void {
  if (conflicts.hasSubscribers) conflicts.publish({ attempt } satisfies SessionConflict)
}

/**
 * Reports that two requests have changed one value; during development, the first of each key as a warning that says what to do.
 * @param update How the application changes a value by a function; undefined where it cannot.
 */
export function reportClash({ path, kind }: Clash, update?: (key: string) => string): void {
  if (clashes.hasSubscribers) clashes.publish({ path } satisfies SessionClash)
  const key = String(path[0])
  if (kind === 'declared' || process.env['NODE_ENV'] === 'production') return
  if (told.has(key) || told.size >= MOST_TOLD) return
  told.add(key)
  const orUpdate = update ? `, or change it by ${update(key)}` : ''
  const what = `Two requests at once have changed '${path.join('.')}' of one session, and the later one's value was kept.`
  const advice =
    kind === 'misfit'
      ? `The strategy that is declared for '${key}' is not made for such a value.`
      : `If both are to count, declare how '${key}' is merged (the option \`merge\`)${orUpdate}.`
  warnDeveloper('CLASH', `${what} ${advice}`)
}

/** As a session of ours does. */
export const byUpdate = (key: string): string => `session.update('${key}', fn)`

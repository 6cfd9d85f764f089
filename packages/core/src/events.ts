// What the library reports and nobody has to handle, on node:diagnostics_channel.
import { createHmac, randomBytes } from 'node:crypto'
import { channel } from 'node:diagnostics_channel'
import { systemClock } from './clock.ts'
import { withPage } from './error-page.ts'
import type { Path } from './merge.ts'
import type { Clash } from './strategies.ts'

/** What arrives on the channel `coatcheck:warning`. Never holds a key, a secret or session data. */
export interface SessionWarning {
  /**
   * A stable name: `MALFORMED_COOKIE`, `CORRUPT_DATA`, `STORE_UNAVAILABLE`, `CHANGED_AFTER_HEADERS`, `PUBLIC_RESPONSE`,
   * `COOKIE_NOT_SENT`, `CLASH`, `CACHE_AWAY`, `SWEEP_FAILED`, `PREPARED_STATEMENTS`, `IN_TRANSACTION`,
   * `TABLE_ENGINE`, `TABLE_UNCHECKED`, `COOKIE_NEEDS_HTTPS` or `COOKIE_AGE`.
   */
  code: string
  /** What happened and what to do, and where docs/errors.md says more. */
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

/**
 * What arrives on the channel `coatcheck:unknown-key`: a request came with a key that the store does not know. It never was one, or
 * its session has ended; many of them from one client may be somebody who guesses. Signed cookies have none: what is forged there is
 * the warning `MALFORMED_COOKIE`.
 * @see https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html#session-id-guessing-and-brute-force-detection
 */
export interface UnknownKey {
  /** Stands for the key in this process: 16 hex digits of an HMAC-SHA-256, from which the key cannot be found. */
  key: string
  /** How many more there were since the last event: at most ten a second are told. */
  suppressed: number
}

/** What arrives on the channel `coatcheck:sweep`: one sweep of `sweep(store)` has ended. */
export interface SweepReport {
  /** How many expired records it removed; 0 if it failed. */
  removed: number
  /** How long it took, in ms. */
  duration: number
  /** What it failed with; unset if it went well. */
  error?: unknown
}

const sweeps = channel('coatcheck:sweep')
const warnings = channel('coatcheck:warning')
const conflicts = channel('coatcheck:conflict')
const clashes = channel('coatcheck:clash')
const unknownKeys = channel('coatcheck:unknown-key')

/** The keys whose first clash was told of: not of more than so many, as keys may be made of anything. */
const told = new Set<string>()
const MOST_TOLD = 100

/** Something a client sent: reported to whoever listens, and to nobody else, so that a client cannot fill the log. */
export function warn(code: string, message: string): void {
  if (!warnings.hasSubscribers) return
  warnings.publish({ code, message: withPage(message, code) } satisfies SessionWarning)
}

/**
 * Something that whoever develops or runs the application should know: on the channel `coatcheck:warning` or, where nobody listens
 * there, as a process warning, so that somebody sees it.
 * @param code A stable name, as `CACHE_AWAY`.
 * @param message What happened and what to do; no key, no secret, no session data.
 */
export function warnDeveloper(code: string, message: string): void {
  if (warnings.hasSubscribers) warn(code, message)
  else process.emitWarning(withPage(message, code), { type: 'CoatcheckWarning', code })
}

/** The codes that were told as process warnings. */
const warned = new Set<string>()

/**
 * Something that may happen with every request: each time on the channel `coatcheck:warning` or, where nobody listens there, once in
 * this process as a process warning.
 * @param message As of {@link warnDeveloper}; made only if somebody is told.
 */
export function warnOfEach(code: string, message: () => string): void {
  if (!warnings.hasSubscribers && warned.has(code)) return
  if (!warnings.hasSubscribers) warned.add(code)
  warnDeveloper(code, message())
}

/** So many unknown keys are told in a second: a client that guesses must not fill the log. */
const MOST_UNKNOWN = 10

/** Of this process: made when it is first needed, as some platforms have no randomness before the first request. */
let salt: Uint8Array | undefined
/** The second that is counted in, as whole seconds since the epoch. */
let second = 0
let toldInSecond = 0
let suppressed = 0

/** Reports that a well-formed key opens nothing. */
export function reportUnknownKey(key: string): void {
  if (!unknownKeys.hasSubscribers) return
  const now = Math.floor(systemClock() / 1000)
  if (now !== second) {
    second = now
    toldInSecond = 0
  }
  if (toldInSecond >= MOST_UNKNOWN) {
    suppressed++
    return
  }
  toldInSecond++
  unknownKeys.publish({ key: hashForEvents(key), suppressed } satisfies UnknownKey)
  suppressed = 0
}

/** What stands for a key in this process, as {@link UnknownKey} tells it: the key cannot be found from it. */
export function hashForEvents(key: string): string {
  salt ??= randomBytes(32)
  return createHmac('sha256', salt).update(key).digest('hex').slice(0, 16)
}

/** Reports how a sweep ended. */
export function tellSweep(report: SweepReport): void {
  if (sweeps.hasSubscribers) sweeps.publish(report)
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

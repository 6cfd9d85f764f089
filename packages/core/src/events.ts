// What the library reports and nobody has to handle, on node:diagnostics_channel.
import { channel } from 'node:diagnostics_channel'

/** What arrives on the channel `coatcheck:warning`. Never holds a key, a secret or session data. */
export interface SessionWarning {
  /** A stable name: `MALFORMED_COOKIE`, `CORRUPT_DATA`, `STORE_UNAVAILABLE` or `CHANGED_AFTER_HEADERS`. */
  code: string
  /** What happened and what to do. */
  message: string
}

/** What arrives on the channel `coatcheck:conflict`: another request changed the session first. */
export interface SessionConflict {
  /** How often this commit has met a conflict so far, from 1 on. */
  attempt: number
}

const warnings = channel('coatcheck:warning')
const conflicts = channel('coatcheck:conflict')

/** Something a client sent: reported to whoever listens, and to nobody else, so that a client cannot fill the log. */
export function warn(code: string, message: string): void {
  if (warnings.hasSubscribers) warnings.publish({ code, message } satisfies SessionWarning)
}

/** A mistake in the application: where nobody listens it becomes a process warning, so that somebody sees it. */
export function warnDeveloper(code: string, message: string): void {
  if (warnings.hasSubscribers) warn(code, message)
  else process.emitWarning(message, { type: 'CoatcheckWarning', code })
}

/** Reports that a save met newer data. */
export function reportConflict(attempt: number): void {
  if (conflicts.hasSubscribers) conflicts.publish({ attempt } satisfies SessionConflict)
}

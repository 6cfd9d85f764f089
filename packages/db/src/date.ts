// Dates as Django's database engine writes them: UTC, microseconds, in an order that sorts as text.

/** Milliseconds since the epoch as `2026-11-24 15:04:05.123000`. */
export function formatDate(ms: number): string {
  const iso = new Date(ms).toISOString()
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}000`
}

/**
 * The dates between which {@link parseDate} reads this moment: later than the first, not later than the second. Django writes
 * microseconds, and on SQLite no fraction where it is none.
 */
export function datesOf(ms: number): [after: string, last: string] {
  return [lastDateOf(ms - 1), lastDateOf(ms)]
}

function lastDateOf(ms: number): string {
  return `${formatDate(ms).slice(0, -3)}999`
}

/** Milliseconds since the epoch of what {@link formatDate} or Django wrote; NaN for anything else. */
export function parseDate(text: string): number {
  return Date.parse(`${text.slice(0, 10)}T${text.slice(11)}Z`)
}

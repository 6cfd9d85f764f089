// Dates as Django's database engine writes them: UTC, microseconds, in an order that sorts as text.
import { SessionUsageError } from '@coatcheck/core/store'

/** So many texts are remembered: the seconds and days that calls are about now. */
const MOST_REMEMBERED = 100

/** Of each millisecond the first microsecond, and the last. */
const FIRST = Array.from({ length: 1000 }, (_, ms) => `${String(ms).padStart(3, '0')}000`)
const LAST = FIRST.map((fraction) => `${fraction.slice(0, 3)}999`)

/** Seconds since the epoch as `2026-11-24 15:04:05.`: the calls of a second ask for few, again and again. */
const secondAsText = remember((second: number) =>
  // A later year than 9999 is written as +010000.
  new Date(second * 1000).toISOString().slice(0, -4).replace('T', ' ').replace(/^\+0*/, ''),
)

/** When a day begins, in ms. */
const beginOfDay = remember((day: string) => Date.parse(day))

/** Milliseconds since the epoch as `2026-11-24 15:04:05.123000`. */
export function formatDate(ms: number): string {
  return formatWith(FIRST, ms)
}

/** The same with the last microsecond of it: what is not later has ended by then, as {@link parseDate} reads it. */
export function lastDateOf(ms: number): string {
  return formatWith(LAST, ms)
}

function formatWith(fractions: readonly string[], ms: number): string {
  const second = Math.floor(ms / 1000)
  return secondAsText(second) + fractions[Math.floor(ms - second * 1000)]!
}

/** From here on years have five digits: they do not sort as text, and MySQL has none. */
const TOO_LATE = Date.UTC(10_000)

/**
 * The end of a session, in ms since the epoch, as {@link formatDate} writes it.
 * @throws SessionUsageError for one that not every database can keep.
 */
export function formatEnd(ms: number): string {
  if (ms < TOO_LATE) return formatDate(ms)
  throw new SessionUsageError(
    'A session must end before the year 10000, and was given a later end.',
  )
}

/**
 * The dates between which {@link parseDate} reads this moment: later than the first, not later than the second. Django writes
 * microseconds, and on SQLite no fraction where it is none.
 */
export function datesOf(ms: number): [after: string, last: string] {
  return [lastDateOf(ms - 1), lastDateOf(ms)]
}

const WRITTEN = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/

/** Milliseconds since the epoch of what {@link formatDate} or Django wrote; NaN for anything else. */
export function parseDate(text: string): number {
  if (!WRITTEN.test(text)) {
    // PostgreSQL has years of up to six digits.
    const [day = '', time = ''] = text.split(/(?<=^.{10,12}) /s)
    return Date.parse(`${day.length > 10 ? `+${day.padStart(12, '0')}` : day}T${time}Z`)
  }
  const pair = (at: number) => text.charCodeAt(at) * 10 + text.charCodeAt(at + 1) - 528
  const seconds = (pair(11) * 60 + pair(14)) * 60 + pair(17)
  return beginOfDay(text.slice(0, 10)) + seconds * 1000 + pair(20) * 10 + text.charCodeAt(22) - 48
}

/** A function that remembers what it has made last. */
function remember<K, V>(make: (key: K) => V): (key: K) => V {
  const made = new Map<K, V>()
  return (key) => {
    const known = made.get(key)
    if (known !== undefined) return known
    if (made.size >= MOST_REMEMBERED) made.clear()
    const value = make(key)
    made.set(key, value)
    return value
  }
}

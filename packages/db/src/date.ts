// Dates as Django's database engine writes them: UTC, microseconds, in an order that sorts as text.

/** So many texts are remembered: the seconds and days that calls are about now. */
const MOST_REMEMBERED = 100

/** The fraction of each millisecond. */
const FRACTIONS = Array.from({ length: 1000 }, (_, ms) => `${String(ms).padStart(3, '0')}000`)

/** Seconds since the epoch as `2026-11-24 15:04:05.`: the calls of a second ask for few, again and again. */
const secondAsText = remember((second: number) =>
  new Date(second * 1000).toISOString().slice(0, 20).replace('T', ' '),
)

/** When a day begins, in ms. */
const beginOfDay = remember((day: string) => Date.parse(day))

/** Milliseconds since the epoch as `2026-11-24 15:04:05.123000`. */
export function formatDate(ms: number): string {
  const second = Math.floor(ms / 1000)
  return secondAsText(second) + FRACTIONS[ms - second * 1000]!
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

const WRITTEN = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/

/** Milliseconds since the epoch of what {@link formatDate} or Django wrote; NaN for anything else. */
export function parseDate(text: string): number {
  if (!WRITTEN.test(text)) return Date.parse(`${text.slice(0, 10)}T${text.slice(11)}Z`)
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

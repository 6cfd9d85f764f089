// What one request did to its session, and how that goes onto newer data: key by key, at the top level. Pure.
import type { Dictionary } from './codec.ts'

/** A change that can be run again on a newer value; undefined removes the key. */
export type Updater = (current: any) => unknown

/** What a request did to one key: its value counts (set anew, or changed in place), it is gone, or these functions ran on it. */
export type Change = 'set' | 'in place' | 'delete' | readonly Updater[]

/** What a request did to its session. */
export interface Changes {
  /** Everything that was there before is to go, whatever it is by now. */
  readonly cleared: boolean
  readonly keys: ReadonlyMap<string, Change>
  /** What an earlier request flashed and this one has seen, each with its mark: it goes, unless it was flashed anew. */
  readonly faded: ReadonlyMap<string, string>
  /** What this request flashes for the next one, each with its mark. */
  readonly flashed: ReadonlyMap<string, string>
}

/** Names the keys that are there for the next request only. */
export const FLASH_KEY = '_session_flash'

/** The marks of those keys: what an earlier version has flashed has none. */
export const MARKS_KEY = '_session_flash_marks'

/**
 * The newest data with one request's changes. Neither is changed at the top level; `update` functions run on the newest
 * values, and may change those.
 * @param mine The request's own data, for the values that it set.
 */
export function merge(changes: Changes, mine: Dictionary, newest: Dictionary): Dictionary {
  const merged: Dictionary = changes.cleared ? {} : copy(newest)
  const marks = readMarks(merged)
  for (const [key, mark] of changes.faded) {
    if (marks.get(key) !== mark) continue
    marks.delete(key)
    if (!changes.keys.has(key)) delete merged[key]
  }
  for (const [key, change] of changes.keys) {
    if (change !== 'in place') marks.delete(key)
    // A flash that somebody has seen meanwhile does not come back for a change in place.
    else if (!Object.hasOwn(merged, key) && readMarks(mine).has(key)) continue
    if (change === 'delete') delete merged[key]
    else if (typeof change === 'string') put(merged, key, mine[key])
    else runUpdaters(merged, key, change)
  }
  for (const [key, mark] of changes.flashed) {
    if (!Object.hasOwn(mine, key)) continue
    put(merged, key, mine[key])
    marks.set(key, mark)
  }
  if (marks.size > 0 || Object.hasOwn(merged, FLASH_KEY)) writeMarks(merged, marks)
  return merged
}

/** Whether the changes can be made twice with the same result: none of them is a function of the value. */
export function isRepeatable({ keys }: Changes): boolean {
  for (const change of keys.values()) if (typeof change !== 'string') return false
  return true
}

/** Two sets of changes as one, of which `later` was made on top of `earlier`. */
export function compose(earlier: Changes, later: Changes): Changes {
  if (later.cleared) return later
  const keys = new Map(earlier.keys)
  const flashed = new Map(earlier.flashed)
  for (const [key, change] of later.keys) {
    keys.set(key, composeKey(keys.get(key), change))
    flashed.delete(key)
  }
  return {
    cleared: earlier.cleared,
    keys,
    faded: new Map([...earlier.faded, ...later.faded]),
    flashed: new Map([...flashed, ...later.flashed]),
  }
}

/** One change of a key after another. */
export function composeKey(earlier: Change | undefined, later: Change): Change {
  if (typeof later === 'string' || earlier === undefined) return later
  // On a value of this request's own there is nothing newer to run the functions on.
  return typeof earlier === 'string' ? 'set' : [...earlier, ...later]
}

/** The marks of what is flashed, by key; empty for what has none. */
export function readMarks(data: Dictionary): Map<string, string> {
  const names = Object.hasOwn(data, FLASH_KEY) ? data[FLASH_KEY] : undefined
  if (!Array.isArray(names)) return new Map()
  const marks = Object.hasOwn(data, MARKS_KEY) ? (data[MARKS_KEY] as object | null) : undefined
  const byName = new Map(Object.entries(marks ?? {}))
  return new Map(
    names
      .filter((name) => typeof name === 'string')
      .map((name) => [name, String(byName.get(name) ?? '')]),
  )
}

/** Puts the marks into the data; none at all where nothing is flashed. */
export function writeMarks(data: Dictionary, marks: ReadonlyMap<string, string>): void {
  if (marks.size > 0) {
    data[FLASH_KEY] = [...marks.keys()]
    data[MARKS_KEY] = Object.fromEntries(marks)
  } else {
    delete data[FLASH_KEY]
    delete data[MARKS_KEY]
  }
}

/** Replaces a value by what the functions make of it, one after the other. */
export function runUpdaters(data: Dictionary, key: string, updaters: readonly Updater[]): void {
  let value = Object.hasOwn(data, key) ? data[key] : undefined
  for (const updater of updaters) value = updater(value)
  if (value === undefined) delete data[key]
  else put(data, key, value)
}

/** Defines an own property, even where a plain assignment would hit a setter such as `__proto__`. */
export function put(data: Dictionary, key: string, value: unknown): void {
  if (key in data && !Object.hasOwn(data, key)) {
    Object.defineProperty(data, key, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    })
  } else data[key] = value
}

/** A copy of the top level; a spread keeps an own `__proto__` as data. */
function copy(data: Dictionary): Dictionary {
  return { ...data }
}

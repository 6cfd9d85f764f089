// What one request did to its session, and how that goes onto newer data, key by key. Pure.
import type { Dictionary } from './codec.ts'
import { equal, isPlain, own, type Budget } from './json.ts'
import { mergeBudget } from './merge.ts'
import { mergeField, type Clash, type Strategies } from './strategies.ts'

/** A change that can be run again on a newer value; undefined removes the key. */
export type Updater = (current: any) => unknown

/**
 * What a request did to one key. It was put there or taken away, whatever it was before (`set`, `delete`); the same after a look
 * at what it was (`changed`, `removed`), or `in place`; or these functions ran on it.
 */
export type Change = 'set' | 'delete' | 'changed' | 'removed' | 'in place' | readonly Updater[]

/** What a request did to its session. */
export interface Changes {
  /** Everything that was there before is to go, whatever it is by now. */
  readonly cleared: boolean
  readonly keys: ReadonlyMap<string, Change>
  /** From what the request has made values that its base does not have: `get`'s second argument, or what others have removed. */
  readonly starts: ReadonlyMap<string, unknown>
  /** What an earlier request flashed and this one has seen, each with its mark: it goes, unless it was flashed anew. */
  readonly faded: ReadonlyMap<string, string>
  /** What this request flashes for the next one. */
  readonly flashed: ReadonlyMap<string, Flashed>
}

/** Something flashed: its mark, and whether the request had looked at what was there. */
export interface Flashed {
  readonly mark: string
  readonly isSeen: boolean
}

/** How values are merged that two requests have changed. */
export interface Merging {
  readonly strategies: Strategies
  /** Whether a value of which nothing is declared is one thing, and not merged below. */
  readonly wholeKeys: boolean
}

/** Every key is one thing. */
export const WHOLE_KEYS: Merging = { strategies: new Map(), wholeKeys: true }

/** Names the keys that are there for the next request only. */
export const FLASH_KEY = '_session_flash'

/** The marks of those keys: what an earlier version has flashed has none. */
export const MARKS_KEY = '_session_flash_marks'

/** A request's data before and after its changes, and how these are merged. */
export interface Made {
  readonly changes: Changes
  readonly base: Dictionary
  readonly mine: Dictionary
  readonly merging: Merging
  /** Is told where one of two changes is lost. */
  readonly clash: (clash: Clash) => void
  /** Is told what a strategy or an `update` function throws, where that must wait: then newest stays. Default: it is thrown. */
  readonly fail?: (key: string, error: unknown) => void
}

/**
 * The newest data with one request's changes. Its top level is not changed; `update` functions run on the newest values, and may
 * change those.
 */
export function putOnto(newest: Dictionary, made: Made): Dictionary {
  const { changes, mine } = made
  const budget = mergeBudget()
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
    try {
      if (typeof change === 'object') runUpdaters(merged, key, change)
      else putOrDelete(merged, key, mergedValue(made, key, change, own(merged, key), budget))
    } catch (error) {
      if (!made.fail) throw error
      made.fail(key, error)
    }
  }
  for (const [key, { mark, isSeen }] of changes.flashed) {
    if (!Object.hasOwn(mine, key)) continue
    const isMerged = isSeen && Object.hasOwn(merged, key)
    const value = isMerged ? mergedValue(made, key, 'changed', merged[key], budget) : mine[key]
    putOrDelete(merged, key, value)
    marks.set(key, mark)
  }
  if (marks.size > 0 || Object.hasOwn(merged, FLASH_KEY)) writeMarks(merged, marks)
  return merged
}

/** What becomes of one key that was changed otherwise than by functions. */
function mergedValue(
  { changes, base, mine, merging, clash }: Made,
  key: string,
  change: Exclude<Change, readonly Updater[]>,
  newest: unknown,
  budget: Budget,
): unknown {
  const value = own(mine, key)
  const isUnseen = change === 'set' || change === 'delete'
  if (changes.cleared || (isUnseen && !merging.strategies.has(key))) return value
  let before = own(base, key)
  if (before === undefined && newest !== undefined) before = changes.starts.get(key)
  // Who has not looked at a value has nothing of it to lose.
  const report = isUnseen ? () => {} : clash
  return mergeKey(merging, key, before, value, newest, report, budget)
}

/** Merges what two requests have made of one key: as one thing, or below. */
export function mergeKey(
  { strategies, wholeKeys }: Merging,
  key: string,
  base: unknown,
  mine: unknown,
  newest: unknown,
  clash: (clash: Clash) => void,
  budget: Budget,
): unknown {
  if (!wholeKeys || strategies.has(key)) {
    return mergeField(strategies, key, base, mine, newest, clash, budget)
  }
  if (!equal(base, newest) && !equal(mine, newest)) clash({ path: [key], kind: 'declared' })
  return mine
}

/**
 * Whether the changes can be made twice with the same result. What was cleared, flashed or updated by a function cannot, as others may
 * have gone on from it; nor can what was added to a list or counted.
 * @param landed The same as `mine`, decoded anew.
 */
export function isRepeatable(made: Made, landed: Dictionary): boolean {
  const { cleared, keys, flashed } = made.changes
  if (cleared || flashed.size > 0) return false
  return Array.from(keys).every(([key, change]) => {
    if (typeof change === 'object') return false
    const [before, after] = [own(made.base, key), own(made.mine, key)]
    const isNumberSet = change === 'set' && typeof after === 'number'
    if (!isNumberSet && isAdditive(before, after)) return false
    try {
      const quiet = { ...made, clash: () => {} }
      return equal(mergedValue(quiet, key, change, own(landed, key), mergeBudget()), after)
    } catch {
      // A strategy that refuses what is there.
      return false
    }
  })
}

/**
 * Whether data of now shows changes that can be made twice: true if each is there, false if each value is as it was before;
 * undefined if it is neither.
 */
export function areShownIn(newest: Dictionary, { changes, base, mine }: Made): boolean | undefined {
  const shown = new Set<boolean>()
  for (const key of changes.keys.keys()) {
    const [before, after, now] = [base, mine, newest].map((data) => own(data, key))
    if (equal(before, after)) continue
    if (!equal(now, before) && !equal(now, after)) return undefined
    shown.add(equal(now, after))
  }
  return shown.size > 1 ? undefined : shown.has(true)
}

/** Whether a list or a number was changed, anywhere: what was added, or counted, may have been added or counted by another. */
function isAdditive(before: unknown, after: unknown): boolean {
  if (Array.isArray(before) || Array.isArray(after)) return !equal(before, after)
  if (typeof after === 'number' || typeof after === 'bigint') return before !== after
  const [from, to] = [before, after].map((value) => (isPlain(value) ? value : {}))
  const names = new Set([...Object.keys(from!), ...Object.keys(to!)])
  return [...names].some((name) => isAdditive(own(from!, name), own(to!, name)))
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
  for (const key of later.flashed.keys()) keys.delete(key)
  return {
    cleared: earlier.cleared,
    keys,
    starts: later.starts,
    faded: new Map([...earlier.faded, ...later.faded]),
    flashed: new Map([...flashed, ...later.flashed]),
  }
}

/** One change of a key after another. */
export function composeKey(earlier: Change | undefined, later: Change): Change {
  if (earlier === undefined || later === 'set' || later === 'delete') return later
  // What was looked at is this request's own by then.
  if (earlier === 'set' || earlier === 'delete') return later === 'removed' ? 'delete' : 'set'
  if (later === 'changed' || later === 'removed') return later
  if (later === 'in place') return earlier === 'in place' ? 'in place' : 'changed'
  // The functions ran on a value of this request's own, and that is merged.
  return typeof earlier === 'object' ? [...earlier, ...later] : 'changed'
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
  putOrDelete(
    data,
    key,
    updaters.reduce((value, updater) => updater(value), own(data, key)),
  )
}

/** Puts a value, or takes the key away for undefined. */
export function putOrDelete(data: Dictionary, key: string, value: unknown): void {
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

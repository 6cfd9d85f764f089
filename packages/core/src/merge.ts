// Merges what two requests made of one value: base, mine, newest -> merged. Pure.
import { equal, isPlain, Numbers, own, type Budget, type Plain } from './json.ts'
import { editsBetween, type Edits } from './sequences.ts'

/** Where a value stands, from the outside in: names of properties and places in arrays. */
export type Path = readonly (string | number)[]

/**
 * So many steps one merge may take: one for each value that is compared with another, ten for each pair of elements whose order
 * matters. Some tenths of a second at the most, however the values are made.
 */
const MOST_STEPS = 10_000_000

/** Beyond so many levels a value counts as one: no recursion without an end. */
const MOST_LEVELS = 32

/** What one merge shares with its parts. */
interface Merging {
  readonly onClash: (path: Path) => void
  readonly budget: Budget
  readonly numbers: Numbers
}

/**
 * Puts what was changed from `base` to `mine` onto `newest`: the three-way merge by which two requests at once lose nothing.
 * Values are JSON's, undefined is one that is not there. None of the three is changed; the result may share parts with them.
 *
 * - What only one side has changed is taken from that side.
 * - Objects are merged by property, at every level, in the order of `newest`.
 * - Arrays are merged by element: what both have inserted stands there, `newest`'s first; what one has removed is gone; what both have
 *   moved is moved once. Elements that all have an `id`, each another, are told by it.
 * - A clash is left where both have changed one scalar or the type, or one has changed what the other has removed: there, and
 *   only there, `mine` is taken. Equal numbers are one too, since both may have counted.
 *
 * The work is bounded: arrays that would take more than a million comparisons are one value, and so is what is nested beyond 32
 * levels.
 * @param base What both have started from.
 * @param mine What this request has made of it.
 * @param newest What others have made of it.
 * @param onClash Is told of each clash where it is: `['prefs', 'theme']`.
 * @param budget Shared by merges that belong together. Default: one of its own.
 */
export function merge(
  base: unknown,
  mine: unknown,
  newest: unknown,
  onClash: (path: Path) => void = () => {},
  budget: Budget = mergeBudget(),
): unknown {
  if (equal(base, newest, budget)) return mine
  if (equal(base, mine, budget)) return newest
  const merging = { onClash, budget, numbers: new Numbers(budget) }
  return mergeAt(merging, [], base, mine, newest)
}

/** What one merge may cost. */
export function mergeBudget(): Budget {
  return { left: MOST_STEPS }
}

function mergeAt(
  merging: Merging,
  path: Path,
  base: unknown,
  mine: unknown,
  newest: unknown,
): unknown {
  const isBegun = base === undefined || base === null
  if (path.length < MOST_LEVELS && merging.budget.left > 0) {
    if (Array.isArray(mine) && Array.isArray(newest) && (isBegun || Array.isArray(base))) {
      return mergeArrays(merging, path, isBegun ? [] : base, mine, newest)
    }
    if (isPlain(mine) && isPlain(newest) && (isBegun || isPlain(base))) {
      // Two that have begun the same object have begun one.
      if (isBegun && equal(mine, newest, merging.budget)) return newest
      return mergeObjects(merging, path, isBegun ? {} : (base as Plain), mine, newest)
    }
  }
  if (equal(base, mine, merging.budget)) return newest
  if (equal(base, newest, merging.budget)) return mine
  // Two that have counted from 7 to 8 have the same, and one count is lost: it cannot be told from an agreement.
  if (typeof mine === 'number' || !equal(mine, newest, merging.budget)) merging.onClash(path)
  return mine
}

function mergeObjects(
  merging: Merging,
  path: Path,
  base: Plain,
  mine: Plain,
  newest: Plain,
): unknown {
  return mergeNamed(base, mine, newest, (name, ...values) =>
    mergeAt(merging, [...path, name], ...values),
  )
}

/**
 * Merges objects property by property, in the order of newest.
 * @param resolve Merges one property; undefined takes it away.
 */
export function mergeNamed(
  base: Plain,
  mine: Plain,
  newest: Plain,
  resolve: (name: string, base: unknown, mine: unknown, newest: unknown) => unknown,
): Plain {
  const names = new Set([...Object.keys(newest), ...Object.keys(mine)])
  const merged = Array.from(names, (name): [string, unknown] => [
    name,
    resolve(name, own(base, name), own(mine, name), own(newest, name)),
  ])
  // Unlike an assignment, this makes a property of `__proto__` too.
  return Object.fromEntries(merged.filter(([, value]) => value !== undefined))
}

function mergeArrays(
  merging: Merging,
  path: Path,
  base: readonly unknown[],
  mine: readonly unknown[],
  newest: readonly unknown[],
): unknown {
  if (startsWith(merging, mine, base) && startsWith(merging, newest, base)) {
    return [...newest, ...mine.slice(base.length)]
  }
  const [from, to, by] = [base, mine, newest].map((all) => byField(all, 'id'))
  if (from && to && by) {
    return mergeKeyed(from, to, by, (place, ...values) =>
      mergeAt(merging, [...path, place], ...values),
    )
  }
  const ours = editsBetween(base, mine, merging.budget, merging.numbers)
  // Two that have done the same have done it once; but what both have only inserted is there twice.
  const isInserted = ours?.fates.every((fate) => fate === 'kept')
  if (!isInserted && equal(mine, newest, merging.budget)) return newest
  const theirs = ours && editsBetween(base, newest, merging.budget, merging.numbers)
  if (ours && theirs) return weave(merging, path, { base, mine, newest, ours, theirs })
  merging.onClash(path)
  return mine
}

function startsWith(merging: Merging, all: readonly unknown[], first: readonly unknown[]): boolean {
  return all.length >= first.length && first.every((one, at) => equal(one, all[at], merging.budget))
}

/** Two ways in which one array was edited. */
interface Edited {
  readonly base: readonly unknown[]
  readonly mine: readonly unknown[]
  readonly newest: readonly unknown[]
  readonly ours: Edits
  readonly theirs: Edits
}

/** Makes both ways' edits at once. */
function weave(merging: Merging, path: Path, edited: Edited): unknown[] {
  const { base, mine, newest, ours, theirs } = edited
  const isLeftOver = movedTwice(merging, edited)
  const overruled = rewrittenByBoth(edited)
  if (overruled.size > 0) merging.onClash(path)
  const merged: unknown[] = []
  const add = (value: unknown) => {
    if (!isLeftOver(value)) merged.push(value)
  }
  const insert = ({ inserted, fates }: Edits, at: number, isRewrite: boolean) => {
    if ((fates[at - 1] === 'rewritten') !== isRewrite) return
    for (const value of inserted.get(at) ?? []) add(value)
  }
  /** Of what mine stands for, what newest has only moved there is left. */
  const insertMoved = (at: number) => {
    for (const value of theirs.inserted.get(at) ?? []) {
      if (theirs.moved.size > 0 && theirs.moved.has(merging.numbers.of(value))) add(value)
    }
  }
  for (let at = 0; at <= base.length; at++) {
    if (overruled.has(at)) insertMoved(at)
    // What stands for elements that were there comes before what is new.
    for (const isRewrite of [true, false]) {
      if (!overruled.has(at)) insert(theirs, at, isRewrite)
      insert(ours, at, isRewrite)
    }
    const ourFate = ours.fates[at]
    const isOverruled = theirs.fates[at] === 'rewritten' && overruled.has(theirs.places[at]!)
    const theirFate = isOverruled ? 'overruled' : theirs.fates[at]
    if (!ourFate || !theirFate) break
    const [ourPlace, theirPlace] = [ours.places[at]!, theirs.places[at]!]
    if (ourFate === 'kept') {
      if (theirFate === 'kept' || theirFate === 'replaced') add(newest[theirPlace])
      else if (theirFate === 'overruled') add(mine[ourPlace])
    } else if (ourFate === 'replaced' && theirFate === 'replaced') {
      const values = [base[at], mine[ourPlace], newest[theirPlace]] as const
      merged.push(mergeAt(merging, [...path, at], ...values))
    } else {
      if (ourFate === 'replaced') add(mine[ourPlace])
      const isLost = theirFate === 'replaced' || (ourFate === 'replaced' && theirFate === 'removed')
      if (isLost) merging.onClash([...path, at])
    }
  }
  return merged
}

/** Where newest has rewritten what mine has rewritten or replaced: mine stands there. */
function rewrittenByBoth({ base, ours, theirs }: Edited): ReadonlySet<number> {
  const places = new Set<number>()
  for (let at = 0; at < base.length; at++) {
    const isOurs = ours.fates[at] === 'replaced' || ours.fates[at] === 'rewritten'
    if (isOurs && theirs.fates[at] === 'rewritten') places.add(theirs.places[at]!)
  }
  return places
}

/**
 * An element that was taken out in one place and put in at another stands as often as both say, mine + newest - base: once if both have
 * moved it, not at all if one has removed it.
 */
function movedTwice(
  { numbers }: Merging,
  { base, mine, newest, ours, theirs }: Edited,
): (value: unknown) => boolean {
  const left = new Map<number, number>()
  for (const number of [...ours.moved, ...theirs.moved]) left.set(number, 0)
  if (left.size === 0) return () => false
  const count = (all: readonly unknown[], by: number) => {
    for (const one of all) {
      const number = numbers.of(one)
      if (left.has(number)) left.set(number, left.get(number)! + by)
    }
  }
  count(mine, 1)
  count(newest, 1)
  count(base, -1)
  return (value) => {
    const number = numbers.of(value)
    const many = left.get(number)
    if (many === undefined) return false
    left.set(number, many - 1)
    return many <= 0
  }
}

/** The elements of an array by one of their properties; undefined unless each has another text or number there. */
export function byField(
  all: readonly unknown[],
  field: string,
): ReadonlyMap<unknown, unknown> | undefined {
  const found = new Map<unknown, unknown>()
  for (const one of all) {
    const id = isPlain(one) ? own(one, field) : undefined
    const isId = typeof id === 'string' || typeof id === 'number' || typeof id === 'bigint'
    if (!isId || found.has(id)) return undefined
    found.set(id, one)
  }
  return found
}

type Keyed = ReadonlyMap<unknown, unknown>

/**
 * Merges arrays whose elements are told by a key, as if they were objects.
 * @param resolve Merges one element; `place` is where it stands in mine, or in newest if mine has it no more.
 */
export function mergeKeyed(
  base: Keyed,
  mine: Keyed,
  newest: Keyed,
  resolve: (place: number, base: unknown, mine: unknown, newest: unknown) => unknown,
): unknown[] {
  const [ours, theirs] = [[...mine.keys()], [...newest.keys()]]
  const [places, otherPlaces] = [ours, theirs].map((ids) => new Map(ids.map((id, n) => [id, n])))
  const merged = new Map<unknown, unknown>()
  for (const id of new Set([...theirs, ...ours])) {
    const place = places!.get(id) ?? otherPlaces!.get(id)!
    const value = resolve(place, base.get(id), mine.get(id), newest.get(id))
    if (value !== undefined) merged.set(id, value)
  }
  const isLeft = (id: unknown) => merged.has(id)
  // Who has moved elements about says in which order they are.
  const isMoved = isReordered(base, mine) && !isReordered(base, newest)
  const [lead, other] = isMoved ? [ours, theirs] : [theirs, ours]
  return interleave(lead.filter(isLeft), other.filter(isLeft)).map((id) => merged.get(id))
}

function isReordered(base: Keyed, side: Keyed): boolean {
  const left = Array.from(base.keys()).filter((id) => side.has(id))
  return Array.from(side.keys())
    .filter((id) => base.has(id))
    .some((id, at) => id !== left[at])
}

/** Two orders as one: that of `lead`, and what only `other` has after what it has before it. */
function interleave(lead: readonly unknown[], other: readonly unknown[]): unknown[] {
  const [led, others] = [new Set(lead), new Set(other)]
  const following = new Map<unknown, unknown[]>()
  let anchor: unknown
  for (const id of other) {
    const found = following.get(anchor)
    if (led.has(id)) anchor = id
    else if (found) found.push(id)
    else following.set(anchor, [id])
  }
  const all: unknown[] = []
  anchor = undefined
  for (const id of lead) {
    if (others.has(id)) {
      all.push(...(following.get(anchor) ?? []))
      anchor = id
    }
    all.push(id)
  }
  return [...all, ...(following.get(anchor) ?? [])]
}

// What was done to an array to make another of it: which elements were kept, removed, replaced and inserted. Pure.
import { equal, Numbers } from './json.ts'

/** What became of an element. */
export type Fate = 'kept' | 'removed' | 'replaced' | 'rewritten'

/** From one array to another. */
export interface Edits {
  /** What became of each element. Rewritten: it was removed with its neighbours, and so many others stand in their place. */
  readonly fates: readonly Fate[]
  /** Where each element is by now: kept or replaced, its index; rewritten, the place where the others were inserted. */
  readonly places: readonly number[]
  /** What was inserted before each element, and at last after all. */
  readonly inserted: ReadonlyMap<number, readonly unknown[]>
}

/** How many comparisons of elements may be made yet. */
export interface Budget {
  comparisons: number
}

/** What was done to make `after` of `before`; undefined if the budget does not suffice to tell. */
export function editsBetween(
  before: readonly unknown[],
  after: readonly unknown[],
  budget: Budget,
): Edits | undefined {
  const matches = match(before, after, budget)
  if (!matches) return undefined
  const fates: Fate[] = []
  const places: number[] = []
  const inserted = new Map<number, readonly unknown[]>()
  let at = 0
  const close = (to: number, from: number, end: number) => {
    const [removed, added] = [to - at, end - from]
    const fate = added === 0 ? 'removed' : removed === added ? 'replaced' : 'rewritten'
    if (added > 0 && (removed === 0 || fate === 'rewritten')) {
      inserted.set(to, after.slice(from, end))
    }
    for (let n = 0; at < to; at++, n++) {
      fates.push(fate)
      places.push(fate === 'replaced' ? from + n : to)
    }
  }
  let last = 0
  for (const [from, to] of matches) {
    close(from, last, to)
    fates.push('kept')
    places.push(to)
    at = from + 1
    last = to + 1
  }
  close(before.length, last, after.length)
  return { fates, places, inserted }
}

type Match = readonly [before: number, after: number]

/** Pairs of equal elements, in order, as many as there are; undefined if the budget does not suffice. */
function match(
  before: readonly unknown[],
  after: readonly unknown[],
  budget: Budget,
): Match[] | undefined {
  const shorter = Math.min(before.length, after.length)
  let head = 0
  while (head < shorter && equal(before[head], after[head])) head++
  let tail = 0
  while (tail < shorter - head && equal(before.at(-1 - tail), after.at(-1 - tail))) tail++
  const middle = matchMiddle(
    before.slice(head, before.length - tail),
    after.slice(head, after.length - tail),
    budget,
  )
  if (!middle) return undefined
  const matches: Match[] = []
  for (let n = 0; n < head; n++) matches.push([n, n])
  for (const [from, to] of middle) matches.push([head + from, head + to])
  for (let n = tail; n > 0; n--) matches.push([before.length - n, after.length - n])
  return matches
}

/** The longest common subsequence; or element by element, where that has as many in common. */
function matchMiddle(
  before: readonly unknown[],
  after: readonly unknown[],
  budget: Budget,
): Match[] | undefined {
  const [rows, columns] = [before.length, after.length]
  if (rows === 0 || columns === 0) return []
  budget.comparisons -= rows * columns
  if (budget.comparisons < 0) return undefined
  const numbers = new Numbers()
  const from = Int32Array.from(before, (value) => numbers.of(value))
  const to = Int32Array.from(after, (value) => numbers.of(value))
  const known = new Set(from)
  if (!to.some((one) => known.has(one))) return []
  // How many the rest from there on has in common, row by row.
  const common = new Uint16Array((rows + 1) * (columns + 1))
  const width = columns + 1
  for (let row = rows - 1; row >= 0; row--) {
    const one = from[row]
    for (let column = columns - 1, at = row * width + column; column >= 0; column--, at--) {
      const [below, right] = [common[at + width]!, common[at + 1]!]
      common[at] = one === to[column] ? common[at + width + 1]! + 1 : below > right ? below : right
    }
  }
  const inPlace: Match[] = []
  for (let n = 0; n < rows; n++) if (from[n] === to[n]) inPlace.push([n, n])
  if (rows === columns && inPlace.length >= common[0]!) return inPlace
  const matches: Match[] = []
  for (let row = 0, column = 0; row < rows && column < columns;) {
    if (from[row] === to[column]) matches.push([row++, column++])
    else if (common[(row + 1) * width + column]! >= common[row * width + column + 1]!) row++
    else column++
  }
  return matches
}

// What was done to an array to make another of it: which elements were kept, removed, replaced and inserted. Pure.
import { equal, type Budget, type Numbers } from './json.ts'

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
  /** Elements that were taken out in one place and put in at another, by their numbers. */
  readonly moved: ReadonlySet<number>
}

/** What was done to make `after` of `before`; undefined if the budget does not suffice to tell. */
export function editsBetween(
  before: readonly unknown[],
  after: readonly unknown[],
  budget: Budget,
  numbers: Numbers,
): Edits | undefined {
  const matches = match(before, after, budget, numbers)
  if (!matches) return undefined
  const gaps = gapsBetween(matches, before.length, after.length)
  const moved = movedBetween(before, after, gaps, numbers)
  const fates: Fate[] = []
  const places: number[] = []
  const inserted = new Map<number, readonly unknown[]>()
  for (const { from, to, start, end, match: place } of gaps) {
    const [removed, added] = [to - from, end - start]
    const isMoved = (value: unknown) => moved.size > 0 && moved.has(numbers.of(value))
    const isPaired =
      removed === added && ![...before.slice(from, to), ...after.slice(start, end)].some(isMoved)
    const fate = added === 0 ? 'removed' : isPaired ? 'replaced' : 'rewritten'
    if (added > 0 && !isPaired) inserted.set(to, after.slice(start, end))
    for (let at = from; at < to; at++) {
      fates.push(fate)
      places.push(fate === 'replaced' ? start + at - from : to)
    }
    if (place === undefined) break
    fates.push('kept')
    places.push(place)
  }
  return { fates, places, inserted, moved }
}

/** What stands between two pairs of equal elements: so many taken out, so many put in; and the place of the pair that follows. */
interface Gap {
  readonly from: number
  readonly to: number
  readonly start: number
  readonly end: number
  readonly match: number | undefined
}

function gapsBetween(matches: readonly Match[], before: number, after: number): Gap[] {
  const gaps: Gap[] = []
  let [from, start] = [0, 0]
  for (const [to, end] of matches) {
    gaps.push({ from, to, start, end, match: end })
    from = to + 1
    start = end + 1
  }
  return [...gaps, { from, to: before, start, end: after, match: undefined }]
}

/** Elements that were taken out in one place and put in at another: nothing has replaced them, and they replace nothing. */
function movedBetween(
  before: readonly unknown[],
  after: readonly unknown[],
  gaps: readonly Gap[],
  numbers: Numbers,
): ReadonlySet<number> {
  const out = gaps.flatMap(({ from, to }) => before.slice(from, to))
  const put = gaps.flatMap(({ start, end }) => after.slice(start, end))
  if (out.length === 0 || put.length === 0) return new Set()
  const gone = new Set(out.map((value) => numbers.of(value)))
  return new Set(put.map((value) => numbers.of(value)).filter((number) => gone.has(number)))
}

/** What each with each costs, of a budget: a hundred thousand of elements with each other are then the most. */
const A_CELL = 10

type Match = readonly [before: number, after: number]

/** Pairs of equal elements, in order, as many as there are; undefined if the budget does not suffice. */
function match(
  before: readonly unknown[],
  after: readonly unknown[],
  budget: Budget,
  numbers: Numbers,
): Match[] | undefined {
  const shorter = Math.min(before.length, after.length)
  let head = 0
  while (head < shorter && equal(before[head], after[head], budget)) head++
  let tail = 0
  while (tail < shorter - head && equal(before.at(-1 - tail), after.at(-1 - tail), budget)) tail++
  const middle = matchMiddle(
    before.slice(head, before.length - tail),
    after.slice(head, after.length - tail),
    budget,
    numbers,
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
  numbers: Numbers,
): Match[] | undefined {
  const [rows, columns] = [before.length, after.length]
  if (rows === 0 || columns === 0) return []
  // One with one: the trimming has told them apart.
  if (rows === 1 && columns === 1) return []
  budget.left -= rows * columns * A_CELL
  if (budget.left < 0) return undefined
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

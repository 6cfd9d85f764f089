// The search for an order of one key's calls in which each of them is answered as the contract says, or the proof that there is none.
import { RETIRED, type SessionRecord } from '@coatcheck/core/store'
import { isReading, isUnknown, type Operation } from './operation.ts'

/** What the contract leaves to a store, or a store declares. */
export interface Model {
  /** The moment of the history, in ms since the Unix epoch: what ends by then has ended. */
  readonly now: number
  /** How far the end that is told may be from the one that was set, in ms. */
  readonly grain: number
  /** Retiring a key removes its record. */
  readonly removesRetired: boolean
  /** A record may go at any moment. */
  readonly evicts: boolean
}

/** What is under a key: a live record, retired or not, or nothing. */
type State = SessionRecord | undefined

/** What the search has come to. */
export type Search =
  | { readonly is: 'ordered' }
  /** Too many orders to try within the bound. */
  | { readonly is: 'undecided' }
  /** There is an order for all that was answered before this call was, and none with it. */
  | { readonly is: 'stuck'; readonly at: Operation }

/** The error that the contract answers a call with in this state; undefined if it succeeds. */
function refusalOf(state: State, operation: Operation, { grain }: Model): string | undefined {
  const { call } = operation
  if (call === 'load' || call === 'delete') return undefined
  if (call === 'create') return state && 'ERR_SESSION_KEY_EXISTS'
  if (!state || state.data === RETIRED) return 'ERR_SESSION_GONE'
  const isOther =
    call === 'save'
      ? operation.expected !== undefined && operation.expected !== state.data
      : operation.from !== undefined && Math.abs(operation.from - state.expiresAt) > grain
  return isOther ? 'ERR_SESSION_CONFLICT' : undefined
}

/** What a call that succeeds leaves behind. */
function effectOf(state: State, operation: Operation, model: Model): State {
  if (operation.call === 'load') return state
  if (operation.call === 'delete') return undefined
  const record =
    operation.call === 'touch'
      ? { data: state!.data, expiresAt: operation.expiresAt }
      : operation.record
  if (record.expiresAt <= model.now) return undefined
  return record.data === RETIRED && model.removesRetired ? undefined : record
}

/** Whether a load would tell this, or a call would be refused as it was. */
function explains(state: State, operation: Operation, model: Model): boolean {
  if (operation.call !== 'load') return refusalOf(state, operation, model) === operation.error
  const { found } = operation
  if (!found || !state) return !found && !state
  return found.data === state.data && Math.abs(found.expiresAt - state.expiresAt) <= model.grain
}

/** A way in which the calls so far can have gone. Sets are bits. */
interface Way {
  readonly state: State
  /** Of the writes that are under way, those that have taken effect. */
  readonly written: bigint
  /** Of the loads and refusals that are under way, those that are explained. */
  readonly explained: bigint
  /** Of the writes with an unknown outcome, those that have taken effect. */
  readonly used: bigint
}

/**
 * Ways, without those for which another one is as good: the same state and writes, no call explained less, and no write of an unknown
 * outcome used more, which is free to take effect later or never.
 */
function createWays() {
  const bySimilar = new Map<string, Way[]>()
  return {
    /** Whether it was new. */
    add(way: Way): boolean {
      const { state, written, explained, used } = way
      const similar = `${written} ${state ? `${state.expiresAt} ${state.data}` : ''}`
      const others = bySimilar.get(similar) ?? []
      if (others.some((o) => !(explained & ~o.explained) && !(o.used & ~used))) return false
      const left = others.filter((o) => o.explained & ~explained || used & ~o.used)
      bySimilar.set(similar, [...left, way])
      return true
    },
    all: () => [...bySimilar.values()].flat(),
  }
}

/**
 * Wing and Gong's search, along the time and breadth-first, as in Lowe's just-in-time linearization: after each answer it knows every way
 * in which the calls so far can have gone, and a write is given its moment when an answer cannot be explained without it. A call that
 * changes nothing has its moment as soon as it is explained.
 * @param operations The calls for one key.
 * @param bound How many steps the search may take.
 */
export function linearize(operations: readonly Operation[], model: Model, bound: number): Search {
  const simplified = simplify(operations, model)
  const writes = new Map<Operation, bigint>()
  const reads = new Map<Operation, bigint>()
  /** By what they ask: of those that are alike, the one that began first is used first. */
  const unknown = new Map<string, { readonly write: Operation; readonly bits: bigint[] }>()
  let unknowns = 0n
  let ways: Way[] = [{ state: undefined, written: 0n, explained: 0n, used: 0n }]
  let steps = 0

  const arrive = (way: Way): Way => {
    let { explained } = way
    for (const [read, bit] of reads) {
      if (!(explained & bit) && explains(way.state, read, model)) explained |= bit
    }
    return { ...way, explained }
  }

  function* stepsFrom(way: Way): Generator<Way> {
    const { state, written, used } = way
    for (const [write, bit] of writes) {
      if (written & bit || refusalOf(state, write, model)) continue
      yield arrive({ ...way, state: effectOf(state, write, model), written: written | bit })
    }
    for (const { write, bits } of unknown.values()) {
      if (refusalOf(state, write, model)) continue
      const bit = bits.find((one) => !(used & one))
      if (bit === undefined) continue
      yield arrive({ ...way, state: effectOf(state, write, model), used: used | bit })
    }
    if (model.evicts && state) yield arrive({ ...way, state: undefined })
  }

  /** The ways to what has happened when a call is answered, with no step more than that needs; undefined beyond the bound. */
  function waysTo(hasHappened: (way: Way) => boolean): Way[] | undefined {
    const seen = createWays()
    const arrived = createWays()
    const queue = ways.filter(seen.add)
    // Longer as it goes.
    for (const way of queue) {
      if (hasHappened(way)) {
        arrived.add(way)
        continue
      }
      for (const next of stepsFrom(way)) {
        if (++steps > bound) return undefined
        if (seen.add(next)) queue.push(next)
      }
    }
    return arrived.all()
  }

  for (const { original, isAnswer } of eventsOf(operations)) {
    const operation = simplified.get(original)!
    const isRead = isReading(operation)
    const underWay = isRead ? reads : writes
    if (isUnknown(operation)) {
      // A load without an answer tells nothing.
      if (isRead) continue
      const asked = JSON.stringify(questionOf(operation))
      const alike = unknown.get(asked) ?? { write: operation, bits: [] }
      alike.bits.push(1n << unknowns++)
      unknown.set(asked, alike)
    } else if (!isAnswer) {
      underWay.set(operation, freeBit(underWay))
      if (isRead) ways = ways.map(arrive)
    } else {
      const bit = underWay.get(operation)!
      const field = isRead ? 'explained' : 'written'
      const left = waysTo((way) => Boolean(way[field] & bit))
      if (!left) return { is: 'undecided' }
      if (left.length === 0) return { is: 'stuck', at: original }
      underWay.delete(operation)
      ways = left.map((way) => ({ ...way, [field]: way[field] & ~bit }))
    }
  }
  return { is: 'ordered' }
}

/** Data and an end that no call tells or compares: text without NUL is all that a record may hold. */
const SOME_DATA = '\0'
const SOME_END = Number.MAX_SAFE_INTEGER

/**
 * The calls with data and ends that no call tells or compares made alike: nothing can tell them apart, and most of what was written in an
 * outage is among them.
 */
function simplify(
  operations: readonly Operation[],
  { now, grain }: Model,
): Map<Operation, Operation> {
  const told = operations.flatMap(({ found }) => found ?? [])
  const data = new Set([RETIRED, ...told.map((record) => record.data)])
  const ends = told.map(({ expiresAt }) => expiresAt)
  for (const one of operations) {
    if (one.call === 'save' && one.expected !== undefined) data.add(one.expected)
    if (one.call === 'touch' && one.from !== undefined) ends.push(one.from)
  }
  const isTold = isWithin(ends, grain)
  const endOf = (expiresAt: number) =>
    expiresAt <= now || isTold(expiresAt) ? expiresAt : SOME_END
  const simple = (one: Operation): Operation => {
    if (one.call === 'touch') return { ...one, expiresAt: endOf(one.expiresAt) }
    if (one.call !== 'create' && one.call !== 'save') return one
    const { record } = one
    return {
      ...one,
      record: {
        data: data.has(record.data) ? record.data : SOME_DATA,
        expiresAt: endOf(record.expiresAt),
      },
    }
  }
  return new Map(operations.map((one) => [one, simple(one)]))
}

/** Whether one of the numbers is at most `off` away. */
function isWithin(numbers: readonly number[], off: number): (wanted: number) => boolean {
  const sorted = numbers.toSorted((a, b) => a - b)
  return (wanted) => {
    let [from, to] = [0, sorted.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if (sorted[middle]! < wanted - off) from = middle + 1
      else to = middle
    }
    return from < sorted.length && sorted[from]! <= wanted + off
  }
}

/** What was asked, without who asked, when, and what came of it. */
function questionOf(operation: Operation): unknown[] {
  switch (operation.call) {
    case 'create':
      return ['create', operation.record]
    case 'save':
      return ['save', operation.record, operation.expected ?? null]
    case 'touch':
      return ['touch', operation.expiresAt, operation.from ?? null]
    default:
      return [operation.call]
  }
}

/** Calls and answers in the order of time; of the same moment, calls first, so that they count as being under way together. */
function eventsOf(operations: readonly Operation[]) {
  const events = operations.flatMap((original) => {
    const begun = { original, isAnswer: false, at: original.start }
    return isUnknown(original) ? [begun] : [begun, { original, isAnswer: true, at: original.end! }]
  })
  return events.toSorted((a, b) => a.at - b.at || Number(a.isAnswer) - Number(b.isAnswer))
}

/** A bit that none of these has. */
function freeBit(taken: ReadonlyMap<Operation, bigint>): bigint {
  let all = 0n
  for (const bit of taken.values()) all |= bit
  return ~all & (all + 1n)
}

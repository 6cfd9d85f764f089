// Judges a history: whether the calls of each key can be put into one order that explains every answer.
import {
  assertOptions,
  inWords,
  refuseOption,
  RETIRED,
  rules,
  type OptionRules,
  type SessionRecord,
} from '@coatcheck/core/store'
import { linearize, type Model } from './linearize.ts'
import { isReading, isRefused, isUnknown, type Operation } from './operation.ts'

/** What {@link checkHistory} has to know of the store. */
export interface HistoryOptions {
  /**
   * The moment of the history by the store's clock, in ms since the Unix epoch. Default: `Date.now()`. A record that is written with
   * an end by then has ended; all other ends must be so far ahead that none comes while the history is made.
   */
  readonly now?: number
  /** How far the end that is told may be from the one that was set, in ms. Default 0. */
  readonly grain?: number
  /** The store's trait: retiring a key removes its record. */
  readonly removesRetired?: boolean
  /** The store's trait: a record may go at any moment. */
  readonly evicts?: boolean
  /** A `load` without `latest` may tell a copy, as a subject with `freshFor` says of its store. Default: it tells what there is. */
  readonly copies?: Copies
  /** How many steps the search may take for one key. Default 1,000,000, which is some seconds. */
  readonly bound?: number
}

/** How old a copy may be, in ms: `Infinity` for any age. That there is nothing is no copy, unless it may have any age. */
export interface Copies {
  /** So long after a change has been acknowledged, what was before it may still be told. */
  readonly ofChanged: number
  /** So long after a delete, an end or a retiring has been acknowledged. */
  readonly ofEnded: number
}

/** What a history is found to be. */
export interface HistoryVerdict {
  /** `undecided` where the search has come to its bound: then nothing is proven. */
  readonly is: 'linearizable' | 'not linearizable' | 'undecided'
  /** In words, with a table of the calls that contradict each other; of many lines. */
  readonly explanation: string
  /** The calls that contradict each other, by their start; empty unless it is not linearizable. */
  readonly calls: readonly Operation[]
}

const BOUND = 1_000_000

/** Steps that one look may take while a contradiction is made smaller, and how long all of them may take, in ms. */
const BOUND_WHEN_SHRINKING = 20_000
const SHRINKING = 3000

/**
 * Judges whether a store behaved as if each call had happened at one moment between its start and its end: for each key there must be
 * one order of its calls in which every answer, a refusal too, is what the contract of `SessionStore` says. A write that failed
 * with another error than a refusal, or was not answered, may have happened at any moment since its start, or never; a load that failed
 * tells nothing.
 *
 * The search is fast where the data of every write is unique, and the ends are, too.
 * @param operations The calls of all processes, in any order: what {@link recorded} has noted, or a recorder of one's own.
 * @returns The verdict; it never throws for a history that is not linearizable.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what are no operations: nothing would be proven.
 */
export function checkHistory(
  operations: readonly Operation[],
  options: HistoryOptions = {},
): HistoryVerdict {
  assertOptions('checkHistory', options, historyRules)
  const { now = Date.now(), grain = 0, removesRetired = false, evicts = false } = options
  const { copies, bound = BOUND } = options
  assertOperations(operations)
  const model: Model = { now, grain, removesRetired, evicts }
  const byKey = new Map<string, Operation[]>()
  for (const one of operations) {
    const others = byKey.get(one.key)
    if (others) others.push(one)
    else byKey.set(one.key, [one])
  }
  const isCopy = (one: Operation) =>
    copies !== undefined &&
    one.call === 'load' &&
    !one.latest &&
    (one.found !== undefined || copies.ofChanged === Infinity)
  let undecided: HistoryVerdict | undefined
  for (const [key, all] of byKey) {
    const old = copies && findOld(all, all.filter(isCopy), model, copies)
    if (old) return contradiction(key, old.what, old.calls)
    const decisive = all.filter((operation) => !isCopy(operation))
    const search = linearize(decisive, model, bound)
    if (search.is === 'undecided') {
      const unknown = all.filter(isUnknown).length
      undecided = {
        is: search.is,
        explanation: `The ${all.length} calls of the key '${key}' have more orders than could be tried: ${unknown} of them have an unknown outcome. Use more keys, or a higher \`bound\`.`,
        calls: [],
      }
    }
    if (search.is !== 'stuck') continue
    const { at } = search
    const prefix = decisive.filter(({ start }) => start <= at.end!)
    const calls = smallest(prefix, at, model)
    const what = `No order of them explains what the last answer says, ${wordsOf(at)}: ${answerOf(at)}.`
    return contradiction(key, what, calls)
  }
  if (undecided) return undecided
  return {
    is: 'linearizable',
    explanation: `The ${operations.length} calls can be put into one order.`,
    calls: [],
  }
}

const historyRules: OptionRules<HistoryOptions> = {
  now: rules.rule('ms since 1970', Number.isFinite),
  grain: rules.fromZero,
  removesRetired: rules.flag,
  evicts: rules.flag,
  copies: rules.rule(
    'an object with ofChanged and ofEnded, both in ms',
    (copies: Copies | null) => copies !== null && copies.ofChanged >= 0 && copies.ofEnded >= 0,
  ),
  bound: rules.count,
}

const CALLS = ['load', 'create', 'save', 'touch', 'delete']

/** What is wrong with one operation, in words; undefined if nothing is. */
function wrongWith(one: Operation): string | undefined {
  if (typeof one !== 'object' || one === null) return `is ${inWords(one)}`
  const { call, key, process, start, end } = one
  if (!CALLS.includes(call)) return `has no \`call\` of ${CALLS.join(', ')}`
  if (typeof key !== 'string') return 'has no `key` that is text'
  if (!Number.isFinite(process)) return 'has no `process` that is a number'
  if (!Number.isFinite(start)) return 'has no `start` that is a number of ms'
  if (end !== undefined && !(end >= start))
    return 'has an `end` that is no number of ms from `start` on'
  if (call === 'touch' && !Number.isFinite(one.expiresAt)) return 'has no `expiresAt` in ms'
  if (call !== 'create' && call !== 'save') return undefined
  const isRecord = typeof one.record?.data === 'string' && Number.isFinite(one.record.expiresAt)
  return isRecord ? undefined : 'has no `record` with data and expiresAt'
}

function assertOperations(operations: readonly Operation[]): void {
  if (!Array.isArray(operations)) {
    refuseOption(
      `checkHistory: the operations must be a list, as recorded() notes them, and are ${inWords(operations)}`,
    )
  }
  for (const [at, one] of operations.entries()) {
    const wrong = wrongWith(one as Operation)
    if (wrong) refuseOption(`checkHistory: the operation ${at} ${wrong}`)
  }
}

function contradiction(key: string, what: string, calls: readonly Operation[]): HistoryVerdict {
  return {
    is: 'not linearizable',
    explanation: `The calls of the key '${key}' contradict each other. ${what}\n${tableOf(calls)}`,
    calls,
  }
}

/** A load that told a copy which is too old, or that nobody wrote. */
function findOld(
  operations: readonly Operation[],
  loads: readonly Operation[],
  { now }: Model,
  { ofChanged, ofEnded }: Copies,
): { what: string; calls: Operation[] } | undefined {
  const writers = new Map<string, Operation[]>()
  const changes: { by: Operation & { end: number }; reach: number }[] = []
  for (const operation of operations) {
    const record = recordOf(operation)
    if (record && !isRefused(operation))
      writers.set(record.data, [...(writers.get(record.data) ?? []), operation])
    const isDone = !isUnknown(operation) && !isRefused(operation)
    if (!isDone || operation.call === 'load' || operation.call === 'touch') continue
    const isEnd = !record || record.data === RETIRED || record.expiresAt <= now
    const by = operation as Operation & { end: number }
    changes.push({ by, reach: by.end + (isEnd ? ofEnded : ofChanged) })
  }
  for (const load of loads) {
    if (load.end === undefined || load.error !== undefined || !load.found) continue
    const writes = (writers.get(load.found.data) ?? []).filter(({ start }) => start <= load.end!)
    if (writes.length === 0) return { what: 'Nobody has written what a load tells.', calls: [load] }
    // Each write of this data was over before the change began, which was acknowledged long before the load.
    const isTooOld = (by: Operation, reach: number) =>
      reach < load.start && writes.every((write) => !isUnknown(write) && write.end! < by.start)
    const change = changes.find(({ by, reach }) => isTooOld(by, reach))
    if (change)
      return { what: 'A load tells a copy that is too old.', calls: [...writes, change.by, load] }
  }
  return undefined
}

const recordOf = (operation: Operation): SessionRecord | undefined =>
  operation.call === 'create' || operation.call === 'save' ? operation.record : undefined

/**
 * The calls that the contradiction needs, and the writes of what they tell: as long as no order is found, loads and refusals are left
 * out, and writes count as unknown.
 */
function smallest(prefix: readonly Operation[], at: Operation, model: Model): Operation[] {
  const until = performance.now() + SHRINKING
  let calls = [...prefix]
  const weaken = (may: (one: Operation) => boolean, how: (one: Operation) => Operation[]) => {
    for (let size = Math.ceil(calls.length / 2); ; size = Math.ceil(size / 2)) {
      const candidates = calls.filter((one) => one !== at && may(one))
      for (let from = 0; from < candidates.length && performance.now() < until; from += size) {
        const some = new Set(candidates.slice(from, from + size))
        const fewer = calls.flatMap((one) => (some.has(one) ? how(one) : [one]))
        if (linearize(fewer, model, BOUND_WHEN_SHRINKING).is === 'stuck') calls = fewer
      }
      if (size === 1) break
    }
  }
  weaken(isReading, () => [])
  weaken(
    (one) => !isReading(one) && !isUnknown(one),
    (one) => [{ ...one, end: undefined }],
  )
  const needed = new Set(calls.filter((one) => !isUnknown(one)).map(idOf))
  const told = new Set(prefix.filter((one) => needed.has(idOf(one))).flatMap(toldBy))
  return prefix
    .filter((one) => needed.has(idOf(one)) || writtenBy(one).some((what) => told.has(what)))
    .toSorted((a, b) => a.start - b.start)
}

/** The data and the ends that a call has told, or was to compare. */
function toldBy(operation: Operation): (string | number)[] {
  const { found } = operation
  if (found) return [found.data, found.expiresAt]
  if (operation.call === 'save') return [operation.expected ?? []].flat()
  return operation.call === 'touch' ? [operation.from ?? []].flat() : []
}

/** The data and the end that a call is to write. */
function writtenBy(operation: Operation): (string | number)[] {
  if (operation.call === 'touch') return [operation.expiresAt]
  const record = recordOf(operation)
  return record ? [record.data, record.expiresAt] : []
}

const idOf = ({ process, start, call }: Operation) => `${process} ${start} ${call}`

/** As much of the data as a table has room for. */
const MOST_DATA = 40

const textOf = (data: string) =>
  data.length > MOST_DATA ? `${JSON.stringify(data.slice(0, MOST_DATA))}…` : JSON.stringify(data)

const endOf = (expiresAt: number) =>
  expiresAt < 1e12 ? `${expiresAt}` : new Date(expiresAt).toISOString()

const recordWords = ({ data, expiresAt }: SessionRecord) => {
  const what = data === RETIRED ? 'retired' : textOf(data)
  return `${what} until ${endOf(expiresAt)}`
}

function wordsOf(operation: Operation): string {
  switch (operation.call) {
    case 'load':
      return operation.latest ? 'load latest' : 'load'
    case 'create':
      return `create ${recordWords(operation.record)}`
    case 'save': {
      const { expected } = operation
      const condition = expected === undefined ? '' : ` if ${textOf(expected)}`
      return `save ${recordWords(operation.record)}${condition}`
    }
    case 'touch': {
      const { from } = operation
      return `touch until ${endOf(operation.expiresAt)}${from === undefined ? '' : ` if until ${endOf(from)}`}`
    }
    default:
      return operation.call
  }
}

function answerOf(operation: Operation): string {
  const { error, end, found } = operation
  if (end === undefined) return 'never answered'
  if (error !== undefined) return isUnknown(operation) ? `unknown: ${error}` : error
  if (operation.call !== 'load') return 'done'
  return found ? recordWords(found) : 'nothing'
}

/** The calls as lines: process, start and end in ms since the first of them, the call, the answer. */
function tableOf(calls: readonly Operation[]): string {
  const zero = Math.min(...calls.map(({ start }) => start))
  const time = (at: number | undefined) => (at === undefined ? '' : (at - zero).toFixed(3))
  const rows = [
    ['process', 'start', 'end', 'call', 'answer'],
    ...calls.map((one) => [
      `${one.process}`,
      time(one.start),
      time(one.end),
      wordsOf(one),
      answerOf(one),
    ]),
  ]
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, at) =>
          at === 1 || at === 2 ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

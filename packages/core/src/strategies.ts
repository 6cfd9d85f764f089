// How one key of the session is merged: as the application has declared it, or else as merge() does.
import { BOOKKEEPING, isBookkeeping } from './bookkeeping.ts'
import { equal, isPlain, Numbers, type Budget } from './json.ts'
import { SessionConflictError, SessionEncodeError, SessionUsageError } from './errors.ts'
import { byField, merge, mergeBudget, mergeKeyed, mergeNamed, type Path } from './merge.ts'

/**
 * Why one of two changes is lost: nothing was declared for the value, it was declared so, or the declared strategy is not made for
 * such a value. The first and the last are told to developers.
 */
export type ClashKind = 'undeclared' | 'declared' | 'misfit'

/** A value that two requests have changed, of which one change is lost. */
export interface Clash {
  readonly path: Path
  readonly kind: ClashKind
}

/** Where a strategy is at work. */
export interface MergePlace {
  /** The session's key. */
  readonly key: string
  /** Reports that one of two changes is lost. @param inside Where in the value; default: all of it. @param kind Default `declared`. */
  readonly clash: (inside?: Path, kind?: ClashKind) => void
  /** What may still be spent on merging, where a strategy calls {@link merge}. */
  readonly budget: Budget
}

/**
 * Merges what two requests at once have made of one value, and returns what is kept: undefined for nothing. It is asked only
 * where both have changed the value, and may be asked again with newer data: have it depend on its arguments alone. An
 * argument is undefined where there is no value.
 * @param base What this request has started from.
 * @param mine What this request has made of it.
 * @param newest What others have made of it.
 */
export type MergeStrategy<T = any> = (
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place: MergePlace,
) => T | undefined

type List = readonly unknown[]

/** The strategies by their names, as far as they fit a value of type `T`. */
export type MergeName<T> =
  | 'last'
  | 'first'
  | 'atomic'
  | 'reject'
  | ([NonNullable<T>] extends [number] ? 'sum' : never)
  | ([NonNullable<T>] extends [number] ? 'max' | 'min' : never)
  | ([NonNullable<T>] extends [string] ? 'max' | 'min' : never)
  | ([NonNullable<T>] extends [List] ? 'append' | 'union' : never)

/** How a value of type `T` is merged: a strategy, or the name of one. */
export type MergeRule<T> = unknown extends T
  ? MergeName<number> | MergeName<List> | MergeStrategy
  : MergeName<T> | MergeStrategy<T>

/** How the properties of `O` are merged, where it is not as {@link merge} does. */
export type MergeRules<O> = { readonly [P in keyof O]?: MergeRule<Exclude<O[P], undefined>> }

/** What a property must be that is merged by a rule. */
type Fitting<R> = R extends 'sum'
  ? number | null
  : R extends 'max' | 'min'
    ? number | string | null
    : R extends 'append' | 'union'
      ? List | null
      : R extends MergeStrategy<infer T>
        ? T
        : unknown

/** Lists of objects that {@link byId} can merge: each has the field, and what the rules are about. */
type Told<F extends string, R> =
  | readonly ({ readonly [P in F]: string | number } & {
      readonly [P in keyof R]?: Fitting<R[P]>
    })[]
  | null
  | undefined

/** The same, by key, as functions. */
export type Strategies = ReadonlyMap<string, MergeStrategy>

/** For counters: `newest + mine - base`, so that both changes count; null counts as 0. */
export function sum<T extends number | null>(
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  const values = [base ?? 0, mine ?? 0, newest ?? 0] as unknown[]
  if (!values.every(isNumeric)) return misfit(mine, place)
  const [from, to, by] = values as [number, number, number]
  if (values.every((value) => typeof value === 'number')) return (by + to - from) as T
  // Whole numbers of any size, as Python's JSON has them.
  return values.every((value) => typeof value === 'bigint' || Number.isInteger(value))
    ? ((BigInt(by) + BigInt(to) - BigInt(from)) as unknown as T)
    : misfit(mine, place)
}

/** The larger of two numbers, or the later of two texts: of dates in ISO 8601, for one. */
export function max<T extends number | string | null>(
  _base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  return furthest(mine, newest, (a, b) => a > b, place)
}

/** The smaller of two numbers, or the earlier of two texts. */
export function min<T extends number | string | null>(
  _base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  return furthest(mine, newest, (a, b) => a < b, place)
}

function furthest<T extends number | string | null>(
  mine: T | undefined,
  newest: T | undefined,
  isFurther: (a: number | string, b: number | string) => boolean,
  place: MergePlace | undefined,
): T | undefined {
  if (mine === undefined || mine === null) return newest
  if (newest === undefined || newest === null) return mine
  const isComparable =
    (isNumeric(mine) && isNumeric(newest)) ||
    (typeof mine === 'string' && typeof newest === 'string')
  if (!isComparable) return misfit(mine, place)
  return isFurther(newest, mine) ? newest : mine
}

/** For logs: what this request has added goes to the end of the newest list, and nothing is taken out. */
export function append<T extends List | null>(
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  return mergeLists(base, mine, newest, place, (from, to, by, numbers) => {
    const left = new Map<number, number>()
    for (const one of from) {
      const number = numbers.of(one)
      left.set(number, (left.get(number) ?? 0) + 1)
    }
    const added = to.filter((one) => {
      const number = numbers.of(one)
      const count = left.get(number) ?? 0
      left.set(number, count - 1)
      return count <= 0
    })
    return [...by, ...added]
  })
}

/** For lists that are sets: each element once, without what either request has removed. */
export function union<T extends List | null>(
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  return mergeLists(base, mine, newest, place, (from, to, by, numbers) => {
    const setOf = (list: List) => new Set(list.map((one) => numbers.of(one)))
    const [before, ours, theirs] = [setOf(from), setOf(to), setOf(by)]
    const merged = new Map<number, unknown>()
    for (const one of [...by, ...to]) {
      const number = numbers.of(one)
      const isRemoved = before.has(number) && !(ours.has(number) && theirs.has(number))
      if (!isRemoved && !merged.has(number)) merged.set(number, one)
    }
    return [...merged.values()]
  })
}

function mergeLists<T>(
  base: T,
  mine: T,
  newest: T,
  place: MergePlace | undefined,
  combine: (base: List, mine: List, newest: List, numbers: Numbers) => List,
): T {
  const lists = listsOf(base, mine, newest)
  return lists ? (combine(...lists, new Numbers()) as T) : misfit(mine, place)
}

function isNumeric(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'bigint'
}

/** Data that the strategy is not made for, such as an earlier version of the application has left: mine, and a clash. */
function misfit<T>(mine: T, place: MergePlace | undefined): T {
  place?.clash([], 'misfit')
  return mine
}

/** Three lists; what is not there is an empty one. Undefined if one of them is something else. */
function listsOf(...values: readonly unknown[]): [List, List, List] | undefined {
  const lists = values.map((value) => value ?? [])
  return lists.every((list) => Array.isArray(list))
    ? (lists as unknown as [List, List, List])
    : undefined
}

/** Mine: of two changes the one that is saved later stands. */
export function last<T>(_base: T | undefined, mine: T | undefined): T | undefined {
  return mine
}

/** Newest: of two changes the one that is saved first stands. */
export function first<T>(
  _base: T | undefined,
  _mine: T | undefined,
  newest: T | undefined,
): T | undefined {
  return newest
}

/** The value is one thing: never a mixture of two requests'. The one that is saved later stands, and the clash is reported. */
export function atomic<T>(
  _base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
  place?: MergePlace,
): T | undefined {
  if (!equal(mine, newest)) place?.clash()
  return mine
}

/** Of two requests the second fails, even if it has made the same of the value. @throws SessionConflictError, which names the key. */
export function reject(
  _base: unknown,
  _mine: unknown,
  _newest: unknown,
  place?: Pick<MergePlace, 'key'>,
): never {
  throw new SessionConflictError(
    `Another request changed the session's '${place?.key}' first, so this request's changes were not saved. Repeat the request.`,
    place?.key,
  )
}

/**
 * For lists of objects: their elements are told by `field`, whose value each has for itself, and merged one by one. Where an element
 * has none, or two have the same, the list is merged as any other, and the clash reported.
 * @param field The property that tells elements apart, a text or a number: `byId('sku')`.
 * @param rules How properties of the elements are merged, where it is otherwise: `byId('sku', { quantity: 'sum' })`.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a field that is no name, or a rule that is none.
 */
export function byId<
  const F extends string,
  const R extends Readonly<Record<string, MergeRule<unknown>>> = {},
>(
  field: F,
  rules?: R,
): (base: Told<F, R>, mine: Told<F, R>, newest: Told<F, R>, place: MergePlace) => any {
  if (typeof field !== 'string' || field === '') {
    const given = typeof field === 'string' ? "''" : described(field)
    throw refusal(`byId takes the name of a property, as byId('sku'), and got ${given}.`)
  }
  const strategies = strategiesOf(rules === undefined ? {} : rules, `byId('${field}', …)`)
  return (base, mine, newest, { key, clash, budget }) => {
    const lists = listsOf(base, mine, newest)?.map((list) => byField(list, field))
    const [from, to, by] = lists ?? []
    if (!from || !to || !by) {
      return merge(base, mine, newest, (path) => clash(path, 'misfit'), budget)
    }
    return mergeKeyed(from, to, by, (at, ...values) =>
      mergeFields(
        strategies,
        ...values,
        ({ path, kind }) => clash([at, ...path], kind),
        budget,
        key,
      ),
    )
  }
}

const NAMED: Readonly<Record<string, MergeStrategy>> = {
  sum,
  max,
  min,
  append,
  union,
  last,
  first,
  atomic,
  reject,
}

/**
 * Who somebody is must never be a mixture of two requests' values: one user's id with another's roles would be a user with
 * rights that nobody has given him. So what applications and passport keep there is one value.
 */
const IDENTITY: Readonly<Record<string, MergeStrategy>> = {
  user: atomic,
  auth: atomic,
  passport: atomic,
}

/** The strategies of a session's keys. @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is none. */
export function sessionStrategies(rules: object = {}): Strategies {
  const declared = strategiesOf(rules, 'merge')
  for (const key of declared.keys()) {
    if (isBookkeeping(key)) {
      throw refusal(
        `\`merge.${key}\`: names that begin with '${BOOKKEEPING}' are the session's own.`,
      )
    }
  }
  return new Map([...Object.entries(IDENTITY), ...declared])
}

function strategiesOf(rules: object, where: string): Strategies {
  if (!isPlain(rules)) {
    throw refusal(`\`${where}\` takes an object of strategies by key, and got ${described(rules)}.`)
  }
  const strategies = new Map<string, MergeStrategy>()
  for (const [key, rule] of Object.entries(rules)) {
    if (rule === undefined) continue
    const named = typeof rule === 'string' && Object.hasOwn(NAMED, rule) ? NAMED[rule] : undefined
    const strategy = typeof rule === 'function' ? (rule as MergeStrategy) : named
    if (!strategy || rule === byId) {
      const names = Object.keys(NAMED).join(', ')
      throw refusal(
        `\`${where}.${key}\` must be one of ${names}, byId('…') or a function, and is ${rule === byId ? 'byId, uncalled' : described(rule)}.`,
      )
    }
    strategies.set(key, strategy)
  }
  return strategies
}

function refusal(message: string): SessionUsageError {
  return new SessionUsageError(message, 'ERR_SESSION_OPTIONS')
}

function described(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'a list'
  if (typeof value !== 'object' || value === null) return String(value)
  return isPlain(value) ? 'an object' : `a ${value.constructor.name}`
}

/**
 * Merges two objects property by property, each as declared.
 * @param clash Is told of each value of which one change is lost.
 * @param key The session's key that the objects are part of; undefined for the session itself.
 */
export function mergeFields(
  strategies: Strategies,
  base: unknown,
  mine: unknown,
  newest: unknown,
  clash: (clash: Clash) => void,
  budget: Budget = mergeBudget(),
  key?: string,
): unknown {
  if (strategies.size === 0 || !isPlain(mine) || !isPlain(newest)) {
    return merge(base, mine, newest, (path) => clash({ path, kind: 'undeclared' }), budget)
  }
  return mergeNamed(isPlain(base) ? base : {}, mine, newest, (name, ...values) =>
    mergeField(strategies, name, ...values, clash, budget, key),
  )
}

/** Merges what two requests have made of one property. */
export function mergeField(
  strategies: Strategies,
  name: string,
  base: unknown,
  mine: unknown,
  newest: unknown,
  clash: (clash: Clash) => void,
  budget: Budget,
  key: string = name,
): unknown {
  const strategy = strategies.get(name)
  if (!strategy) {
    const report = (path: Path) => clash({ path: [name, ...path], kind: 'undeclared' })
    return merge(base, mine, newest, report, budget)
  }
  if (equal(base, mine)) return newest
  if (equal(base, newest)) return mine
  const merged: unknown = strategy(base, mine, newest, {
    key,
    budget,
    clash: (inside = [], kind = 'declared') => clash({ path: [name, ...inside], kind }),
  })
  if (!(merged instanceof Promise)) return merged
  merged.catch(() => {})
  throw new SessionEncodeError(
    key,
    `The strategy of '${key}' (option \`merge\`) returned a Promise: it must return the value itself.`,
  )
}

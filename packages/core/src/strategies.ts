// How one key of the session is merged: as the application has declared it, or else as merge() does.
import { equal, isPlain, Numbers, own } from './json.ts'
import { SessionConflictError, SessionUsageError } from './errors.ts'
import { byField, merge, mergeKeyed, type Path } from './merge.ts'

/** Where a strategy is at work. */
export interface MergePlace {
  /** The session's key, or the property of an element of {@link byId}. */
  readonly key: string
  /** Reports on the channel `coatcheck:clash` that one of two changes is lost; `inside` says where in the value. */
  readonly clash: (inside?: Path) => void
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
  | (T extends number ? 'sum' : never)
  | (T extends number | string ? 'max' | 'min' : never)
  | (T extends List ? 'append' | 'union' : never)

/** How a value of type `T` is merged: a strategy, or the name of one. */
export type MergeRule<T> = unknown extends T
  ? MergeName<number | List> | MergeStrategy
  : MergeName<T> | MergeStrategy<T>

/** How the properties of `O` are merged, where it is not as {@link merge} does. */
export type MergeRules<O> = { readonly [P in keyof O]?: MergeRule<Exclude<O[P], undefined>> }

/** The names of an element's properties: any, where nothing is known of it. */
type PropertyOf<E> = [keyof E] extends [never] ? string : keyof E & string
type ElementRules<E> = [keyof E] extends [never]
  ? Readonly<Record<string, MergeRule<unknown>>>
  : MergeRules<E>

/** The same, by key, as functions. */
export type Strategies = ReadonlyMap<string, MergeStrategy>

/** For counters: `newest + mine - base`, so that both changes count. */
export function sum(
  base: number | undefined,
  mine: number | undefined,
  newest: number | undefined,
  place?: MergePlace,
): number | undefined {
  const [from = 0, to = 0, by = 0] = [base, mine, newest]
  if ([from, to, by].every((value) => typeof value === 'number')) return by + to - from
  // Data of an earlier version of the application.
  place?.clash()
  return mine
}

/** The larger of two numbers, or the later of two texts: of dates in ISO 8601, for one. */
export function max<T extends number | string>(
  _base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
): T | undefined {
  return mine === undefined || (newest !== undefined && newest > mine) ? newest : mine
}

/** The smaller of two numbers, or the earlier of two texts. */
export function min<T extends number | string>(
  _base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
): T | undefined {
  return mine === undefined || (newest !== undefined && newest < mine) ? newest : mine
}

/** For logs: what this request has added goes to the end of the newest list, and nothing is taken out. */
export function append<T extends List>(
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
): T {
  const numbers = new Numbers()
  const left = new Map<number, number>()
  for (const one of listed(base)) {
    const number = numbers.of(one)
    left.set(number, (left.get(number) ?? 0) + 1)
  }
  const added = listed(mine).filter((one) => {
    const number = numbers.of(one)
    const count = left.get(number) ?? 0
    left.set(number, count - 1)
    return count <= 0
  })
  return [...listed(newest), ...added] as List as T
}

/** For lists that are sets: each element once, without what either request has removed. */
export function union<T extends List>(
  base: T | undefined,
  mine: T | undefined,
  newest: T | undefined,
): T {
  const numbers = new Numbers()
  const [before, ours, theirs] = [base, mine, newest].map(
    (all) => new Set(listed(all).map((one) => numbers.of(one))),
  )
  const merged = new Map<number, unknown>()
  for (const one of [...listed(newest), ...listed(mine)]) {
    const number = numbers.of(one)
    const isRemoved = before!.has(number) && !(ours!.has(number) && theirs!.has(number))
    if (!isRemoved && !merged.has(number)) merged.set(number, one)
  }
  return [...merged.values()] as List as T
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
 * For lists of objects: their elements are told by `field`, whose value each has for itself, and merged one by one.
 * @param field The property that tells elements apart: `byId('sku')`.
 * @param rules How properties of the elements are merged, where it is otherwise: `byId('sku', { quantity: 'sum' })`.
 */
export function byId<T extends readonly object[]>(
  field: PropertyOf<T[number]>,
  rules: ElementRules<T[number]> = {},
): MergeStrategy<T> {
  const strategies = strategiesOf(rules)
  return (base, mine, newest, { clash }) => {
    const [from, to, by] = [base, mine, newest].map((all) => byField(listed(all), field))
    if (!from || !to || !by) return merge(base, mine, newest, clash) as T
    return mergeKeyed(from, to, by, (at, ...values) =>
      mergeFields(strategies, ...values, (path) => clash([at, ...path])),
    ) as List as T
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

/** The strategies of a session's keys. @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a name that there is not. */
export function sessionStrategies(rules: object = {}): Strategies {
  if (typeof rules !== 'object' || rules === null) {
    throw new SessionUsageError(
      `\`merge\` must be an object of strategies by key, and is ${String(rules)}.`,
      'ERR_SESSION_OPTIONS',
    )
  }
  return strategiesOf({ ...IDENTITY, ...rules })
}

function strategiesOf(rules: object): Strategies {
  return new Map(
    Object.entries(rules)
      .filter(([, rule]) => rule !== undefined)
      .map(([key, rule]): [string, MergeStrategy] => {
        if (typeof rule === 'function') return [key, rule as MergeStrategy]
        if (typeof rule === 'string' && Object.hasOwn(NAMED, rule)) return [key, NAMED[rule]!]
        throw new SessionUsageError(
          `\`merge.${key}\` must be a function or one of ${Object.keys(NAMED).join(', ')}, and is ${String(rule)}.`,
          'ERR_SESSION_OPTIONS',
        )
      }),
  )
}

/** Merges two objects property by property, each as declared. */
export function mergeFields(
  strategies: Strategies,
  base: unknown,
  mine: unknown,
  newest: unknown,
  clash: (path: Path) => void,
): unknown {
  if (strategies.size === 0 || !isPlain(mine) || !isPlain(newest)) {
    return merge(base, mine, newest, clash)
  }
  const before = isPlain(base) ? base : {}
  const names = new Set([...Object.keys(newest), ...Object.keys(mine)])
  const merged = Array.from(names, (name): [string, unknown] => [
    name,
    mergeField(strategies, name, own(before, name), own(mine, name), own(newest, name), clash),
  ])
  return Object.fromEntries(merged.filter(([, value]) => value !== undefined))
}

/** Merges what two requests have made of one property. */
export function mergeField(
  strategies: Strategies,
  key: string,
  base: unknown,
  mine: unknown,
  newest: unknown,
  clash: (path: Path) => void,
): unknown {
  const place = { key, clash: (inside: Path = []) => clash([key, ...inside]) }
  const strategy = strategies.get(key)
  if (!strategy) return merge(base, mine, newest, place.clash)
  if (equal(base, mine)) return newest
  return equal(base, newest) ? mine : strategy(base, mine, newest, place)
}

function listed(value: unknown): List {
  return Array.isArray(value) ? value : []
}

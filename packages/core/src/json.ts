// JSON's values: whether two are the same, and what an object has of its own. Pure.
import { isDeepStrictEqual } from 'node:util'

/** An object of JSON's. */
export type Plain = Readonly<Record<string, unknown>>

/** How much work may be done yet: one for each value that is compared with another. */
export interface Budget {
  left: number
}

const UNBOUNDED: Budget = { left: Infinity }

/**
 * Whether two values are the same, whatever the order of their properties. What is nested too deeply for that is the same only
 * with its properties in the same order.
 */
export function equal(a: unknown, b: unknown, budget: Budget = UNBOUNDED): boolean {
  if (a === b) return true
  try {
    return isSame(a, b, budget)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return isSameText(a, b)
  }
}

function isSame(a: unknown, b: unknown, budget: Budget): boolean {
  budget.left--
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((one, at) => isSame(one, b[at], budget))
  }
  // What a codec of the application's brings back besides JSON: dates, maps, and NaN.
  if (!isPlain(a) || !isPlain(b)) return isDeepStrictEqual(a, b)
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name], budget))
  )
}

function isSameText(a: unknown, b: unknown): boolean {
  try {
    return JSON.stringify(a) === JSON.stringify(b)
  } catch {
    return false
  }
}

/** Whether a value is an object as JSON has it, and no array. */
export function isPlain(value: unknown): value is Plain {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value) as object | null
  // Also that of another realm: only an Object.prototype has none above it.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** An object's own property, undefined if there is none: `__proto__` is one like any other. */
export function own(object: Plain, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

/** So many values that are no JSON are compared with each other. */
const MOST_OTHERS = 1000

/** Numbers values so that two are equal if and only if their numbers are: many can then be compared with many. */
export class Numbers {
  readonly #numbers = new Map<unknown, number>()
  /** Those that were numbered before. */
  readonly #known = new Map<object, number>()
  readonly #others: unknown[] = []
  readonly #budget: Budget

  constructor(budget: Budget = UNBOUNDED) {
    this.#budget = budget
  }

  of(value: unknown): number {
    if (typeof value !== 'object' || value === null) return this.#numberOf(value)
    const known = this.#known.get(value)
    if (known !== undefined) return known
    const number = this.#numberOf(value)
    this.#known.set(value, number)
    return number
  }

  #numberOf(value: unknown): number {
    let text
    try {
      text = this.#textOf(value)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      // Nested too deeply to be told from others, but by itself.
      text = value
    }
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    this.#numbers.set(text, this.#numbers.size)
    return this.#numbers.size - 1
  }

  /** A text that equal values share and others do not. Lengths tell where a part ends: nothing is escaped. */
  #textOf(value: unknown): string {
    this.#budget.left--
    if (typeof value === 'string') return `"${value.length}:${value}`
    if (typeof value === 'number') return value === 0 ? '0' : String(value)
    if (typeof value === 'boolean' || value === null) return String(value)
    if (typeof value === 'bigint') return `n${value}`
    if (Array.isArray(value)) {
      let text = `[${value.length}:`
      for (const one of value) text += `${this.#textOf(one)},`
      return text
    }
    if (!isPlain(value)) return this.#otherOf(value)
    const names = Object.keys(value).toSorted()
    let text = `{${names.length}:`
    for (const name of names) text += `${name.length}:${name}${this.#textOf(value[name])},`
    return text
  }

  /** Of what a codec of the application's brings back besides JSON; when there is too much of it, each is another. */
  #otherOf(value: unknown): string {
    const isMany = this.#others.length >= MOST_OTHERS
    let at = isMany ? -1 : this.#others.findIndex((other) => isDeepStrictEqual(other, value))
    if (at < 0) at = this.#others.push(value) - 1
    return `other ${at}`
  }
}

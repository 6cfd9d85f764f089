// JSON's values: whether two are the same, and what an object has of its own. Pure.
import { isDeepStrictEqual } from 'node:util'

/** An object of JSON's. */
export type Plain = Readonly<Record<string, unknown>>

/** Whether two values are the same, whatever the order of their properties. What is nested too deeply to tell is not. */
export function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true
  try {
    return isSame(a, b)
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((one, at) => isSame(one, b[at]))
  }
  // What a codec of the application's brings back besides JSON: dates, maps, and NaN.
  if (!isPlain(a) || !isPlain(b)) return isDeepStrictEqual(a, b)
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isSame(a[name], b[name]))
  )
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

/** Numbers values so that two are equal if and only if their numbers are: many can then be compared with many. */
export class Numbers {
  readonly #numbers = new Map<string, number>()
  readonly #others: unknown[] = []

  of(value: unknown): number {
    const text = this.#textOf(value)
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    this.#numbers.set(text, this.#numbers.size)
    return this.#numbers.size - 1
  }

  /** A text that equal values share and others do not. Lengths tell where a part ends: nothing is escaped. */
  #textOf(value: unknown): string {
    if (typeof value === 'string') return `"${value.length}:${value}`
    if (typeof value === 'number') return value === 0 ? '0' : String(value)
    if (typeof value === 'boolean' || value === null) return String(value)
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

  #otherOf(value: unknown): string {
    let at = this.#others.findIndex((other) => isDeepStrictEqual(other, value))
    if (at < 0) at = this.#others.push(value) - 1
    return `other ${at}`
  }
}

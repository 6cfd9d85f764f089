// Between the session's dictionary and the record's text. JSON by default; never a silent loss.
import { SessionEncodeError } from './errors.ts'
import { assertOptions } from './options.ts'
import { callable } from './rules.ts'

/** The session's dictionary as it is encoded: own properties only, `__proto__` included. */
export type Dictionary = Record<string, unknown>

/** Turns the session's dictionary into text and back. */
export interface Codec {
  /**
   * The dictionary as text. `suspects` names the keys whose values the application had in its hands: everything
   * else came from `decode` as it is, and needs no check. Throws SessionEncodeError, naming the key, for a value that
   * `decode` would not bring back.
   */
  encode(data: Dictionary, suspects: Iterable<string>): string
  /** The dictionary that `encode` was given. Throws anything at all if the text is not of its making. */
  decode(text: string): Dictionary
  /**
   * The text as the store keeps it, where that may differ each time though the data does not: with a signature over the
   * time, or encrypted. Default: the text itself.
   */
  seal?(text: string): string
  /** The text that `seal` was given. Throws anything at all if what is stored is not of its making. */
  open?(stored: string): string
}

/** A dialect of JSON. Default: JavaScript's own. */
export interface JsonCodecOptions {
  /** As `JSON.stringify` with one argument. */
  readonly stringify?: (value: unknown) => string
  /** As `JSON.parse` with one argument. */
  readonly parse?: (text: string) => unknown
  /** Whether the dialect brings back a value that is neither JSON's nor a plain object or array of such. */
  readonly allows?: (value: unknown) => boolean
}

/** Makes a codec of JSON, for values that it brings back unchanged. Anything else is a SessionEncodeError. @throws SessionUsageError for an option that cannot work. */
export function createJsonCodec(options: JsonCodecOptions = {}): Codec {
  assertOptions('createJsonCodec', options, {
    stringify: callable,
    parse: callable,
    allows: callable,
  })
  const { stringify = JSON.stringify, parse = JSON.parse, allows = () => false } = options
  return {
    encode(data, suspects) {
      let text
      try {
        text = stringify(data)
      } catch (error) {
        throw explain(data, stringify, error)
      }
      // Only now, because JSON.stringify has already ruled out the cycles that would trap the walk.
      for (const key of suspects) {
        if (!Object.hasOwn(data, key)) continue
        try {
          assertPlain(data[key], allows, key, key)
        } catch (error) {
          throw error instanceof RangeError ? unstorable(key, error) : error
        }
      }
      return text
    },
    decode(text) {
      const data = parse(text)
      if (typeof data !== 'object' || data === null || Array.isArray(data)) {
        throw new TypeError('The session data is not a JSON object')
      }
      return data as Dictionary
    },
  }
}

/** The default codec: JSON, for values that JSON brings back unchanged. Anything else is a SessionEncodeError. */
export const jsonCodec: Codec = createJsonCodec()

/** Finds the key that JSON.stringify choked on, so that the error can name it. */
function explain(
  data: Dictionary,
  stringify: (value: unknown) => string,
  error: unknown,
): SessionEncodeError {
  for (const key of Object.keys(data)) {
    try {
      stringify(data[key])
    } catch (cause) {
      return unstorable(key, cause)
    }
  }
  return new SessionEncodeError('', `The session cannot be stored: ${reason(error)}.`, error)
}

function unstorable(key: string, cause: unknown): SessionEncodeError {
  return new SessionEncodeError(key, `${place(key)} cannot be stored: ${reason(cause)}.`, cause)
}

function reason(cause: unknown): string {
  if (cause instanceof RangeError) return 'it is nested too deeply'
  if (cause instanceof TypeError && cause.message.includes('BigInt')) {
    return 'it holds a BigInt, which JSON does not have. Store String(value)'
  }
  if (cause instanceof TypeError && /circular|cyclic/i.test(cause.message)) {
    return 'it refers to itself'
  }
  return 'turning it into JSON threw an error (its cause)'
}

/** Throws for whatever JSON.stringify would change without a word. `path` says where, as code would. */
function assertPlain(
  value: unknown,
  allows: (value: unknown) => boolean,
  key: string,
  path: string,
): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return
    case 'number':
      if (Number.isFinite(value) || allows(value)) return
      throw lossy(key, path, String(value), 'JSON turns it into null')
    case 'object':
      break
    case 'undefined':
      throw lossy(key, path, 'undefined', 'use delete() to remove a key, or null for no value')
    default:
      if (allows(value)) return
      throw lossy(key, path, `a ${typeof value}`, 'store the data it stands for')
  }
  if (value === null) return
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      assertPlain(value[index], allows, key, `${path}[${index}]`)
    }
    return
  }
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype !== null && prototype !== Object.prototype && !isForeignObject(prototype)) {
    const name = (value as object).constructor?.name || 'class instance'
    const advice = value instanceof Date ? 'store toISOString()' : 'store plain objects and arrays'
    throw lossy(key, path, `a ${name}`, advice)
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    throw lossy(key, path, 'an object with toJSON()', 'store what toJSON() returns')
  }
  for (const name of Object.keys(value)) {
    const child = (value as Dictionary)[name]
    // A property that is undefined reads as undefined again after JSON has dropped it: nothing is lost.
    if (child !== undefined) assertPlain(child, allows, key, `${path}.${name}`)
  }
}

/** Whether a prototype is another realm's Object.prototype: a vm context's plain object is a plain object. */
function isForeignObject(prototype: object): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'isPrototypeOf')
}

function lossy(key: string, path: string, what: string, advice: string): SessionEncodeError {
  const message = `${place(path)} is ${what}, which would not come back as it is: ${advice}.`
  return new SessionEncodeError(key, message)
}

/** The first words of a message: which value. Long paths are cut, as a key may be anything. */
function place(path: string): string {
  return `The session's value at '${path.length > 200 ? `${path.slice(0, 200)}…` : path}'`
}

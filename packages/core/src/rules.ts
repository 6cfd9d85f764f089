// What an option may be, each kind with its words.

/** What an option must be. */
export interface OptionRule {
  /** In an error's words: `must be …`. */
  readonly be: string
  readonly holds: (value: unknown) => boolean
  /** Its value is shown to nobody. */
  readonly secret?: boolean
  /** What was probably meant by a value that breaks the rule, in an error's words, or nothing. */
  readonly meant?: (value: unknown) => string
}

/** A rule of one's own. @param be What the option must be, in an error's words after "must be". */
export const rule = (be: string, holds: (value: any) => boolean): OptionRule => ({ be, holds })

/** Text. */
export const text = rule('text', (value) => typeof value === 'string')
/** Yes or no. */
export const flag = rule('true or false', (value) => typeof value === 'boolean')
/** A function. */
export const callable = rule('a function', (value) => typeof value === 'function')
/** The option `now`. */
export const clock = rule(
  'a function that returns milliseconds since 1970, as Date.now does',
  callable.holds,
)
/** A length of time in seconds, or a size: beyond zero and not endless. */
export const positive = rule('a positive number', (value) => Number.isFinite(value) && value > 0)
/** In seconds: ten years and some days. What is longer can only be milliseconds, as browsers keep no cookie for more than 400 days. */
export const LONGEST_AGE = 316_224_000
/** Whether a number is not too long to be an age in seconds. */
export const isAge = (value: number): boolean => !(value > LONGEST_AGE)
/** A length of time in seconds, within ten years. @param be What it must be, and `holds` whether it is, but for its length. */
export const age = (be: string, holds: OptionRule['holds']): OptionRule => ({
  be,
  holds: (value) => holds(value) && isAge(value as number),
  meant(value) {
    if (value === Infinity)
      return `: nothing is kept without an end, and ${LONGEST_AGE} (ten years) is the most`
    if (!holds(value)) return ''
    return `, more than ten years: is it milliseconds? Then ${(value as number) / 1000} it is`
  },
})
/** A length of time. */
export const seconds = age('a positive number of seconds', positive.holds)
/** A whole number from 1 on. */
export const count = rule(
  'a whole number from 1 on',
  (value) => Number.isSafeInteger(value) && value > 0,
)
/** A number from 0 on. */
export const fromZero = rule('a number from 0 on', (value) => Number.isFinite(value) && value >= 0)
/** A length of time, or none. */
export const secondsFromZero = age('a number of seconds from 0 on', fromZero.holds)
/** An object with whatever it has. */
export const dictionary = rule('an object', isPlain)
/** Checked elsewhere. */
export const anything = rule('', () => true)
/** A list of texts. */
export const texts = rule(
  'a list of texts',
  (value) => Array.isArray(value) && value.every((one) => typeof one === 'string'),
)
/** Secrets: never shown. */
export const secrets: OptionRule = { ...anything, secret: true }
/** One of some words. */
export const oneOf = (...words: readonly unknown[]): OptionRule =>
  rule(words.map((word) => inWords(word)).join(' or '), (value) => words.includes(value))

/** A value in an error's words, short: an object by what it is, and not by what it holds; nothing of a text that may hold a password. */
export function inWords(value: unknown): string {
  if (typeof value === 'string') {
    if (/@|password|:\/\//i.test(value)) return `text of ${value.length} characters`
    return value.length > 40 ? `'${value.slice(0, 40)}…'` : `'${value}'`
  }
  if (typeof value === 'function') {
    return /^class\b/.test(Function.prototype.toString.call(value)) ? 'a class' : 'a function'
  }
  if (typeof value !== 'object' || value === null) return String(value)
  if (Array.isArray(value)) return 'a list'
  if (typeof (value as { then?: unknown }).then === 'function') return 'a promise (await it)'
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== '' && name !== 'Object'
    ? `an object of the class ${name}`
    : 'an object'
}

/** The same of an address, a file or a folder, which often comes from the environment. */
export function addressInWords(value: unknown): string {
  return value === undefined
    ? 'undefined: is the environment variable set that it comes from?'
    : inWords(value)
}

/** Not a list, a promise, a Map or the like; of a class of the application's it may be. */
export function isPlain(value: unknown): boolean {
  return (
    Object.prototype.toString.call(value) === '[object Object]' && !('then' in (value as object))
  )
}

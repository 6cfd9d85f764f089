// JSON as Python's json module writes and reads it: ASCII only, whole numbers of any size, NaN and Infinity.
import { createJsonCodec, type Codec } from '@coatcheck/core'

/** Stands for a number that JSON has not, until the text is whole. Nobody can guess it, so no session can hold it. */
const MARK = `number ${crypto.randomUUID()} `

/** JSON.rawJSON and the third argument of a reviver are newer than TypeScript's declarations. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }

/** The text that `json.dumps(value, separators=(',', ':'))` gives, with BigInt for what JavaScript's numbers cannot hold. */
export function stringify(value: unknown): string {
  let marked = false
  const text = JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === 'bigint') return rawJSON(String(part))
    if (typeof part !== 'number' || Math.abs(part) <= Number.MAX_SAFE_INTEGER) return part
    if (Number.isFinite(part)) return rawJSON(largeFloat(part))
    marked = true
    return MARK + String(part)
  })
  const ascii = text.replaceAll(
    /[\u007F-\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return marked ? ascii.replaceAll(new RegExp(`"${MARK}(.*?)"`, 'g'), '$1') : ascii
}

/** A number past the safe integers as Python writes a float, so that it is read as one and not as a BigInt. */
function largeFloat(value: number): string {
  return Math.abs(value) < 1e16 ? `${value}.0` : value.toExponential()
}

/** The value of what `json.dumps` wrote. A whole number that JavaScript would round is a BigInt. @throws SyntaxError. */
export function parse(text: string): unknown {
  if (!/\d{16}|NaN|Infinity/.test(text)) return JSON.parse(text)
  const marked = text.replaceAll(/"(?:[^"\\]|\\.)*"|NaN|-?Infinity/g, (token) =>
    token.startsWith('"') ? token : `"${MARK}${token}"`,
  )
  return JSON.parse(marked, revive)
}

/** Brings back the numbers that JavaScript's own parser loses. */
function revive(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value === 'string' && value.startsWith(MARK)) return Number(value.slice(MARK.length))
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
  const source = context?.source ?? ''
  return /^-?\d+$/.test(source) ? BigInt(source) : value
}

/** Session data as Django's JSONSerializer writes it, without a signature. */
export const pythonJsonCodec: Codec = createJsonCodec({
  stringify,
  parse,
  allows: (value) => typeof value === 'bigint' || typeof value === 'number',
})

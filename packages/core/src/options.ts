// What is given to a function at the start is looked at there: names that nobody knows, and values of another kind.
import { SessionUsageError } from './errors.ts'
import { inWords, isPlain, type OptionRule } from './rules.ts'
import type { SessionStore } from './store.ts'

/** A rule for each option that there is. */
export type OptionRules<O> = { readonly [K in keyof O]-?: OptionRule }

/**
 * Looks at the options that a function was given; unset ones pass.
 * @param by The function, as an error names it: `redisStore`.
 * @param rules What each option must be.
 * @param elsewhere What to say to a name that has a meaning in other libraries: `{ resave: 'leave it out: …' }`.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no object, for a name that is not among the rules (with the one that
 * was probably meant), and for a value that breaks its rule.
 */
export function assertOptions<O extends object>(
  by: string,
  options: O,
  rules: OptionRules<O>,
  elsewhere: Readonly<Record<string, string>> = {},
): void {
  if (!isPlain(options))
    refuseOption(`${by}: the options must be an object, and are ${inWords(options)}`)
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(rules, name)) refuseName(by, name, Object.keys(rules), elsewhere)
  }
  // Also what is inherited is used.
  for (const [name, { be, holds, secret, meant }] of Object.entries<OptionRule>(rules)) {
    const value: unknown = options[name as keyof O]
    if (value === undefined || holds(value)) continue
    const given = secret ? '' : `, and is ${inWords(value)}${meant?.(value) ?? ''}`
    refuseOption(`${by}: \`${name}\` must be ${be}${given}`)
  }
}

const METHODS = ['load', 'create', 'save', 'touch', 'delete'] as const

/**
 * @param by The function and its parameter, as an error names them: ``sweep: `store` ``.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no store of ours.
 */
export function assertStore(by: string, store: SessionStore): void {
  const has = (name: string) => typeof (store as any)?.[name] === 'function'
  const missing = METHODS.filter((name) => !has(name))
  if (missing.length === 0) return
  const isExpress = has('get') && has('set') && has('destroy')
  const isManager = has('open') && has('commit')
  refuseOption(
    isExpress
      ? `${by} is a store of express-session's: pass it through fromExpressStore() of @coatcheck/express-session`
      : isManager
        ? `${by} must be a store, and is what createSessions() has returned: pass its store, sessions.store`
        : missing.length === METHODS.length
          ? `${by} must be a store, such as sqliteStore('sessions.sqlite'), and is ${inWords(store)}`
          : `${by} must be a store, and has no method ${missing.join(', ')}`,
  )
}

/** @throws SessionUsageError (code ERR_SESSION_OPTIONS), always. */
export function refuseOption(what: string): never {
  throw new SessionUsageError(what.endsWith('?') ? what : `${what}.`, 'ERR_SESSION_OPTIONS')
}

function refuseName(
  by: string,
  name: string,
  known: readonly string[],
  elsewhere: Readonly<Record<string, string>>,
): never {
  const said = Object.hasOwn(elsewhere, name) ? elsewhere[name] : undefined
  const meant = probablyMeant(name, known)
  const hint = said ?? (meant ? `did you mean \`${meant}\`?` : `there are ${known.join(', ')}`)
  refuseOption(`${by}: \`${name}\` is no option: ${hint}`)
}

/** @returns The known name that was probably meant by one that nobody knows; undefined if none is like it. */
export function probablyMeant(given: string, known: readonly string[]): string | undefined {
  return known.find((one) => isMisspelt(given, one))
}

/** Whether one was probably written for the other: but for capitals and signs, not more than two letters differ. */
function isMisspelt(given: string, known: string): boolean {
  const [a, b] = [given, known].map((name) => name.toLowerCase().replaceAll(/[^a-z\d]/g, ''))
  return distance(a!, b!) <= Math.min(2, Math.floor(b!.length / 3))
}

/** How many letters must be put in, left out or changed to make one word of the other (Levenshtein's distance). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}

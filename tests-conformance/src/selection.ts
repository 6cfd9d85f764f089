// Which cases are run: all of them, or those that are named, and what holds instead of each for this store.
import { inWords, probablyMeant, refuseOption } from '@coatcheck/core/store'
import { sections, type Case, type Counterpart, type Section } from './case.ts'
import { closing } from './cases/closing.ts'
import { concurrency } from './cases/concurrency.ts'
import { contract } from './cases/contract.ts'
import { durability } from './cases/durability.ts'
import { encoding } from './cases/encoding.ts'
import { expiry } from './cases/expiry.ts'
import { failure } from './cases/failure.ts'
import { flush } from './cases/flush.ts'
import { history } from './cases/history.ts'
import { isolation } from './cases/isolation.ts'
import { keys } from './cases/keys.ts'
import { processes } from './cases/processes.ts'
import { random } from './cases/random.ts'
import { retiredKeys } from './cases/retired.ts'
import { size } from './cases/size.ts'
import { sweepSection } from './cases/sweep.ts'
import type { Subject } from './subject.ts'

/** Every case of the suite, in the order of its sections. */
export const cases: readonly Case[] = [
  ...contract,
  ...retiredKeys,
  ...keys,
  ...expiry,
  ...flush,
  ...size,
  ...encoding,
  ...isolation,
  ...concurrency,
  ...processes,
  ...sweepSection,
  ...durability,
  ...failure,
  ...history,
  ...closing,
  ...random,
]

/** Some of the cases: those of these sections, and these. Default: all. */
export interface Selection {
  /** Ids, such as `expiry/to-the-millisecond`. */
  readonly cases?: readonly string[]
  readonly sections?: readonly Section[]
}

/**
 * The cases of a selection, in the suite's order; all of them if it names none.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a name that no case or section has, with the one that was probably meant.
 */
export function selectCases(selection: Selection = {}): readonly Case[] {
  const { cases: ids = [], sections: parts = [] } = selection
  for (const name of Object.keys(selection)) {
    if (name !== 'cases' && name !== 'sections')
      refuseOption(`the selection: \`${name}\` is no option: there are cases, sections`)
  }
  assertKnown(
    'case',
    ids,
    cases.map(({ id }) => id),
  )
  assertKnown('section', parts, sections)
  if (ids.length === 0 && parts.length === 0) return cases
  return cases.filter((one) => ids.includes(one.id) || parts.includes(one.section))
}

function assertKnown(what: string, given: readonly string[], known: readonly string[]): void {
  if (!Array.isArray(given))
    refuseOption(`the selection: \`${what}s\` must be a list of texts, and is ${inWords(given)}`)
  for (const name of given as readonly unknown[]) {
    if (known.includes(name as string)) continue
    const meant = typeof name === 'string' ? meantBy(name, known) : undefined
    const hint = meant ? `did you mean '${meant}'?` : `--list shows every ${what}`
    refuseOption(`there is no ${what} ${inWords(name)}: ${hint}`)
  }
}

/** The name that was meant; of a case also by what follows its section, where that is given alone. */
const meantBy = (name: string, known: readonly string[]): string | undefined =>
  probablyMeant(name, known) ?? known.find((one) => one.endsWith(`/${name}`))

/** What holds instead of a case's promise, for a store of these traits; undefined if the promise itself must hold. */
export function counterpartOf(subject: Subject, one: Case): Counterpart | undefined {
  return one.counterparts.find(({ trait }) =>
    trait === 'realTime' || trait === 'freshFor' ? subject[trait] : subject.traits?.[trait],
  )
}

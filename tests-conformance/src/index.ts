// The suite: cases as data, and two ways to run them, under a test runner or as a report.
import { strict as assert } from 'node:assert'
import type { Case, Counterpart, Exemption } from './case.ts'
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
import { createContext } from './context.ts'
import { inTime } from './in-time.ts'
import type { Subject } from './subject.ts'

export { sections, type Case, type Counterpart, type Exemption, type Section } from './case.ts'
export type { Clock } from './clock.ts'
export type { Browser, Context } from './context.ts'
export { checkHistory, type Copies, type HistoryOptions, type HistoryVerdict } from './history.ts'
export { monotonicTime, recorded, type Operation, type Question } from './operation.ts'
export type { Job, Outcome } from './processes.ts'
export type { OpenOptions, Outage, Subject } from './subject.ts'

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

/** A case that takes longer, in ms, will never end: the slowest wait for a handful of calls that fail at their bound. */
const LONGEST_CASE = 120_000

/** What holds instead of a case's promise, for a store of these traits; undefined if the promise itself must hold. */
export function counterpartOf(subject: Subject, one: Case): Counterpart | undefined {
  return one.counterparts.find(({ trait }) =>
    trait === 'realTime' || trait === 'freshFor' ? subject[trait] : subject.traits?.[trait],
  )
}

/** Runs one case, or its counterpart, against a new store of the subject's; throws where what it promises is broken. */
export async function runCase(subject: Subject, one: Case): Promise<void> {
  await run(subject, counterpartOf(subject, one) ?? one)
}

async function run(subject: Subject, one: Pick<Case, 'run'>): Promise<void> {
  const { context, dispose } = await createContext(subject)
  try {
    const { sync: _, ...declared } = context.store.traits ?? {}
    assertTraits(declared, { ...subject.traits })
    await inTime(() => one.run(context), LONGEST_CASE)
  } finally {
    await inTime(dispose)
  }
}

/** Which traits they are is said, as most who meet this have forgotten one. */
function assertTraits(ofStore: object, ofSubject: object): void {
  const [store, subject] = [ofStore, ofSubject].map((traits) => JSON.stringify(traits))
  const message = `the traits of the store and of the subject differ: ${store} and ${subject}`
  assert.deepEqual(ofStore, ofSubject, message)
}

/** The traits that a subject declares. */
function declaredTraits(subject: Subject): Exemption[] {
  const entries = Object.entries(subject.traits ?? {}) as [Exemption, boolean][]
  return entries.flatMap(([trait, declared]) => (declared ? [trait] : []))
}

/** Whether a store declares a trait without need: it keeps every promise that the trait exempts it from. */
async function isUnneeded(subject: Subject, trait: Exemption): Promise<boolean> {
  for (const one of cases) {
    if (!one.counterparts.some((counterpart) => counterpart.trait === trait)) continue
    try {
      await run(subject, one)
    } catch {
      return false
    }
  }
  return true
}

/**
 * Registers every case as a test.
 * ```ts
 * import { test } from 'vitest' // or: from 'node:test'
 * import { conformance } from '@coatcheck/conformance'
 * import subject from './subject.js' // { name, module, open({ now, name }), outage }
 * conformance(subject, test)
 * ```
 * @param test Takes a title and a function that may return a promise, as vitest's and node:test's do.
 */
export function conformance(
  subject: Subject,
  test: (title: string, run: () => Promise<void>) => unknown,
): void {
  for (const one of cases) {
    const counterpart = counterpartOf(subject, one)
    const title = counterpart ? `${counterpart.title} (declared: ${counterpart.trait})` : one.title
    test(`${subject.name} › ${one.section} › ${title}`, () => runCase(subject, one))
  }
  for (const trait of declaredTraits(subject)) {
    test(`${subject.name} › traits › ${trait} is declared because it is needed`, async () => {
      assert.equal(await isUnneeded(subject, trait), false, `The store does not need '${trait}'.`)
    })
  }
}

/** How one case ended. */
export interface CaseResult {
  readonly case: Case
  /** What was proven instead of the case, because the store declares a trait. */
  readonly counterpart: Counterpart | undefined
  /** What was thrown; undefined if the case passed. */
  readonly error: unknown
}

/** How the whole suite ended. */
export interface Report {
  readonly subject: string
  readonly results: readonly CaseResult[]
  readonly passed: number
  readonly failed: number
  /** Traits that the store declares and keeps all the promises of: it could declare more than it has to. */
  readonly unneeded: readonly Exemption[]
}

const hasOutage = ({ section }: Case) => section === 'failure' || section === 'history'

/** Cases over a store on the system's clock mostly wait: so many of them do it at the same time. */
const REAL_TIME_LANES = 16

/**
 * Runs every case without a test runner, one after the other (`realTime`: several at once). Never throws for a case that
 * fails.
 */
export async function runConformance(
  subject: Subject,
  onResult?: (result: CaseResult) => void,
): Promise<Report> {
  const results: CaseResult[] = []
  const runAll = async (waiting: Iterable<Case>) => {
    for (const one of waiting) {
      let error: unknown
      try {
        await runCase(subject, one)
      } catch (thrown) {
        error = thrown ?? new Error('The case threw nothing')
      }
      const result = { case: one, counterpart: counterpartOf(subject, one), error }
      results[cases.indexOf(one)] = result
      onResult?.(result)
    }
  }
  if (subject.realTime) {
    // An outage may hit every store of the subject's, so those cases come by themselves.
    const together = cases.filter((one) => !hasOutage(one)).values()
    await Promise.all(Array.from({ length: REAL_TIME_LANES }, () => runAll(together)))
    await runAll(cases.filter(hasOutage))
  } else await runAll(cases)
  const unneeded: Exemption[] = []
  for (const trait of declaredTraits(subject)) {
    if (await isUnneeded(subject, trait)) unneeded.push(trait)
  }
  const failed = results.filter((result) => result.error !== undefined).length
  return { subject: subject.name, results, passed: results.length - failed, failed, unneeded }
}

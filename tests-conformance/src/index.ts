// The suite: cases as data, and two ways to run them, under a test runner or as a report.
import { strict as assert } from 'node:assert'
import { setImmediate as turn } from 'node:timers/promises'
import { inWords, refuseOption } from '@coatcheck/core/store'
import type { Case, Counterpart, Exemption } from './case.ts'
import { createContext } from './context.ts'
import { assertComplete, assertSubject, refuseFor } from './given-subject.ts'
import { inTime, LateError } from './in-time.ts'
import { cases, counterpartOf, selectCases, type Selection } from './selection.ts'
import { catchStrays, withStrays } from './strays.ts'
import type { Subject } from './subject.ts'

export { sections, type Case, type Counterpart, type Exemption, type Section } from './case.ts'
export type { Clock } from './clock.ts'
export type { Browser, Context } from './context.ts'
export { checkHistory, type Copies, type HistoryOptions, type HistoryVerdict } from './history.ts'
export { monotonicTime, recorded, type Operation, type Question } from './operation.ts'
export type { Job, Outcome } from './processes.ts'
export { cases, counterpartOf, selectCases, type Selection } from './selection.ts'
export type { OpenOptions, Outage, Subject } from './subject.ts'

/** A case that takes longer, in ms, will never end: the slowest wait for a handful of calls that fail at their bound. */
const LONGEST_CASE = 120_000

/** After so many cases that never ended the rest are not run: a store that answers nothing would keep everybody waiting for hours. */
const MOST_ENDLESS = 5

/**
 * Runs one case, or its counterpart, against a new store of the subject's.
 * @throws What the case failed by, where the promise is broken; SessionUsageError (code ERR_SESSION_OPTIONS) for what is no subject or no case.
 */
export async function runCase(subject: Subject, one: Case): Promise<void> {
  assertSubject(subject)
  if (typeof (one as Case | undefined)?.run !== 'function')
    refuseOption(`runCase: the case must be one of \`cases\`, and is ${inWords(one)}`)
  const { error } = await endOf(subject, counterpartOf(subject, one) ?? one)
  if (error !== undefined) throw error
}

/** How a case has ended. */
interface End {
  /** What was thrown; undefined if the case passed. */
  readonly error: unknown
  /**
   * Whether it may have failed for want of time alone, in a process that others hold up: it has waited for a moment, has compared one, or
   * has waited too long for an answer. Of no other error is time the cause.
   */
  readonly mayBeLate: boolean
}

async function endOf(subject: Subject, one: Pick<Case, 'run'>): Promise<End> {
  const errors: unknown[] = []
  const attempt = async (step: () => unknown, bound?: number) => {
    try {
      await inTime(step, bound)
    } catch (thrown) {
      errors.push(
        thrown ?? new Error(`The store threw ${String(thrown)} where it must throw an error`),
      )
    }
  }
  let opened: Awaited<ReturnType<typeof createContext>>
  try {
    opened = await createContext(subject)
  } catch (error) {
    return { error, mayBeLate: isLate(error) }
  }
  const { context, dispose } = opened
  await attempt(() => one.run(context), LONGEST_CASE)
  await attempt(dispose)
  const error =
    errors.length > 1
      ? new AggregateError(errors, 'The case failed, and so did the close or the cleanUp after it')
      : errors[0]
  return { error, mayBeLate: context.clock.isTimed || errors.some(isLate) }
}

/** Whether an error, or what was behind it, is an answer that did not come in time. */
const isLate = (error: unknown): boolean =>
  error instanceof LateError || (error instanceof Error && isLate(error.cause))

/**
 * Opens the subject's store once, asks it for a key that nobody has, and closes it, so that what is wrong with all of it is said before
 * any case runs.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) where `open` fails, gives no store, or one of other traits than the subject's, and
 * where the store never answers or cannot be closed; its `cause` is what the store has thrown.
 */
async function probe(subject: Subject): Promise<void> {
  const opened = createContext(subject).catch((error: unknown) => {
    if ((error as { code?: unknown } | undefined)?.code === 'ERR_SESSION_OPTIONS') throw error
    return refuseFor("the subject's open() failed", error)
  })
  const { context, dispose } = await opened
  // What it answers, if with an error, the cases judge; a store that never answers would keep each of them waiting.
  const answered = async () => context.store.load(context.key())
  try {
    await inTime(() => Promise.allSettled([answered()]))
  } catch (error) {
    refuseFor('the first load() of a new store was not answered', error)
  }
  try {
    await inTime(dispose)
  } catch (error) {
    refuseFor("the store's close() or the subject's cleanUp() failed", error)
  }
}

/** The traits that a subject declares. */
function declaredTraits(subject: Subject): Exemption[] {
  const entries = Object.entries(subject.traits ?? {}) as [Exemption | 'sync', boolean][]
  return entries.flatMap(([trait, declared]) => (declared && trait !== 'sync' ? [trait] : []))
}

/** Whether a store declares a trait without need: it keeps every promise that the trait exempts it from. */
async function isUnneeded(subject: Subject, trait: Exemption): Promise<boolean> {
  for (const one of cases) {
    if (!one.counterparts.some((counterpart) => counterpart.trait === trait)) continue
    const { error } = await endOf(subject, one)
    if (error !== undefined) return false
  }
  return true
}

/** Some of the cases say nothing of whether a trait is needed for the others. */
const traitsToTry = (subject: Subject, chosen: readonly Case[]) =>
  chosen === cases ? declaredTraits(subject) : []

/**
 * Registers every case as a test, and before them one that fails where the subject itself is broken: the others then only refer to it.
 * ```ts
 * import { test } from 'vitest' // or: from 'node:test'
 * import { conformance } from '@coatcheck/conformance'
 * import subject from './subject.js' // { name, module, open({ now, name }), outage }
 * conformance(subject, test)
 * ```
 * @param test Takes a title and a function that may return a promise, as vitest's and node:test's do.
 * @param selection Which cases; default: all.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no subject, no function, or no name of a case or section.
 */
export function conformance(
  subject: Subject,
  test: (title: string, run: () => Promise<void>) => unknown,
  selection?: Selection,
): void {
  const chosen = chosenFor(subject, selection)
  if (typeof test !== 'function') {
    refuseOption(
      `conformance: what registers a test must be a function, such as test of node:test, and is ${inWords(test)}`,
    )
  }
  let probing: Promise<void> | undefined
  const probed = () => (probing ??= probe(subject))
  const first = `${subject.name} › subject › open() gives a store that answers, of the subject's traits`
  const register = (title: string, runTest: () => Promise<void>) =>
    test(`${subject.name} › ${title}`, async () => {
      await probed().catch(() => assert.fail(`Not run: '${first}' failed.`))
      await runTest()
    })
  test(first, probed)
  for (const one of chosen) {
    const counterpart = counterpartOf(subject, one)
    const title = counterpart ? `${counterpart.title} (declared: ${counterpart.trait})` : one.title
    register(`${one.section} › ${title}`, () => runCase(subject, one))
  }
  for (const trait of traitsToTry(subject, chosen)) {
    register(`traits › ${trait} is declared because it is needed`, async () => {
      assert.equal(await isUnneeded(subject, trait), false, `The store does not need '${trait}'.`)
    })
  }
}

/** The cases of a selection; throws where they cannot be run over this subject. */
function chosenFor(subject: Subject, selection?: Selection): readonly Case[] {
  assertSubject(subject)
  const chosen = selectCases(selection)
  assertComplete(subject, chosen)
  return chosen
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
  /** Of the cases that were run, in the suite's order. */
  readonly results: readonly CaseResult[]
  readonly passed: number
  readonly failed: number
  /** Traits that the store declares and keeps all the promises of: it could declare more than it has to. Empty where only some of the cases were run. */
  readonly unneeded: readonly Exemption[]
  /** Errors that nobody caught, and of which it is not known in which case they came: they failed the store, and no case. */
  readonly strays: readonly unknown[]
}

const hasOutage = ({ section }: Case) => section === 'failure' || section === 'history'

/** Cases over a store on the system's clock mostly wait: so many of them do it at the same time. */
const REAL_TIME_LANES = 16

/**
 * Runs every case without a test runner, one after the other. Of a subject with `realTime` several run at once. One that failed
 * in the company of others, and is about time or has waited too long, may have come too late: it is run again by itself, and counts as
 * it ends there, where no other case has held up the process. Any other failure counts. While this
 * runs, errors that nobody caught do not end the process: they belong to the case that was running.
 * @param onResult Hears of each case, once, when its verdict stands.
 * @param selection Which cases; default: all.
 * @returns The report; a case that fails is in it, and never thrown.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS), before any case runs, for what is no subject, a store that cannot be opened or
 * has other traits than the subject, and for a name that no case or section has.
 */
export async function runConformance(
  subject: Subject,
  onResult?: (result: CaseResult) => void,
  selection?: Selection,
): Promise<Report> {
  const chosen = chosenFor(subject, selection)
  if (onResult !== undefined && typeof onResult !== 'function')
    refuseOption(`runConformance: \`onResult\` must be a function, and is ${inWords(onResult)}`)
  /** The cases under way, with what nobody caught meanwhile; and what came where none was. */
  const running = new Map<Case, unknown[]>()
  const strays: unknown[] = []
  const letGo = catchStrays((error) => {
    if (running.size === 0) strays.push(error)
    for (const heard of running.values()) heard.push(error)
  })
  const errors = new Map<Case, unknown>()
  let endless = 0
  const judge = async (one: Case) => {
    const heard: unknown[] = []
    if (endless >= MOST_ENDLESS) {
      const words = `not run: ${MOST_ENDLESS} cases before it have never ended`
      return { error: new Error(words), heard, mayBeLate: false }
    }
    running.set(one, heard)
    const { error, mayBeLate } = await endOf(subject, counterpartOf(subject, one) ?? one)
    if (error instanceof LateError && error.bound === LONGEST_CASE) endless++
    // A rejection that nobody waits for is told after the turn in which it came.
    await turn()
    running.delete(one)
    return {
      error: withStrays(error, heard),
      heard,
      mayBeLate: mayBeLate || error === undefined || one.section === 'expiry',
    }
  }
  const conclude = (one: Case, error: unknown) => {
    errors.set(one, error)
    onResult?.({ case: one, counterpart: counterpartOf(subject, one), error })
  }
  try {
    await probe(subject)
    // An outage may hit every store of the subject's, so those cases come by themselves.
    const together = subject.realTime ? chosen.filter((one) => !hasOutage(one)) : []
    const inCompany = new Set<unknown>()
    const waiting = together.values()
    const lane = async () => {
      for (const one of waiting) {
        const { error, heard, mayBeLate } = await judge(one)
        for (const stray of heard) inCompany.add(stray)
        if (error === undefined || !mayBeLate) conclude(one, error)
      }
    }
    await Promise.all(Array.from({ length: REAL_TIME_LANES }, lane))
    for (const one of chosen) {
      if (errors.has(one)) continue
      const { error, heard } = await judge(one)
      if (heard.length > 0) inCompany.clear()
      conclude(one, error)
    }
    strays.push(...inCompany)
    const unneeded: Exemption[] = []
    for (const trait of traitsToTry(subject, chosen)) {
      if (await isUnneeded(subject, trait)) unneeded.push(trait)
    }
    const results = chosen.map((one) => {
      return { case: one, counterpart: counterpartOf(subject, one), error: errors.get(one) }
    })
    const failed = results.filter(({ error }) => error !== undefined).length
    const passed = results.length - failed
    return { subject: subject.name, results, passed, failed, unneeded, strays }
  } finally {
    letGo()
  }
}

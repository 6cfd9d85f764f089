// What is given as a subject is looked at here, and the store that it opens, before a case has them in its hands.
import {
  assertOptions,
  assertStore,
  refuseOption,
  rules,
  SessionUsageError,
  type OptionRules,
  type SessionStore,
  type StoreTraits,
} from '@coatcheck/core/store'
import type { Case } from './case.ts'
import { inTime } from './in-time.ts'
import { counterpartOf } from './selection.ts'
import type { Outage, Subject } from './subject.ts'

const traitRules: OptionRules<StoreTraits> = {
  sync: rules.flag,
  stateless: rules.flag,
  evicts: rules.flag,
  ephemeral: rules.flag,
  unshared: rules.flag,
  exclusive: rules.flag,
  nonAtomic: rules.flag,
  removesRetired: rules.flag,
  wholeSeconds: rules.flag,
}

const subjectRules: OptionRules<Subject> = {
  name: rules.rule('text that is not empty', (name) => rules.text.holds(name) && name !== ''),
  traits: rules.dictionary,
  realTime: rules.flag,
  module: rules.rule(
    'a URL or a path, such as import.meta.url',
    (module) => rules.text.holds(module) || module instanceof URL,
  ),
  outage: rules.dictionary,
  outages: rules.dictionary,
  freshFor: rules.positive,
  open: rules.callable,
  cleanUp: rules.callable,
}

const outageRules: OptionRules<Outage> = { begin: rules.callable, end: rules.callable }

/** @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no subject: a field that nobody knows, or is missing, or is of another kind. */
export function assertSubject(subject: Subject): void {
  assertOptions('the subject', subject, subjectRules)
  for (const field of ['name', 'open'] as const) {
    if (subject[field] === undefined)
      refuseOption(`the subject has no \`${field}\`: it must be ${subjectRules[field].be}`)
  }
  if (subject.traits) assertOptions("the subject's traits", subject.traits, traitRules)
  const outages = Object.entries({ outage: subject.outage, ...subject.outages })
  for (const [name, outage] of outages) {
    if (outage === undefined) continue
    assertOptions<Outage>(`the subject's outage '${name}'`, outage, outageRules)
    const missing = (['begin', 'end'] as const).find((method) => !outage[method])
    if (missing) refuseOption(`the subject's outage '${name}' has no ${missing}()`)
  }
}

/**
 * @param chosen The cases that are to be run.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) where one of them needs a field that the subject leaves out.
 */
export function assertComplete(subject: Subject, chosen: readonly Case[]): void {
  for (const field of ['module', 'outage'] as const) {
    if (subject[field]) continue
    const one = chosen.find((candidate) => fieldsFor(subject, candidate).includes(field))
    if (one) refuseOption(missing(field, one.section))
  }
}

/** What the suite needs a field of the subject for. */
const WHY = {
  module: 'has to open it in other processes',
  outage: 'has to take its backend away',
}

const missing = (field: keyof typeof WHY, section?: string) => {
  const where = section === undefined ? '' : `; the section \`${section}\` needs it`
  return `The subject has no \`${field}\`: a store that keeps sessions outside its process is proven with it, as the suite ${WHY[field]}${where}. See the README of @coatcheck/conformance`
}

/** The fields that a case needs of the subject, or what holds instead of it does. */
function fieldsFor(subject: Subject, one: Case): (keyof typeof WHY)[] {
  const trait = counterpartOf(subject, one)?.trait
  if (trait === 'stateless' || trait === 'ephemeral') return []
  if (one.section === 'failure') return ['outage']
  if (one.section === 'history') return trait === 'exclusive' ? ['outage'] : ['module', 'outage']
  return one.id.startsWith('concurrency/processes-') && trait !== 'nonAtomic' ? ['module'] : []
}

/** The value of a field. @throws SessionUsageError (code ERR_SESSION_OPTIONS) where the subject leaves it out. */
export function needed<F extends keyof typeof WHY>(
  subject: Subject,
  field: F,
): NonNullable<Subject[F]> {
  return subject[field] ?? refuseOption(missing(field))
}

/** A store by the subject's `open`, looked at. */
export async function openBy(
  subject: Subject,
  options: Parameters<Subject['open']>[0],
): Promise<SessionStore> {
  let store: SessionStore
  try {
    store = await inTime(() => subject.open(options))
  } catch (error) {
    // What the contract provides for is the case's to judge.
    if ((error as { code?: unknown } | undefined)?.code === 'ERR_SESSION_STORE') throw error
    refuseFor("the subject's open() failed", error)
  }
  assertStore("what the subject's open() returns", store)
  assertTraits(store.traits ?? {}, subject.traits ?? {})
  return store
}

/** @throws SessionUsageError (code ERR_SESSION_OPTIONS), always, with this cause. */
export function refuseFor(what: string, cause: unknown): never {
  const error = new SessionUsageError(`${what}.`, 'ERR_SESSION_OPTIONS')
  throw Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true })
}

const list = (traits: readonly string[]) => traits.map((name) => `\`${name}\``).join(', ')

/** A trait that says how `load` answers is no exemption, so a subject may name it or not. */
function assertTraits(ofStore: StoreTraits, ofSubject: StoreTraits): void {
  assertOptions("the store's traits", ofStore, traitRules)
  const names = Object.keys(traitRules) as (keyof StoreTraits)[]
  const only = (one: StoreTraits, other: StoreTraits) =>
    names.filter((name) => name !== 'sync' && one[name] && !other[name])
  const [store, subject] = [only(ofStore, ofSubject), only(ofSubject, ofStore)]
  if (store.length === 0 && subject.length === 0) return
  const parts = [
    store.length > 0 && `the store alone declares ${list(store)}`,
    subject.length > 0 && `the subject alone declares ${list(subject)}`,
  ]
  refuseOption(
    `the traits of the store and of the subject differ: ${parts.filter(Boolean).join(', and ')}. Declare the same in both`,
  )
}

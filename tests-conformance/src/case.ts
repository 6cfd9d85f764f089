// What a case is: a promise of the contract, why it matters, and the steps that prove it.
import type { Awaitable, StoreTraits } from '@coatcheck/core/store'
import type { Context } from './context.ts'

/** The parts of the suite, in their order. */
export const sections = [
  'contract',
  'keys',
  'expiry',
  'flush',
  'size',
  'encoding',
  'isolation',
  'concurrency',
  'sweep',
  'durability',
  'failure',
  'history',
  'closing',
  'random',
] as const

/** One part of the suite. */
export type Section = (typeof sections)[number]

/** What a store may declare that it cannot promise, that its clock is the system's, and that it answers from copies. */
export type Exemption = Exclude<keyof StoreTraits, 'sync'> | 'realTime' | 'freshFor'

type Run = (context: Context) => Awaitable<void>

/** What is proven instead, where the store declares a trait. */
export interface Counterpart {
  readonly trait: Exemption
  /** What holds instead, as a sentence. */
  readonly title: string
  run(context: Context): Awaitable<void>
}

/** One promise, proven. */
export interface Case {
  /** Stable across releases: `expiry/to-the-millisecond`. */
  readonly id: string
  readonly section: Section
  /** The promise, as a sentence. */
  readonly title: string
  /** What goes wrong for an application where it is broken. */
  readonly why: string
  /** Throws where the promise is broken. */
  run(context: Context): Awaitable<void>
  /** Where a store declares one of these traits, this holds instead. */
  readonly counterparts: readonly Counterpart[]
}

/** Says what holds instead where the store keeps nothing on the server. */
export const ifStateless = (title: string, run: Run): Counterpart => ({
  trait: 'stateless',
  title,
  run,
})

/** Collects a section's cases: `add(id, title, why, run, ...counterparts)`. */
export function section(
  name: Section,
  define: (
    add: (id: string, title: string, why: string, run: Run, ...instead: Counterpart[]) => void,
  ) => void,
): readonly Case[] {
  const cases: Case[] = []
  define((id, title, why, run, ...counterparts) => {
    cases.push({ id: `${name}/${id}`, section: name, title, why, run, counterparts })
  })
  return cases
}

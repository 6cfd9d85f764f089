// The time that a case sees: one that it moves, or, for a store that reads the system's clock, the real one.
import { setTimeout } from 'node:timers/promises'
import type { Subject } from './subject.ts'

/** The time that the store and the manager see, in ms since the Unix epoch. It stands still unless it is moved. */
export interface Clock {
  now(): number
  /** Moves it by `ms`, and on until whatever was to end in that time has ended; back too, unless it is the system's. */
  advance(ms: number): Promise<void>
  /** Moves it to where a record that ends at `moment` must still be live: the millisecond before. */
  before(moment: number): Promise<void>
  /** Moves it to where a record that ends at `moment` must be dead: that very millisecond. */
  reach(moment: number): Promise<void>
  /** How much earlier or later than it says a record may end, in ms, as the store declares. */
  readonly grain: number
  /** Whether a case has waited for a moment or compared one by the grain: on the system's clock it may have been too late for it. */
  readonly isTimed: boolean
  /** The system's clock, so that a case has to wait, and keeps its times short. */
  readonly isReal: boolean
}

/** How far apart two readings of the system's clock may be on a busy machine, in ms: the store's and the case's. */
const JITTER = 250

/** How far off what is stored may be, in ms. */
export const grainOf = ({ realTime = false, traits = {} }: Subject): number =>
  (traits.wholeSeconds ? 1000 : 0) + (realTime ? JITTER : 0)

/** The clock for a case over `subject`. */
export function createClock(subject: Subject): Clock {
  const { realTime = false } = subject
  const grain = grainOf(subject)
  let time = Date.UTC(2026, 0, 1)
  const now = () => (realTime ? Date.now() : time)
  let isTimed = false
  const moveTo = async (moment: number) => {
    isTimed = true
    if (!realTime) time = moment
    else if (moment > Date.now()) await setTimeout(moment - Date.now())
  }
  return {
    now,
    advance: (ms) => moveTo(now() + ms + (ms > 0 ? grain : 0)),
    before: (moment) => moveTo(moment - Math.max(grain, 1)),
    reach: (moment) => moveTo(moment + grain),
    get grain() {
      isTimed = true
      return grain
    },
    get isTimed() {
      return isTimed
    },
    isReal: realTime,
  }
}

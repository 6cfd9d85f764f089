// A clock that a test moves on, so that it need not wait for a session to end.
import { assertOptions, rules } from '@coatcheck/core/store'

/** A length of time, the sum of what is given. */
export interface Duration {
  readonly days?: number
  readonly hours?: number
  readonly minutes?: number
  readonly seconds?: number
}

/** What {@link testClock} returns. */
export interface TestClock {
  /** The time, in ms since the Unix epoch: for the option `now` of `createSessions` and of the store. */
  readonly now: () => number
  /**
   * Moves the clock on.
   * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a unit that there is not, or for less than nothing.
   */
  advance(by: Duration): void
}

const SECONDS = { days: 86_400, hours: 3600, minutes: 60, seconds: 1 }
const { fromZero } = rules

/**
 * A clock that goes as `Date` does and can be moved on. Where a test fakes `Date` as well (`vi.useFakeTimers()`, sinon), both count.
 *
 * The manager and its store must have the same one: `createSessions({ store: lruStore({ now }), now })`.
 */
export function testClock(): TestClock {
  let ahead = 0
  return {
    now: () => Date.now() + ahead,
    advance(by) {
      assertOptions('advance', by, {
        days: fromZero,
        hours: fromZero,
        minutes: fromZero,
        seconds: fromZero,
      })
      for (const [unit, length] of Object.entries(SECONDS)) {
        ahead += (by[unit as keyof Duration] ?? 0) * length * 1000
      }
    },
  }
}

// The time, where the application gives no clock of its own.

/**
 * The default of every option `now`. It asks `Date` anew at each call, so that a clock that tests have put in its place
 * (`vi.useFakeTimers()`, sinon) counts, whenever they do it.
 */
export const systemClock = (): number => Date.now()

// A bound for what must not hang.

/** Every call on a backend that is gone must have failed by then, in ms: what a visitor might wait for a page. */
export const BOUND = 15_000

/** What did not come within its bound. */
export class LateError extends Error {
  override name = 'LateError'
  /** In ms. */
  readonly bound: number
  constructor(bound: number) {
    super(`no answer after ${bound / 1000} seconds`)
    this.bound = bound
  }
}

/** What `call` resolves to. @throws LateError if it takes longer than `bound` ms. */
export async function inTime<T>(call: () => T | Promise<T>, bound: number = BOUND): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new LateError(bound)), bound)
  })
  try {
    return await Promise.race([(async () => call())(), late])
  } finally {
    clearTimeout(timer)
  }
}

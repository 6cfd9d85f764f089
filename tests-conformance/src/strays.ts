// What a store throws where nobody can catch it: in a timer, an event, a promise that nobody waits for.
import process from 'node:process'

/**
 * Hears of every error that nobody caught, which would end the process otherwise, until the function that it returns is called.
 */
export function catchStrays(hear: (error: unknown) => void): () => void {
  const events = ['uncaughtException', 'unhandledRejection'] as const
  for (const event of events) process.on(event, hear)
  return () => {
    for (const event of events) process.off(event, hear)
  }
}

/** What a case ends with that was right otherwise, or not. */
export function withStrays(error: unknown, strays: readonly unknown[]): unknown {
  if (strays.length === 0) return error
  const stray = new Error(
    'an error that nobody caught came while this case ran: the store threw it in a timer or an event, or left a promise alone',
    { cause: strays[0] },
  )
  return error === undefined ? stray : new AggregateError([stray, error], 'two errors')
}

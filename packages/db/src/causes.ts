// What an error is made around: ORMs put errors of their own around a driver's.

/** Errors in errors are looked at so deep: they may go round in a circle. */
const DEEPEST = 5

/** Where clients keep the error that theirs is made around. */
const PLACES = ['cause', 'original', 'driverError', 'driverAdapterError', 'meta'] as const

/** An error, and whatever it is made around, from the outermost on. */
export function* errorsIn(error: unknown, depth = DEEPEST): Generator<Record<string, unknown>> {
  if (typeof error !== 'object' || error === null || depth === 0) return
  const outer = error as Record<string, unknown>
  const { originalCode, originalMessage, kind } = outer
  // Prisma tells of a driver's error in words of its own.
  yield kind === undefined
    ? outer
    : { code: originalCode ?? kind, message: originalMessage, ...outer }
  for (const place of PLACES) yield* errorsIn(outer[place], depth - 1)
}

/** The innermost of those that have a code, or of which there are several. */
export function originOf(error: unknown): unknown {
  let origin = error
  for (const one of errorsIn(error)) if ('code' in one || 'errors' in one) origin = one
  return origin
}

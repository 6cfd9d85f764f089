// One write per key at a time within this process. Those that come meanwhile go together in the next one.
import { after, run, wait, type Steps } from './awaitable.ts'
import type { Kept } from './draft.ts'

/** The writes of one key: what the last one stored is where the next one starts, so that it need not load. */
export interface Lane {
  /** What this process has just stored; undefined if that is not known. */
  newest: Kept | undefined
}

/** A write that waits for its turn: by itself, or together with others of its kind. */
interface Waiting<T> {
  readonly together: T | undefined
  readonly alone: (lane: Lane) => Steps<any>
  resolve(result: any): void
  reject(error: unknown): void
}

/** The lanes of one store. */
export interface Lanes<T, R> {
  /** Runs a write while no other of the same key does. */
  alone<A>(key: string, work: (lane: Lane) => Steps<A>): Steps<A>
  /** Runs a write alone, or together with others that wait for the same key. */
  together(key: string, one: T): Steps<R>
}

/**
 * Makes the lanes of a store.
 * @param write Writes for several at once: all get its result, or its error.
 * @param isOwnFault Whether an error may be one request's own: then they are written one by one.
 */
export function createLanes<T, R>(
  write: (key: string, all: readonly T[], lane: Lane) => Steps<R>,
  isOwnFault: (error: unknown) => boolean,
): Lanes<T, R> {
  const lanes = new Map<string, Lane & { waiting: Waiting<T>[] }>()

  function* enter<A>(
    key: string,
    alone: (lane: Lane) => Steps<A>,
    together: T | undefined,
  ): Steps<A> {
    const busy = lanes.get(key)
    if (busy) {
      return yield* wait(
        new Promise<A>((resolve, reject) => {
          busy.waiting.push({ together, alone, resolve, reject })
        }),
      )
    }
    const lane = { newest: undefined, waiting: [] }
    lanes.set(key, lane)
    try {
      return yield* alone(lane)
    } finally {
      next(key, lane)
    }
  }

  function next(key: string, lane: Lane & { waiting: Waiting<T>[] }): void {
    const first = lane.waiting.shift()
    if (!first) {
      lanes.delete(key)
      return
    }
    const group = [first]
    while (first.together !== undefined && lane.waiting[0]?.together !== undefined) {
      group.push(lane.waiting.shift()!)
    }
    void after(run(group.length > 1 ? serveTogether(key, group, lane) : serve(first, lane)), () =>
      next(key, lane),
    )
  }

  function* serve(one: Waiting<T>, lane: Lane): Steps<void> {
    try {
      one.resolve(yield* one.alone(lane))
    } catch (error) {
      one.reject(error)
    }
  }

  function* serveTogether(key: string, group: Waiting<T>[], lane: Lane): Steps<void> {
    try {
      const all = group.map(({ together }) => together!)
      const result = yield* write(key, all, lane)
      for (const one of group) one.resolve(result)
    } catch (error) {
      if (isOwnFault(error)) for (const one of group) yield* serve(one, lane)
      else for (const one of group) one.reject(error)
    }
  }

  return {
    alone: (key, work) => enter(key, work, undefined),
    together: (key, one) => enter(key, (lane) => write(key, [one], lane), one),
  }
}

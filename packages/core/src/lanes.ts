// One write per key at a time within this process. Those that come meanwhile go together in the next one.
import { isPromise, run, wait, type Awaitable, type Steps } from './awaitable.ts'
import type { Kept } from './snapshot.ts'

/** The writes of one key. */
export interface Lane {
  /** What this process has just stored, where the next write starts without a load; undefined if that is not known. */
  newest: Kept | undefined
}

/** A write that waits for its turn: by itself, or together with others of its kind. */
interface Waiting<T> {
  readonly together: T | undefined
  readonly alone: (lane: Lane) => Awaitable<any>
  resolve(result: any): void
  reject(error: unknown): void
}

interface BusyLane<T> extends Lane {
  readonly waiting: Waiting<T>[]
}

/** The lanes of one store, for writes that can be made together and others that cannot. */
export class Lanes<T, R> {
  /**
   * No Map: where keys come and go all the time, its old tables, each of which knows the next one, keep what is long dead alive until V8
   * collects all of its memory.
   */
  readonly #busy = Object.create(null) as Record<string, BusyLane<T> | undefined>
  readonly #write: (key: string, all: readonly T[], lane: Lane) => Awaitable<R>
  readonly #isOwnFault: (error: unknown) => boolean

  /**
   * @param write Writes for several at once: all get its result, or its error.
   * @param isOwnFault Whether an error may be one request's own: then they are written one by one.
   */
  constructor(
    write: (key: string, all: readonly T[], lane: Lane) => Awaitable<R>,
    isOwnFault: (error: unknown) => boolean,
  ) {
    this.#write = write
    this.#isOwnFault = isOwnFault
  }

  /** Runs a write alone, or together with others that wait for the same key. */
  together(key: string, one: T): Awaitable<R> {
    return this.alone(key, (lane) => this.#write(key, [one], lane), one)
  }

  /** Runs a write while no other of the same key does. */
  alone<A>(key: string, work: (lane: Lane) => Awaitable<A>, together?: T): Awaitable<A> {
    const busy = this.#busy[key]
    if (busy) {
      return new Promise<A>((resolve, reject) => {
        busy.waiting.push({ together, alone: work, resolve, reject })
      })
    }
    const lane: BusyLane<T> = { newest: undefined, waiting: [] }
    this.#busy[key] = lane
    let written
    try {
      written = work(lane)
    } catch (error) {
      this.#next(key, lane)
      throw error
    }
    if (isPromise(written)) {
      const next = () => this.#next(key, lane)
      written.then(next, next)
    } else this.#next(key, lane)
    return written
  }

  #next(key: string, lane: BusyLane<T>): void {
    const { waiting } = lane
    while (waiting.length > 0) {
      const alone = waiting.findIndex(({ together }) => together === undefined)
      const group = waiting.splice(0, alone < 0 ? waiting.length : Math.max(alone, 1))
      const served = run(
        group.length > 1 ? this.#serveTogether(key, group, lane) : serve(group[0]!, lane),
      )
      if (isPromise(served)) {
        void served.then(() => this.#next(key, lane))
        return
      }
    }
    delete this.#busy[key]
  }

  *#serveTogether(key: string, group: readonly Waiting<T>[], lane: Lane): Steps<void> {
    try {
      const all = group.map(({ together }) => together!)
      const result = yield* wait(this.#write(key, all, lane))
      for (const one of group) one.resolve(result)
    } catch (error) {
      if (this.#isOwnFault(error)) for (const one of group) yield* serve(one, lane)
      else for (const one of group) one.reject(error)
    }
  }
}

function* serve(one: Waiting<unknown>, lane: Lane): Steps<void> {
  try {
    one.resolve(yield* wait(one.alone(lane)))
  } catch (error) {
    one.reject(error)
  }
}

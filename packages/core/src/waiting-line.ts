// Waits off the thread for what somebody else has locked: what a store does that answers at once where it can.
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Awaitable } from './awaitable.ts'

/** What a try answers while somebody else has what it needs. */
export const LOCKED: unique symbol = Symbol('locked')

/** The first pause between two tries, in ms: a lock is held for less. Each is longer by half, up to {@link LONGEST_PAUSE}. */
const FIRST_PAUSE = 1

/** The longest pause, in ms: who looks more seldom than others finds a busy lock always taken. */
const LONGEST_PAUSE = 3

/** For so long, in ms, those that waited are served before others of this process have a turn. */
const SHIFT = 10

/** Lines of calls that wait, one for each name. */
export interface WaitingLines {
  /**
   * What `attempt` returns: at once if it can, and otherwise a promise. While it returns {@link LOCKED} it is tried again, off
   * the thread; calls of the same name stand behind it and come in order, so that a thousand that wait are one that tries.
   * @param tooLate Makes the error for a call that has waited in vain for `timeout` ms.
   */
  enter<T>(
    name: string,
    attempt: () => T | typeof LOCKED,
    tooLate: () => Error,
    timeout?: number,
  ): Awaitable<T>
  /** When nobody waits any more: at once, or after the longest wait that was allowed. */
  empty(): Awaitable<void>
}

interface Waiting {
  readonly attempt: () => unknown
  readonly tooLate: () => Error
  readonly deadline: number
  readonly resolve: (value: any) => void
  readonly reject: (error: unknown) => void
}

/** @param longest How long a call waits, in ms, unless it says otherwise. */
export function createWaitingLines(longest: number): WaitingLines {
  const lines = new Map<string, Waiting[]>()
  let served: Set<Promise<void>> | undefined

  async function serve(name: string, line: Waiting[]): Promise<void> {
    let pause = FIRST_PAUSE
    let since = performance.now()
    await setTimeout(pause)
    for (let first = line[0]; first; first = line[0]) {
      if (!isServed(first)) {
        await setTimeout(pause)
        pause = Math.min(pause * 1.5, LONGEST_PAUSE)
        since = performance.now()
        continue
      }
      line.shift()
      pause = FIRST_PAUSE
      // Where nobody waits any more the line is over at once: who comes now stands behind nobody.
      if (line.length === 0 || performance.now() - since < SHIFT) continue
      await setImmediate()
      since = performance.now()
    }
    lines.delete(name)
  }

  return {
    enter(name, attempt, tooLate, timeout = longest) {
      const line = lines.get(name)
      if (!line) {
        const result = attempt()
        if (result !== LOCKED) return result as Exclude<typeof result, typeof LOCKED>
      }
      return new Promise((resolve, reject) => {
        const deadline = performance.now() + timeout
        const waiting = { attempt, tooLate, deadline, resolve, reject }
        if (line) return void line.push(waiting)
        const begun = [waiting]
        lines.set(name, begun)
        served ??= new Set()
        const service = serve(name, begun).finally(() => served!.delete(service))
        served.add(service)
      })
    },

    empty() {
      if (lines.size > 0) return Promise.all(served!).then(() => {})
    },
  }
}

/** Tries for the first in a line; whether it has its answer. */
function isServed({ attempt, tooLate, deadline, resolve, reject }: Waiting): boolean {
  try {
    const result = attempt()
    if (result !== LOCKED) resolve(result)
    else if (performance.now() < deadline) return false
    else reject(tooLate())
  } catch (error) {
    reject(error)
  }
  return true
}

// Calls under way: whoever closes waits for them, and not for ever.
import { clearTimeout, setTimeout } from 'node:timers'

/** The calls of a store that have not ended. */
export interface UnderWay {
  /** Counts a call in until it ends, well or badly; gives it back. */
  track<T>(call: Promise<T>): Promise<T>
  /** Resolves to true when none is under way any more; after `ms` milliseconds to false. */
  idle(ms: number): Promise<boolean>
}

/** Makes a place to count calls in. It holds no process open but while `idle` waits. */
export function createUnderWay(): UnderWay {
  let calls = 0
  let onIdle: (() => void)[] = []
  const leave = () => {
    if (--calls > 0) return
    for (const tell of onIdle) tell()
    onIdle = []
  }
  return {
    track(call) {
      calls++
      call.then(leave, leave)
      return call
    },
    idle(ms) {
      if (calls === 0) return Promise.resolve(true)
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms, false)
        onIdle.push(() => {
          clearTimeout(timer)
          resolve(true)
        })
      })
    },
  }
}

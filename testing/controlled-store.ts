// A store whose calls a test holds, fails, or robs of their answers, one by one.
import { SessionStoreError } from '@coatcheck/core'
import type { Awaitable, SessionStore } from '@coatcheck/core/store'

/** The methods that a session's life takes. */
export type Method = 'load' | 'create' | 'save' | 'touch' | 'delete'
const METHODS: readonly Method[] = ['load', 'create', 'save', 'touch', 'delete']

/** Which call is meant: the next one of a method, or the so-manieth of all from now on (1: the next one). */
export type Which = Method | number

/** A call that waits. */
export interface Held {
  /** Whether the call was made before `request` was over. */
  reached(request: Promise<unknown>): Promise<boolean>
  /** Lets the call go on. */
  release(): void
  /** Fails the call, where it is. */
  fail(): void
}

/** How a call fails. */
export interface Fault {
  /** The call takes effect, and its answer is lost. Default: it does not get to the store. */
  readonly effect?: boolean
  /** The store stays away from then on, until `away` is set to false. */
  readonly lasting?: boolean
}

/** The calls of one process to its store. */
export interface Calls {
  readonly store: SessionStore
  /** The methods that were called so far, in order. */
  readonly made: Method[]
  /** While it is true, every call fails. */
  away: boolean
  /**
   * Holds a call on its way to the store, or, with `effect`, its answer on the way back. The store must be an
   * asynchronous one.
   */
  hold(which: Which, held?: Pick<Fault, 'effect'>): Held
  /** Fails a call; `came` tells whether it was made. */
  fail(which: Which, fault?: Fault): { readonly came: boolean }
  /** Gives up what was planned and has not happened, and brings the store back. */
  forget(): void
}

interface Plan {
  which: Which
  carryOut(call: () => Awaitable<unknown>): Awaitable<unknown>
}

/** What a store throws that is away. */
export const storeIsAway = (): Error => new SessionStoreError('The backend is away.')

/** A promise that is settled from outside. */
export function signal() {
  let resolve!: () => void
  let reject!: (error: Error) => void
  const promise = new Promise<void>((...both) => ([resolve, reject] = both))
  return { promise, resolve, reject }
}

/** Puts a store under control. It answers as it did, synchronously or not, where nothing is asked of it. */
export function controlled(store: SessionStore): Calls {
  const plans = new Set<Plan>()
  const made: Method[] = []

  /** The plan that was made for this call. */
  function planFor(method: Method): Plan | undefined {
    let found
    for (const plan of plans) {
      if (typeof plan.which === 'number' ? --plan.which > 0 : plan.which !== method) continue
      found ??= plan
    }
    if (found) plans.delete(found)
    return found
  }

  const wrapped: Record<string, unknown> = { ...store }
  for (const method of METHODS) {
    wrapped[method] = (...args: unknown[]) => {
      made.push(method)
      const call = () => (store[method] as Function).apply(store, args) as Awaitable<unknown>
      const plan = planFor(method)
      if (plan) return plan.carryOut(call)
      if (!self.away) return call()
      if (store.traits?.sync) throw storeIsAway()
      return Promise.reject(storeIsAway())
    }
  }

  const self: Calls = {
    store: wrapped as unknown as SessionStore,
    made,
    away: false,
    forget() {
      plans.clear()
      self.away = false
    },
    hold(which, { effect = false } = {}) {
      const arrival = signal()
      const fate = signal()
      fate.promise.catch(() => {})
      plans.add({
        which,
        async carryOut(call) {
          const [answer] = await Promise.allSettled(effect ? [call()] : [])
          arrival.resolve()
          await fate.promise
          if (!answer) return call()
          if (answer.status === 'rejected') throw answer.reason
          return answer.value
        },
      })
      return {
        reached: (request) =>
          Promise.race([
            arrival.promise.then(() => true),
            request.then(
              () => false,
              () => false,
            ),
          ]),
        release: () => fate.resolve(),
        fail: () => fate.reject(storeIsAway()),
      }
    },
    fail(which, { effect = false, lasting = false } = {}) {
      let came = false
      plans.add({
        which,
        carryOut(call) {
          came = true
          if (lasting) self.away = true
          const lose = (): never => {
            throw storeIsAway()
          }
          if (store.traits?.sync) {
            if (effect) call()
            return lose()
          }
          return (effect ? Promise.resolve(call()) : Promise.resolve()).then(lose)
        },
      })
      return {
        get came() {
          return came
        },
      }
    },
  }
  return self
}

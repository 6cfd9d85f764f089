// What a history is made of: calls of a store with their times and outcomes, and the recorder that notes them.
import {
  assertStore,
  inWords,
  refuseOption,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'

/** What a store was asked for one key. */
export type Question =
  | { readonly call: 'load'; readonly latest?: boolean | undefined }
  | { readonly call: 'create'; readonly record: SessionRecord }
  | {
      readonly call: 'save'
      readonly record: SessionRecord
      readonly expected?: string | undefined
    }
  | { readonly call: 'touch'; readonly expiresAt: number; readonly from?: number | undefined }
  | { readonly call: 'delete' }

/** One call of a store, as its caller saw it. */
export type Operation = Question & {
  readonly key: string
  /** Whose call it was: a number of its own for each process. */
  readonly process: number
  /**
   * When the call was made, in ms of {@link monotonicTime}: the same clock for every process of a history.
   */
  readonly start: number
  /** When it was answered; undefined if it never was. */
  end?: number | undefined
  /** The code of the error that answered it; undefined if it succeeded. */
  error?: string | undefined
  /** The record that a `load` has told; undefined if it told none. */
  found?: SessionRecord | undefined
}

/**
 * The moment by a clock that never goes back and that all processes of one machine share, in ms since some moment in the past:
 * CLOCK_MONOTONIC on Linux, the time since the start of the system on macOS and Windows. Two machines have nothing to compare.
 */
export const monotonicTime = (): number => Number(process.hrtime.bigint()) / 1e6

/** The errors that are answers: the call has changed nothing, and says why. */
const REFUSALS: ReadonlySet<string> = new Set([
  'ERR_SESSION_GONE',
  'ERR_SESSION_CONFLICT',
  'ERR_SESSION_KEY_EXISTS',
])

/** Whether a call was refused, as the contract provides for. */
export const isRefused = ({ error }: Operation): boolean =>
  error !== undefined && REFUSALS.has(error)

/** Whether nobody knows what became of a call: it failed, or was never answered. */
export const isUnknown = (operation: Operation): boolean =>
  operation.end === undefined || (operation.error !== undefined && !isRefused(operation))

/** Whether a call has changed nothing: what it was answered only tells what there was. */
export const isReading = (operation: Operation): boolean =>
  operation.call === 'load' || isRefused(operation)

/**
 * A store whose calls are noted before they reach it and once they are answered.
 * ```ts
 * import { checkHistory, recorded, type Operation } from '@coatcheck/conformance'
 * import { myStore } from './my-store.js' // yours
 *
 * const operations: Operation[] = []
 * const store = recorded(myStore(), process.pid, (operation) => operations.push(operation))
 * // … in each process; then, with the operations of all of them:
 * console.log(checkHistory(operations).explanation)
 * ```
 * @param caller The number of this process; see {@link Operation.process}.
 * @param onCall Hears of each call before it is made, which waits for a promise that this returns. The object is completed when the call is answered.
 * @param onAnswer Hears of it again then.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no store or no function.
 * @returns A store with the same methods and no other; its errors and answers are those of `store`.
 */
export function recorded(
  store: SessionStore,
  caller: number,
  onCall: (operation: Operation) => unknown,
  onAnswer?: (operation: Operation) => unknown,
): SessionStore {
  assertStore('recorded: what it is given', store)
  if (typeof onCall !== 'function')
    refuseOption(`recorded: \`onCall\` must be a function, and is ${inWords(onCall)}`)
  async function note<T>(key: string, question: Question, call: () => T | Promise<T>): Promise<T> {
    const operation: Operation = { ...question, key, process: caller, start: monotonicTime() }
    await onCall(operation)
    try {
      const answer = await call()
      operation.end = monotonicTime()
      if (question.call === 'load') operation.found = answer as SessionRecord | undefined
      return answer
    } catch (error) {
      operation.end = monotonicTime()
      operation.error = String((error as { code?: unknown } | undefined)?.code ?? error)
      throw error
    } finally {
      await onAnswer?.(operation)
    }
  }
  return {
    traits: { ...store.traits, sync: false },
    load: (key, latest) => note(key, { call: 'load', latest }, () => store.load(key, latest)),
    create: (key, record) => note(key, { call: 'create', record }, () => store.create(key, record)),
    save: (key, record, expected) =>
      note(key, { call: 'save', record, expected }, () => store.save(key, record, expected)),
    touch: (key, expiresAt, from) =>
      note(key, { call: 'touch', expiresAt, from }, () => store.touch(key, expiresAt, from)),
    delete: (key) => note(key, { call: 'delete' }, () => store.delete(key)),
    ...(store.clearExpired && { clearExpired: (options) => store.clearExpired!(options) }),
    ...(store.close && { close: () => store.close!() }),
  }
}

// What the pages' readers have themselves: a store on Node's own SQLite, as examples/custom-store has it.
import type { SessionStore } from '@coatcheck/core'

/** A store of the reader's, in a file. */
export function builtinStore(_file: string, _options?: { now?: () => number }): SessionStore {
  throw new Error('This one is for the compiler alone')
}

// What the pages' readers have themselves: a store to be proven.
import type { SessionStore } from '@coatcheck/core/store'

/** A store of the reader's. */
export declare function myStore(options: { now?: () => number; prefix?: string }): SessionStore

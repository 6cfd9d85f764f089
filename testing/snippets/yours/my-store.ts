// What the pages' readers have themselves: a store to be proven, over a server that a proxy cuts off.
import type { recorded } from '@coatcheck/conformance'

/** A store of the reader's. */
export function myStore(_options?: {
  now?: () => number
  prefix?: string
}): Parameters<typeof recorded>[0] {
  throw new Error('This one is for the compiler alone')
}

/** What stands between the store and its server. */
export const proxy = { cut() {}, restore() {} }

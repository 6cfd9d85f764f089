// The stores of cached-db in the explorer's world: one cache and one database for all processes, and time as the schedule has it.
import type { createAsk } from '../../packages/cached-db/src/cache.ts'
import type { createCopies } from '../../packages/cached-db/src/copies.ts'
import type { Core, Tested } from './world.ts'

/** cached-db under test: the workspace's own, or a copy of it with a mutation. */
export interface CachedDb {
  readonly createAsk: typeof createAsk
  readonly createCopies: typeof createCopies
}

/** In ms: longer than a run takes of itself, and a few tries to reach the cache. */
const FRESH_FOR = 500

/** A cache that was away is looked for after a tenth of what it takes in earnest: before its copies are stale. */
const HURRY = 10

/** Managers over cached copies. */
export function overCopies(core: Core, { createAsk, createCopies }: CachedDb): Tested {
  return {
    core,
    freshFor: FRESH_FOR,
    storeOf(world, process) {
      const cache = world.cache(process)
      // Nothing hangs here: what fails does so at once, and a clock that jumps makes no cache slow.
      const ask = createAsk(cache, {
        elapsed: () => world.now * HURRY,
        inTime: (answer) => answer,
        slow: Infinity,
      })
      return createCopies({
        cache,
        ask,
        db: world.store(process),
        freshFor: FRESH_FOR,
        now: () => world.now,
        wait: (ms) => world.wait(process, ms),
        goesOn: () => {},
      })
    },
  }
}

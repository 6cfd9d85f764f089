// The promises where express-session meets a store of ours, and our manager one of express-session's.
import { expect, test } from 'vitest'
import { bridgeScripts, overExpressStore, runBridge, type BridgeScript } from './bridge.ts'
import { describe, everyInterleaving, inEveryOrder, type Explored } from './explore.ts'
import { smallScripts } from './scripts.ts'
import { isWhole } from '../share.ts'
import type { Choose } from './world.ts'

/** So many schedules of each script: the first in order, then by chance. */
const OF_EACH = isWhole ? { inOrder: 30, byChance: 15 } : { inOrder: 10, byChance: 5 }

/** The same of each script of our own manager, of which there are many more. */
const OF_EACH_OF_OURS = isWhole ? { inOrder: 15, byChance: 15 } : { inOrder: 5, byChance: 5 }

async function brokenBy(script: BridgeScript, choose: Choose): Promise<string | undefined> {
  const { broken, trace } = await runBridge(script, choose)
  return broken && [broken, JSON.stringify(script), ...trace].join('\n  ')
}

test(
  'no interleaving of express-session’s requests breaks a promise',
  { timeout: 1_800_000 },
  async () => {
    const start = performance.now()
    let interleavings = 0
    for (const script of bridgeScripts()) {
      const { runs, found } = await inEveryOrder((choose) => brokenBy(script, choose), OF_EACH)
      interleavings += runs
      expect(found).toBeUndefined()
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(0)
    console.log(`interleavings of express-session ${interleavings}, seconds ${seconds}, faults 0`)
  },
)

test(
  'our manager keeps its promises over a store of express-session, in one process',
  { timeout: 1_800_000 },
  async () => {
    const start = performance.now()
    const explored: Explored = { interleavings: 0, found: [] }
    const scripts = smallScripts()
      .filter(
        ({ sync, kinds }) => !sync && kinds.every((kind) => kind === 'fail' || kind === 'lose'),
      )
      .map((script) => ({
        ...script,
        requests: script.requests.map((request) => ({ ...request, process: 0 })),
      }))
    for (const script of scripts) {
      await everyInterleaving(overExpressStore, script, explored, OF_EACH_OF_OURS)
      expect(explored.found.map(describe)).toEqual([])
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(0)
    console.log(
      `interleavings over an express-session store ${explored.interleavings}, seconds ${seconds}, faults 0`,
    )
  },
)

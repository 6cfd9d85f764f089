// The promises where a record has a copy: two processes, one database, one cache, and either of them away.
import * as core from '@coatcheck/core'
import { expect, test } from 'vitest'
import { createAsk } from '../../packages/cached-db/src/cache.ts'
import * as copies from '../../packages/cached-db/src/copies.ts'
import { overCopies } from './cached.ts'
import { describe, everyInterleaving, explore, type Explored } from './explore.ts'
import { cachedScripts } from './scripts.ts'
import { isWhole } from '../share.ts'

const OF_EACH = isWhole ? { inOrder: 100, byChance: 100 } : { inOrder: 15, byChance: 10 }
const BY_CHANCE = isWhole ? 40_000 : 8_000

test(
  'no interleaving of a script over cached copies breaks a promise',
  { timeout: 1_800_000 },
  async () => {
    const explored: Explored = { interleavings: 0, found: [] }
    const start = performance.now()
    const tested = overCopies(core, { createAsk, ...copies })
    for (const script of cachedScripts()) {
      await everyInterleaving(tested, script, explored, OF_EACH)
      expect(explored.found.map(describe)).toEqual([])
    }
    const most = explored.interleavings + BY_CHANCE
    const goOn = () => explored.found.length === 0 && explored.interleavings < most
    await explore(tested, explored, goOn, { small: false })
    expect(explored.found.map(describe)).toEqual([])
    const seconds = ((performance.now() - start) / 1000).toFixed(0)
    console.log(`interleavings over copies ${explored.interleavings}, seconds ${seconds}, faults 0`)
  },
)

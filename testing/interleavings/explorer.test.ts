// The promises of writing, by trying: every interleaving of small scripts, and scripts by chance.
import * as core from '@coatcheck/core'
import { expect, test } from 'vitest'
import {
  describe,
  everyInterleaving,
  explore,
  interleavingsOfSeed,
  type Explored,
} from './explore.ts'
import { isWhole } from '../share.ts'
import { smallScripts } from './scripts.ts'

/** So many interleavings of each script: in order, and then by chance. */
const OF_EACH = isWhole ? { inOrder: 200, byChance: 100 } : { inOrder: 20, byChance: 10 }

/** How many interleavings by chance follow: always the same ones. `pnpm explore` draws others each time. */
const BY_CHANCE = isWhole ? 40_000 : 8_000

/** Seeds that have found faults: of merging onto what was cleared, and of counts in doubt. */
const FOUND_FAULTS = [571_246_822, 571_251_437, 991_235_188, 259_867_051]

test('no interleaving of a small script breaks a promise', { timeout: 1_800_000 }, async () => {
  const explored: Explored = { interleavings: 0, found: [] }
  const start = performance.now()
  for (const script of smallScripts()) {
    await everyInterleaving({ core }, script, explored, OF_EACH)
    expect(explored.found.map(describe)).toEqual([])
  }
  for (const seed of FOUND_FAULTS) await interleavingsOfSeed({ core }, seed, explored)
  const most = explored.interleavings + BY_CHANCE
  const goOn = () => explored.found.length === 0 && explored.interleavings < most
  await explore({ core }, explored, goOn, { small: false })
  expect(explored.found.map(describe)).toEqual([])
  expect(explored.interleavings).toBeGreaterThan(isWhole ? 150_000 : 40_000)
  const seconds = ((performance.now() - start) / 1000).toFixed(0)
  console.log(`interleavings ${explored.interleavings}, seconds ${seconds}, faults 0`)
})

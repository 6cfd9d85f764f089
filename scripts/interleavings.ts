// pnpm explore [--minutes N] [--seed N] [--core <path of core's index.ts>]: goes on through interleavings, and ends with a line.
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import {
  describe,
  explore,
  interleavingsOfSeed,
  type Explored,
} from '../testing/interleavings/explore.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    /** One script alone, as a fault has named it. */
    seed: { type: 'string' },
    core: { type: 'string' },
  },
})
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? undefined : Number(values.seed)
if (!(minutes > 0) || Number.isNaN(seed)) {
  console.error('Usage: pnpm explore [--minutes 10] [--seed 7] [--core path/of/index.ts]')
  process.exit(2)
}
const here = resolve(import.meta.dirname, '../packages/core/src/index.ts')
const core = await import(pathToFileURL(values.core ? resolve(values.core) : here).href)

const start = performance.now()
const seconds = () => (performance.now() - start) / 1000
const explored: Explored = { interleavings: 0, found: [] }
let shown = 0
const goOn = () => {
  for (const found of explored.found.slice(shown)) console.log(`${describe(found)}\n`)
  shown = explored.found.length
  return seconds() < minutes * 60 && explored.found.length < 20
}
if (seed === undefined) {
  await explore({ core }, explored, goOn, { seed: 1 + Math.floor(Math.random() * 1e9) })
} else await interleavingsOfSeed({ core }, seed, explored)
goOn()
const { interleavings, found } = explored
console.log(
  `interleavings ${interleavings}, seconds ${seconds().toFixed(0)}, faults ${found.length}`,
)
process.exitCode = found.length > 0 ? 1 : 0

// pnpm histories [engine] [--minutes N]: histories of each engine, or of one, while servers and processes are killed, stopped and cut off.
import { parseArgs } from 'node:util'
import { describeHistories, ENGINES, makeHistories } from '../testing/histories/histories.ts'
import { engineNames } from '../testing/subjects.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: 'string', default: '2' } },
})
const minutes = Number(values.minutes)
const [only] = positionals
if (!(minutes > 0) || (only !== undefined && !engineNames.includes(only))) {
  console.error(
    `Usage: pnpm histories [engine] [--minutes 2]\nEngines: ${engineNames.join(', ')}. Without one: ${ENGINES.join(', ')}.`,
  )
  process.exit(2)
}
const engines = only === undefined ? ENGINES : [only]
for (const engine of engines) {
  const report = await makeHistories({ engine, seconds: (minutes * 60) / engines.length })
  console.log(`${describeHistories(engine, report)}\n`)
  if (report.found.length > 0) process.exitCode = 1
}

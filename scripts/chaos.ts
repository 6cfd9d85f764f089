// pnpm chaos [--minutes N] [--seed N] [--cached-db <path of its index.ts>]: faults under load, over a Redis that keeps and one that forgets.
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { describeReport, runChaos } from '../testing/chaos/chaos.ts'
import { forgetfulRedis, postgres, redis } from '../testing/services.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: `${Math.floor(Math.random() * 1e9)}` },
    'cached-db': { type: 'string' },
  },
})
const { minutes, seed, 'cached-db': path } = values
if (!(Number(minutes) > 0) || Number.isNaN(Number(seed))) {
  console.error('Usage: pnpm chaos [--minutes 2] [--seed 7] [--cached-db path/of/index.ts]')
  process.exit(2)
}
for (const [kind, share] of [
  [redis, 0.7],
  [forgetfulRedis, 0.3],
] as const) {
  await using cache = await kind.launch!()
  await using db = await postgres.launch!()
  const report = await runChaos({
    redis: cache,
    postgres: db,
    seed: Number(seed),
    seconds: Number(minutes) * 60 * share,
    forgets: kind === forgetfulRedis,
    ...(path && { cachedDb: pathToFileURL(resolve(path)).href }),
  })
  console.log(
    `${kind === redis ? 'A Redis that keeps what it acknowledged' : 'A Redis that forgets its last writes'}, ${describeReport(report)}\n`,
  )
  if (report.violations.length > 0) process.exitCode = 1
}

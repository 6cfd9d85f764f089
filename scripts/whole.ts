// pnpm whole [test files]: what the tests run a share of, whole: every client, every interleaving, every model.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const SHARED = [
  'packages/cache/src/redis-clients',
  'testing/sql-clients',
  'testing/interleavings',
  'tests-conformance/src/engines.test.ts',
  'spec',
]
const given = process.argv.slice(2)
const { status } = spawnSync(
  process.execPath,
  [
    fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url)),
    'run',
    ...(given.length > 0 ? given : SHARED),
  ],
  { stdio: 'inherit', env: { ...process.env, WHOLE: '1' } },
)
process.exit(status ?? 1)

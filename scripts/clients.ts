// pnpm clients [vitest's arguments]: the whole suite and the faults over every client of Redis and of SQL, and the suite over hashed keys.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const { status } = spawnSync(
  process.execPath,
  [
    fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url)),
    'run',
    'packages/cache/src/redis-clients',
    'testing/sql-clients',
    'tests-conformance/src/engines.test.ts',
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit', env: { ...process.env, EVERY_CLIENT: '1' } },
)
process.exit(status ?? 1)

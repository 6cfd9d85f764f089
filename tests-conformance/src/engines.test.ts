// What no engine's own test file runs: hashKeys over every server-side engine, and the cached-db of two servers.
import { proveEngines } from '../../testing/prove.ts'
import { engineNames } from '../../testing/subjects.ts'

await proveEngines(
  'cached-db (redis over postgres)',
  ...engineNames.filter((name) => name.startsWith('hashKeys')),
)

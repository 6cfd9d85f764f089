// Runs the proof on every runtime, and writes docs/runtimes.md: what was tested where.
import { writeFileSync } from 'node:fs'
import { runtimes } from '../testing/runtimes/runtimes.ts'

const columns: string[] = []
const rows = new Map<string, string[]>()
let failures = 0
for (const [name, runtime] of Object.entries(runtimes)) {
  if (!runtime) throw new Error(`${name} is missing: npm has no build of it for this machine`)
  columns.push(`${name.split(' ')[0]} ${runtime.version}`)
  for (const part of await runtime.prove()) {
    failures += part.failed.length
    const cell =
      part.failed.length > 0 ? `**${part.failed.length} failed**` : `${part.passed} passed`
    const cells = rows.get(part.name) ?? []
    cells[columns.length - 1] = cell
    rows.set(part.name, cells)
  }
  console.log(`${columns.at(-1)}: done`)
}
writeFileSync(
  'docs/runtimes.md',
  `# Runtimes

What was tested where, on ${new Date().toISOString().slice(0, 10)}; written by \`pnpm runtimes-table\`. The packages core, cookies,
signed-cookie, cache/lru, fetch and hono run on all of these; on workerd, and in any bundle, lru-cache is passed to the engine:
\`lruStore({ LRUCache })\`. The other engines and adapters are tested on Node 24 and need Node's own file system, network or HTTP
server; [sqliteStore](../packages/db) takes a connection of \`node:sqlite\` or \`bun:sqlite\` too.

| | ${columns.join(' | ')} |
| --- |${columns.map(() => ' --- |').join('')}
${[...rows].map(([part, cells]) => `| ${part} | ${columns.map((_, at) => cells[at] ?? '').join(' | ')} |`).join('\n')}
`,
)
process.exitCode = failures > 0 ? 1 : 0

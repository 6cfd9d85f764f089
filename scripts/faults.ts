// pnpm faults [server] [fault]: strikes every server in every way under load; all of it writes docs/faults.md.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { tryServer } from '../testing/faults/run.ts'
import { servers, type Server } from '../testing/faults/servers.ts'
import { describeRow, describeTable } from '../testing/faults/table.ts'
import { untried, type Row } from '../testing/faults/trial.ts'

const [whose = '', which = ''] = process.argv.slice(2)
const chosen = servers.filter(({ name }) => name.toLowerCase().includes(whose.toLowerCase()))
if (chosen.length === 0) {
  console.error(
    `Usage: pnpm faults [server] [fault]\nServers: ${servers.map(({ name }) => name).join('; ')}`,
  )
  process.exit(2)
}
const missing = chosen
  .flatMap(({ programs }) => programs)
  .filter(([, path]) => !path)
  .map(([name, , how]) => `${name} is missing: ${how}`)
if (missing.length > 0) {
  console.error([...new Set(missing)].join('\n'))
  process.exit(2)
}

// Side by side: each waits most of its time.
const done = await Promise.all(
  chosen.map(async (server): Promise<[Server, Row[]]> => {
    const tell = (row: Row) => console.log(`${server.name}, ${describeRow(row)}`)
    const rows = await tryServer(server, { which: (name) => name.includes(which), tell }).catch(
      (error) => [untried('no fault', { wrong: [`it did not start: ${error}`] })],
    )
    return [server, rows]
  }),
)
if (!whose && !which) {
  writeFileSync('docs/faults.md', describeTable(done))
  execFileSync('node_modules/.bin/oxfmt', ['docs/faults.md'])
}
const bad = done.flatMap(([, rows]) => rows).filter(({ wrong }) => wrong.length > 0)
console.log(bad.length > 0 ? `${bad.length} are not as they must be.` : 'All are as they must be.')
// Sockets whose other end went with its network may linger.
process.exit(bad.length > 0 ? 1 : 0)

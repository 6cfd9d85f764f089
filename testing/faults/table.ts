// The table of faults in words: a row for the terminal, and docs/faults.md.
import { execFileSync } from 'node:child_process'
import { arch, availableParallelism, release, totalmem, type } from 'node:os'
import type { Server } from './servers.ts'
import { ANSWERED_WITHIN, RECOVERED_WITHIN, WHOLE, type Row } from './trial.ts'

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
const count = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`

/** What a row says, cell by cell. */
function cellsOf({ answers, longest, recovered, lost, closed }: Row): string[] {
  const all = [...answers.values()].reduce((sum, n) => sum + n, 0)
  const lostParts = [
    ...(lost.changes ? [count(lost.changes, 'change')] : []),
    ...(lost.ends ? [count(lost.ends, 'end')] : []),
  ]
  return [
    [...answers.keys()].toSorted().join(', ') || 'nothing',
    `${all - (answers.get('200') ?? 0)} of ${all}`,
    seconds(longest),
    recovered === undefined ? 'not at all' : seconds(recovered),
    lostParts.join(', ') || 'nothing',
    closed === undefined ? 'never' : seconds(closed),
  ]
}

/** One row for the terminal. */
export function describeRow(row: Row): string {
  if (row.impossible) return `${row.fault}: not tried. ${row.impossible}`
  const [gets, failed, longest, recovered, lost, closed] = cellsOf(row)
  const what = `${row.fault}: ${gets}; ${failed} failed, longest ${longest}, well after ${recovered}, lost ${lost}, closed in ${closed}`
  return row.wrong.length > 0 ? `${what}. WRONG: ${row.wrong.join('; ')}` : what
}

function markdownRow(row: Row): string {
  if (row.impossible) return `| ${row.fault} | not tried: ${row.impossible} | | | | | |`
  const wrong = row.wrong.length > 0 ? `. **Wrong: ${row.wrong.join('; ')}**` : ''
  return `| ${row.fault} | ${cellsOf(row)
    .with(0, `${cellsOf(row)[0]}${wrong}`)
    .join(' | ')} |`
}

/** The first words of what a program says its version is. */
function versionOf(name: string, path: string): string {
  const said = execFileSync(path, ['--version'], { encoding: 'utf8' })
  return `${name} ${/\d+(\.\d+)+/.exec(said)![0]}`
}

/** The whole of docs/faults.md. */
export function describeTable(done: readonly (readonly [Server, readonly Row[]])[]): string {
  const programs = new Map(
    done.flatMap(([{ programs: needed }]) => needed.map(([name, path]) => [name, path!])),
  )
  const versions = [...programs].map(([name, path]) => versionOf(name, path)).join(', ')
  const machine = `${availableParallelism()} processors and ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()} ${arch()}, Node ${process.versions.node}`
  return `# When a server fails

Written by \`pnpm faults\` on ${new Date().toISOString().slice(0, 10)}: ${versions}; ${machine}; all servers side by side.

Each row is one trial. An application (Express, in a process of its own) has eight visitors; every request changes its session, and some log in or
out. The server is struck for ${WHOLE.fault / 1000} s, unless the fault is brief by its nature, and nothing of the application is restarted.

| Column | What it says |
| --- | --- |
| A request gets | every answer that was given from the fault's begin until all was well. \`503 ERR_SESSION_STORE\`: the store failed. \`400 ERR_SESSION_GONE\`: a login or logout whose answer was lost had been made ([what an error means](guarantees.md#what-an-error-means)) |
| Failed | how many of the requests |
| Longest | the longest that one request took. No more than ${ANSWERED_WITHIN / 1000} s |
| Well after | from the server's return until all requests were answered that had waited for it, and the last one that failed. No more than ${RECOVERED_WITHIN / 1000} s |
| Lost | changes that were acknowledged and not found again; and ends: logins and logouts that were acknowledged, and whose old key opened a session after all. Nothing, but for the exceptions below |
| close() | how long closing the store took during the fault, with a request under way. The process then ended by itself, where the store had opened the connection |

| Fault | What happens |
| --- | --- |
| killed | SIGKILL, and started again |
| restarted | stopped in order, and started at once |
| stopped | SIGSTOP: it neither answers nor hangs up; then SIGCONT |
| cut | connections are reset, and new ones refused |
| half-open | every packet is lost, and nobody says so |
| slow | each answer comes 2 s late |
| full | Redis has reached its \`maxmemory\`, with \`noeviction\` |
| read-only | it refuses writes, and then takes them again |
| failed over | connections that are open lead to a demoted primary, which refuses writes; new ones to the new primary |

## Exceptions

- **Redis, failed over by Sentinel**: replication is asynchronous, so what was acknowledged in the last second may be lost, and what was ended in it be back. A master that
  is demoted by \`SENTINEL FAILOVER\`, or comes back after it was stopped, goes on taking writes until Sentinel tells it, some ten seconds later: what
  it acknowledges meanwhile to clients that stayed is lost, too. ioredis' \`failoverDetector: true\` has clients move as soon as Sentinel says so,
  and \`min-replicas-to-write 1\` has a master without a replica refuse.
- **Redis that is killed** keeps all it has acknowledged only with \`appendfsync always\`, as here; with Redis' default, \`everysec\`, it loses a second.
- **cached-db, its Redis away**: a login or logout is acknowledged only when no process can believe its copy any more, so it takes \`freshFor\` (5 s) longer.
- **PgBouncer** asks a PostgreSQL that was away again after \`server_login_retry\`, which is 15 s by default; here it is 1 s.
  A primary that was demoted it goes on using until it is told otherwise (\`RECONNECT\` in its console) or \`server_lifetime\` is over, an hour by default.

${done.map(([{ name }, rows]) => section(name, rows)).join('\n')}`
}

const section = (name: string, rows: readonly Row[]): string => `## ${name}

| Fault | A request gets | Failed | Longest | Well after | Lost | close() |
| --- | --- | --: | --: | --: | --- | --: |
${rows.map(markdownRow).join('\n')}
`

// A share of the table of faults, with short ones: every request is answered, all is well soon after, and nothing acknowledged is lost.
import { expect, test, vi } from 'vitest'
import { need } from '../needs.ts'
import { HOW_TO_LOSE, openNetwork } from './network.ts'
import { tryServer } from './run.ts'
import { servers } from './servers.ts'
import { describeRow } from './table.ts'
import type { Row } from './trial.ts'

/** Left to `pnpm faults`: what Sentinel takes ten seconds to mend, and what another fault of the server, or the engine's own tests, show as well. */
const LEFT = /planned|master stopped|read-only|restarted|cut|slow/
const PACE = { fault: 1800, quiet: 1000, lag: 2000 }

/** Whether all that is wrong is a matter of time, which a busy machine may have lacked: such a trial is made again, up to twice. */
const isLate = ({ wrong }: Row) =>
  wrong.length > 0 &&
  wrong.every((what) =>
    /too long|last look was answered 503|does not end|without any fault|trial failed/.test(what),
  )

let last: Promise<unknown> = Promise.resolve()
/** Runs one task at a time. */
function alone<T>(task: () => Promise<T>): Promise<T> {
  const result = last.then(task)
  last = result.catch(() => {})
  return result
}

// Side by side: each waits most of its time. More would have a small machine at its limits.
vi.setConfig({ maxConcurrency: 5 })

for (const server of servers) {
  if (server.name.includes('failoverDetector')) continue
  test.concurrent(`${server.name}: every request is answered, all is well within 5 s of the server being back, and nothing acknowledged is lost`, async (context) => {
    for (const [name, path, how] of server.programs) need(context, path, name, how)
    let rows = await tryServer(server, { which: (name) => !LEFT.test(name), pace: PACE })
    expect(rows.length).toBeGreaterThan(2)
    for (let n = 0; n < 2 && rows.some(isLate); n++) {
      const late = new Set(rows.filter(isLate).map(({ fault }) => fault))
      const again = await alone(() =>
        tryServer(server, { which: (name) => late.has(name), pace: PACE }),
      )
      rows = [...rows.filter((row) => !isLate(row)), ...again]
    }
    expect(rows.filter(({ wrong }) => wrong.length > 0).map(describeRow)).toEqual([])
  }, 480_000)
}

test('connections can be half-open here', (context) => {
  const network = openNetwork()
  const { lose } = network.link()
  network.close()
  need(context, lose, 'What makes network namespaces', HOW_TO_LOSE)
})

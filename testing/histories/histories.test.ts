// A share of `pnpm histories`; and that it can fail, by a Redis that forgets what it has acknowledged.
import { expect, test, vi } from 'vitest'
import { need } from '../needs.ts'
import { forgetfulRedis, kinds } from '../services.ts'
import { needsOf } from '../subjects.ts'
import { describeHistories, makeHistories } from './histories.ts'

// Servers are started, killed and started again, on a machine that is busy with other tests.
vi.setConfig({ testTimeout: 240_000 })

for (const engine of ['postgres', 'mysql', 'redis', 'sqlite']) {
  test(`${engine}: while servers and processes are killed, stopped and cut off, what four processes are answered can be put into one order`, async (context) => {
    for (const name of needsOf(engine)) {
      need(context, kinds[name]!.launch, kinds[name]!.name, kinds[name]!.how)
    }
    const report = await makeHistories({ engine, seconds: 2, enough: 9, longest: 500 })
    console.log(describeHistories(engine, report))
    expect(report.found).toEqual([])
  })
}

test('a Redis that is killed and forgets its last second is found: that is the exception', async (context) => {
  need(context, forgetfulRedis.launch, forgetfulRedis.name, forgetfulRedis.how)
  let found: readonly string[] = []
  // A machine that is busy may have had nothing acknowledged just before it was killed.
  for (let n = 0; n < 3 && found.length === 0; n++) {
    const report = await makeHistories({
      engine: 'redis',
      seconds: 2,
      enough: 9,
      longest: 500,
      servers: { redis: forgetfulRedis },
      only: 'redis killed',
    })
    found = report.found
  }
  expect(found.join('\n')).toContain('contradict each other')
})

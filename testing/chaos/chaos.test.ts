// A share of `pnpm chaos`; and that it can fail, by a copy of cached-db that is broken on purpose.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, vi } from 'vitest'
import { need, testWith } from '../needs.ts'
import { forgetfulRedis, postgres, redis, type Kind } from '../services.ts'
import { describeReport, runChaos, type ChaosOptions } from './chaos.ts'

// A machine that is busy with other tests takes its time to bring everything back.
vi.setConfig({ testTimeout: 600_000 })

// Servers of its own, whatever the environment names: they are killed.
const own = ({ name, how, launch }: Kind) => testWith({ name, how, launch })
const database = await own(postgres)
const keeping = await own(redis)
const forgetting = await own(forgetfulRedis)
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-chaos-'))
afterAll(async () => {
  for (const { service } of [database, keeping, forgetting]) await service?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** Registers a test of what breaks a promise within some seconds. */
function chaos(
  { test, service }: typeof keeping,
  title: string,
  { found, ...options }: Partial<ChaosOptions> & { found: unknown },
): void {
  test(title, async (context) => {
    const db = need(context, database.service, postgres.name, postgres.how)
    const report = await runChaos({
      redis: service!,
      postgres: db,
      seed: 1,
      seconds: 7,
      ...options,
    })
    if (!options.untilFound) console.log(describeReport(report))
    expect(report.violations).toEqual(found)
  })
}

chaos(
  keeping,
  'whatever fails, what has ended is served to nobody and what is acknowledged is kept',
  {
    found: [],
  },
)
chaos(forgetting, 'a Redis that forgets its last writes shows nothing again after freshFor', {
  found: [],
  forgets: true,
})
chaos(keeping, 'found: ends that are acknowledged while others believe their copies', {
  found: expect.arrayContaining([expect.stringMatching(/^what was ended by/)]),
  cachedDb: brokenCopy('await wait(TRY_EVERY)', 'break'),
  seconds: 100,
  only: 'a process cut off from Redis',
  untilFound: true,
})

function brokenCopy(find: string, replace: string): string {
  const source = join(import.meta.dirname, '../../packages/cached-db')
  cpSync(join(source, 'src'), join(folder, 'src'), { recursive: true })
  cpSync(join(source, 'package.json'), join(folder, 'package.json'))
  symlinkSync(join(source, 'node_modules'), join(folder, 'node_modules'))
  const path = join(folder, 'src/copies.ts')
  const text = readFileSync(path, 'utf8')
  expect(text.split(find), 'the place of the fault').toHaveLength(2)
  writeFileSync(path, text.replace(find, replace))
  return pathToFileURL(join(folder, 'src/index.ts')).href
}

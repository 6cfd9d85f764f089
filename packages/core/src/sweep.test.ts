// Expired records are removed by one line that nobody has to look after.
import { fork } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { sweep, type SweepReport } from '@coatcheck/core'
import { StoreClosedError, type SessionStore } from '@coatcheck/core/store'
import { expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'

/** A store whose sweeps do what `clearExpired` does; and what is told of them. */
async function swept(
  clearExpired: SessionStore['clearExpired'],
  run: (store: SessionStore, reports: SweepReport[], warnings: string[]) => Promise<void>,
) {
  const reports: SweepReport[] = []
  const warnings: string[] = []
  const onSweep = (report: unknown) => void reports.push(report as SweepReport)
  const onWarning = (warning: unknown) =>
    void warnings.push((warning as { message: string }).message)
  subscribe('coatcheck:sweep', onSweep)
  subscribe('coatcheck:warning', onWarning)
  try {
    const { clearExpired: _, ...rest } = mapStore()
    await run({ ...rest, ...(clearExpired && { clearExpired }) }, reports, warnings)
  } finally {
    unsubscribe('coatcheck:sweep', onSweep)
    unsubscribe('coatcheck:warning', onWarning)
  }
}

test('it sweeps again and again, tells what it removed, and ends by its signal', () =>
  swept(
    async () => 3,
    async (store, reports) => {
      const end = new AbortController()
      sweep(store, { every: 0.01, signal: end.signal })
      await expect.poll(() => reports.length).toBeGreaterThan(2)
      expect(reports[0]).toEqual({ removed: 3, duration: expect.any(Number) })
      end.abort()
      const { length } = reports
      await setTimeout(60)
      expect(reports.length).toBe(length)
    },
  ))

test('a backend that is away is told each time, warned of once, and costs no sweep after it is back', async () => {
  let isAway = true
  await swept(
    () => {
      if (isAway)
        throw Object.assign(new Error('with a key'), {
          code: 'ECONNREFUSED',
          syscall: 'connect',
          address: '::1',
          port: 5432,
        })
      return 1
    },
    async (store, reports, warnings) => {
      const end = new AbortController()
      sweep(store, { every: 0.01, signal: end.signal })
      await expect.poll(() => reports.length).toBeGreaterThan(2)
      expect(reports.every(({ error, removed }) => error && removed === 0)).toBe(true)
      expect(warnings).toEqual([expect.stringContaining('(connect ECONNREFUSED [::1]:5432)')])
      isAway = false
      await expect.poll(() => reports.at(-1)?.removed).toBe(1)
      isAway = true
      await expect.poll(() => warnings.length).toBe(2)
      end.abort()
    },
  )
})

test('sweeps never overlap, and batches and the signal reach the store', async () => {
  let running = 0
  let most = 0
  const options: unknown[] = []
  const end = new AbortController()
  await swept(
    async (given) => {
      options.push(given)
      most = Math.max(most, ++running)
      await setTimeout(30)
      running--
      return 0
    },
    async (store, reports) => {
      sweep(store, { every: 0.001, batchSize: 7, signal: end.signal })
      await expect.poll(() => reports.length).toBeGreaterThan(2)
      end.abort()
    },
  )
  expect(most).toBe(1)
  expect(options[0]).toEqual({ batchSize: 7, signal: end.signal })
})

test('it ends when the store was closed, without a word', async () => {
  let sweeps = 0
  await swept(
    () => {
      sweeps++
      throw new StoreClosedError()
    },
    async (store, reports, warnings) => {
      sweep(store, { every: 0.001 })
      await expect.poll(() => sweeps).toBe(1)
      await setTimeout(30)
      expect(sweeps).toBe(1)
      expect(reports.filter(({ error }) => error)).toEqual([])
      expect(warnings).toEqual([])
    },
  )
})

test('the first sweep comes after a random while, so that processes do not sweep together', async () => {
  // Timers come in their order, also where all of them are late.
  const order: string[] = []
  const end = new AbortController()
  await swept(
    async () => 0,
    async (store) => {
      for (let n = 0; n < 100; n++) {
        const one = { ...store, clearExpired: () => (order.push('sweep'), 0) }
        sweep(one, { every: 0.5, signal: end.signal })
      }
      for (const ms of [150, 250]) void setTimeout(ms).then(() => order.push(`${ms} ms`))
      await setTimeout(450)
      end.abort()
    },
  )
  expect(order.indexOf('150 ms')).toBeGreaterThan(3)
  expect(order.slice(order.indexOf('250 ms') + 1).length).toBeGreaterThan(3)
})

test('a store that needs no sweep is left alone, and what is none is refused', () =>
  swept(undefined, async (store, reports) => {
    sweep(store, { every: 0.001 })
    await setTimeout(20)
    expect(reports).toEqual([])
    const refused = expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' })
    expect(() => sweep({} as SessionStore)).toThrow(refused)
    expect(() => sweep(undefined as unknown as SessionStore)).toThrow(refused)
    for (const every of [0, -1, NaN, Infinity, 3e6, '5']) {
      expect(() => sweep(store, { every: every as number })).toThrow(refused)
    }
    expect(() => sweep(store, { evry: 5 } as object)).toThrow('did you mean `every`?')
    expect(() => sweep(store, { signal: new AbortController() as unknown as AbortSignal })).toThrow(
      refused,
    )
  }))

test('a process with a sweep, of which nobody hears and which fails, ends by itself and well', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'coatcheck-')), 'main.mjs')
  writeFileSync(
    file,
    `import { sweep } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
     const no = () => {}
     const store = { load: no, create: no, save: no, touch: no, delete: no, clearExpired: async () => { throw new Error('away') } }
     sweep(store, { every: 0.005 })
     sweep(store, { every: 2000 })
     setTimeout(() => {}, 300)`,
  )
  const child = fork(file, { stdio: 'pipe' })
  let output = ''
  child.stderr!.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'exit')
  // Before the test's time is over: what holds it open would do so for 2000 s.
  expect(code).toBe(0)
  expect(output.match(/SWEEP_FAILED/g)).toHaveLength(1)
})

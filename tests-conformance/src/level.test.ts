// A store as a stranger writes it, over level, from the docs alone: durable, and for one process at a time.
import { rmSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { cases, conformance, runCase } from './index.ts'
import subject from './fixtures/level-store.ts'

afterAll(() => rmSync(process.env['LEVEL_FOLDER']!, { recursive: true, force: true }))

conformance(subject, test)

test('a store that says `exclusive`, and lets another process in, is caught', async () => {
  const open = cases.find(({ id }) => id === 'concurrency/processes-create')!
  const module = new URL('./fixtures/answers-lost.ts', import.meta.url)
  const { default: right } = await import(module.href)
  const traits = { exclusive: true }
  const claims = {
    ...right,
    traits,
    open: async (options: object) => ({ ...(await right.open(options)), traits }),
  }
  await expect(runCase(claims, open)).rejects.toThrow()
})

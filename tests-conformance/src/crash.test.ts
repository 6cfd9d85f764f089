// A writing process is killed at random moments: no session is torn or missing, and what was acknowledged is there.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { createKey } from '@coatcheck/core/store'
import { expect, test } from 'vitest'
import { openDurable } from '../../testing/crash-stores.ts'

const KILLS = 60
/** Processes at once: two for each of two cores. */
const WRITERS = 4

for (const engine of ['file', 'sqlite']) {
  test(`${engine}: after ${KILLS} kills of a writing process every session is whole, and none is older than acknowledged`, async () => {
    const path = mkdtempSync(join(tmpdir(), `coatcheck-crash-${engine}-`))
    const store = openDurable(engine, path)
    let acknowledgements = 0
    /** One visitor, whose writer is killed and started again. */
    async function visitor() {
      const key = createKey()
      await store.create(key, { data: '0::0', expiresAt: Date.now() + 3_600_000 })
      let acknowledged = 0
      for (let kill = 0; kill < KILLS / WRITERS; kill++) {
        const writer = fork(`${import.meta.dirname}/../../testing/crash-writer.ts`, [
          engine,
          path,
          key,
        ])
        writer.on('message', (n: number) => {
          acknowledged = n
          acknowledgements++
        })
        await once(writer, 'message')
        if (kill % 2) await once(writer, 'message')
        await setTimeout(Math.random() * 20)
        writer.kill('SIGKILL')
        await once(writer, 'close')
        const data = (await store.load(key))?.data
        expect(data, 'the session is there').toBeDefined()
        const [head, middle, tail] = data!.split(':')
        expect(tail).toBe(head)
        expect(middle).toHaveLength((Number(head) * 7919) % 20_000)
        expect(Number(head)).toBeGreaterThanOrEqual(acknowledged)
      }
    }
    await Promise.all(Array.from({ length: WRITERS }, visitor))
    expect(acknowledgements).toBeGreaterThan(KILLS)
    await store.close?.()
    rmSync(path, { recursive: true })
  }, 180_000)
}

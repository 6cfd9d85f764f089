// A process that writes one session again and again, says so after each write, and waits to be killed.
import { setImmediate } from 'node:timers/promises'
import { openDurable } from './crash-stores.ts'

const [engine, path, key] = process.argv.slice(2) as [string, string, string]
const store = openDurable(engine, path)
for (;;) {
  const before = (await store.load(key))!.data
  const n = Number(before.split(':', 1)[0]) + 1
  // Long and short by turns; the number stands at both ends, so that half a record shows.
  const data = `${n}:${'x'.repeat((n * 7919) % 20_000)}:${n}`
  await store.save(key, { data, expiresAt: Date.now() + 3_600_000 }, before)
  process.send!(n)
  await setImmediate()
}

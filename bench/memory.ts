// One contender of the memory benchmark, in a process of its own: prints the bytes of heap that each session takes.
import { lruStore } from '@coatcheck/cache/lru'
import { createKey } from '@coatcheck/core/store'
import expressSession from 'express-session'

const SESSIONS = 1_000_000
const expiresAt = Date.now() + 86_400_000
const cookie = {
  originalMaxAge: 86_400_000,
  expires: new Date(expiresAt),
  httpOnly: true,
  path: '/',
}

const payload = (n: number) => ({
  user: { id: n, name: 'Ann Example' },
  cart: [{ id: 'coat', n: 2 }],
  theme: 'dark',
  language: 'en',
  csrf: createKey() + createKey(),
})

const lru = lruStore({ max: SESSIONS, maxBytes: 4_000_000_000 })
const memoryStore = new expressSession.MemoryStore()

const contenders: Record<string, (n: number) => unknown> = {
  lru: (n) => lru.create(createKey(), { data: JSON.stringify(payload(n)), expiresAt }),
  MemoryStore: (n) =>
    memoryStore.set(createKey(), {
      cookie,
      ...payload(n),
    } as unknown as expressSession.SessionData),
}

if (process.argv[2] === 'payload') {
  // The key and the text alone, in bytes: what no store can do without.
  console.log(createKey().length + Buffer.byteLength(JSON.stringify(payload(SESSIONS / 2))))
  process.exit(0)
}

const put = contenders[process.argv[2]!]!
const used = () => {
  globalThis.gc!()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
const before = used()
for (let n = 0; n < SESSIONS; n++) {
  put(n)
  // MemoryStore answers in a turn of its own; its callbacks must not pile up.
  if (n % 10_000 === 0) await new Promise(setImmediate)
}
await new Promise(setImmediate)
console.log((used() - before) / SESSIONS)
// What was measured must be alive until here.
if (!lru || !memoryStore) process.exit(1)

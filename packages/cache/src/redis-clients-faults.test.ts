// The Redis engine while servers fail, on clients of other libraries than ioredis.
import { onTestFinished } from 'vitest'
import { bunBinary, openBunStore } from '../../../testing/bun-store.ts'
import { redisClients, type OpenRedis } from '../../../testing/redis-clients.ts'
import { proveFaults, type Abilities } from '../../../testing/redis-under-faults.ts'
import { redisStore } from './redis.ts'

/** What each library's clients can; the engine can have no more of them. */
const can: Record<keyof typeof redisClients, Abilities> = {
  iovalkey: { renew: true, tell: true },
  'node-redis 6': { renew: true, tell: true },
  'node-redis 5': { renew: true, tell: true },
  'a pool of node-redis': {},
  'valkey-glide': { choose: true },
  Upstash: {},
}

for (const [library, open] of Object.entries<OpenRedis>(redisClients)) {
  const openStore = async (url: string) => {
    const { client, close } = await open(url)
    onTestFinished(close)
    return redisStore(client)
  }
  await proveFaults(library, openStore, can[library as keyof typeof can])
}

if (bunBinary) {
  const openStore = async (url: string) => {
    const store = openBunStore(url)
    onTestFinished(() => store.close())
    return store
  }
  await proveFaults('Bun', openStore, { renew: true }, () => 'client of Bun')
}

// Run by Bun: stores over Bun's own client of Redis, called by lines of JSON from another process.
import { createInterface } from 'node:readline'
import { redisStore, type RedisClient } from '@coatcheck/cache/redis'
import type { SessionStore } from '@coatcheck/core'
import { asLine, type BunAnswer, type BunCall } from './bun-calls.ts'

interface Opened {
  store: SessionStore
  client: RedisClient & { close(): void }
  time: number
}

const { RedisClient: Client } = (globalThis as any).Bun
const opened = new Map<number, Opened>()

function open({ url, prefix, time }: BunCall): Opened {
  const client = new Client(url)
  const self: Opened = {
    client,
    time,
    store: redisStore(client, { prefix, now: () => self.time }),
  }
  return self
}

async function answer(call: BunCall): Promise<BunAnswer> {
  const { id, store, method, args, time } = call
  let self = opened.get(store)
  if (!self) opened.set(store, (self = open(call)))
  self.time = time
  try {
    if (method === 'close') return { id, result: self.client.close() }
    return { id, result: await (self.store as any)[method](...args) }
  } catch (error) {
    const { code, message, cause } = error as Error & { code: string }
    return { id, error: { code, message, hasCause: cause !== undefined } }
  }
}

createInterface({ input: process.stdin }).on('line', async (line) => {
  console.log(asLine(await answer(JSON.parse(line))))
})
process.stdin.on('end', () => process.exit())

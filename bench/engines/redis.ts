// Redis: each client with GET and scripts that compare and swap, ours by each client, and connect-redis.
import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { redis as server } from '../../testing/services.ts'
import { HERE, load } from '../checkout.ts'
import { ours, peer, raw, type Engine, type Place, type Side } from '../sides.ts'

/** A record is `<end>:<data>`, so that a script can compare either. */
const SWAP = `
  local value = redis.call('GET', KEYS[1])
  local colon = string.find(value, ':', 1, true)
  if string.sub(value, colon + 1) ~= ARGV[2] then return 0 end
  redis.call('SET', KEYS[1], string.sub(value, 1, colon) .. ARGV[1], 'PX', 86400000)
  return 1`
const RENEW = `
  local value = redis.call('GET', KEYS[1])
  local colon = string.find(value, ':', 1, true)
  if string.sub(value, 1, colon - 1) ~= ARGV[2] then return 0 end
  redis.call('SET', KEYS[1], ARGV[1] .. string.sub(value, colon), 'PX', 86400000)
  return 1`

/** What is needed of a client. */
interface Client {
  get(key: string): Promise<string | null>
  set(key: string, value: string): Promise<unknown>
  run(script: 'swap' | 'renew', key: string, ...values: string[]): Promise<unknown>
}

function byHand(driver: string, payload: object, { get, set, run }: Client): Promise<Side> {
  const change = async (script: 'swap' | 'renew', key: string, ...values: string[]) => {
    if (Number(await run(script, key, ...values)) !== 1)
      throw new Error(`${script}: not as expected`)
  }
  return raw(`${driver}, GET and scripts`, driver, payload, {
    create: (key, data, end) => set(key, `${end}:${data}`),
    async read(key) {
      const value = (await get(key))!
      return JSON.parse(value.slice(value.indexOf(':') + 1))
    },
    write: (key, data, expected) => change('swap', key, data, expected),
    touch: (key, end, from) => change('renew', key, `${end}`, `${from}`),
  })
}

async function byIoredis(place: Place, url: string): Promise<Side[]> {
  const client = new Redis(url)
  place.atEnd(() => client.disconnect())
  client.defineCommand('swap', { numberOfKeys: 1, lua: SWAP })
  client.defineCommand('renew', { numberOfKeys: 1, lua: RENEW })
  const commands = client as unknown as Record<string, Client['set']>
  const sides = [
    await byHand('ioredis', place.payload, {
      get: (key) => client.get(key),
      set: (key, value) => client.set(key, value),
      run: (script, ...values) => (commands[script] as any).call(client, ...values),
    }),
  ]
  for (const root of place.roots) {
    const { redisStore } = await load(root, '@coatcheck/cache/redis')
    const store = redisStore(url)
    place.atEnd(() => store.close?.())
    sides.push(await ours('redis by ioredis', 'ioredis', root, place.payload, store))
  }
  return sides
}

async function byNodeRedis(place: Place, url: string): Promise<Side[]> {
  const connect = async () => {
    const client = createClient({ url }).on('error', () => {})
    await client.connect()
    place.atEnd(() => client.destroy())
    return client
  }
  const stores: Side[] = []
  for (const root of place.roots) {
    const { redisStore } = await load(root, '@coatcheck/cache/redis')
    const client = await connect()
    try {
      const store = redisStore(client as any)
      stores.push(await ours('redis by node-redis', 'node-redis', root, place.payload, store))
    } catch (error) {
      const of = root === HERE ? '' : ` of ${root}`
      place.leaveOut(`redis by node-redis${of}`, (error as Error).message)
    }
  }
  if (stores.length === 0) return []
  const client = await connect()
  const hashes = { swap: await client.scriptLoad(SWAP), renew: await client.scriptLoad(RENEW) }
  const hand = await byHand('node-redis', place.payload, {
    get: (key) => client.get(key),
    set: (key, value) => client.set(key, value),
    run: (script, key, ...values) =>
      client.evalSha(hashes[script], { keys: [key], arguments: values }),
  })
  return [hand, ...stores]
}

export const redis: Engine = {
  title: 'Redis',
  atOnce: [1, 10, 100],
  async open(place) {
    if (!server.launch) throw new Error(server.how)
    const launched = await server.launch()
    place.atEnd(() => launched[Symbol.asyncDispose]())
    const { url } = launched
    return [
      ...(await byIoredis(place, url)),
      ...(await byNodeRedis(place, url)),
      await peer('connect-redis', place, { folder: place.folder, redis: url }),
    ]
  },
}

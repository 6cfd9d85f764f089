// Clients of Redis of other libraries than ioredis, made as the docs say. A library is loaded when it is needed: the suite's processes need one.
import type { RedisClient } from '@coatcheck/cache/redis'
import { openUpstash } from './upstash.ts'

/** A client, and how it ends. */
export interface OpenClient {
  readonly client: RedisClient
  close(): void
}

/** Makes a client of the Redis at a URL. */
export type OpenRedis = (url: string) => Promise<OpenClient>

const addressesOf = (urls: string) =>
  urls.split(',').map((url) => {
    const { hostname: host, port } = new URL(url)
    return { host, port: Number(port) }
  })

/** Whatever is wrong its calls tell. */
const quiet = () => {}
const glide = async () => {
  const library = await import('@valkey/valkey-glide')
  library.Logger.setLoggerConfig('off')
  return library
}
const soon = (retries: number) => Math.min(retries * 50, 1000)

/** By the libraries' names. */
export const redisClients = {
  async iovalkey(url) {
    const { Redis } = await import('iovalkey')
    const client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: soon })
    client.on('error', quiet)
    return { client, close: () => client.disconnect() }
  },
  async 'node-redis 6'(url) {
    const { createClient } = await import('redis')
    const client = createClient({ url, socket: { reconnectStrategy: soon } })
    client.on('error', quiet)
    client.connect().catch(quiet)
    return { client, close: () => client.destroy() }
  },
  async 'node-redis 5'(url) {
    const { createClient } = await import('redis-5')
    const client = createClient({ url, socket: { reconnectStrategy: soon } })
    client.on('error', quiet)
    client.connect().catch(quiet)
    return {
      client,
      close() {
        if (client.isOpen) client.destroy()
      },
    }
  },
  async 'a pool of node-redis'(url) {
    const { createClientPool } = await import('redis')
    const client = createClientPool({ url, socket: { reconnectStrategy: soon } })
    client.on('error', quiet)
    client.connect().catch(quiet)
    return { client, close: () => client.destroy() }
  },
  async 'valkey-glide'(url) {
    const { GlideClient } = await glide()
    const client = await GlideClient.createClient({
      addresses: addressesOf(url),
      requestTimeout: 4000,
      lazyConnect: true,
      connectionBackoff: { numberOfRetries: 5, factor: 50, exponentBase: 2 },
    })
    return { client, close: () => client.close() }
  },
  async Upstash(redisUrl) {
    const { Redis } = await import('@upstash/redis')
    const { url, token, close } = await openUpstash(redisUrl)
    return { client: new Redis({ url, token, retry: { retries: 0 } }), close }
  },
} satisfies Record<string, OpenRedis>

/** Of a Cluster, by its nodes' URLs with commas between them. */
export const redisClusterClients = {
  async 'node-redis 6'(urls) {
    const { createCluster } = await import('redis')
    const client = createCluster({
      rootNodes: urls.split(',').map((url) => ({ url })),
      defaults: { socket: { reconnectStrategy: soon } },
    })
    client.on('error', quiet)
    await client.connect()
    return { client, close: () => client.destroy() }
  },
  async 'node-redis 5'(urls) {
    const { createCluster } = await import('redis-5')
    const client = createCluster({
      rootNodes: urls.split(',').map((url) => ({ url })),
      defaults: { socket: { reconnectStrategy: soon } },
    })
    client.on('error', quiet)
    await client.connect()
    return { client, close: () => client.destroy() }
  },
  async 'valkey-glide'(urls) {
    const { GlideClusterClient } = await glide()
    const client = await GlideClusterClient.createClient({
      addresses: addressesOf(urls),
      requestTimeout: 4000,
      connectionBackoff: { numberOfRetries: 5, factor: 50, exponentBase: 2 },
    })
    return { client, close: () => client.close() }
  },
} satisfies Record<string, OpenRedis>

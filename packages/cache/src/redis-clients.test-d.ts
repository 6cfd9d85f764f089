// The types of the real clients, as redisStore takes them: without a cast.
import type { Redis as Upstash } from '@upstash/redis'
import type { Redis as UpstashOnCloudflare } from '@upstash/redis/cloudflare'
import type { GlideClient, GlideClusterClient } from '@valkey/valkey-glide'
import type { Cluster, Redis } from 'ioredis'
import type { Cluster as ValkeyCluster, Redis as Valkey } from 'iovalkey'
import {
  createClient,
  createClientPool,
  createCluster,
  createSentinel,
  type RedisClientType,
} from 'redis'
import {
  createClient as createClient5,
  createClientPool as createClientPool5,
  createCluster as createCluster5,
  createSentinel as createSentinel5,
} from 'redis-5'
import { expectTypeOf, test } from 'vitest'
import { redisStore } from './redis.ts'

type Taken = Parameters<typeof redisStore>[0]

test('a URL, and clients of every library', () => {
  expectTypeOf<string>().toExtend<Taken>()
  expectTypeOf<Redis | Cluster>().toExtend<Taken>()
  expectTypeOf<Valkey | ValkeyCluster>().toExtend<Taken>()
  expectTypeOf<GlideClient | GlideClusterClient>().toExtend<Taken>()
  expectTypeOf<Upstash | UpstashOnCloudflare>().toExtend<Taken>()
})

test('clients of node-redis 5 and 6, whatever their options', () => {
  expectTypeOf<RedisClientType>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createClient>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createCluster>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createSentinel>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createClientPool>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createClient5>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createCluster5>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createSentinel5>>().toExtend<Taken>()
  expectTypeOf<ReturnType<typeof createClientPool5>>().toExtend<Taken>()
  const mapped = () => createClient({ RESP: 3, commandOptions: { typeMapping: { 36: Buffer } } })
  expectTypeOf<ReturnType<typeof mapped>>().toExtend<Taken>()
})

test('what is no client is not taken', () => {
  expectTypeOf<Promise<Redis>>().not.toExtend<Taken>()
  expectTypeOf<{ host: string }>().not.toExtend<Taken>()
})

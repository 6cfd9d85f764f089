// Which library a client is of, by its shape.
import { addressInWords, refuseOption } from '@coatcheck/core/store'
import { bunLink, type BunClient } from './bun.ts'
import { glideLink, type GlideClient } from './glide.ts'
import * as ioredis from './ioredis.ts'
import type { Link } from './link.ts'
import * as nodeRedis from './node-redis.ts'
import { upstashLink, type UpstashClient } from './upstash.ts'

/** A client that the engines on Redis take. */
export type RedisClient =
  | ioredis.IoredisClient
  | nodeRedis.NodeRedisClient
  | GlideClient
  | BunClient
  | UpstashClient

/** A library's clients: by which methods they are known, and how the engine calls them. */
interface Library<C extends RedisClient> {
  readonly methods: readonly (keyof C & string)[]
  link(client: C): Link
  replicaOption?(client: C): string | undefined
}

const library = <C extends RedisClient>(given: Library<C>) => given as unknown as Library<any>

const LIBRARIES: readonly Library<any>[] = [
  library<ioredis.IoredisClient>({
    methods: ['defineCommand', 'on', 'connect', 'disconnect'],
    link: ioredis.ioredisLink,
    replicaOption: ioredis.replicaOption,
  }),
  library<nodeRedis.NodeRedisClient>({
    methods: ['withCommandOptions', 'on', 'connect', 'destroy'],
    link: nodeRedis.nodeRedisLink,
    replicaOption: nodeRedis.replicaOption,
  }),
  library<GlideClient>({
    methods: ['customCommand', 'invokeScript', 'close'],
    link: glideLink,
  }),
  library<BunClient>({ methods: ['send', 'getBuffer', 'connect', 'close'], link: bunLink }),
  library<UpstashClient>({ methods: ['eval', 'evalsha', 'createScript'], link: upstashLink }),
]

/** The clients that are taken, as an error names them. */
export const CLIENTS =
  'a client of ioredis, iovalkey, redis (5 or newer), @valkey/valkey-glide, Bun or @upstash/redis'

const libraryOf = (client: unknown): Library<any> | undefined =>
  LIBRARIES.find(({ methods }) =>
    methods.every((name) => typeof (client as any)?.[name] === 'function'),
  )

/**
 * @param by The function that was given it, as an error names it: `redisStore`.
 * @param needs What it needs, in an error's words. Default a client.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no client of these libraries, and for one that is to reach replicas alone:
 * they take no changes, and hear of others' late.
 */
export function assertRedisClient(by: string, client: unknown, needs: string = CLIENTS): void {
  const found = libraryOf(client)
  if (!found) {
    const given = addressInWords(client)
    const hint =
      given === 'an object' ? ': pass the client itself, not its options or what holds it' : ''
    refuseOption(`${by} needs ${needs}, and got ${given}${hint}`)
  }
  const option = found.replicaOption?.(client)
  if (option)
    refuseOption(`${by}: the client reads from a replica (${option}). Sessions need the master`)
}

const links = new WeakMap<RedisClient, Link>()

/** A client as the engine calls it; always the same one. */
export function linkOf(client: RedisClient): Link {
  let link = links.get(client)
  if (!link) links.set(client, (link = libraryOf(client)!.link(client)))
  return link
}

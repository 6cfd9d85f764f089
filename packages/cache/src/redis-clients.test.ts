// The Redis engine on an application's own client, of any library: none of its options bends what the engine is told.
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Redis as Upstash } from '@upstash/redis'
import { Decoder, GlideClient } from '@valkey/valkey-glide'
import { Cluster, Command, Redis, type RedisOptions } from 'ioredis'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import { createClient as createClient5 } from 'redis-5'
import { afterAll, expect } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { openProxy, proxiesByUrl } from '../../../testing/proxy.ts'
import {
  redis,
  redisCluster,
  redisClusterWithReplica,
  redisSentinel,
} from '../../../testing/services.ts'
import { redisClients, type OpenRedis } from '../../../testing/redis-clients.ts'
import { privateRedis } from '../../../testing/redis-under-faults.ts'
import { redisEngines } from '../../../testing/subjects.ts'
import { openUpstash } from '../../../testing/upstash.ts'
import { redisStore, type RedisClient } from './redis.ts'

await proveEngines(...redisEngines)

const { url, service, test } = await testWith(redis)
afterAll(() => service?.[Symbol.asyncDispose]())

const later = () => Date.now() + 60_000
const newKey = () => randomUUID().replaceAll('-', '')

const placeOf = (of = 'redis://nowhere') => {
  const { hostname: host, port } = new URL(of)
  return { host, port: Number(port) }
}
const place = placeOf(url)

/** ioredis takes transformers of replies for all clients, and gives none back. */
async function withReplies(
  commands: readonly string[],
  bent: unknown,
  run: (client: Redis) => Promise<void>,
): Promise<void> {
  const { reply } = Reflect.get(Command, '_transformer') as { reply: Record<string, unknown> }
  const client = new Redis(url!)
  for (const name of commands) Command.setReplyTransformer(name, () => bent)
  try {
    await run(client)
  } finally {
    for (const name of commands) delete reply[name]
    client.disconnect()
  }
}

/** What a store must do on every client. */
async function prove(client: RedisClient): Promise<void> {
  const store = redisStore(client, { prefix: `${randomUUID()}:` })
  const key = newKey()
  const is = (code: string) => expect.objectContaining({ code: `ERR_SESSION_${code}` })
  const record = (data: string) => ({ data, expiresAt: later() })
  const failure = async (call: unknown) => {
    try {
      return await call
    } catch (error) {
      return error
    }
  }
  expect(await store.load(key)).toBeUndefined()
  expect(await failure(store.save(key, record('1')))).toEqual(is('GONE'))
  expect(await failure(store.touch(key, later()))).toEqual(is('GONE'))
  const first = record('{"a":"ü"}')
  expect(await store.create(key, first)).toBe(key)
  expect(await store.load(key)).toEqual(first)
  expect(await failure(store.create(key, first))).toEqual(is('KEY_EXISTS'))
  expect(await failure(store.save(key, record('2'), 'x'))).toEqual(is('CONFLICT'))
  expect(await failure(store.touch(key, later(), first.expiresAt + 1))).toEqual(is('CONFLICT'))
  expect(await store.touch(key, first.expiresAt + 5, first.expiresAt)).toBe(key)
  expect(await store.save(key, record('2'), first.data)).toBe(key)
  expect(await store.load(key)).toMatchObject({ data: '2' })
  await store.delete(key)
  await store.delete(key)
  expect(await store.load(key)).toBeUndefined()

  // Twenty at once, each on what it has seen: none is lost.
  await store.create(key, record('0'))
  const increment = async (): Promise<void> => {
    const { data } = (await store.load(key))!
    const error = await failure(store.save(key, record(`${Number(data) + 1}`), data))
    if (error !== key) {
      expect(error).toEqual(is('CONFLICT'))
      await increment()
    }
  }
  await Promise.all(Array.from({ length: 20 }, increment))
  expect(await store.load(key)).toMatchObject({ data: '20' })
}

const options: Record<string, object> = {
  stringNumbers: { stringNumbers: true },
  'protocol: 2': { protocol: 2 },
  "replyMapping: 'resp3' with stringNumbers": { replyMapping: 'resp3', stringNumbers: true },
  enableAutoPipelining: { enableAutoPipelining: true },
  lazyConnect: { lazyConnect: true },
  'lazyConnect, without enableOfflineQueue': { lazyConnect: true, enableOfflineQueue: false },
  'without enableOfflineQueue': { enableOfflineQueue: false },
  'without enableReadyCheck': { enableReadyCheck: false },
  'maxRetriesPerRequest: null': { maxRetriesPerRequest: null },
  commandTimeout: { commandTimeout: 4000 },
  'keyPrefix and db': { keyPrefix: 'app:', db: 3 },
  showFriendlyErrorStack: { showFriendlyErrorStack: true },
  'reconnectOnError, for everything': { reconnectOnError: () => true },
} satisfies Record<string, RedisOptions>
for (const [name, given] of Object.entries(options)) {
  test(`with ${name} every answer is understood`, async () => {
    const client = new Redis({ ...place, ...given })
    await prove(client)
    client.disconnect()
  })
}

/** What both versions of node-redis make clients of, as far as it is the same. */
type Create = (
  options: Parameters<typeof createClient5>[0],
) => Pick<
  ReturnType<typeof createClient5>,
  'on' | 'connect' | 'close' | 'destroy' | 'isReady' | 'isOpen' | 'subscribe' | 'unsubscribe'
> &
  RedisClient & { sendCommand(args: readonly string[]): Promise<unknown> }
const nodeRedis: readonly (readonly [library: string, create: Create])[] = [
  ['node-redis 6', createClient as unknown as Create],
  ['node-redis 5', createClient5 as unknown as Create],
]
for (const [library, create] of nodeRedis) {
  for (const [name, given] of Object.entries({
    'RESP: 2': { RESP: 2 },
    'RESP: 3': { RESP: 3 },
    'a mapping of text to Buffers': { commandOptions: { typeMapping: { 36: Buffer, 43: Buffer } } },
    disableOfflineQueue: { disableOfflineQueue: true },
    'keyPrefix and database': { keyPrefix: 'app:', database: 3 },
    pingInterval: { pingInterval: 10 },
  })) {
    test(`${library} with ${name}: every answer is understood`, async () => {
      const client = create({ url: url!, ...(given as object) })
      client.on('error', () => {})
      await client.connect()
      await prove(client)
      client.destroy()
    })
  }
}

test('the keyPrefix of node-redis 6 stands before every key', async () => {
  const client = createClient({ url: url!, keyPrefix: 'app:' })
  await client.connect()
  const key = newKey()
  await redisStore(client).create(key, { data: '1', expiresAt: later() })
  const direct = new Redis(url!)
  expect(await direct.exists(`app:session:${key}`)).toBe(1)
  direct.disconnect()
  client.destroy()
})

test('valkey-glide whose defaultDecoder is Bytes: every answer is understood', async () => {
  const client = await GlideClient.createClient({
    addresses: [place],
    defaultDecoder: Decoder.Bytes,
    requestTimeout: 4000,
  })
  await prove(client)
  client.close()
})

for (const [name, given] of Object.entries({
  'automaticDeserialization: false': { automaticDeserialization: false },
  'enableAutoPipelining: false': { enableAutoPipelining: false },
  'responseEncoding: false': { responseEncoding: false },
} as const)) {
  test(`Upstash with ${name}: every answer is understood`, async () => {
    const server = await openUpstash(url!)
    await prove(new Upstash({ url: server.url, token: server.token, ...given }))
    server.close()
  })
}

test('by Upstash, with retry as the docs have it, a save whose answer is lost is an error, and no conflict with itself', async () => {
  const { url: to, token, loseAnswer, close } = await openUpstash(url!)
  const store = redisStore(new Upstash({ url: to, token, retry: { retries: 0 } }))
  const key = newKey()
  await store.create(key, { data: '1', expiresAt: later() })
  loseAnswer()
  const save = async () => store.save(key, { data: '2', expiresAt: later() }, '1')
  await expect(save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(await store.load(key)).toMatchObject({ data: '2' })
  close()
})

for (const [given, says] of [
  ['<html>Bad Gateway', 'the client does not say why, and it may have been done'],
  [
    '{"error":"ERR max requests limit exceeded. Limit: 500000"}',
    'it has been asked as often as its plan allows',
  ],
] as const) {
  test(`by Upstash ${given} is told as it is: ${says}`, async () => {
    const gateway = createServer((_request, response) => void response.writeHead(502).end(given))
    await once(gateway.listen(0, '127.0.0.1'), 'listening')
    const { port } = gateway.address() as AddressInfo
    const client = new Upstash({ url: `http://127.0.0.1:${port}`, token: 'a' })
    await expect(async () => redisStore(client).load(newKey())).rejects.toMatchObject({
      message: expect.stringContaining(
        `Redis (127.0.0.1:${port}) failed to load a session: ${says}.`,
      ),
    })
    gateway.close()
  })
}

for (const [library, open] of Object.entries<OpenRedis>(redisClients)) {
  test(`by ${library} a hundred calls at once find out that the server has forgotten the scripts, and each is done once`, async () => {
    const { client, close } = await open(url!)
    const store = redisStore(client, { prefix: `${randomUUID()}:` })
    const keys = Array.from({ length: 100 }, newKey)
    const record = (data: string) => ({ data, expiresAt: later() })
    await Promise.all(keys.map((key) => store.create(key, record('1'))))
    const direct = new Redis(url!)
    await direct.script('FLUSH')
    direct.disconnect()
    await Promise.all(keys.map((key) => store.save(key, record('2'), '1')))
    for (const key of keys) expect(await store.load(key)).toMatchObject({ data: '2' })
    close()
  })

  test(`by ${library} what the server says is told with its meaning, and without the key or the data`, async () => {
    const { client, close } = await open(url!)
    const store = redisStore(client)
    const key = newKey()
    const direct = new Redis(url!)
    await direct.hset(`session:${key}`, 'user', 'ann')
    direct.disconnect()
    const data = `a secret ${randomUUID()}`
    const error = await Promise.resolve(store.save(key, { data, expiresAt: later() })).catch(
      (caught: unknown) => caught,
    )
    expect(error).toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(/^Redis \(.+\) failed to save a session: WRONGTYPE, it keeps/),
    })
    const shown = inspect(error, { depth: 9, showHidden: true })
    expect(shown).not.toContain(key)
    expect(shown).not.toContain(data)
    close()
  })
}

for (const [name, create] of Object.entries({
  createClient: () => createClient({ url: url! }),
  'createClient of 5': () => createClient5({ url: url! }),
  createClientPool: () => createClientPool({ url: url! }),
  createSentinel: () => createSentinel({ name: 'sessions', sentinelRootNodes: [place] }),
  createCluster: () => createCluster({ rootNodes: [{ url: url! }] }),
})) {
  test(`a client of node-redis that nobody has connected (${name}) is told to be so at once`, async () => {
    await expect(redisStore(create()).load(newKey())).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(
        /failed to load a session: the client is not connected: call its connect\(\) first\.$/m,
      ),
    })
  })
}

for (const [library, create] of nodeRedis) {
  test(`by ${library} a wrong password is told, and not shown`, async () => {
    const direct = new Redis(url!)
    const user = `u${newKey()}`
    await direct.call('ACL', 'SETUSER', user, 'on', '>right', '~*', '+@all')
    const client = create({ url: `redis://${user}:hush@${place.host}:${place.port}` })
    client.on('error', () => {})
    client.connect().catch(() => {})
    const error = await Promise.resolve(redisStore(client).load(newKey())).catch(
      (caught: unknown) => caught,
    )
    expect(error).toMatchObject({
      message: expect.stringContaining(
        `Redis (${place.host}:${place.port}) failed to load a session: WRONGPASS, it does not know this user with this password.`,
      ),
    })
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('hush')
    client.destroy()
    await direct.call('ACL', 'DELUSER', user)
    direct.disconnect()
  })

  test(`by ${library} what waits for a connection when its time is over is never sent`, async () => {
    const proxy = await openProxy(place.host, place.port)
    const client = create({
      socket: { host: proxy.host, port: proxy.port, reconnectStrategy: 100 },
    })
    client.on('error', () => {})
    await client.connect()
    const store = redisStore(client)
    const key = newKey()
    const record = { data: '1', expiresAt: later() }
    await store.load(key)
    proxy.cut()
    await expect(async () => store.create(key, record)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
    })
    await proxy.restore()
    await expect.poll(() => client.isReady).toBe(true)
    expect(await store.load(key)).toBeUndefined()
    client.destroy()
    proxy.cut()
  })

  test(`by ${library} a save whose answer is lost with the connection is an error, and is not sent again`, async () => {
    const proxy = await openProxy(place.host, place.port)
    const client = create({ socket: { host: proxy.host, port: proxy.port } })
    client.on('error', () => {})
    await client.connect()
    const store = redisStore(client)
    const key = newKey()
    await store.create(key, { data: '1', expiresAt: later() })
    proxy.loseAnswers()
    const saving = Promise.resolve(store.save(key, { data: '2', expiresAt: later() }, '1'))
    saving.catch(() => {})
    const direct = new Redis(url!)
    await expect.poll(() => direct.get(`session:${key}`)).toMatch(/:2$/)
    await direct.set(`session:${key}`, `${later()}:1`)
    proxy.cut()
    await proxy.restore()
    await expect(saving).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await expect.poll(() => client.isReady).toBe(true)
    expect(await store.load(key)).toMatchObject({ data: '1' })
    client.destroy()
    direct.disconnect()
    proxy.cut()
  })
}

/** A client of node-redis through a proxy, and a store on it that has been used. */
async function openThroughProxy(create: Create, { host, port }: typeof place) {
  const proxy = await openProxy(host, port)
  const client = create({ socket: { host: proxy.host, port: proxy.port } })
  client.on('error', () => {})
  await client.connect()
  const store = redisStore(client)
  await store.load(newKey())
  return { proxy, client, store }
}

/** A server that is made a replica for a while. */
const own = await testWith(privateRedis)
afterAll(() => own.service?.[Symbol.asyncDispose]())

for (const [library, create] of nodeRedis) {
  test(`by ${library} what was asked before the application closes the client gets its answer`, async () => {
    const client = create({ url: url! })
    client.on('error', () => {})
    await client.connect()
    const store = redisStore(client)
    const keys = Array.from({ length: 5 }, newKey)
    for (const key of keys) await store.create(key, { data: '1', expiresAt: later() })
    const saving = keys.map((key) => store.save(key, { data: '2', expiresAt: later() }, '1'))
    await setImmediate()
    await client.close()
    expect(await Promise.all(saving)).toEqual(keys)
  })

  test(`by ${library} a client that the application ends when a call has failed stays ended, though its server was silent`, async () => {
    const { proxy, client, store } = await openThroughProxy(create, place)
    proxy.abandon()
    const started = performance.now()
    await expect(async () => store.load(newKey())).rejects.toThrow('no answer within 5000 ms')
    client.destroy()
    expect(performance.now() - started).toBeLessThan(8000)
    await setTimeout(200)
    expect(client.isOpen).toBe(false)
    // It is whole, and is its application's.
    await client.connect()
    await store.load(newKey())
    client.destroy()
    proxy.cut()
  })

  test(`by ${library} with RESP 2 a client that has subscribed says so, and is understood when it has unsubscribed`, async () => {
    const client = create({ url: url!, RESP: 2 })
    client.on('error', () => {})
    await client.connect()
    const store = redisStore(client)
    await store.load(newKey())
    await client.subscribe('news', () => {})
    await expect(async () => store.load(newKey())).rejects.toThrow('the client has subscribed')
    await client.unsubscribe('news')
    await prove(client)
    // GETEX was refused for that alone.
    const direct = new Redis(url!)
    await direct.config('RESETSTAT')
    const key = newKey()
    await store.create(key, { data: '1', expiresAt: later() })
    await store.load(key)
    expect(await direct.info('commandstats')).toContain('cmdstat_getex:calls=1,')
    direct.disconnect()
    client.destroy()
  })

  test(`by ${library} a client that the application closes while its server is silent stays closed, and nothing is thrown`, async () => {
    const { proxy, client, store } = await openThroughProxy(create, place)
    proxy.abandon()
    const loading = Promise.resolve(store.load(newKey()))
    loading.catch(() => {})
    await setImmediate()
    void client.close().catch(() => {})
    await expect(loading).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await setTimeout(200)
    expect(client.isOpen).toBe(false)
    proxy.cut()
  })

  own.test(
    `by ${library} a connection that falls silent when it is to end is made anew after 5 s`,
    async () => {
      const admin = new Redis(own.url!)
      const { proxy, client, store } = await openThroughProxy(create, placeOf(own.url))
      const send = client.sendCommand.bind(client)
      client.sendCommand = (args) => {
        if (args[0] === 'QUIT') proxy.abandon()
        return send(args)
      }
      await admin.replicaof('127.0.0.1', '1')
      const loading = Promise.resolve(store.load(newKey()))
      loading.catch(() => {})
      await setTimeout(500)
      await admin.replicaof('NO', 'ONE')
      await expect(loading).rejects.toThrow('no answer within')
      await expect.poll(async () => store.load(newKey()), { timeout: 3000 }).toBeUndefined()
      client.destroy()
      admin.disconnect()
      proxy.cut()
    },
  )
}

test("what a client keeps in a transaction of the application's is an error that says so", async () => {
  const client = new Redis(url!)
  const store = redisStore(client)
  await store.load(newKey())
  await client.call('MULTI')
  await expect(async () => store.load(newKey())).rejects.toThrow('transaction')
  await client.call('DISCARD')
  client.disconnect()
})

{
  const client = createClient()
  const rest = new Upstash({ url: 'http://127.0.0.1:1', token: 'a' })
  const plain = new Redis({ lazyConnect: true })
  for (const [name, given, word] of [
    ['a promise of a client', Promise.resolve(client), 'a promise (await it)'],
    ['the legacy form of a client', client.legacy(), 'an object'],
    ['multi() of node-redis', client.multi(), 'an object'],
    ['multi() of ioredis', plain.multi(), 'an object'],
    ['a pipeline of Upstash', rest.pipeline(), 'an object'],
    ['a class', Redis, 'a class'],
    [
      'an older node-redis',
      { connected: true, send_command() {}, on() {}, quit() {} },
      'an object',
    ],
    ['a WebSocket', { send() {}, close() {} }, 'an object'],
    ['null', null, 'null'],
  ] as const) {
    test(`${name} is no client, and refused at the start`, () => {
      expect(() => redisStore(given as never)).toThrow(
        expect.objectContaining({
          code: 'ERR_SESSION_OPTIONS',
          message: expect.stringContaining(
            'or a client of ioredis, iovalkey, redis (5 or newer), @valkey/valkey-glide, Bun or @upstash/redis, and got ' +
              word,
          ),
        }),
      )
    })
  }
}

test('transformers of replies to the commands that the application uses do not reach the engine', () =>
  withReplies(['get', 'del', 'set'], 'bent', async (client) => {
    expect(await client.get('x')).toBe('bent')
    await prove(client)
  }))

for (const bent of [undefined, null, 1, true, 'OK', ['done'], { done: 1 }]) {
  test(`an answer that is made into ${JSON.stringify(bent)} is an error, never success and never an empty session`, () =>
    withReplies(['eval', 'evalsha', 'getex'], bent, async (client) => {
      const store = redisStore(client)
      const key = newKey()
      const record = { data: '1', expiresAt: later() }
      for (const call of [
        () => store.load(key),
        () => store.create(key, record),
        () => store.save(key, record),
        () => store.touch(key, later()),
        () => store.delete(key),
      ]) {
        await expect(async () => call()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
      }
    }))
}

test('commands of the same kind that another version of this package has defined are not used', async () => {
  const client = new Redis(url!)
  for (const name of ['Load', 'Create', 'Save', 'Touch', 'Delete']) {
    client.defineCommand(`coatcheck${name}`, { numberOfKeys: 1, lua: 'return 1' })
  }
  await prove(client)
  client.disconnect()
})

for (const option of [{ role: 'slave' }, { readOnly: true }] as const) {
  test(`a client with ${JSON.stringify(option)} is refused at the start: replicas take no changes`, () => {
    const client = new Redis({ ...option, lazyConnect: true })
    expect(() => redisStore(client)).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_OPTIONS',
        message: expect.stringContaining('replica'),
      }),
    )
  })
}

test('a client of node-redis with readonly: true is refused at the start', () => {
  expect(() => redisStore(createClient({ readonly: true }))).toThrow('(readonly: true)')
})

test('a save whose answer is lost with the connection is an error, and not a conflict with itself, though the client sends it again', async () => {
  const proxy = await openProxy(place.host, place.port)
  // As ioredis is by default: what is under way is sent again, up to twenty times.
  const client = new Redis({ host: proxy.host, port: proxy.port }).on('error', () => {})
  const store = redisStore(client)
  const key = newKey()
  await store.create(key, { data: '1', expiresAt: later() })
  proxy.loseAnswers()
  const saving = Promise.resolve(store.save(key, { data: '2', expiresAt: later() }, '1'))
  saving.catch(() => {})
  const direct = new Redis(url!)
  await expect.poll(() => direct.get(`session:${key}`)).toMatch(/:2$/)
  proxy.cut()
  await proxy.restore()
  await expect(saving).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(await store.load(key)).toMatchObject({ data: '2' })
  client.disconnect()
  direct.disconnect()
  proxy.cut()
})

test('what finds no connection within its time is never sent, though the client keeps what it is given', async () => {
  const proxy = await openProxy(place.host, place.port)
  proxy.cut()
  const client = new Redis({
    host: proxy.host,
    port: proxy.port,
    maxRetriesPerRequest: null,
    retryStrategy: () => 100,
  }).on('error', () => {})
  const store = redisStore(client)
  const key = newKey()
  const record = { data: '1', expiresAt: later() }
  await expect(async () => store.create(key, record)).rejects.toThrow(
    `Redis (127.0.0.1:${proxy.port}) failed to create a session: connect ECONNREFUSED 127.0.0.1:${proxy.port}.`,
  )
  await proxy.restore()
  await expect.poll(() => client.status).toBe('ready')
  expect(await store.load(key)).toBeUndefined()
  client.disconnect()
  proxy.cut()
})

{
  const cluster = await testWith(redisCluster)
  afterAll(() => cluster.service?.[Symbol.asyncDispose]())

  cluster.test('the error of a Cluster that refuses the password does not show it', async () => {
    const redisOptions = { username: 'nobody', password: 'a-word-to-hide' }
    const proxies = proxiesByUrl.get(cluster.url!)!
    const client = new Cluster(
      proxies.map(({ host, port }) => ({ host, port })),
      { redisOptions, clusterRetryStrategy: () => null },
    ).on('error', () => {})
    const store = redisStore(client)
    const error: unknown = await Promise.resolve(store.load(newKey())).catch((reason) => reason)
    expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('a-word-to-hide')
    client.disconnect()
  })

  cluster.test(
    'on a Cluster with retryDelayOnFailover: 0 a save whose answer is lost is an error, and not a conflict with itself',
    async () => {
      const proxies = proxiesByUrl.get(cluster.url!)!
      const client = new Cluster(
        proxies.map(({ host, port }) => ({ host, port })),
        {
          retryDelayOnFailover: 0,
        },
      ).on('error', () => {})
      await once(client, 'ready')
      const store = redisStore(client)
      const key = newKey()
      await store.create(key, { data: '1', expiresAt: later() })
      for (const proxy of proxies) proxy.loseAnswers()
      const saving = Promise.resolve(store.save(key, { data: '2', expiresAt: later() }, '1'))
      saving.catch(() => {})
      await setTimeout(500)
      for (const proxy of proxies) proxy.cut()
      await Promise.all(proxies.map((proxy) => proxy.restore()))
      await expect(saving).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
      const data = async () => {
        try {
          return (await store.load(key))?.data
        } catch {
          return undefined
        }
      }
      await expect.poll(data, { timeout: 15_000 }).toBe('2')
      client.disconnect()
    },
  )
}

{
  const cluster = await testWith(redisClusterWithReplica)
  afterAll(() => cluster.service?.[Symbol.asyncDispose]())

  for (const scaleReads of ['slave', 'all'] as const) {
    cluster.test(
      `on a Cluster with scaleReads: '${scaleReads}' sessions are read from the master`,
      async () => {
        const client = new Cluster([placeOf(cluster.url!)], { scaleReads })
        await once(client, 'ready')
        await prove(client)
        const store = redisStore(client)
        const key = newKey()
        await store.create(key, { data: '1', expiresAt: later() })
        // A replica that lags behind as far as one can.
        cluster.service!.freeze(true)
        try {
          for (let n = 0; n < 20; n++) expect(await store.load(key)).toMatchObject({ data: '1' })
        } finally {
          cluster.service!.freeze(false)
          client.disconnect()
        }
      },
    )
  }
}

{
  const sentinel = await testWith(redisSentinel)
  afterAll(() => sentinel.service?.[Symbol.asyncDispose]())

  sentinel.test('by createSentinel of node-redis every answer is understood', async () => {
    const client = createSentinel({
      name: 'sessions',
      sentinelRootNodes: [placeOf(sentinel.url!)],
    })
    client.on('error', () => {})
    await client.connect()
    await prove(client)
    await client.close()
  })
}

// Redis, as a real server of its own and as a cluster of three masters.
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { createSessions } from '@coatcheck/core'
import { Redis } from 'ioredis'
import { afterAll, expect } from 'vitest'
import { controlled } from '../../../testing/controlled-store.ts'
import { testWith } from '../../../testing/needs.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { redis as redisServer, redisSentinel } from '../../../testing/services.ts'
import { openBrowser, type Any } from '../../../testing/visitors.ts'
import { redisStore } from './redis.ts'

const { url, test } = (
  await proveEngines(
    'redis',
    'redis on a client of its own, with keyPrefix and auto-pipelining',
    'redis cluster',
  )
)['redis']!

let client: Redis | undefined
const own = () => (client ??= new Redis(url!))
afterAll(() => client?.disconnect())

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000

test('each call is one round trip: one command for the server', async () => {
  const plain = new Redis(url!)
  const prefix = `${randomUUID()}:`
  const store = redisStore(plain, { prefix })
  // The first call of each script sends its text; from then on its hash is enough.
  await store.create(KEY, { data: '1', expiresAt: later() })
  await store.load(KEY)
  await store.save(KEY, { data: '2', expiresAt: later() })
  await store.touch(KEY, later())
  await store.delete(KEY)
  const monitor = await new Redis(url!).monitor()
  const commands: string[] = []
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    if (source !== 'lua' && args.some((arg) => arg.startsWith(prefix))) commands.push(args[0]!)
  })
  await store.create(KEY, { data: '1', expiresAt: later() })
  await store.load(KEY)
  await store.save(KEY, { data: '2', expiresAt: later() }, '1')
  await store.touch(KEY, later())
  await store.delete(KEY)
  await expect.poll(() => commands).toEqual(['evalsha', 'getex', 'evalsha', 'evalsha', 'evalsha'])
  monitor.disconnect()
  plain.disconnect()
})

/** What a server was asked for a key while `run` ran. */
async function commandsFor(part: string, run: () => Promise<unknown>): Promise<string[]> {
  const monitor = await new Redis(url!).monitor()
  const commands: string[] = []
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    if (source !== 'lua' && args.some((arg) => arg.includes(part))) commands.push(args[0]!)
  })
  await run()
  await own().echo(part)
  await expect.poll(() => commands.at(-1)).toBe('echo')
  monitor.disconnect()
  return commands.slice(0, -1)
}

test('a server that does not let the user GETEX is asked by the script, from then on at once', async () => {
  const user = `u${randomUUID()}`
  await own().acl('SETUSER', user, 'on', 'nopass', '~*', '+@all', '-getex')
  const limited = new Redis(url!, { username: user, password: 'any' })
  const prefix = `${randomUUID()}:`
  const store = redisStore(limited, { prefix })
  await store.create(KEY, { data: '1', expiresAt: later() })
  const commands = await commandsFor(prefix, async () => {
    for (let n = 0; n < 3; n++) expect(await store.load(KEY)).toMatchObject({ data: '1' })
  })
  expect(commands).toEqual(['eval', 'evalsha', 'evalsha'])
  limited.disconnect()
})

test('a master that takes no changes for want of replicas still loads', async () => {
  const store = redisStore(own(), { prefix: `${randomUUID()}:` })
  await store.create(KEY, { data: '1', expiresAt: later() })
  await own().config('SET', 'min-replicas-to-write', '1')
  try {
    expect(await store.load(KEY)).toMatchObject({ data: '1' })
    expect(await store.load('l'.repeat(32))).toBeUndefined()
  } finally {
    await own().config('SET', 'min-replicas-to-write', '0')
  }
})

test('that there is no session is believed of the script alone: what makes a nil of a session loses none', async () => {
  const prefix = `${randomUUID()}:`
  const bent = new Redis(url!)
  const store = redisStore(bent, { prefix })
  await store.create(KEY, { data: '1', expiresAt: later() })
  bent.getex = async () => null
  expect(await store.load(KEY)).toMatchObject({ data: '1' })
  bent.disconnect()
})

test('Redis itself reclaims an ended session, a minute later', async () => {
  const plain = new Redis(url!)
  const store = redisStore(plain, { prefix: 'ttl:' })
  await store.create(KEY, { data: '1', expiresAt: Date.now() + 1000 })
  const ttl = await plain.pttl(`ttl:${KEY}`)
  expect(ttl).toBeGreaterThan(45_000)
  expect(ttl).toBeLessThanOrEqual(61_000)
  await store.save(KEY, { data: '2', expiresAt: 0 })
  expect(await plain.exists(`ttl:${KEY}`)).toBe(0)
  plain.disconnect()
})

test('scripts that the server has forgotten are sent again', async () => {
  const plain = new Redis(url!)
  const store = redisStore(plain, { prefix: `${randomUUID()}:` })
  await store.create(KEY, { data: '1', expiresAt: later() })
  await plain.script('FLUSH')
  await store.touch(KEY, later())
  expect(await store.load(KEY)).toMatchObject({ data: '1' })
  plain.disconnect()
})

test('a hundred calls at once find out that the server has forgotten the scripts, and each is done once', async () => {
  const store = redisStore(url!, { prefix: `${randomUUID()}:` })
  const keys = Array.from({ length: 100 }, () => randomUUID().replaceAll('-', ''))
  await Promise.all(keys.map((key) => store.create(key, { data: '1', expiresAt: later() })))
  await own().script('FLUSH')
  await Promise.all(keys.map((key) => store.save(key, { data: '2', expiresAt: later() }, '1')))
  for (const key of keys) expect(await store.load(key)).toMatchObject({ data: '2' })
  await store.close?.()
})

test("the application's own client stays open", async () => {
  await redisStore(own()).close?.()
  expect(await own().ping()).toBe('PONG')
})

for (const [rest, message] of [
  ['?connectTimeout=10000', 'no parameter `connectTimeout` but db and family'],
  ['?maxRetriesPerRequest=3', 'no parameter `maxRetriesPerRequest`'],
  ['?family=4&sentinels=x', 'no parameter `sentinels`'],
  ['?constructor=x', 'no parameter `constructor`'],
  ['?x%40y=1', 'no parameter but db and family'],
  ['?db=abc', '`db` must be a whole number from 0 on'],
  ['?db=', '`db` must be a whole number'],
  ['?db=1.5', '`db` must be a whole number'],
  ['?db=-1', '`db` must be a whole number'],
  ['?family=5', '`family` must be 0, 4 or 6'],
  ['/app', "the URL's path must be the number of a database"],
] as const) {
  test(`a URL with ${rest} is refused`, () => {
    const urls: string[] = [`redis://127.0.0.1:1${rest}`, `rediss://a:b@127.0.0.1:1${rest}`]
    if (rest.startsWith('?')) urls.push(`/nowhere/redis.sock${rest}`)
    for (const refusedUrl of urls) {
      expect(() => redisStore(refusedUrl)).toThrow(
        expect.objectContaining({
          code: 'ERR_SESSION_OPTIONS',
          message: expect.stringContaining(message),
        }),
      )
    }
  })
}

test('a parameter is not named where the query may be the rest of a password', () => {
  for (const of of ['redis://u?Tropical&k=Sunrise@h', '/nowhere/a.sock?Tropical&k=Sunrise@h']) {
    expect(() => redisStore(of)).toThrow('no parameter but db and family')
  }
})

test('a URL that is refused leaves no client behind, which would keep the process', () => {
  const program = `
    import { redisStore } from ${JSON.stringify(new URL('redis.ts', import.meta.url))}
    try { redisStore('redis://127.0.0.1:1?role=slave') } catch (error) { console.log(error.code) }`
  const { stdout, status } = spawnSync(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { encoding: 'utf8', timeout: 60_000 },
  )
  expect({ stdout, status }).toEqual({ stdout: 'ERR_SESSION_OPTIONS\n', status: 0 })
})

test('a URL of REDISS:// is TLS too', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const store = redisStore(`REDISS://:hush@127.0.0.1:${(server.address() as AddressInfo).port}`)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [hello] = (await once(socket, 'data')) as [Buffer]
  // A handshake's record.
  expect(hello[0]).toBe(22)
  socket.destroy()
  server.close()
  await store.close?.()
})

test('a URL may say the database as a parameter', async () => {
  const store = redisStore(`${url!.replace(/\/\d*$/, '')}?db=2&family=0`)
  const key = randomUUID().replaceAll('-', '')
  await store.create(key, { data: '{}', expiresAt: later() })
  const second = new Redis(url!, { db: 2 })
  expect(await second.exists(`session:${key}`)).toBe(1)
  await store.delete(key)
  await store.close?.()
  second.disconnect()
})

test('where the server refuses the database, nothing is stored in another one; on a new connection it is asked again', async () => {
  const user = `u${randomUUID().replaceAll('-', '')}`
  const { host } = new URL(url!)
  await own().call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '+@all', '-select')
  const store = redisStore(`redis://${user}:pw@${host}/1`)
  const key = randomUUID().replaceAll('-', '')
  const create = async () => store.create(key, { data: '{}', expiresAt: later() })
  await expect(create()).rejects.toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringContaining(
      'NOPERM, it does not allow this user to choose the database (SELECT)',
    ),
  })
  expect(await own().exists(`session:${key}`)).toBe(0)
  await own().call('ACL', 'SETUSER', user, '+select')
  await own().call('CLIENT', 'KILL', 'USER', user)
  await expect.poll(() => create().catch(() => ''), { timeout: 60_000 }).toBe(key)
  await store.delete(key)
  await store.close?.()
  await own().call('ACL', 'DELUSER', user)
})

test('once the server allows the database, the same store goes on in it within seconds', async () => {
  const user = `u${randomUUID().replaceAll('-', '')}`
  const { host } = new URL(url!)
  await own().call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '+@all', '-select')
  const store = redisStore(`redis://${user}:pw@${host}/1`)
  await expect(store.load(KEY)).rejects.toThrow('(SELECT)')
  await own().call('ACL', 'SETUSER', user, '+select')
  const loads = async () => {
    await store.load(KEY)
    return true
  }
  await expect.poll(() => loads().catch(() => false), { timeout: 4000 }).toBe(true)
  await store.close?.()
  await own().call('ACL', 'DELUSER', user)
})

test('a server that is not there is a SessionStoreError within seconds', async () => {
  const store = redisStore('redis://127.0.0.1:1')
  await expect(async () => store.load(KEY)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  await store.close?.()
})

{
  const sentinel = await testWith(redisSentinel)
  afterAll(() => sentinel.service?.[Symbol.asyncDispose]())

  sentinel.test(
    'Sentinel: when the master is killed its replica takes over, and the same store goes on with the sessions',
    async () => {
      const { hostname: host, port } = new URL(sentinel.url!)
      const redis = new Redis({
        sentinels: [{ host, port: Number(port) }],
        name: 'sessions',
        maxRetriesPerRequest: 0,
      }).on('error', () => {})
      const store = redisStore(redis)
      await store.create(KEY, { data: '1', expiresAt: later() })
      await store.save(KEY, { data: '2', expiresAt: later() }, '1')
      // Redis replicates after it has answered.
      await redis.wait(1, 5000)
      await sentinel.service!.stop('SIGKILL')
      const saved = async () => {
        try {
          return await store.save(KEY, { data: '3', expiresAt: later() }, '2')
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
          return undefined
        }
      }
      await expect.poll(saved, { timeout: 20_000 }).toBe(KEY)
      expect(await store.load(KEY)).toMatchObject({ data: '3' })
      redis.disconnect()
    },
  )
}

{
  // A server of its own, whatever the environment names: it is stopped.
  const { variable: _, ...privateServer } = redisServer
  const stalling = await testWith(privateServer)
  afterAll(() => stalling.service?.[Symbol.asyncDispose]())

  for (const call of [1, 2]) {
    stalling.test(
      `a Redis that stalls for 6.5 s at call ${call} of a login: an answer within 10 s, and the cart is there for what the client holds`,
      async () => {
        const store = redisStore(stalling.url!, { prefix: `${randomUUID()}:` })
        const calls = controlled(store)
        const sessions = createSessions<Any>({ store: calls.store })
        const browser = openBrowser({ sessions, calls })
        await browser.visit((session) => session.set('cart', [1]))
        const { session, answer } = await browser.open()
        expect(session.get('cart')).toEqual([1])
        session.cycleKey()
        session.set('user', 'ann')
        const held = calls.hold(call)
        const started = performance.now()
        const answering = answer()
        expect(await held.reached(answering)).toBe(true)
        stalling.service!.freeze(true)
        const thawed = setTimeout(6500).then(() => stalling.service!.freeze(false))
        held.release()
        const { status } = await answering
        expect(performance.now() - started).toBeLessThan(10_000)
        await thawed
        // What the server had before it as it stalled it carries out now.
        const answers = async () => {
          await store.load(KEY)
          return true
        }
        await expect.poll(() => answers().catch(() => false)).toBe(true)
        await setTimeout(500)
        const data = await browser.data()
        expect(data).toHaveProperty('cart', [1])
        if (status === 200) expect(data).toHaveProperty('user', 'ann')
        await store.close?.()
      },
    )
  }
}

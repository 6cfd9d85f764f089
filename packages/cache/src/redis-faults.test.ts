// The Redis engine while servers fail over, stop, fall silent and refuse: what a call gets, within what time, and that all is well afterwards.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Cluster, Redis } from 'ioredis'
import { afterAll, expect, onTestFinished } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { proxiesByUrl } from '../../../testing/proxy.ts'
import {
  answers,
  AT_ONCE,
  later,
  newKey,
  openAdmin,
  openPair,
  outcome,
  portOf,
  privateRedis,
  proveFaults,
  proxied,
  SOON,
  underLoad,
} from '../../../testing/redis-under-faults.ts'
import { redisCluster, redisSentinel, type Service } from '../../../testing/services.ts'
import { redisStore } from './redis.ts'

type Store = ReturnType<typeof redisStore>

const { url, service, test } = await testWith(privateRedis)
afterAll(() => service?.[Symbol.asyncDispose]())

async function openStore(of: string | Redis): Promise<Store> {
  const store = redisStore(of)
  onTestFinished(async () => {
    await store.close?.()
    if (typeof of !== 'string') of.disconnect()
  })
  return store
}

/** An application's own client as the README has it. */
const ownClient = (of: string, more: object = {}) =>
  new Redis(of, { maxRetriesPerRequest: 0, ...more }).on('error', () => {})

const can = { renew: true, tell: true }
await proveFaults('its own client', (of) => openStore(of), can)
await proveFaults("the application's client", (of) => openStore(ownClient(of)), can)

test('a dead connection is made anew also where the client itself waits for less than 5 s (commandTimeout), and a call comes now and then', async () => {
  const way = await proxied(url!)
  const store = await openStore(ownClient(way.url, { commandTimeout: 700 }))
  await expect.poll(() => answers(store)).toBe(true)
  way.proxy.abandon()
  const started = performance.now()
  await expect.poll(() => answers(store), { timeout: 60_000, interval: 2000 }).toBe(true)
  expect(performance.now() - started).toBeLessThan(15_000)
})

/** How a call ends without an answer while the server is well, and the client tells nothing of what comes later. */
const unanswered: Record<string, (client: Redis, store: Store) => Promise<void>> = {
  'whose answer came after commandTimeout': async () => {},
  'that the client refused, as it had subscribed': async (client, store) => {
    await client.subscribe('news')
    await expect(store.load(newKey())).rejects.toThrow('the client has subscribed')
    await client.unsubscribe('news')
  },
}
for (const [what, prepare] of Object.entries(unanswered)) {
  test(`a call ${what} is forgotten: later a slow answer does not end a connection that is well`, async () => {
    const way = await proxied(url!)
    const client = ownClient(way.url, { commandTimeout: 300, protocol: 2 })
    const store = await openStore(client)
    await store.load(newKey())
    let closed = 0
    client.on('close', () => closed++)
    const slowly = async () => {
      way.proxy.delay(1000)
      await expect(store.load(newKey())).rejects.toThrow('no answer within the client')
      await setTimeout(1000)
      way.proxy.delay(0)
    }
    await slowly()
    await prepare(client, store)
    await setTimeout(6000)
    await slowly()
    expect(closed).toBe(0)
    await store.load(newKey())
  })
}

test('a client that has subscribed is said to have done so', async () => {
  const client = ownClient(url!, { protocol: 2 })
  const store = await openStore(client)
  await client.subscribe('news')
  await expect(store.load(newKey())).rejects.toThrow(
    /failed to load a session: the client has subscribed to channels, and sends nothing else: give the store one of its own\.$/m,
  )
})

const serverOf = ({ options: { host, port } }: Redis) => `redis://${host}:${port}`

const failovers: Record<string, (sentinel: Service, old: string) => unknown> = {
  'killed (SIGKILL)': (sentinel) => sentinel.stop('SIGKILL'),
  'stopped (SIGSTOP), so that it neither answers nor hangs up': (sentinel) => sentinel.freeze(true),
  'relieved by an operator (SENTINEL FAILOVER)': async ({ url: of }, old) => {
    await openAdmin(of).call('SENTINEL', 'FAILOVER', 'sessions')
    // Sentinel tells it some ten seconds later that it has been relieved, and until then it takes what it is asked.
    const master = openAdmin(`redis://${old}`)
    await expect
      .poll(() => master.info('replication'), { timeout: 60_000, interval: 200 })
      .toContain('role:slave')
  },
}
{
  const { test: sentinelTest, service: unused } = await testWith(redisSentinel)
  await unused?.[Symbol.asyncDispose]()
  for (const [how, fell] of Object.entries(failovers)) {
    sentinelTest(
      `Sentinel, and the master is ${how}: all is well within 5 s of the new master being there, without a restart`,
      async () => {
        const sentinel = await redisSentinel.launch!()
        onTestFinished(() => sentinel[Symbol.asyncDispose]())
        const admin = openAdmin(sentinel.url)
        const master = async () =>
          ((await admin.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'sessions')) as string[]).join(
            ':',
          )
        const client = new Redis({
          sentinels: [{ host: '127.0.0.1', port: portOf(sentinel.url) }],
          name: 'sessions',
          sentinelCommandTimeout: 1000,
          maxRetriesPerRequest: 0,
          retryStrategy: (attempt) => Math.min(attempt * 50, 1000),
        }).on('error', () => {})
        const store = await openStore(client)
        const load = underLoad(store)
        await load.begun()
        const old = await master()
        await fell(sentinel, old)
        await expect.poll(master, { timeout: 30_000, interval: 20 }).not.toBe(old)
        const isThere = performance.now()
        await setTimeout(12_000)
        const { sent, failures } = await load.end()
        const last = failures.at(-1)?.at ?? isThere
        expect(last - isThere, `${failures.length} of ${sent} failed`).toBeLessThan(SOON)
        expect(await store.load(load.key)).toBeDefined()
        await store.save(load.key, { data: 'well', expiresAt: later() })
      },
    )
  }
}

{
  const cluster = await testWith(redisCluster)
  afterAll(() => cluster.service?.[Symbol.asyncDispose]())

  cluster.test(
    'Cluster: connections to nodes that are dead while nobody hangs up cost the calls on them 5 s, and are made anew',
    async () => {
      const nodes = cluster.url!.split(',').map((of) => ({ host: '127.0.0.1', port: portOf(of) }))
      const client = new Cluster(nodes).on('error', () => {})
      onTestFinished(() => client.disconnect())
      await once(client, 'ready')
      const store = redisStore(client)
      // Of all nodes.
      const keys = Array.from({ length: 30 }, newKey)
      await Promise.all(keys.map((key) => store.load(key)))
      const [dead] = proxiesByUrl.get(cluster.url!)!
      dead!.abandon()
      const calls = await Promise.all(keys.map((key) => outcome(() => store.load(key))))
      const failed = calls.filter(({ error }) => error)
      expect(failed.length).toBeGreaterThan(0)
      expect(failed.length).toBeLessThan(30)
      expect(failed[0]!.error.message).toContain(
        'Redis (Cluster) failed to load a session: no answer within 5000 ms.',
      )
      const all = async () => (await Promise.all(keys.map(() => answers(store)))).every(Boolean)
      const started = performance.now()
      await expect.poll(all, { timeout: 20_000 }).toBe(true)
      expect(performance.now() - started).toBeLessThan(SOON)
      for (const key of keys) await store.load(key)
    },
  )
}

/** What a server says, how it comes to say that, and what the error makes of it. */
const refusals: Record<
  string,
  { set: (admin: Redis) => Promise<unknown>; says: string; /** It still reads. */ isRead?: true }
> = {
  MISCONF: {
    set: async (admin) => {
      await admin.config('SET', 'appendonly', 'no')
      await admin.config('SET', 'save', '3600 1')
      const [, folder] = (await admin.config('GET', 'dir')) as string[]
      mkdirSync(join(folder!, 'dump.rdb'))
      await admin.set('changed', '1')
      await admin.bgsave().catch(() => {})
      await expect.poll(() => admin.info('persistence')).toContain('rdb_last_bgsave_status:err')
    },
    says: 'MISCONF, it cannot write to its disk, and so takes no changes',
    isRead: true,
  },
  OOM: {
    set: (admin) => admin.config('SET', 'maxmemory', '1'),
    says: 'OOM, it has used up its maxmemory and evicts nothing',
    isRead: true,
  },
  NOREPLICAS: {
    set: (admin) => admin.config('SET', 'min-replicas-to-write', '1'),
    says: 'NOREPLICAS, it has fewer replicas than its min-replicas-to-write',
    isRead: true,
  },
  BUSY: {
    set: async (admin) => {
      await admin.config('SET', 'busy-reply-threshold', '50')
      void openAdmin(serverOf(admin))
        .eval('while true do end', 0)
        .catch(() => {})
      await expect.poll(() => admin.ping().catch(String)).toContain('BUSY')
      onTestFinished(async () => void (await admin.script('KILL')))
    },
    says: 'BUSY, it is busy with a script that does not end',
  },
  MASTERDOWN: {
    set: async (admin) => {
      await admin.config('SET', 'replica-serve-stale-data', 'no')
      await admin.replicaof('127.0.0.1', '1')
    },
    says: 'MASTERDOWN, it is a replica that has lost its master',
  },
  NOPERM: {
    set: (admin) => admin.call('ACL', 'SETUSER', 'default', '-@scripting'),
    says: 'NOPERM, it does not allow this user to run scripts (EVAL, EVALSHA) on these keys',
  },
}
for (const [word, { set, says, isRead }] of Object.entries(refusals)) {
  test(`${word} is said with what it means`, async () => {
    const server = await privateRedis.launch!()
    onTestFinished(() => server[Symbol.asyncDispose]())
    const store = await openStore(server.url)
    const secret = `a secret ${randomUUID()}`
    const key = newKey()
    const live = newKey()
    await store.create(live, { data: '1', expiresAt: later() })
    await set(openAdmin(server.url))
    const { error } = await outcome(() => store.create(key, { data: secret, expiresAt: later() }))
    expect(error.message).toContain(
      `Redis (127.0.0.1:${portOf(server.url)}) failed to create a session: ${says}.`,
    )
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(secret)
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(key)
    if (!isRead) return
    expect(await store.load(live)).toMatchObject({ data: '1' })
    expect(await store.load(key)).toBeUndefined()
  })
}

test('a user that may give the commands of the README and no others has what the engine does; one that lacks any is told so, and is not answered by a replica', async () => {
  const { master, replica } = await openPair()
  const admin = openAdmin(replica.url)
  const own = openAdmin(master.url)
  const key = newKey()
  await own.set(`session:${key}`, `${later()}:1`)
  await own.wait(1, 5000)
  const userOf = async (...rules: string[]) => {
    const user = `u${newKey()}`
    for (const to of [admin, own]) {
      await to.call('ACL', 'SETUSER', user, 'on', '>pw', '~session:*', '+info', '+select', ...rules)
    }
    return (of: string) => openStore(`redis://${user}:pw@127.0.0.1:${portOf(of)}`)
  }
  const needed = ['+eval', '+evalsha', '+get', '+set', '+del']
  const open = await userOf(...needed)
  const well = await open(master.url)
  expect(await well.load(key)).toMatchObject({ data: '1' })
  await well.save(key, { data: '2', expiresAt: later() }, '1')
  const asked = await open(replica.url)
  for (const one of [key, newKey()]) {
    const { error } = await outcome(() => asked.load(one))
    expect(error.message).toContain('READONLY, it is a replica')
  }
  for (const lacking of ['-set', '-del', '-get']) {
    const refused = await (await userOf(...needed, lacking))(replica.url)
    const { error } = await outcome(() => refused.load(lacking === '-del' ? newKey() : key))
    expect(error.message).toContain(
      'failed to load a session: it does not allow this user what the scripts do (GET, SET and DEL on these keys)',
    )
  }
})

test('a full Redis is read, and its sessions can be ended', async () => {
  const server = await privateRedis.launch!()
  onTestFinished(() => server[Symbol.asyncDispose]())
  const store = await openStore(server.url)
  const keys = [newKey(), newKey()] as const
  for (const key of keys) await store.create(key, { data: '1', expiresAt: later() })
  await openAdmin(server.url).config('SET', 'maxmemory', '1')
  expect(await store.load(keys[0])).toMatchObject({ data: '1' })
  await store.save(keys[0], { data: '', expiresAt: 0 }, '1')
  await store.delete(keys[1])
  for (const key of keys) expect(await store.load(key)).toBeUndefined()
})

test('a wrong password, or none, is said; the error holds no password', async () => {
  const server = await privateRedis.launch!()
  onTestFinished(() => server[Symbol.asyncDispose]())
  const port = portOf(server.url)
  const admin = openAdmin(server.url)
  await admin.config('SET', 'requirepass', 'the-right-one')
  for (const [credentials, says] of [
    [':the-wrong-one@', 'WRONGPASS, it does not know this user with this password'],
    ['', 'NOAUTH, it asks for a password'],
  ]) {
    const store = await openStore(`redis://${credentials}127.0.0.1:${port}`)
    const { error } = await outcome(() => store.load(newKey()))
    expect(error.message).toContain(`Redis (127.0.0.1:${port}) failed to load a session: ${says}.`)
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('the-wrong-one')
  }
  // Given the right one, the same store would go on.
  await admin.config('SET', 'requirepass', '')
})

test('a server that takes no scripts: the error says so, and repeats neither the key nor the data', async () => {
  // Managed servers rename commands away; theirs is then as this answer.
  const server = createServer((client) => {
    client.on('data', (chunk) => {
      for (const command of String(chunk).split(/(?=\*\d+\r\n)/)) {
        const [name = '', ...args] = command.split('\r\n').filter((line) => !/^[*$]/.test(line))
        if (/^(?:eval|evalsha)$/i.test(name)) {
          const some = args.slice(0, 6).map((arg) => `'${arg}'`)
          client.write(
            `-ERR unknown command '${name}', with args beginning with: ${some.join(' ')}\r\n`,
          )
        } else if (/^info$/i.test(name)) client.write('$0\r\n\r\n')
        else client.write('-ERR unknown command\r\n')
      }
    })
    client.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  const store = await openStore(ownClient(`redis://127.0.0.1:${port}`, { protocol: 2 }))
  const [key, data] = [newKey(), `a secret ${randomUUID()}`]
  const { error } = await outcome(() => store.create(key, { data, expiresAt: later() }))
  expect(error.message).toContain('are EVAL and EVALSHA disabled?')
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(key)
  expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(data)
})

test('what another application keeps under the key is a clear error, no crash and no session, and it is not written over', async () => {
  const admin = openAdmin(url!)
  const store = await openStore(url!)
  for (const [kind, put] of [
    ['no session', (key: string) => admin.set(key, '{"user":"ann"}')],
    ['no session', (key: string) => admin.set(key, '')],
    ['no session', (key: string) => admin.set(key, 'none:1')],
    ['no session', (key: string) => admin.set(key, 'none')],
    ['no session', (key: string) => admin.set(key, ':{}')],
    ['WRONGTYPE', (key: string) => admin.hset(key, 'user', 'ann')],
  ] as const) {
    const key = newKey()
    await put(`session:${key}`)
    const before = await admin.dump(`session:${key}`)
    const record = { data: '1', expiresAt: later() }
    for (const call of [
      () => store.load(key),
      () => store.create(key, record),
      () => store.save(key, record),
      () => store.save(key, record, '{}'),
      () => store.touch(key, later()),
      () => store.touch(key, later(), later()),
    ]) {
      const { error } = await outcome(call)
      expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
      expect(error.message).toContain(kind)
    }
    expect(await admin.dump(`session:${key}`)).toEqual(before)
    await store.delete(key)
    expect(await store.load(key)).toBeUndefined()
  }
})

const ways: Record<string, (way: Awaited<ReturnType<typeof proxied>>, store: Store) => unknown> = {
  'while all is well': (_way, store) => store.load(newKey()),
  'before the first connection': () => {},
  'while the server is cut off': async ({ proxy }, store) => {
    await store.load(newKey())
    proxy.cut()
    await setTimeout(500)
  },
  'while nobody answers': async ({ proxy }, store) => {
    await store.load(newKey())
    proxy.freeze(true)
  },
  'where nobody ever answered': ({ proxy }) => proxy.freeze(true),
}
for (const [when, prepare] of Object.entries(ways)) {
  test(`close() ${when} returns within 5 s, twice, and calls under way and later ones end`, async () => {
    const way = await proxied(url!)
    const store = redisStore(way.url)
    await prepare(way, store)
    const underWay = [outcome(() => store.load(newKey())), outcome(() => store.load(newKey()))]
    const { error, ms } = await outcome(() => store.close!())
    expect(error).toBeUndefined()
    expect(ms).toBeLessThan(SOON)
    const again = await outcome(() => store.close!())
    expect(again.error).toBeUndefined()
    expect(again.ms).toBeLessThan(AT_ONCE)
    await Promise.all(underWay)
    const late = await outcome(() => store.load(newKey()))
    expect(late.error).toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect(late.ms).toBeLessThan(AT_ONCE)
  })
}

test('close() waits for a save that is under way, and the save is made', async () => {
  const store = redisStore(url!)
  const key = newKey()
  const saving = store.create(key, { data: '1', expiresAt: later() })
  await store.close!()
  expect(await saving).toBe(key)
  expect(await openAdmin(url!).get(`session:${key}`)).toMatch(/:1$/)
})

test('after close() nothing holds the process open, also while the server is stopped', async () => {
  const program = `
    import { redisStore } from ${JSON.stringify(new URL('redis.ts', import.meta.url).href)}
    const store = redisStore(${JSON.stringify(url)})
    await store.load('k'.repeat(32))
    console.log('loaded')
    process.stdin.once('data', async () => {
      process.stdin.destroy()
      store.load('k'.repeat(32)).catch(() => {})
      await store.close()
      console.log('closed')
    })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  service!.freeze(true)
  try {
    child.stdin.write('close\n')
    await once(child.stdout, 'data')
    const closed = performance.now()
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(performance.now() - closed).toBeLessThan(AT_ONCE)
  } finally {
    service!.freeze(false)
  }
})

// What the Redis engine does while a server fails over, stops, falls silent and goes: the same on every client.
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import type { SessionStore } from '@coatcheck/core'
import { Redis } from 'ioredis'
import { afterAll, expect, onTestFinished } from 'vitest'
import { testWith } from './needs.ts'
import { openProxy } from './proxy.ts'
import { redis, type Service } from './services.ts'
import { unlessRelated } from './share.ts'

/** Servers of the tests' own, whatever the environment names: they are stopped. */
const { variable: _variable, ...privateRedis } = redis
export { privateRedis }

export const later = () => Date.now() + 60_000
export const newKey = () => randomUUID().replaceAll('-', '')
/** What takes up to 5 s is over within this, in ms, on a busy machine too: a second wait of 5 s would not be. */
export const SOON = 9500
/** What waits for nothing is over within this, in ms: who waits for an answer or a connection waits for 5 s. */
export const AT_ONCE = 4800

export const portOf = (of: string) => Number(new URL(of).port)

/** A connection of the test's own. */
export function openAdmin(of: string): Redis {
  const admin = new Redis(of, { maxRetriesPerRequest: 0 }).on('error', () => {})
  onTestFinished(() => admin.disconnect())
  return admin
}

export async function proxied(of: string) {
  const proxy = await openProxy('127.0.0.1', portOf(of))
  onTestFinished(() => proxy.cut())
  return { proxy, url: `redis://127.0.0.1:${proxy.port}` }
}

/** How a call ends: the error's message, or '', and how long it took in ms. */
export async function outcome(call: () => unknown): Promise<{ error: any; ms: number }> {
  const started = performance.now()
  let error: unknown
  try {
    await call()
  } catch (caught) {
    error = caught
  }
  return { error, ms: performance.now() - started }
}

/** Saves a session again and again, as requests that come every 20 ms; resolves to how many failed, how and until when. */
export function underLoad(store: SessionStore) {
  const key = newKey()
  const failures: { at: number; message: string }[] = []
  const pending = new Set<Promise<void>>()
  const over = new AbortController()
  let sent = 0
  const isOver = () => over.signal.aborted && sent > 50
  const request = async () => {
    const n = sent++
    const { error } = await outcome(async () => {
      if (n === 0) await store.create(key, { data: '0', expiresAt: later() })
      else if (n % 2) await store.save(key, { data: `${n}`, expiresAt: later() })
      else await store.load(key)
    })
    if (error) {
      expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
      failures.push({ at: performance.now(), message: error.message })
    }
  }
  const begun = request()
  const loop = (async () => {
    await begun
    while (!isOver()) {
      const one = request()
      pending.add(one)
      void one.then(() => pending.delete(one))
      await setTimeout(20)
    }
    await Promise.all(pending)
  })()
  return {
    key,
    failures,
    /** The session is there, and a replica has had the time to hear of it: what it has not heard of is lost. */
    async begun() {
      await begun
      await setTimeout(1000)
    },
    async end() {
      over.abort()
      await loop
      return { sent, failures }
    },
  }
}

export const answers = async (store: SessionStore) =>
  !(await outcome(() => store.load(newKey()))).error

/** A master and a replica of it that are to change places. */
export async function openPair(): Promise<{ master: Service; replica: Service }> {
  const [master, replica] = await Promise.all([privateRedis.launch!(), privateRedis.launch!()])
  onTestFinished(async () => {
    for (const one of [master, replica]) await one[Symbol.asyncDispose]()
  })
  const admin = openAdmin(replica.url)
  // A master waits 5 s for more replicas, to serve them together.
  await openAdmin(master.url).config('SET', 'repl-diskless-sync-delay', '0')
  await admin.replicaof('127.0.0.1', portOf(master.url))
  await expect
    .poll(() => admin.info('replication'), { timeout: 20_000 })
    .toContain('master_link_status:up')
  return { master, replica }
}

/** What a client can, besides the calls. */
export interface Abilities {
  readonly renew?: boolean
  readonly tell?: boolean
  readonly choose?: boolean
}

/** How a store on one client is opened; what is opened for it is closed at the test's end. */
export type OpenStore = (url: string) => Promise<SessionStore>

/**
 * Registers a test of each fault for one client.
 * @param whose The client, in the tests' titles.
 * @param can What it can. `renew`: the engine has it connect anew. `tell`: it says at once that it has no connection, and why. `choose`: it
 * does not connect to replicas.
 * @param place How errors name its server. Default by the host and port.
 */
export async function proveFaults(
  whose: string,
  openStore: OpenStore,
  can: Abilities,
  place = (port: number): string => `127.0.0.1:${port}`,
): Promise<void> {
  const { url, service, test } = await testWith(privateRedis)
  afterAll(() => service?.[Symbol.asyncDispose]())
  const renewing = can.renew ? test : () => {}
  const long = unlessRelated(whose, test)

  renewing(
    `when master and replica change places and the address points to the new one, no request fails, on ${whose}`,
    async () => {
      const { master, replica } = await openPair()
      const way = await proxied(master.url)
      const store = await openStore(way.url)
      const load = underLoad(store)
      await load.begun()
      await openAdmin(replica.url).replicaof('NO', 'ONE')
      way.proxy.pointTo(portOf(replica.url))
      await openAdmin(master.url).replicaof('127.0.0.1', portOf(replica.url))
      await setTimeout(1500)
      const { sent, failures } = await load.end()
      expect(sent).toBeGreaterThan(50)
      expect(failures).toEqual([])
      expect(await openAdmin(replica.url).get(`session:${load.key}`)).toMatch(/:\d+$/)
    },
  )

  renewing(
    `while there is a replica alone every save says READONLY, it is connected to once a second, and saves go well once it is the master, on ${whose}`,
    async () => {
      const { master, replica } = await openPair()
      const admin = openAdmin(replica.url)
      const connections = async () =>
        Number(/total_connections_received:(\d+)/.exec(await admin.info('stats'))![1])
      const store = await openStore(replica.url)
      const before = await connections()
      const started = performance.now()
      const messages = new Set<string>()
      while (performance.now() - started < 3000) {
        const { error } = await outcome(() =>
          store.create(newKey(), { data: '1', expiresAt: later() }),
        )
        messages.add(error.message)
        await setTimeout(10)
      }
      expect([...messages]).toEqual([
        expect.stringContaining(
          `Redis (${place(portOf(replica.url))}) failed to create a session: READONLY, it is a replica, and not the master.`,
        ),
      ])
      const seconds = (performance.now() - started) / 1000
      expect((await connections()) - before).toBeLessThanOrEqual(seconds + 3)
      await master.stop()
      await admin.replicaof('NO', 'ONE')
      const { error } = await outcome(() =>
        store.create(newKey(), { data: '1', expiresAt: later() }),
      )
      expect(error).toBeUndefined()
    },
  )

  test(`a master that has become a replica, and is emptied for that, neither ends sessions nor shows old ones, on ${whose}`, async () => {
    const { master, replica } = await openPair()
    const store = await openStore(replica.url)
    const [live, ended] = [newKey(), newKey()]
    const record = { data: '1', expiresAt: later() }
    const other = await openStore(master.url)
    await other.create(ended, record)
    await openAdmin(master.url).wait(1, 5000)
    for (const call of [
      () => store.load(live),
      () => store.load(ended),
      () => store.create(ended, record),
      () => store.save(live, record, '1'),
      () => store.save(ended, record, '2'),
      () => store.touch(live, later()),
      () => store.touch(ended, later(), 5),
      () => store.delete(ended),
    ]) {
      const { error } = await outcome(call)
      expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
      if (!can.choose) expect(error.message).toContain('READONLY, it is a replica')
    }
  })

  renewing(
    `a connection that is dead while nobody hangs up costs one call 5 s, and is made anew, on ${whose}`,
    async () => {
      const way = await proxied(url!)
      const store = await openStore(way.url)
      await store.load(newKey())
      way.proxy.abandon()
      const { error, ms } = await outcome(() => store.load(newKey()))
      expect(error.message).toContain(
        `Redis (${place(way.proxy.port)}) failed to load a session: no answer within 5000 ms.`,
      )
      expect(ms).toBeLessThan(SOON)
      const next = await outcome(() => store.load(newKey()))
      expect(next.error).toBeUndefined()
      expect(next.ms).toBeLessThan(AT_ONCE)
    },
  )

  long(
    `where nothing goes through for 12 s, requests fail within 5 s and all is well within 5 s afterwards, on ${whose}`,
    async () => {
      const way = await proxied(url!)
      const store = await openStore(way.url)
      await store.load(newKey())
      way.proxy.freeze(true)
      const started = performance.now()
      while (performance.now() - started < 12_000) {
        const { error, ms } = await outcome(() => store.load(newKey()))
        expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
        expect(ms).toBeLessThan(SOON)
      }
      way.proxy.freeze(false)
      const back = performance.now()
      await expect.poll(() => answers(store), { timeout: 20_000 }).toBe(true)
      expect(performance.now() - back).toBeLessThan(SOON)
    },
  )

  long(
    `a server that is stopped (SIGSTOP) for 12 s: requests fail within 5 s, and all is well at once when it goes on, on ${whose}`,
    async () => {
      const store = await openStore(url!)
      await store.load(newKey())
      service!.freeze(true)
      try {
        const started = performance.now()
        while (performance.now() - started < 12_000) {
          const { error, ms } = await outcome(() => store.load(newKey()))
          expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
          expect(ms).toBeLessThan(SOON)
        }
      } finally {
        service!.freeze(false)
      }
      const back = performance.now()
      await expect.poll(() => answers(store), { timeout: 20_000 }).toBe(true)
      expect(performance.now() - back).toBeLessThan(AT_ONCE)
    },
  )

  test(`a server that is killed and started again: requests fail${can.tell ? ' at once and say why' : ''}, and all is well within 5 s, on ${whose}`, async () => {
    const store = await openStore(url!)
    const load = underLoad(store)
    await load.begun()
    await service!.stop('SIGKILL')
    await setTimeout(3000)
    const { error, ms } = await outcome(() => store.load(newKey()))
    if (can.tell) {
      expect(error.message).toContain(`connect ECONNREFUSED 127.0.0.1:${portOf(url!)}`)
      expect(ms).toBeLessThan(AT_ONCE)
    } else {
      expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
      expect(ms).toBeLessThan(SOON)
    }
    await service!.start()
    const back = performance.now()
    await expect.poll(() => answers(store), { timeout: 20_000 }).toBe(true)
    expect(performance.now() - back).toBeLessThan(SOON)
    await load.end()
    expect(await store.load(load.key)).toBeDefined()
  })
}

// Django itself as the judge: a real site beside a real Express application, on the same sessions.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Session, Sessions } from '@coatcheck/core'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { session } from '@coatcheck/express'
import Database from 'better-sqlite3'
import express, { type Request } from 'express'
import { Redis } from 'ioredis'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { afterAll, describe, expect, test, type TestContext } from 'vitest'
import { need } from '../../../testing/needs.ts'
import { startProgram, stopPrograms, type Program } from '../../../testing/programs.ts'
import { mariadb, postgres, redis, type Kind, type Service } from '../../../testing/services.ts'
import {
  DJANGO_TABLE,
  djangoAuthHash,
  djangoCache,
  djangoCachedDb,
  djangoDb,
  djangoFile,
  djangoSessions,
  djangoSignedCookies,
  getDjangoUser,
  isDjangoUserCurrent,
  loads,
  setDjangoUser,
  type DjangoEngine,
} from './index.ts'
import { parse, stringify } from './python-json.ts'

const secretKey = 'the secret of a site that lives for one test, and no longer'
const SITE = join(import.meta.dirname, 'fixtures/site.py')

/** A Python that has the modules; undefined if there is none. */
function pythonWith(...modules: string[]): string | undefined {
  return ['/usr/bin/python3', 'python3'].find(
    (python) =>
      spawnSync(python, ['-c', `import ${modules.join()}`], { stdio: 'ignore' }).status === 0,
  )
}

/** One of Django's engines, on both sides. */
interface Place {
  readonly settings: Record<string, unknown>
  readonly engine: DjangoEngine
  close?(): unknown
}

interface Engine {
  /** Python's modules, and Debian's packages that have them. */
  readonly modules: readonly string[]
  readonly packages: string
  readonly server?: Kind
  open(folder: string, url: string): Place | Promise<Place>
  /** The data is in the cookie: a copy of it cannot be made invalid. */
  readonly stateless?: boolean
  /** Django reads a cache first. */
  readonly cached?: boolean
  /** Django leaves an expiry in seconds to the browser. */
  readonly lenient?: boolean
  /** Django and Node can both remove what has expired: this ages every session there is. */
  age?(folder: string, url: string): unknown
}

const databases = (engine: string, rest: object) => ({
  DATABASES: { default: { ENGINE: `django.db.backends.${engine}`, ...rest } },
})
const onSqlite = (folder: string) =>
  databases('sqlite3', { NAME: join(folder, 'db.sqlite3'), OPTIONS: { timeout: 30 } })
const backend = (name: string) => ({ SESSION_ENGINE: `django.contrib.sessions.backends.${name}` })
const cacheAt = (url: string, options: object) => ({
  CACHES: {
    default: { BACKEND: 'django_redis.cache.RedisCache', LOCATION: `${url}/1`, OPTIONS: options },
  },
})
const sqliteAt = (folder: string) =>
  sqliteStore(join(folder, 'db.sqlite3'), { table: DJANGO_TABLE, busyTimeout: 30_000 })

const engines: Record<string, Engine> = {
  'db on SQLite': {
    modules: ['django'],
    packages: 'python3-django',
    open: (folder) => ({
      settings: { ...onSqlite(folder), ...backend('db') },
      engine: djangoDb(sqliteAt(folder)),
    }),
    age(folder) {
      const database = new Database(join(folder, 'db.sqlite3'))
      database.exec(`UPDATE django_session SET expire_date = '2020-01-01 00:00:00'`)
      database.close()
    },
  },
  'db on PostgreSQL': {
    modules: ['django', 'psycopg2'],
    packages: 'python3-django python3-psycopg2',
    server: postgres,
    open(_folder, url) {
      const { hostname, port, username, pathname } = new URL(url)
      const at = { NAME: pathname.slice(1), HOST: hostname, PORT: port, USER: username }
      return {
        settings: { ...databases('postgresql', at), ...backend('db'), TIME_ZONE: 'Asia/Kolkata' },
        engine: djangoDb(postgresStore(url, { table: DJANGO_TABLE })),
      }
    },
    async age(_folder, url) {
      const client = new pg.Client({ connectionString: url })
      await client.connect()
      await client.query(`UPDATE django_session SET expire_date = '2020-01-01'`)
      await client.end()
    },
  },
  'db on MariaDB': {
    modules: ['django', 'MySQLdb'],
    packages: 'python3-django python3-mysqldb',
    server: mariadb,
    async open(_folder, url) {
      const { hostname, port, username } = new URL(url)
      const connection = await mysql.createConnection(url)
      await connection.query('CREATE DATABASE IF NOT EXISTS django CHARACTER SET utf8mb4')
      await connection.end()
      const at = { NAME: 'django', HOST: hostname, PORT: port, USER: username }
      return {
        settings: { ...databases('mysql', at), ...backend('db') },
        engine: djangoDb(mysqlStore(djangoUrl(url), { table: DJANGO_TABLE })),
      }
    },
    async age(_folder, url) {
      const connection = await mysql.createConnection(djangoUrl(url))
      await connection.query(`UPDATE django_session SET expire_date = '2020-01-01'`)
      await connection.end()
    },
  },
  file: {
    modules: ['django'],
    packages: 'python3-django',
    lenient: true,
    open: (folder) => ({
      settings: { ...onSqlite(folder), ...backend('file'), SESSION_FILE_PATH: folder },
      engine: djangoFile(folder),
    }),
    age(folder) {
      for (const name of readdirSync(folder)) {
        if (name.startsWith('sessionid')) utimesSync(join(folder, name), 1, 1)
      }
    },
  },
  signed_cookies: {
    modules: ['django'],
    packages: 'python3-django',
    stateless: true,
    lenient: true,
    open: (folder) => ({
      settings: { ...onSqlite(folder), ...backend('signed_cookies') },
      engine: djangoSignedCookies(),
    }),
  },
  'cache on Redis, JSON': {
    modules: ['django', 'django_redis'],
    packages: 'python3-django python3-django-redis',
    server: redis,
    open(folder, url) {
      const client = new Redis(`${url}/1`)
      const json = { SERIALIZER: 'django_redis.serializers.json.JSONSerializer' }
      return {
        settings: { ...onSqlite(folder), ...cacheAt(url, json), ...backend('cache') },
        engine: djangoCache(client),
        close: () => client.disconnect(),
      }
    },
  },
  'cached_db on SQLite and Redis, pickled': {
    modules: ['django', 'django_redis'],
    packages: 'python3-django python3-django-redis',
    server: redis,
    cached: true,
    open(folder, url) {
      const client = new Redis(`${url}/1`)
      return {
        settings: { ...onSqlite(folder), ...cacheAt(url, {}), ...backend('cached_db') },
        engine: djangoCachedDb(sqliteAt(folder), client),
        close: () => client.disconnect(),
      }
    },
  },
}
const djangoUrl = (url: string) => Object.assign(new URL(url), { pathname: '/django' }).href

interface State {
  data: Record<string, unknown>
  age: number
  browser: boolean
  user: string | null
}

/** The Node side: the same routes as the Django site has. */
async function startExpress(sessions: Sessions, userHash: () => string): Promise<Server> {
  const app = express()
  app.use(session(sessions), express.text({ type: '*/*' }))
  const of = (request: Request) => request.session as unknown as Session<any>
  const routes: Record<string, (visitor: Session<any>, request: Request) => void> = {
    state() {},
    put: (visitor, request) => visitor.update(parse(String(request.body)) as object),
    add: (visitor, { query }) =>
      visitor.update('cart', (cart: number[] = []) => [...cart, Number(query['product'])]),
    'add-own': (visitor, { query }) =>
      visitor.update('node', (node: number[] = []) => [...node, Number(query['product'])]),
    expire: (visitor, { query }) => visitor.setExpiry(Number(query['seconds'])),
    'expire-at': (visitor, { query }) => {
      visitor.set('dated', true)
      visitor.setExpiry(new Date(String(query['date'])))
    },
    cycle: (visitor) => visitor.cycleKey(),
    flush: (visitor) => visitor.flush(),
    login: (visitor) =>
      setDjangoUser(visitor, {
        id: '1',
        backend: 'django.contrib.auth.backends.ModelBackend',
        hash: userHash(),
      }),
  }
  for (const [path, run] of Object.entries(routes)) {
    app.all(`/${path}`, async (request, response) => {
      const visitor = of(request)
      run(visitor, request)
      // Some work, so that others come in between the load and the save.
      if (path === 'add-own') await setTimeout(3)
      const state: State = {
        data: Object.fromEntries(visitor.entries()),
        age: visitor.getExpiryAge(),
        browser: visitor.getExpireAtBrowserClose(),
        user: getDjangoUser(visitor)?.id ?? null,
      }
      response.type('json').send(stringify(state))
    })
  }
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

/** A browser that visits both sites: cookies are a host's, whatever the port. */
class Visitor {
  cookie: string | undefined
  readonly #sites: Record<'django' | 'node', string>

  constructor(sites: Record<'django' | 'node', string>, cookie?: string) {
    this.#sites = sites
    this.cookie = cookie
  }

  async #ask(site: 'django' | 'node', path: string, body?: unknown): Promise<State> {
    const response = await fetch(`${this.#sites[site]}/${path}`, {
      headers: this.cookie ? { cookie: this.cookie } : {},
      ...(body === undefined ? {} : { method: 'POST', body: stringify(body) }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${site}/${path}: ${response.status} ${text}`)
    for (const line of response.headers.getSetCookie()) {
      const value = line.split(';')[0]!
      this.cookie = /^sessionid=("")?$/.test(value) ? undefined : value
    }
    return parse(text) as State
  }

  django = (path: string, body?: unknown) => this.#ask('django', path, body)
  node = (path: string, body?: unknown) => this.#ask('node', path, body)
}

interface Pair {
  visitor(cookie?: string): Visitor
  site: string
  sessions: Sessions
  python: string
  environment: Record<string, string>
  folder: string
  url: string
  password(): Promise<string>
}

for (const [name, engine] of Object.entries(engines)) {
  describe(name, async () => {
    const python = pythonWith(...engine.modules)
    const variable = engine.server?.variable
    const given = variable && process.env[variable]
    const service: Service | undefined =
      python && given === undefined ? await engine.server?.launch?.() : undefined
    const url = given ?? service?.url
    let pair: Promise<Pair> | undefined
    const closing: (() => unknown)[] = []

    async function start(): Promise<Pair> {
      const folder = mkdtempSync(join(tmpdir(), 'coatcheck-live-'))
      closing.push(() => rmSync(folder, { recursive: true, force: true }))
      const place = await engine.open(folder, url ?? '')
      const config = { SECRET_KEY: secretKey, ...place.settings }
      const environment = { SITE: JSON.stringify(config), PYTHONDONTWRITEBYTECODE: '1' }
      const site: Program = await startProgram(SITE, ['serve'], environment, [python!])
      const sessions = djangoSessions({ secretKey, engine: place.engine })
      const password = async () =>
        ((await (await fetch(`${site.url}/password`)).json()) as { password: string }).password
      const hash = djangoAuthHash(await password(), secretKey)
      const server = await startExpress(sessions, () => hash)
      closing.push(async () => {
        server.closeAllConnections()
        server.close()
        await site.stop()
        await sessions.close()
        await place.close?.()
      })
      const sites = {
        django: site.url,
        node: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      }
      return {
        visitor: (cookie) => new Visitor(sites, cookie),
        site: site.url,
        sessions,
        python: python!,
        environment,
        folder,
        url: url ?? '',
        password,
      }
    }

    afterAll(async () => {
      for (const close of closing.toReversed()) await close()
      await stopPrograms()
      await service?.[Symbol.asyncDispose]()
    })

    const live = (title: string, run: (pair: Pair) => Promise<void>) =>
      test(title, async (context: TestContext) => {
        need(context, python, 'Django', `apt-get install ${engine.packages}`)
        if (engine.server) need(context, url, engine.server.name, engine.server.how)
        await run(await (pair ??= start()))
      })

    live(
      'who logs in on Django is logged in on Node, until the password changes',
      async ({ visitor, sessions, password }) => {
        const ann = visitor()
        expect((await ann.django('login')).user).toBe('ann')
        expect((await ann.node('state')).user).toBe('1')
        const user = getDjangoUser(await sessions.open(ann.cookie))!
        expect(isDjangoUserCurrent(user, await password(), { secretKey })).toBe(true)
        expect(isDjangoUserCurrent(user, 'another', { secretKey })).toBe(false)
      },
    )

    live(
      'who logs in on Node is logged in on Django, with a new key and the cart',
      async ({ visitor }) => {
        const ann = visitor()
        await ann.node('add?product=7')
        const before = ann.cookie
        await ann.node('login')
        expect(ann.cookie).not.toBe(before)
        expect(await ann.django('state')).toMatchObject({ user: 'ann', data: { cart: [7] } })
        if (!engine.stateless) {
          expect((await visitor(before).django('state')).data).toEqual({})
          expect((await visitor(before).node('state')).data).toEqual({})
        }
      },
    )

    live('a cart filled by turns holds everything', async ({ visitor }) => {
      const ann = visitor()
      await ann.django('add?product=1')
      await ann.node('add?product=2')
      await ann.django('add?product=3')
      await ann.node('add?product=4')
      expect((await ann.django('state')).data).toEqual({ cart: [1, 2, 3, 4] })
      expect((await ann.node('state')).data).toEqual({ cart: [1, 2, 3, 4] })
    })

    const values = {
      text: 'नमस्ते 🌍 é \u2028 "\\/<>&',
      numbers: [0, -7, 1.5, -0.25, 1e21, 12_345_678_901_234, 12_345_678_901_234_567_890n],
      nested: { a: { b: [true, false, null, {}, []] } },
      long: 'lorem ipsum '.repeat(100),
      __proto__: { polluted: 'no' },
    }
    Object.defineProperty(values, '__proto__', { value: 'a key like any other', enumerable: true })

    live('every value survives, both ways', async ({ visitor }) => {
      const [ann, ben] = [visitor(), visitor()]
      await ann.django('put', values)
      expect((await ann.node('state')).data).toEqual(values)
      await ben.node('put', values)
      expect((await ben.django('state')).data).toEqual(values)
      // What Node has read and written again is what Django wrote.
      await ann.node('add?product=1')
      expect((await ann.django('state')).data).toEqual({ ...values, cart: [1] })
    })

    live('flush and logout on either side are so on both', async ({ visitor }) => {
      for (const [one, other] of [
        ['node', 'django'],
        ['django', 'node'],
      ] as const) {
        const ann = visitor()
        await ann.django('login')
        const copy = visitor(ann.cookie)
        await ann[one]('flush')
        expect((await ann[other]('state')).data).toEqual({})
        expect((await ann[one]('state')).data).toEqual({})
        // A signed cookie that somebody has copied is good until it expires, on either side.
        if (!engine.stateless) {
          expect(await copy[other]('state')).toMatchObject({ data: {}, user: null })
          expect(await visitor(copy.cookie)[one]('state')).toMatchObject({ data: {}, user: null })
        }
      }
    })

    live('an expiry set on one side holds on the other', async ({ visitor }) => {
      const [ann, ben, cid] = [visitor(), visitor(), visitor()]
      await ann.django('add?product=1')
      await ann.django('expire?seconds=600')
      expect(await ann.node('state')).toMatchObject({ age: 600, browser: false })
      await ben.node('add?product=1')
      await ben.node('expire?seconds=600')
      expect(await ben.django('state')).toMatchObject({ age: 600, browser: false })
      await cid.node('add?product=1')
      await cid.node('expire?seconds=0')
      expect((await cid.django('state')).browser).toBe(true)

      await ann.django('expire?seconds=1')
      await ben.node('expire?seconds=1')
      const copies = [visitor(ann.cookie), visitor(ben.cookie)]
      await setTimeout(1200)
      for (const copy of copies) {
        expect((await visitor(copy.cookie).node('state')).data).toEqual({})
        if (!engine.lenient) expect((await visitor(copy.cookie).django('state')).data).toEqual({})
      }
    })

    live(
      'a date of expiry holds on both sides; before 4.1 Django itself can store none',
      async ({ visitor, site }) => {
        const [ann, ben] = [visitor(), visitor()]
        const end = new Date(Math.floor(Date.now() / 1000) * 1000 + 600_000)
        const date = encodeURIComponent(end.toISOString().replace('Z', '+00:00'))
        await ann.node('add?product=1')
        const { dates } = (await (await fetch(`${site}/version`)).json()) as { dates: boolean }
        if (!dates) {
          // Redis' JSON, unlike the sessions' own, writes dates, which this Django then cannot use.
          if (name !== 'cache on Redis, JSON') {
            await expect(ann.django(`expire-at?date=${date}`)).rejects.toThrow(/: 500 /)
          }
          return
        }
        await ann.django(`expire-at?date=${date}`)
        // A zone that was taken for another is half an hour at least.
        expect(Math.abs((await ann.node('state')).age - 600)).toBeLessThanOrEqual(60)
        await ben.node(`expire-at?date=${date}`)
        expect(Math.abs((await ben.django('state')).age - 600)).toBeLessThanOrEqual(60)
        await ben.django('add?product=2')
        expect((await ben.node('state')).data).toMatchObject({ cart: [2] })
      },
    )

    live("a key that one side cycles is the other side's too", async ({ visitor }) => {
      for (const [one, other] of [
        ['node', 'django'],
        ['django', 'node'],
      ] as const) {
        const ann = visitor()
        await ann.django('add?product=1')
        const before = ann.cookie
        await ann[one]('cycle')
        expect((await ann[other]('state')).data).toEqual({ cart: [1] })
        if (!engine.stateless) {
          expect(ann.cookie).not.toBe(before)
          expect((await visitor(before)[other]('state')).data).toEqual({})
        }
      }
    })

    if (engine.age) {
      live(
        "Django's clearsessions and clearExpired remove the same",
        async ({ visitor, sessions, python: binary, environment, folder, url: at }) => {
          const clearSessions = () => {
            const { status, stderr } = spawnSync(binary, [SITE, 'clearsessions'], {
              env: { ...process.env, ...environment },
              encoding: 'utf8',
            })
            expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
          }
          const some = async () => {
            for (let n = 0; n < 3; n++) {
              await visitor().django(`add?product=${n}`)
              await visitor().node(`add?product=${n}`)
            }
          }
          await some()
          await engine.age!(folder, at)
          const ann = visitor()
          await ann.django('add?product=9')
          expect(await sessions.store.clearExpired!()).toBeGreaterThanOrEqual(6)
          await some()
          await engine.age!(folder, at)
          await ann.node('state')
          const ben = visitor()
          await ben.node('add?product=9')
          clearSessions()
          expect(await sessions.store.clearExpired!()).toBe(0)
          expect((await ben.django('state')).data).toEqual({ cart: [9] })
        },
      )
    }

    if (!engine.stateless) {
      live(
        '50 requests at once to Node, while 50 to Django look at the session: nothing is lost',
        async ({ visitor }) => {
          const ann = visitor()
          await ann.django('login')
          const many = Array.from({ length: 50 }, (_, n) => n)
          await Promise.all(
            many.flatMap((n) => [
              visitor(ann.cookie).node(`add-own?product=${n}`),
              visitor(ann.cookie).django('state'),
            ]),
          )
          expect((await ann.django('state')).user).toBe('ann')
          const { data } = await ann.node('state')
          expect((data['node'] as number[]).toSorted((a, b) => a - b)).toEqual(many)
          // Django's cache may still hold what Django read from the database just before a change: its own race, which ends
          // with the next change of the session.
          if (!engine.cached) expect((await ann.django('state')).data).toEqual(data)
        },
      )
    }

    if (name === 'db on SQLite') {
      live(
        '50 changes on each side at once: Node never takes away what Django has written, nor its own',
        async ({ visitor, folder }) => {
          const database = new Database(join(folder, 'db.sqlite3'))
          database.exec(`
          CREATE TABLE history (old text, new text);
          CREATE TRIGGER keep_history AFTER UPDATE ON django_session BEGIN
            INSERT INTO history VALUES (old.session_data, new.session_data);
          END`)
          const ann = visitor()
          await ann.node('add-own?product=-1')
          await Promise.all(
            Array.from({ length: 50 }, (_, n) => [
              visitor(ann.cookie).node(`add-own?product=${n}`),
              visitor(ann.cookie).django(`add?product=${n}`),
            ]).flat(),
          )
          const read = (text: string) =>
            loads(text, { secretKey, salt: 'django.contrib.sessions.SessionStore' }) as {
              node?: number[]
              cart?: number[]
            }
          const history = database.prepare('SELECT old, new FROM history').all() as {
            old: string
            new: string
          }[]
          database.close()
          const byNode = new Set<number>()
          let byDjango = 0
          for (const change of history) {
            const [before, after] = [read(change.old), read(change.new)]
            const added = (after.node ?? []).filter((product) => !before.node?.includes(product))
            const fromDjango = (after.cart ?? []).some((product) => !before.cart?.includes(product))
            if (fromDjango) {
              byDjango++
              continue
            }
            // A change of Node's: one product more, or several that have waited together, and all else as it was.
            expect(added).not.toEqual([])
            expect(after.node).toEqual([...(before.node ?? []), ...added])
            expect(after.cart).toEqual(before.cart)
            for (const product of added) byNode.add(product)
          }
          expect(byNode.size).toBe(50)
          expect(byDjango).toBeGreaterThan(0)
        },
      )
    }
  })
}

describe('a cache that pickles', async () => {
  const python = pythonWith('django', 'django_redis')
  const service = python && !process.env['REDIS_URL'] ? await redis.launch?.() : undefined
  const url = process.env['REDIS_URL'] ?? service?.url
  afterAll(async () => service?.[Symbol.asyncDispose]())

  test('is refused in plain words', async (context) => {
    need(context, python, 'Django', 'apt-get install python3-django python3-django-redis')
    need(context, url, redis.name, redis.how)
    const folder = mkdtempSync(join(tmpdir(), 'coatcheck-live-'))
    const client = new Redis(`${url}/2`)
    const settings = {
      SECRET_KEY: secretKey,
      ...onSqlite(folder),
      CACHES: { default: { BACKEND: 'django_redis.cache.RedisCache', LOCATION: `${url}/2` } },
      ...backend('cache'),
    }
    const environment = { SITE: JSON.stringify(settings), PYTHONDONTWRITEBYTECODE: '1' }
    const site = await startProgram(SITE, ['serve'], environment, [python!])
    const response = await fetch(`${site.url}/add?product=1`)
    const cookie = response.headers.getSetCookie()[0]!.split(';')[0]!
    const sessions = djangoSessions({ secretKey, engine: djangoCache(client) })
    await expect(async () => sessions.open(cookie)).rejects.toMatchObject({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(
        /is not JSON: Django pickles .* cached_db, which works with any/,
      ),
    })
    await site.stop()
    client.disconnect()
    rmSync(folder, { recursive: true })
  })
})

// One suite for all adapters: a real HTTP server, a client with a cookie jar, the same handlers, over several engines.
import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import {
  createSessions,
  getSession,
  SessionStoreError,
  type Session,
  type Sessions,
  type SessionsOptions,
  type SessionStore,
} from '@coatcheck/core'
import type { AdapterOptions } from '@coatcheck/core/adapter'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import { CookieJar } from 'tough-cookie'
import { afterAll, afterEach, describe, expect, test as plainTest } from 'vitest'
import { startCachingProxy } from './caching-proxy.ts'
import { controlled, signal } from './controlled-store.ts'
import { testWith } from './needs.ts'
import { redis } from './services.ts'
import { slow } from './wrappers.ts'

/** What a handler of the suite sees of a request, whatever the framework. */
export interface Visit {
  /** The session, as the framework's users find it. */
  session: Session<any>
  /** The same by another name, where a second manager is at work. */
  other: Session<any>
  /** What `getSession` takes on this framework. */
  request: object
  url: URL
}

/** What it answers. */
export interface Reply {
  status?: number
  headers?: Record<string, string | string[]>
  body?: string | AsyncIterable<string>
}

/** How one manager is mounted. */
export interface Mounted {
  options: SessionsOptions | Sessions<any>
  adapter?: AdapterOptions<any>
}

/** Serves a handler for every path on a framework, behind the managers; not listening yet. */
export type Build = (
  managers: readonly Mounted[],
  handle: (visit: Visit) => Reply | Promise<Reply>,
) => Server | Promise<Server>

const SECRET = 'a secret for tests, of 32 characters or more'
const engines: Record<string, (urls: { redis: string }) => SessionStore> = {
  sqlite() {
    const store = sqliteStore(':memory:')
    store.migrate()
    return store
  },
  'signed-cookie': () => signedCookieStore({ secrets: [SECRET] }),
  lru: () => lruStore(),
  redis: (urls) => redisStore(urls.redis, { prefix: `${crypto.randomUUID()}:` }),
}

/** Registers the suite for an adapter, over every engine. */
export async function proveAdapter(name: string, build: Build): Promise<void> {
  const server = await testWith(redis)
  const closing: (() => unknown)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close()
  })
  afterAll(() => server.service?.[Symbol.asyncDispose]())

  for (const [engine, make] of Object.entries(engines)) {
    const test = engine === 'redis' ? server.test : (plainTest as typeof server.test)

    const openStore = () => {
      const store = make({ redis: server.url! })
      closing.push(() => store.close?.())
      return store
    }

    /** Serves a handler, and returns a client with a cookie jar. */
    const serve = async (
      handle: (visit: Visit) => Reply | Promise<Reply>,
      options: Partial<SessionsOptions> = {},
      more: { adapter?: AdapterOptions<any>; second?: Mounted; sessions?: Sessions<any> } = {},
    ) => {
      const sessions =
        more.sessions ?? createSessions<any>({ store: options.store ?? openStore(), ...options })
      const first: Mounted = { options: sessions, ...(more.adapter && { adapter: more.adapter }) }
      const http = await build([first, ...(more.second ? [more.second] : [])], handle)
      if (!http.listening) await once(http.listen(0, '127.0.0.1'), 'listening')
      closing.push(() => {
        http.closeAllConnections()
        http.close()
      })
      const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
      return { http, sessions, url, ...client(url), client: () => client(url) }
    }

    describe(`${name} × ${engine}`, () => {
      const { stateless = false } = make({ redis: 'redis://127.0.0.1:1' }).traits ?? {}

      test('what one request sets the next one gets, until it is deleted', async () => {
        const { get } = await serve(({ session, url }) => {
          if (url.pathname === '/set') session.set('a', { b: 1 })
          if (url.pathname === '/delete') session.delete('a')
          return { body: JSON.stringify(session.get('a') ?? null) }
        })
        expect((await get('/read')).text).toBe('null')
        expect((await get('/set')).text).toBe('{"b":1}')
        expect((await get('/read')).text).toBe('{"b":1}')
        await get('/delete')
        expect((await get('/read')).text).toBe('null')
      })

      test('untouched: no cookie, no Vary; read while empty: Vary: Cookie; set, or read with data: kept by no cache', async () => {
        const { get } = await serve(({ session, url }) => {
          if (url.pathname === '/set') session.set('a', 1)
          if (url.pathname !== '/untouched') session.get('a')
          return {
            body: 'done',
            headers:
              url.search === '?own'
                ? { 'Cache-Control': 'private, max-age=5', Vary: 'Accept-Encoding' }
                : {},
          }
        })
        const untouched = await get('/untouched')
        expect(untouched.headers.get('vary')).toBeNull()
        expect(untouched.setCookie).toEqual([])
        const read = await get('/read')
        expect(read.headers.get('vary')).toBe('Cookie')
        expect(read.headers.get('cache-control')).toBeNull()
        const set = await get('/set')
        expect(set.headers.get('vary')).toBe('Cookie')
        expect(set.headers.get('cache-control')).toBe('no-store')
        const readWithData = await get('/read')
        expect(readWithData.headers.get('vary')).toBe('Cookie')
        expect(readWithData.headers.get('cache-control')).toBe('no-store')
        const own = await get('/set?own')
        expect(own.headers.get('cache-control')).toBe('private, max-age=5')
        expect(own.headers.get('vary')?.toLowerCase()).toBe('accept-encoding, cookie')
        const after = await get('/untouched')
        expect(after.headers.get('vary')).toBeNull()
        expect(after.headers.get('cache-control')).toBeNull()
        expect(after.setCookie).toEqual([])
      })

      test('cycleKey: another key, the same data, and the old key is dead', async () => {
        const {
          get,
          cookie,
          client: other,
        } = await serve(({ session, url }) => {
          if (url.pathname === '/set') session.set('cart', [1])
          if (url.pathname === '/login') session.cycleKey()
          return { body: JSON.stringify(session.get('cart') ?? null) }
        })
        await get('/set')
        const old = await cookie()
        await get('/login')
        // A ticket that holds the same data in the same millisecond is the same.
        if (!stateless) expect(await cookie()).not.toBe(old)
        expect((await get('/read')).text).toBe('[1]')
        const replayed = await other().get('/read', { headers: { cookie: old } })
        expect(replayed.text).toBe(stateless ? '[1]' : 'null')
      })

      test('flush: the cookie is deleted with the attributes it was set with, and the old key is dead', async () => {
        const {
          get,
          cookie,
          client: other,
        } = await serve(
          ({ session, url }) => {
            if (url.pathname === '/shop/set') session.set('user', 7)
            if (url.pathname === '/shop/logout') session.flush()
            return { body: String(session.get('user')) }
          },
          { cookie: { name: 'shop', path: '/shop', sameSite: 'strict' } },
        )
        await get('/shop/set')
        const old = await cookie('/shop/')
        const out = await get('/shop/logout')
        expect(out.setCookie).toEqual([
          'shop=; Max-Age=0; Path=/shop; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Strict',
        ])
        expect(await cookie('/shop/')).toBe('')
        const replayed = await other().get('/shop/read', { headers: { cookie: old } })
        expect(replayed.text).toBe(stateless ? '7' : 'undefined')
      })

      test('expiry: seconds, browser-length, and rolling with every request', async () => {
        const { get } = await serve(
          ({ session, url }) => {
            const expiry = url.searchParams.get('expiry')
            if (expiry) session.setExpiry(Number(expiry))
            if (url.pathname === '/set') session.set('a', 1)
            return {}
          },
          { saveEveryRequest: true, now: stoppedClock() },
        )
        expect((await get('/set?expiry=60')).setCookie[0]).toContain('Max-Age=60;')
        expect((await get('/untouched')).setCookie[0]).toContain('Max-Age=60;')
        const browserLength = (await get('/set?expiry=0')).setCookie[0]
        expect(browserLength).not.toMatch(/Max-Age|Expires/i)
      })

      test("behind a caching proxy, with a rolling expiry, no visitor gets another's cookie or another's page", async () => {
        /** What a page says to caches, in turn. */
        const said: Record<string, string>[] = [
          {},
          { 'Cache-Control': 'public, max-age=600' },
          { 'Cache-Control': 'public, max-age=0', ETag: '"1"' },
          { 'Cache-Control': 'no-cache="Set-Cookie", s-maxage=600' },
          { 'Cache-Control': 'no-cache', 'CDN-Cache-Control': 'max-age=600' },
          { 'Cache-Control': 'no-store', 'X-Accel-Expires': '600' },
          { Expires: new Date(Date.now() + 600_000).toUTCString() },
        ]
        const { url } = await serve(
          ({ session, url: { pathname, searchParams } }) => {
            const user = searchParams.get('user')
            if (pathname === '/login') {
              session.flush()
              session.set('user', user)
            }
            if (pathname === '/visit') session.update('visits', (n: number = 0) => n + 1)
            const isOwn = pathname !== '/file'
            return {
              body: isOwn ? `page of ${session.get('user') ?? 'nobody'}` : 'a file',
              headers: said[Number(searchParams.get('said'))]!,
            }
          },
          { saveEveryRequest: true },
        )
        await using proxy = await startCachingProxy(url)
        const holders = new Map<string, string>()
        /** Fails if a cookie has come that was somebody else's. */
        const check = (visitor: string, lines: readonly string[]) => {
          for (const value of lines.map((line) => line.split(';', 1)[0]!)) {
            if (value.endsWith('=')) continue
            const holder = holders.get(value) ?? visitor
            expect(`a cookie of ${holder}`).toBe(`a cookie of ${visitor}`)
            holders.set(value, visitor)
          }
        }
        let hits = 0
        for (const at of said.keys()) {
          for (const person of ['ann', 'bob', 'cleo']) {
            const { get } = client(proxy.url)
            let user = 'nobody'
            const look = async (path: string) => {
              const answer = await get(`${path}${path.includes('?') ? '&' : '?'}said=${at}`)
              check(`${person}, visit ${at}`, answer.setCookie)
              if (path !== '/file') expect(answer.text).toBe(`page of ${user}`)
              else if (answer.headers.get('x-cache') !== 'miss') hits++
            }
            for (const path of ['/file', '/page', '/visit', '/file']) await look(path)
            user = person
            await look(`/login?user=${person}`)
            for (const path of ['/file', '/page', '/visit', '/file', '/page']) await look(path)
          }
        }
        // The proxy was of use.
        expect(hits).toBeGreaterThan(10)
      })

      test('saveEveryRequest: a public file renews no session; a page does, and a public page that changed it is private', async () => {
        const { get } = await serve(
          ({ session, url }) => {
            if (url.pathname !== '/file') session.set('a', 1)
            return {
              body: 'done',
              headers: url.pathname === '/page' ? {} : { 'Cache-Control': 'public, max-age=600' },
            }
          },
          { saveEveryRequest: true },
        )
        const page = await get('/page')
        expect(page.headers.get('cache-control')).toBe('no-store')
        const file = await get('/file')
        expect(file.setCookie).toEqual([])
        expect(file.headers.get('cache-control')).toBe('public, max-age=600')
        expect(file.headers.get('vary')).toBeNull()
        const changed = await get('/changed')
        expect(changed.setCookie).toHaveLength(1)
        expect(changed.headers.get('cache-control')).toBe('private, max-age=600')
      })

      test('clearSiteData: a logout tells the browser, a login by cycleKey does not', async () => {
        const { get } = await serve(
          ({ session, url }) => {
            if (url.pathname === '/login') session.cycleKey()
            if (url.pathname === '/logout') session.flush()
            else session.set('user', 'ann')
            return { body: 'done', headers: { 'Clear-Site-Data': '"clientHints"' } }
          },
          { clearSiteData: ['cache', 'storage'] },
        )
        for (const path of ['/set', '/login']) {
          expect((await get(path)).headers.get('clear-site-data')).toBe('"clientHints"')
        }
        const out = await get('/logout')
        expect(out.headers.get('clear-site-data')).toBe('"clientHints", "cache", "storage"')
      })

      test('an answer of 500 saves nothing; one of 404 does', async () => {
        const { get } = await serve(({ session, url }) => {
          const status = Number(url.searchParams.get('status'))
          if (status) session.set('status', status)
          return { ...(status && { status }), body: String(session.get('status')) }
        })
        expect((await get('/?status=500')).setCookie).toEqual([])
        expect((await get('/')).text).toBe('undefined')
        expect((await get('/?status=404')).status).toBe(404)
        expect((await get('/')).text).toBe('404')
      })

      test('a handler that throws is answered 500 by the framework, and nothing is saved', async () => {
        const { get } = await serve(({ session, url }) => {
          if (url.pathname === '/throw') {
            session.set('a', 1)
            throw new Error('on purpose')
          }
          return { body: String(session.get('a')) }
        })
        const failed = await get('/throw')
        expect(failed.status).toBe(500)
        expect(failed.setCookie).toEqual([])
        expect((await get('/')).text).toBe('undefined')
      })

      test('redirect after save: the redirect waits for the store, so the next request finds the change', async () => {
        const store = openStore()
        const { get } = await serve(
          ({ session, url }) => {
            if (url.pathname === '/read') return { body: String(session.get('n')) }
            session.set('n', url.searchParams.get('n'))
            return { status: 302, headers: { Location: '/read' } }
          },
          { store: slow(store, { create: 30, save: 30 }) },
        )
        for (let n = 0; n < 5; n++) {
          const { status } = await get(`/set?n=${n}`)
          expect(status).toBe(302)
          expect((await get('/read')).text).toBe(String(n))
        }
      })

      test('a streamed body arrives whole, with the cookie before it', async () => {
        const chunk = 'x'.repeat(65_536)
        const { get } = await serve(({ session, url }) => {
          if (url.pathname === '/read') return { body: String(session.get('streamed')) }
          session.set('streamed', true)
          return {
            body: (async function* () {
              for (let n = 0; n < 20; n++) yield chunk
            })(),
          }
        })
        const streamed = await get('/stream')
        expect(streamed.text).toHaveLength(20 * 65_536)
        expect(streamed.setCookie).toHaveLength(1)
        expect((await get('/read')).text).toBe('true')
      })

      test('a stream that breaks off, and a client that hangs up, harm nobody', async () => {
        const store = openStore()
        const hangUp = signal()
        const { get, url } = await serve(
          ({ session, url: { pathname } }) => {
            session.update('visits', (visits: number = 0) => visits + 1)
            if (pathname === '/hang-up') hangUp.resolve()
            if (pathname !== '/break') return { body: String(session.get('visits')) }
            return {
              body: (async function* () {
                yield 'x'.repeat(100_000)
                await setTimeout(5)
                throw new Error('the source broke')
              })(),
            }
          },
          { store: slow(store, { save: 20, create: 20 }) },
        )
        await get('/')
        // Some servers have not sent the headers by then.
        const broken = await get('/break').then(
          ({ status }) => status,
          () => 'broken',
        )
        expect(broken).toBeOneOf([500, 'broken'])
        const socket = connectSocket(Number(new URL(url).port), '127.0.0.1')
        socket.write('GET /hang-up HTTP/1.1\r\nHost: localhost\r\n\r\n')
        await hangUp.promise
        socket.destroy()
        await setTimeout(50)
        expect(Number((await get('/')).text)).toBeGreaterThan(1)
      })

      test('a hundred requests at once that each append to one array', async () => {
        const { get } = await serve(({ session, url }) => {
          const n = url.searchParams.get('n')
          if (n) session.update('cart', (cart: string[] = []) => [...cart, n])
          return { body: JSON.stringify(session.get('cart', [])) }
        })
        await get('/?n=start')
        const responses = await Promise.all(Array.from({ length: 100 }, (_, n) => get(`/?n=${n}`)))
        expect(new Set(responses.map(({ status }) => status))).toEqual(new Set([200]))
        const cart = JSON.parse((await get('/')).text) as string[]
        // In the cookie the last one wins; on a server none is lost, and none is there twice.
        expect(cart.length).toBe(stateless ? 2 : 101)
        expect(new Set(cart).size).toBe(cart.length)
      })

      test('a session that ended meanwhile is answered 400, and does not come back', async () => {
        if (stateless) return
        let release = () => {}
        const held = new Promise<void>((resolve) => (release = resolve))
        const entered: (() => void)[] = []
        const {
          get,
          cookie,
          client: other,
        } = await serve(async ({ session, url }) => {
          if (url.pathname === '/logout') session.flush()
          if (url.pathname === '/set') session.set('user', 7)
          if (url.pathname === '/slow') {
            session.set('slow', true)
            entered.shift()!()
            await held
          }
          return { body: String(session.get('user')) }
        })
        await get('/set')
        const old = await cookie()
        const inside = new Promise<void>((resolve) => entered.push(resolve))
        const late = other().get('/slow', { headers: { cookie: old } })
        await inside
        await get('/logout')
        release()
        const answer = await late
        expect(answer.status).toBe(400)
        expect(answer.setCookie).toEqual([])
        expect((await other().get('/', { headers: { cookie: old } })).text).toBe('undefined')
      })

      test('a store that fails is answered 503, at the load and at the save', async () => {
        const failing: SessionStore = {
          ...openStore(),
          traits: {},
          load: () => Promise.reject(new SessionStoreError('down')),
          create: () => Promise.reject(new SessionStoreError('down')),
        }
        const { get } = await serve(
          ({ session }) => {
            session.set('a', 1)
            return { body: 'never', headers: { 'X-Own': 'yes' } }
          },
          { store: failing },
        )
        const saving = await get('/')
        expect(saving.status).toBe(503)
        expect(saving.text).not.toContain('never')
        const loading = await get('/', { headers: { cookie: `sessionid=${'k'.repeat(32)}` } })
        expect(loading.status).toBe(503)
        expect(loading.setCookie).toEqual([])
      })

      for (const kind of ['at once', 'later']) {
        test(`a save that fails ${kind} leaves nothing of the answer: no header but the site's own, no byte, no open source`, async () => {
          const fail = (): never => {
            throw new SessionStoreError('down')
          }
          const { traits, ...store } = openStore()
          const failing: SessionStore = {
            ...store,
            traits: { ...traits, sync: kind === 'at once' },
            create: kind === 'at once' ? fail : () => setTimeout(20).then(fail),
          }
          let sources = 0
          const { get } = await serve(
            ({ session, url }) => {
              session.set('a', 1)
              const headers = {
                'Content-Language': 'de',
                'Content-Type': 'text/csv',
                'Cache-Control': 'public, max-age=60',
                ETag: '"1"',
                Location: '/elsewhere',
                'Set-Cookie': ['own=1', 'more=2'],
                'X-Own': 'yes',
                'Access-Control-Allow-Origin': 'https://app.example',
              }
              if (url.pathname === '/text') return { status: 201, headers, body: 'never' }
              return {
                status: 201,
                headers,
                body: (async function* () {
                  sources++
                  try {
                    for (;;) yield 'never'.repeat(1000)
                  } finally {
                    sources--
                  }
                })(),
              }
            },
            { store: failing },
          )
          for (const path of ['/text', '/stream']) {
            const { status, text, headers, setCookie } = await get(path)
            expect([path, status]).toEqual([path, 503])
            expect(text).not.toContain('never')
            expect(setCookie).toEqual([])
            const left = ['content-language', 'cache-control', 'location', 'x-own']
            expect(left.filter((header) => headers.has(header))).toEqual([])
            // Express makes one of the error's page.
            expect(headers.get('etag')).not.toBe('"1"')
            expect(headers.get('content-type') ?? '').not.toBe('text/csv')
            expect(headers.get('content-length') ?? `${text.length}`).toBe(`${text.length}`)
          }
          await setTimeout(20)
          await expect.poll(() => sources, { timeout: 15_000 }).toBe(0)
        })
      }

      test('the site says what it says on every page on the answer to a failed save too', async () => {
        const failing: SessionStore = {
          ...openStore(),
          traits: {},
          create: () => Promise.reject(new SessionStoreError('down')),
        }
        const { get } = await serve(
          ({ session }) => {
            session.set('a', 1)
            return { headers: { 'Access-Control-Allow-Origin': 'https://app.example' } }
          },
          { store: failing },
        )
        const { status, headers } = await get('/')
        expect(status).toBe(503)
        // Koa drops every header of an answer that fails, whatever it says.
        const expected = name.startsWith('Koa') || name === 'fetch' ? null : 'https://app.example'
        expect(headers.get('access-control-allow-origin')).toBe(expected)
      })

      describe('the middleware twice on one request', () => {
        const count = ({ session }: Visit) => {
          session.set('visits', session.get('visits', 0) + 1)
          return { body: String(session.get('visits')) }
        }
        test('the same manager under the same name steps aside: one session, one cookie', async () => {
          const sessions = createSessions<any>({ store: openStore() })
          const { get } = await serve(count, {}, { sessions, second: { options: sessions } })
          for (const n of ['1', '2', '3']) {
            const { setCookie, text } = await get('/')
            expect(setCookie).toHaveLength(1)
            expect(text).toBe(n)
          }
        })

        test('so does another over the same store and cookie; under another name it has the same session', async () => {
          const store = openStore()
          const { get } = await serve(
            ({ session, other }) => {
              session.set('a', session.get('a', 0) + 1)
              other.set('b', other.get('b', 0) + 1)
              return { body: JSON.stringify(Object.fromEntries(session)) }
            },
            { store },
            { second: { options: { store }, adapter: { property: 'other' } } },
          )
          await get('/')
          const { setCookie, text } = await get('/')
          expect(setCookie).toHaveLength(1)
          expect(JSON.parse(text)).toEqual({ a: 2, b: 2 })
        })

        test('another store in the same cookie is an error, and nothing is lost by it', async () => {
          const { get } = await serve(
            count,
            {},
            { second: { options: { store: lruStore() }, adapter: { property: 'other' } } },
          )
          const { status, setCookie } = await get('/')
          expect(status).toBe(500)
          expect(setCookie).toEqual([])
        })
      })

      test('a session that is too large is an error before anything is sent, and the old one stays', async () => {
        const { get } = await serve(
          ({ session, url }) => {
            const length = Number(url.searchParams.get('length'))
            if (length) session.set('text', 'x'.repeat(length))
            return { body: String(session.get('text', '').length) }
          },
          { maxBytes: 1000 },
        )
        await get('/?length=10')
        const refused = await get('/?length=1000')
        expect(refused.status).toBe(500)
        expect(refused.setCookie).toEqual([])
        expect((await get('/')).text).toBe('10')
      })

      test('every attribute of the cookie is sent, and rules that a browser would enforce are checked at the start', async () => {
        const cookie = {
          domain: 'example.org',
          path: '/a',
          secure: true,
          sameSite: 'none',
        } as const
        const { get } = await serve(
          ({ session }) => {
            session.set('a', 1)
            return {}
          },
          { cookie: { ...cookie, partitioned: true, httpOnly: false }, now: stoppedClock() },
        )
        const [line] = (await get('/a')).setCookie
        expect(line).toMatch(
          /^sessionid=[^;]+; Max-Age=1209600; Domain=example\.org; Path=\/a; Secure; Partitioned; SameSite=None$/,
        )
        for (const bad of [
          { name: '__Host-s' },
          { name: '__Host-s', secure: true, path: '/a' },
          { name: '__Secure-s' },
          { sameSite: 'none', secure: false },
          { partitioned: true },
          { name: 'a b' },
          { path: '/;Domain=evil' },
        ] as const) {
          const store = lruStore()
          await expect(async () =>
            build([{ options: { store, cookie: bad } }], () => ({})),
          ).rejects.toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
        }
      })

      test('cookieFor: the attributes follow the request', async () => {
        const { get } = await serve(
          ({ session }) => {
            session.set('a', 1)
            return {}
          },
          { now: stoppedClock() },
          { adapter: { cookieFor: () => ({ domain: 'tenant.example.org', sameSite: 'strict' }) } },
        )
        expect((await get('/')).setCookie[0]).toMatch(
          /^sessionid=[^;]+; Max-Age=1209600; Domain=tenant\.example\.org; Path=\/; HttpOnly; SameSite=Strict$/,
        )
      })

      test("the handler's own cookies are kept beside the session's", async () => {
        const { get } = await serve(({ session }) => {
          session.set('a', 1)
          return { headers: { 'Set-Cookie': ['one=1; Path=/', 'two=2; Path=/'] } }
        })
        const names = (await get('/')).setCookie.map((line) => line.split('=', 1)[0])
        expect(names.toSorted()).toEqual(['one', 'sessionid', 'two'])
      })

      test('two managers on one application keep their sessions apart', async () => {
        const { get, cookie } = await serve(
          ({ session, other, url }) => {
            if (url.pathname === '/set') {
              session.set('who', 'visitor')
              other.set('who', 'admin')
            }
            if (url.pathname === '/logout') other.flush()
            return { body: `${session.get('who')} ${other.get('who')}` }
          },
          {},
          {
            second: {
              options: { store: openStore(), cookie: { name: 'adminid' } },
              adapter: { property: 'other' },
            },
          },
        )
        await get('/set')
        expect(await cookie()).toMatch(/sessionid=.*adminid=|adminid=.*sessionid=/)
        expect((await get('/')).text).toBe('visitor admin')
        await get('/logout')
        expect((await get('/')).text).toBe('visitor undefined')
      })

      test('lazy: getSession loads the session when the handler asks for it', async () => {
        const { get } = await serve(
          async ({ request, url }) => {
            const session = await getSession<{ a: number }>(request)
            if (url.pathname === '/set') session.set('a', 1)
            return { body: String(session.get('a')) }
          },
          { lazy: true },
        )
        await get('/set')
        expect((await get('/')).text).toBe('1')
      })

      test('a WebSocket upgrade reads the session', async () => {
        const { http, sessions, get, cookie, url } = await serve(({ session }) => {
          session.set('user', 'ann')
          return {}
        })
        http.on('upgrade', async (request, socket) => {
          const session = await sessions.open(request.headers.cookie)
          socket.end(`HTTP/1.1 101 Switching Protocols\r\nX-User: ${session.get('user')}\r\n\r\n`)
        })
        await get('/')
        const socket = connectSocket(Number(new URL(url).port), '127.0.0.1')
        socket.write(
          `GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: ${await cookie()}\r\n\r\n`,
        )
        const [answer] = await once(socket, 'data')
        expect(String(answer)).toContain('X-User: ann')
        socket.destroy()
      })

      test('hostile cookies are anonymous sessions, never an error', async () => {
        const { get } = await serve(({ session }) => ({ body: String(session.size) }))
        for (const value of [
          '../../etc/passwd',
          'x'.repeat(8000),
          '%00%00%00%00%00%00%00%00',
          '__proto__',
          'a'.repeat(32),
          'e30:1:forged',
          '"; DROP TABLE x;--',
        ]) {
          const { status, text } = await get('/', { headers: { cookie: `sessionid=${value}` } })
          expect([status, text]).toEqual([200, '0'])
        }
      })

      test('a key is taken from the cookie alone: not from the URL, another header or the body', async () => {
        const {
          get,
          cookie,
          client: other,
        } = await serve(({ session, url }) => {
          if (url.pathname === '/set') session.set('user', 'ann')
          return { body: String(session.get('user')) }
        })
        await get('/set')
        const pair = await cookie()
        const key = pair.slice('sessionid='.length)
        const stranger = other()
        for (const path of [`/?${pair}`, `/;${pair}`, `/${key}`, `/?sid=${key}`]) {
          expect((await stranger.get(path)).text).toBe('undefined')
        }
        const headers = { authorization: `Bearer ${key}`, cookie2: pair, sessionid: key }
        expect((await stranger.get('/', { headers })).text).toBe('undefined')
        const bodies = {
          'text/plain': pair,
          'application/json': JSON.stringify({ sessionid: key }),
        }
        for (const [type, body] of Object.entries(bodies)) {
          const sent = { method: 'POST', headers: { 'content-type': type }, body }
          expect((await stranger.get('/', sent)).text).toBe('undefined')
        }
        expect((await stranger.get('/', { headers: { cookie: pair } })).text).toBe('ann')
      })

      test('the cookie by default: HttpOnly, SameSite=Lax, every path of one host', async () => {
        const { get } = await serve(
          ({ session }) => {
            session.set('a', 1)
            return {}
          },
          { now: stoppedClock() },
        )
        expect((await get('/deep/down')).setCookie).toEqual([
          expect.stringMatching(
            /^sessionid=[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+; Max-Age=1209600; Path=\/; HttpOnly; SameSite=Lax$/,
          ),
        ])
      })

      test('a response has one line for the cookie, however often it was saved', async () => {
        const { get } = await serve(async ({ session, url }) => {
          if (url.pathname === '/set') {
            for (let n = 0; n < 3; n++) {
              session.set('n', n)
              session.cycleKey()
              await session.save()
            }
            session.cycleKey()
          }
          return { body: String(session.get('n')) }
        })
        expect((await get('/set')).setCookie).toHaveLength(1)
        expect((await get('/')).text).toBe('2')
      })

      test('a Cookie header that comes in several lines is one', async () => {
        const { get, cookie, url } = await serve(({ session }) => {
          session.setDefault('user', 'ann')
          return { body: String(session.size), headers: { 'X-User': String(session.key ?? '') } }
        })
        await get('/')
        const pair = await cookie()
        const socket = connectSocket(Number(new URL(url).port), '127.0.0.1')
        socket.write(
          `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: a=1\r\nCookie: ${pair}\r\nCookie: b=2\r\n\r\n`,
        )
        let answer = ''
        for await (const chunk of socket) answer += String(chunk)
        expect(answer).toMatch(/^HTTP\/1\.1 200/)
        expect(answer).not.toMatch(/set-cookie/i)
        expect(answer.toLowerCase()).toContain(
          `x-user: ${pair.slice('sessionid='.length)}`.toLowerCase(),
        )
      })

      describe('several cookies of the name', () => {
        const stale = 'stale-stale-stale-stale-stale-00'
        const others: Record<string, string> = {
          'one whose session has ended': stale,
          'a malformed one': 'no',
          'an empty one': '',
          "another application's": 's%3Aabcdefghijklmnopqrstuvwxyz012345.c2lnbmF0dXJl',
        }
        const open = async () => {
          let loads = 0
          const store = openStore()
          const load: SessionStore['load'] = (key, latest) => (loads++, store.load(key, latest))
          const { get, cookie } = await serve(
            ({ session, url }) => {
              if (url.pathname === '/login') {
                session.cycleKey()
                session.set('user', 'ann')
              }
              if (url.pathname === '/logout') session.flush()
              return { body: String(session.get('user')) }
            },
            { store: { ...store, load } },
          )
          const among = async (path: string, before: readonly string[], own?: string) => {
            const mine = own ?? (await cookie())
            const header = [...before.map((value) => `sessionid=${value}`), mine].join('; ')
            loads = 0
            return get(path, { headers: { cookie: header } })
          }
          return { get, cookie, among, loads: () => loads }
        }

        for (const [which, value] of Object.entries(others)) {
          test(`${which} before the live one: who is logged in stays so, and a logout ends it`, async () => {
            const { cookie, among } = await open()
            expect((await among('/login', [value])).text).toBe('ann')
            const read = await among('/', [value])
            expect([read.text, read.setCookie]).toEqual(['ann', []])
            expect((await among('/login', [value])).status).toBe(200)
            expect((await among('/', [value])).text).toBe('ann')
            const live = await cookie()
            const out = await among('/logout', [value])
            expect(out.status).toBe(200)
            expect(out.setCookie).toEqual([expect.stringContaining('Max-Age=0;')])
            expect((await among('/', [value], live)).text).toBe(stateless ? 'ann' : 'undefined')
          })
        }

        test('a hundred planted before the live one cost twenty calls at the most', async () => {
          const { get, among, loads } = await open()
          await get('/login')
          const planted = Array.from({ length: 100 }, (_, n) => `planted-${n}`)
          expect((await among('/', planted)).text).toBe('ann')
          if (!stateless) expect(loads()).toBe(20)
        })
      })

      test('a HEAD request gets the headers of its GET, the cookie included', async () => {
        const { get } = await serve(({ session }) => {
          session.set('a', 1)
          return { body: 'a body' }
        })
        const head = await get('/', { method: 'HEAD' })
        expect(head.text).toBe('')
        expect(head.setCookie).toHaveLength(1)
      })

      describe('saved is saved, and the client holds its key', () => {
        /** How an answer fails whose handler has saved before. */
        const failures: Record<string, (session: Session<any>) => Reply> = {
          'an answer of 500': () => ({ status: 500, body: 'failed' }),
          'a handler that throws': () => {
            throw new Error('on purpose')
          },
          'a commit that fails': (session) => {
            session.set('text', 'x'.repeat(5000))
            return { body: 'never' }
          },
        }
        for (const [failure, fail] of Object.entries(failures)) {
          // What a standard handler throws is thrown: there is no answer of the adapter's that could carry a cookie.
          if (name === 'fetch' && failure === 'a handler that throws') continue
          const serveFailing = (save: (session: Session<any>) => void) =>
            serve(
              async ({ session, url }) => {
                if (url.pathname === '/set') session.set('cart', [1])
                if (url.pathname !== '/fail') {
                  return { body: JSON.stringify(Object.fromEntries(session)) }
                }
                save(session)
                await session.save()
                return fail(session)
              },
              { maxBytes: 1000 },
            )

          test(`${failure} after save() of a new session: its cookie is sent, and opens what was saved`, async () => {
            const { get } = await serveFailing((session) => session.set('cart', [2]))
            const failed = await get('/fail')
            expect(failed.status).toBe(500)
            expect(failed.text).not.toContain('never')
            expect(failed.setCookie).toHaveLength(1)
            expect(failed.headers.get('vary')).toBe('Cookie')
            expect(failed.headers.get('cache-control')).toBe('no-store')
            expect((await get('/')).text).toBe('{"cart":[2]}')
          })

          test(`${failure} after cycleKey() and save(): the new cookie is sent, and the old key is dead`, async () => {
            const {
              get,
              cookie,
              client: other,
            } = await serveFailing((session) => {
              session.cycleKey()
              session.set('user', 7)
            })
            await get('/set')
            const old = await cookie()
            const failed = await get('/fail')
            expect(failed.status).toBe(500)
            expect(failed.setCookie).toHaveLength(1)
            expect((await get('/')).text).toBe('{"cart":[1],"user":7}')
            const replayed = await other().get('/', { headers: { cookie: old } })
            expect(replayed.text).toBe(stateless ? '{"cart":[1]}' : '{}')
          })

          if (failure === 'a commit that fails') continue
          test(`${failure} after flush() and save(): the cookie is deleted, and the old key is dead`, async () => {
            const { get, cookie, client: other } = await serveFailing((session) => session.flush())
            await get('/set')
            const old = await cookie()
            const failed = await get('/fail')
            expect(failed.status).toBe(500)
            expect(failed.setCookie).toEqual([expect.stringContaining('Max-Age=0;')])
            expect(await cookie()).toBe('')
            const replayed = await other().get('/', { headers: { cookie: old } })
            expect(replayed.text).toBe(stateless ? '{"cart":[1]}' : '{}')
          })
        }

        for (const [fault, attributes] of Object.entries({
          'that are too long': () => ({ domain: `${'x'.repeat(5000)}.example.org` }),
          'that a browser would refuse': () => ({ sameSite: 'none', secure: false }) as const,
          'that cannot be told': () => {
            throw new Error('no such tenant')
          },
        })) {
          test(`attributes of cookieFor ${fault}: a login is answered 500 before anything is stored, and the old session is as it was`, async () => {
            let broken = false
            const { get, cookie } = await serve(
              ({ session, url }) => {
                if (url.pathname === '/set') session.set('cart', [1])
                if (url.pathname === '/login') {
                  session.cycleKey()
                  session.set('user', 7)
                }
                return { body: JSON.stringify(Object.fromEntries(session)) }
              },
              {},
              { adapter: { cookieFor: () => (broken ? attributes() : undefined) } },
            )
            await get('/set')
            const old = await cookie()
            broken = true
            const failed = await get('/login')
            expect(failed.status).toBe(500)
            expect(failed.setCookie).toEqual([])
            broken = false
            expect(await cookie()).toBe(old)
            expect((await get('/')).text).toBe('{"cart":[1]}')
          })
        }

        test('a save() while the response waits for its session: what was set after the answer is stored too', async () => {
          if (stateless) return
          const calls = controlled(slow(openStore()))
          let late: Promise<void> | undefined
          let saved: Promise<void> | undefined
          const { get } = await serve(
            ({ session, url }) => {
              if (url.pathname === '/') return { body: JSON.stringify(Object.fromEntries(session)) }
              const start = url.searchParams.get('start')
              session.set('early', start)
              saved = late!.then(() => {
                session.set('late', start)
                return session.save()
              })
              return { body: 'answered' }
            },
            { store: calls.store },
          )
          for (const [start, method] of [
            ['new', 'create'],
            ['there', 'save'],
          ] as const) {
            const write = calls.hold(method)
            const waiting = signal()
            late = waiting.promise
            const answer = get(`/set?start=${start}`)
            expect(await write.reached(answer)).toBe(true)
            waiting.resolve()
            await setTimeout(10)
            write.release()
            const { status } = await answer
            await saved
            expect(status).toBe(200)
            expect(JSON.parse((await get('/')).text)).toEqual({ early: start, late: start })
          }
        })

        test('two clicks on "Log in" at once: both are answered, and the browser is logged in', async () => {
          let clicks = 0
          let release = () => {}
          const both = new Promise<void>((resolve) => (release = resolve))
          const { get } = await serve(async ({ session, url }) => {
            if (url.pathname === '/set') session.set('cart', [1])
            if (url.pathname === '/login') {
              session.get('cart')
              session.cycleKey()
              session.set('user', 7)
              if (++clicks === 2) release()
              await both
            }
            return { body: String(session.get('user')) }
          })
          await get('/set')
          const answers = await Promise.all([get('/login'), get('/login')])
          expect(answers.map(({ status }) => status)).toEqual([200, 200])
          for (const { setCookie } of answers) expect(setCookie).toHaveLength(1)
          expect((await get('/')).text).toBe('7')
        })
      })
    })
  }
}

/** A clock that stands still: a cookie's Max-Age is what is left of a session when the response is sent. */
function stoppedClock() {
  const moment = Date.now()
  return () => moment
}

/** A browser as far as cookies go. */
function client(base: string) {
  const jar = new CookieJar()
  return {
    cookie: (path = '/') => jar.getCookieString(base + path),
    async get(
      path: string,
      init: { method?: string; headers?: Record<string, string>; body?: string } = {},
    ) {
      const cookie = init.headers?.['cookie'] ?? (await jar.getCookieString(base + path))
      const response = await fetch(base + path, {
        redirect: 'manual',
        ...init,
        headers: { ...init.headers, ...(cookie && { cookie }) },
      })
      const setCookie = response.headers.getSetCookie()
      for (const line of setCookie) await jar.setCookie(line, base + path, { ignoreError: true })
      const { status, headers } = response
      return { status, headers, setCookie, text: await response.text() }
    },
  }
}

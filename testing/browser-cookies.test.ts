// A real browser and cookies: what we accept it keeps, what we refuse it would drop or ignore, and of two of one name the live one counts.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions, type CookieOptions, type SessionsOptions } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { getSession, session } from '@coatcheck/express'
import express from 'express'
import type { Browser, BrowserContext, Cookie } from 'playwright-core'
import { afterAll, afterEach, describe, expect, test, vi, type TestContext } from 'vitest'
import { findProgram, launchChromium, need } from './needs.ts'

/** A browser and a server of their own take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-browser-cookies-'))
const closing: (() => unknown)[] = []
let browser: Browser | undefined
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})
afterAll(async () => {
  await browser?.close()
  rmSync(folder, { recursive: true })
})

/** Every name under it is this machine's to the browser. */
const DOMAIN = 'example.test'
const HOST = `app.${DOMAIN}`

async function openTab(context: TestContext): Promise<BrowserContext> {
  browser ??= await launchChromium(context, {
    more: [`--host-resolver-rules=MAP *.${DOMAIN} 127.0.0.1`],
  })
  const tab = await browser.newContext({ ignoreHTTPSErrors: true })
  closing.push(() => tab.close())
  return tab
}

async function listen(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

let tls: { key: Buffer; cert: Buffer } | undefined

/** A certificate that nobody but this test's browser takes. */
function makeCertificate(context: TestContext) {
  const openssl = need(context, findProgram('openssl'), 'openssl', 'apt-get install openssl')
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const made = ['-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2']
  execFileSync(openssl, ['req', '-x509', ...made, '-subj', `/CN=${DOMAIN}`], { stdio: 'pipe' })
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

/** Serves by HTTP and by HTTPS; returns the addresses of a host's pages. */
async function serve(context: TestContext, handle: RequestListener) {
  tls ??= makeCertificate(context)
  const plain = await listen(createServer(handle))
  const secure = await listen(createSecureServer(tls, handle))
  return (by: 'http' | 'https', host: string) => `${by}://${host}:${by === 'http' ? plain : secure}`
}

/** What a browser keeps of a Set-Cookie line, sent as it is by a page of `/dir/`. */
async function keeping(context: TestContext) {
  let sent = ''
  const urlOf = await serve(context, (request, response) => {
    if (request.url === '/dir/page') response.setHeader('Set-Cookie', sent)
    response.end()
  })
  return async (line: string, by: 'http' | 'https' = 'https', host = HOST) => {
    sent = line
    const tab = await openTab(context)
    await (await tab.newPage()).goto(`${urlOf(by, host)}/dir/page`)
    const cookies = await tab.cookies()
    await tab.close()
    return cookies as readonly Cookie[]
  }
}

/** The line that a manager sends for a new session; a refusal's words where it has none. */
function lineOf(cookie: object, options: Partial<SessionsOptions> = {}, secure = true): string {
  const sessions = createSessions<any>({ store: lruStore(), cookie, ...options })
  const visitor = sessions.open(undefined) as any
  visitor.set('a', 1)
  return (sessions.commit(visitor, { secure }) as { setCookie: string }).setCookie
}

describe('a cookie’s attributes, in Chromium', () => {
  const accepted: readonly CookieOptions[] = [
    {},
    { sameSite: false },
    { sameSite: 'strict', secure: true },
    { sameSite: 'none' },
    { secure: true, partitioned: true },
    { secure: true, partitioned: true, sameSite: 'none' },
    { name: '__Secure-a', secure: true, domain: DOMAIN, path: '/dir' },
    { name: '__SECURE-a', secure: true },
    { name: '__Host-a', secure: true, httpOnly: false },
    { name: '__host-a', secure: true },
    { name: '__Http-a', secure: true, domain: DOMAIN, path: '/dir' },
    { name: '__Host-Http-a', secure: true },
    { name: '__host-HTTP-a', secure: true },
    { name: "!#$%&'*+-.^_`|~9aZ" },
    { path: `/${'x'.repeat(1023)}` },
    { path: '/with a blank' },
    { domain: DOMAIN },
    { domain: `.${DOMAIN}` },
    { domain: HOST.toUpperCase() },
  ]
  test('what we accept is kept, with its name, path and domain', async (context) => {
    const kept = await keeping(context)
    for (const cookie of accepted) {
      const line = lineOf(cookie)
      const { name = 'sessionid', path = '/', domain } = cookie
      expect(await kept(line), line).toMatchObject([
        {
          name,
          path,
          domain: domain ? `.${domain.replace(/^\./, '').toLowerCase()}` : HOST,
          value: /=(\w{32});/.exec(line)![1],
        },
      ])
    }
  })

  /** Options that we refuse, and what a browser would make of the line that says the same. */
  const refused: readonly [options: object, line: string][] = [
    [{ name: '__Host-a' }, '__Host-a=1; Path=/'],
    [{ name: '__host-a' }, '__host-a=1; Path=/'],
    [{ name: '__Host-a', secure: true, path: '/dir' }, '__Host-a=1; Path=/dir; Secure'],
    [
      { name: '__Host-a', secure: true, domain: HOST },
      `__Host-a=1; Path=/; Secure; Domain=${HOST}`,
    ],
    [{ name: '__Secure-a' }, '__Secure-a=1; Path=/'],
    [{ name: '__secure-a' }, '__secure-a=1; Path=/'],
    [{ name: '__Http-a' }, '__Http-a=1; Path=/; HttpOnly'],
    [{ name: '__Http-a', secure: true, httpOnly: false }, '__Http-a=1; Path=/; Secure'],
    [{ name: '__http-a', secure: true, httpOnly: false }, '__http-a=1; Path=/; Secure'],
    [{ name: '__Host-Http-a', secure: true, httpOnly: false }, '__Host-Http-a=1; Path=/; Secure'],
    [
      { name: '__Host-Http-a', secure: true, path: '/dir' },
      '__Host-Http-a=1; Path=/dir; Secure; HttpOnly',
    ],
    [{ sameSite: 'none', secure: false }, 'a=1; Path=/; SameSite=None'],
    [{ partitioned: true }, 'a=1; Path=/; Partitioned'],
    [{ path: 'dir' }, 'a=1; Path=else'],
    [{ path: '' }, 'a=1; Path='],
    [{ path: `/${'x'.repeat(1024)}` }, `a=1; Path=/${'x'.repeat(1024)}`],
    [{ domain: '' }, 'a=1; Path=/; Domain='],
    [{ domain: '.' }, 'a=1; Path=/; Domain=.'],
    [{ domain: `..${DOMAIN}` }, `a=1; Path=/; Domain=..${DOMAIN}`],
    [{ domain: `${DOMAIN}.` }, `a=1; Path=/; Domain=${DOMAIN}.`],
    [{ domain: `${HOST}:443` }, `a=1; Path=/; Domain=${HOST}:443`],
    [{ domain: `https://${HOST}` }, `a=1; Path=/; Domain=https://${HOST}`],
    [{ domain: `*.${DOMAIN}` }, `a=1; Path=/; Domain=*.${DOMAIN}`],
    [{ domain: 'exa mple.test' }, 'a=1; Path=/; Domain=exa mple.test'],
    [{ name: '' }, '=1; Path=/'],
    [{ sameSite: 'loose' }, 'a=1; Path=/; SameSite=Loose'],
  ]
  test('what we refuse is dropped, or kept without what was asked for', async (context) => {
    const kept = await keeping(context)
    for (const [options, line] of refused) {
      expect(() => lineOf(options), line).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
      )
      const [cookie] = await kept(line)
      if (!cookie) continue
      const { name, path, domain, sameSite } = cookie
      // Kept, but with the page's folder for its path, for its host alone, without a name, or as if SameSite were not there.
      if ('path' in options) expect(path, line).toBe('/dir')
      else if ('domain' in options) expect([options.domain, domain], line).toEqual(['', HOST])
      else if ('name' in options) expect(name, line).toBe('')
      else expect([options, sameSite], line).toEqual([{ sameSite: 'loose' }, 'Lax'])
    }
  })

  test('SameSite=None without Secure, as `auto` had it over HTTP, is dropped; with Secure it is kept over HTTPS, and on localhost', async (context) => {
    const kept = await keeping(context)
    const line = lineOf({ sameSite: 'none' }, {}, false)
    expect(line).toContain('; Secure')
    expect(await kept(line)).toHaveLength(1)
    expect(await kept(line, 'http', 'localhost')).toHaveLength(1)
    // What the warning is about.
    expect(await kept(line, 'http')).toEqual([])
    for (const by of ['http', 'https'] as const) {
      expect(await kept(line.replace('; Secure', ''), by)).toEqual([])
    }
  })

  test('Secure follows the request: over plain HTTP the default is kept, and secure: true is not', async (context) => {
    const kept = await keeping(context)
    expect(await kept(lineOf({}, {}, false), 'http')).toHaveLength(1)
    expect(await kept(lineOf({ secure: true }), 'http')).toEqual([])
    expect(await kept(lineOf({ secure: true }), 'http', 'localhost')).toHaveLength(1)
  })

  test('an address as the domain is kept by that address alone, with a dot before it or without', async (context) => {
    const kept = await keeping(context)
    for (const domain of ['127.0.0.1', '.127.0.0.1']) {
      const line = lineOf({ domain })
      expect(await kept(line, 'http', '127.0.0.1'), line).toMatchObject([{ domain: '127.0.0.1' }])
      expect(await kept(line, 'http', 'localhost'), line).toEqual([])
    }
  })

  test('400 days are kept as they are sent, and longer is what the browser cuts', async (context) => {
    const kept = await keeping(context)
    const days = async (line: string) => {
      const [cookie] = await kept(line)
      return Math.round((cookie!.expires - Date.now() / 1000) / 86_400)
    }
    const line = lineOf({}, { maxAge: 1000 * 86_400 })
    expect(await days(line)).toBe(400)
    expect(await days(line.replace(/Max-Age=\d+/, `Max-Age=${1000 * 86_400}`))).toBe(400)
    expect(await days(line.replace(/Max-Age=\d+/, `Max-Age=${399 * 86_400}`))).toBe(399)
  })
})

const stores = {
  sqlite() {
    const store = sqliteStore(':memory:')
    store.migrate()
    return store
  },
  lru: () => lruStore(),
}
for (const [engine, make] of Object.entries(stores)) {
  describe(`two session cookies of one name in Chromium, Express on ${engine}`, () => {
    /** A shop whose visitors have got a second cookie of its session's name, by a line of another page's. */
    async function openShop(context: TestContext, cookie: CookieOptions = {}) {
      const store = make()
      const app = express()
      app.use((request, response, next) => {
        const { line } = request.query
        if (line === undefined) return next()
        response.append('Set-Cookie', String(line)).send('planted')
      })
      app.use(session({ store, cookie }))
      app.get('/{*page}', async (request, response) => {
        const visitor = await getSession(request)
        if (request.path.endsWith('/login')) {
          visitor.cycleKey()
          visitor.set('user', 'ann')
        }
        if (request.path.endsWith('/logout')) visitor.flush()
        response.send(String(visitor.get('user', 'nobody')))
      })
      const urlOf = await serve(context, app)
      const tab = await openTab(context)
      const page = await tab.newPage()
      return {
        store,
        tab,
        /** What a page shows. */
        async visit(path: string, host = HOST) {
          await page.goto(urlOf('http', host) + path)
          return page.textContent('body')
        },
        async plant(line: string, path = '/', host = HOST) {
          await page.goto(`${urlOf('http', host)}${path}?line=${encodeURIComponent(line)}`)
          expect(await page.textContent('body')).toBe('planted')
        },
        /** The Cookie header that a page's request would have. */
        async values(path: string) {
          const cookies = await tab.cookies(urlOf('http', HOST) + path)
          return cookies.map(({ value }) => value)
        },
      }
    }

    const dead = 'stale-stale-stale-stale-stale-00'
    const others: Record<string, [line: string, path: string, host: string]> = {
      'of a longer path, with a key that has ended': [
        `sessionid=${dead}; Path=/shop`,
        '/shop/',
        HOST,
      ],
      'of a longer path, malformed': ['sessionid=no; Path=/shop', '/shop/', HOST],
      'of a longer path, empty': ['sessionid=; Path=/shop', '/shop/', HOST],
      "of the parent domain's, with a key that has ended": [
        `sessionid=${dead}; Path=/; Domain=${DOMAIN}`,
        '/',
        HOST,
      ],
      "of the parent domain's, malformed, by a neighbour": [
        `sessionid=no; Path=/; Domain=${DOMAIN}`,
        '/',
        `other.${DOMAIN}`,
      ],
    }
    for (const [which, [line, path, host]] of Object.entries(others)) {
      test(`${which}: who logs in stays logged in, and who logs out is logged out`, async (context) => {
        const { visit, plant, values, store } = await openShop(context)
        await plant(line, path, host)
        expect(await visit('/shop/login')).toBe('ann')
        expect(await values('/shop/')).toHaveLength(2)
        for (let n = 0; n < 2; n++) expect(await visit('/shop/')).toBe('ann')
        // A second login, and a look from elsewhere.
        expect(await visit('/shop/login')).toBe('ann')
        expect(await visit('/shop/')).toBe('ann')
        expect(await visit('/')).toBe('ann')
        const key = (await values('/shop/')).find((value) => /^[a-z\d]{32}$/.test(value))!
        expect(await store.load(key)).toBeDefined()
        expect(await visit('/shop/logout')).toBe('nobody')
        expect(await store.load(key)).toBeUndefined()
        expect(await visit('/shop/')).toBe('nobody')
      })
    }

    test('more of longer paths than are looked at, planted by a neighbour: who logs in stays logged in', async (context) => {
      const { visit, plant, values } = await openShop(context)
      const deep = '/shop/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z'
      const parts = deep.split('/').slice(1)
      for (const [n] of parts.entries()) {
        const path = `/${parts.slice(0, n + 1).join('/')}`
        const key = `planted-planted-${String(n).padStart(4, '0')}`
        await plant(`sessionid=${key}; Path=${path}; Domain=${DOMAIN}`, '/', `other.${DOMAIN}`)
      }
      expect(await visit(`${deep}/login`)).toBe('ann')
      // As many as one request asks the store for are 20.
      expect((await values(deep)).length).toBeGreaterThan(25)
      expect(await visit(deep)).toBe('ann')
      expect(await visit(`${deep}/logout`)).toBe('nobody')
      expect(await visit(deep)).toBe('nobody')
    })
  })
}

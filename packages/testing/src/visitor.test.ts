// A visitor is known to a real application: on every engine, on each framework's test client, in a browser.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions, type Sessions, type SessionsOptions } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { djangoDb, djangoSessions, djangoSignedCookies, DJANGO_TABLE } from '@coatcheck/django'
import { session as onExpress } from '@coatcheck/express'
import { connectCookie, fromExpressStore, toExpressStore } from '@coatcheck/express-session'
import { session as onFastify } from '@coatcheck/fastify'
import { session as onHono } from '@coatcheck/hono'
import { session as onKoa } from '@coatcheck/koa'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import supertest from 'supertest'
import { afterEach, expect, test as plainTest } from 'vitest'
import { launchChromium } from '../../../testing/needs.ts'
import { openPlaces } from '../../../testing/places.ts'
import { engineNames, needsOf, subjectAt } from '../../../testing/subjects.ts'
import { visitor, type Answer } from './index.ts'

const { places, servers } = await openPlaces('visitor', engineNames)
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function listen(handle: RequestListener): Promise<string> {
  const server = createServer(handle)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

type Any = Record<string, any>

/** An application whose pages say who is there, log in and log out. */
function expressApp(sessions: Sessions<Any> | SessionsOptions<Any>) {
  const app = express().use(onExpress(sessions))
  app.get('/', (request: any, response) => response.json(request.session.get('user', 'nobody')))
  app.get('/login', (request: any, response) => {
    request.session.cycleKey()
    request.session.set('user', 'ann')
    response.json('in')
  })
  app.get('/logout', (request: any, response) => {
    request.session.flush()
    response.json('out')
  })
  return app
}

for (const engine of engineNames) {
  const missing = needsOf(engine).find((name) => !places[name])
  const test = missing ? servers[missing]!.test : plainTest
  test(`${engine}: a visitor is known to the application, follows a login and a logout, and its session can be looked at`, async () => {
    const name = `visitor_${crypto.randomUUID().replaceAll('-', '')}`
    const store = await subjectAt(engine, places).open({ now: Date.now, name })
    closing.push(() => store.close?.())
    const sessions = createSessions<Any>({ store })
    const app = expressApp(sessions)
    const ann = await visitor(sessions, { user: 'guest', cart: [1] })
    const visit = async (path: string) => {
      const response = await supertest(app).get(path).set('Cookie', ann.cookie)
      await ann.take(response)
      return response.body
    }
    expect(await visit('/')).toBe('guest')
    const { cookie } = ann
    expect(await visit('/login')).toBe('in')
    expect(ann.cookie).not.toBe(cookie)
    expect(await visit('/')).toBe('ann')
    expect(Object.fromEntries(await ann.session())).toEqual({ user: 'ann', cart: [1] })
    await visit('/logout')
    expect([ann.cookie, ann.headers]).toEqual(['', {}])
    expect((await ann.session()).isEmpty()).toBe(true)
    expect(await visit('/')).toBe('nobody')
  })
}

/** How each framework's own test client sends a visitor's cookie and hands its response back. */
const clients: Record<string, (sessions: Sessions<Any>) => (headers: any) => Promise<Answer>> = {
  'supertest on Express': (sessions) => {
    const app = expressApp(sessions)
    return async (headers) => supertest(app).get('/login').set(headers)
  },
  'supertest on Koa': (sessions) => {
    const app = new Koa().use(onKoa(sessions)).use((ctx: any) => {
      ctx.session.cycleKey()
      ctx.body = 'in'
    })
    const handle = app.callback()
    return async (headers) => supertest(handle).get('/login').set(headers)
  },
  'inject of Fastify': (sessions) => {
    const app = Fastify()
    app.register(onFastify, { sessions } as any)
    app.get('/login', async (request: any) => request.session.cycleKey() ?? 'in')
    return (headers) => app.inject({ url: '/login', headers })
  },
  'app.request of Hono': (sessions) => {
    const app = new Hono().use(onHono(sessions)).get('/login', (c: any) => {
      c.get('session').cycleKey()
      return c.text('in')
    })
    return async (headers) => app.request('/login', { headers })
  },
  fetch: (sessions) => {
    const url = listen(expressApp(sessions))
    return async (headers) => fetch(`${await url}/login`, { headers })
  },
}
for (const [client, serve] of Object.entries(clients)) {
  plainTest(`${client} takes a visitor's headers, and the visitor its response`, async () => {
    const sessions = createSessions<any>({ store: lruStore() })
    const ann = await visitor(sessions, { user: 'ann' })
    const before = ann.cookie
    await ann.take(await serve(sessions)(ann.headers))
    expect(ann.cookie).not.toBe(before)
    // The login has kept what the visitor had: it was known.
    expect((await ann.session()).get('user')).toBe('ann')
  })
}

plainTest(
  'an agent of supertest begins with the visitor’s cookie and keeps up by itself',
  async () => {
    const sessions = createSessions<any>({ store: lruStore() })
    const ann = await visitor(sessions, { user: 'guest' })
    const agent = supertest.agent(expressApp(sessions)).set('Cookie', ann.cookie)
    expect((await agent.get('/')).body).toBe('guest')
    await agent.get('/login')
    expect((await agent.get('/')).body).toBe('ann')
  },
)

plainTest(
  'Chromium is the visitor by addCookies, and hands its cookies back after a login',
  async (context) => {
    const browser = await launchChromium(context)
    closing.push(() => browser.close())
    const cookies = [{}, { sameSite: 'strict' }, { secure: true, name: '__Host-id' }, { path: '/' }]
    for (const cookie of cookies as any[]) {
      const sessions = createSessions<Any>({ store: lruStore(), cookie })
      const port = new URL(await listen(expressApp(sessions))).port
      const url = `http://localhost:${port}/`
      const ann = await visitor(sessions, { user: 'guest' })
      const tab = await browser.newContext()
      await tab.addCookies(ann.cookies(url))
      const [kept] = await tab.cookies()
      expect(kept).toMatchObject({ httpOnly: true, secure: cookie.secure ?? false })
      const page = await tab.newPage()
      const read = async (path: string) => JSON.parse(await (await page.goto(url + path))!.text())
      expect(await read('')).toBe('guest')
      await read('login')
      await ann.take(await tab.cookies())
      expect((await ann.session()).get('user')).toBe('ann')
      expect(ann.cookies(url)).toMatchObject([{ name: kept!.name, sameSite: kept!.sameSite }])
      await read('logout')
      await ann.take(await tab.cookies())
      expect(ann.cookie).toBe('')
      await tab.close()
    }
  },
)

plainTest(
  'a browser’s cookie has what the application would have sent over HTTP or HTTPS',
  async () => {
    const { cookie: _, ...defaults } = await visitor({ store: lruStore() }, { a: 1 })
    expect(defaults.cookies('http://localhost:3000/a/b')).toMatchObject([
      {
        name: 'sessionid',
        domain: 'localhost',
        path: '/',
        httpOnly: true,
        secure: false,
        sameSite: 'Lax',
      },
    ])
    expect(defaults.cookies('https://example.org')).toMatchObject([{ secure: true }])
    const [two] = defaults.cookies('https://example.org')
    expect(two!.expires - Date.now() / 1000).toBeCloseTo(1_209_600, -1)
    const cookie = {
      domain: 'example.org',
      path: '/app',
      sameSite: 'none',
      httpOnly: false,
    } as const
    const own = await visitor({ store: lruStore(), cookie, expireAtBrowserClose: true }, { a: 1 })
    expect(own.cookies('https://www.example.org')).toMatchObject([
      {
        domain: '.example.org',
        path: '/app',
        httpOnly: false,
        secure: true,
        sameSite: 'None',
        expires: -1,
      },
    ])
  },
)

plainTest(
  'a visitor without data has no session, no cookie, and gets both by a login',
  async () => {
    const sessions = createSessions<any>({ store: lruStore() })
    const nobody = await visitor(sessions)
    expect([nobody.cookie, nobody.headers, nobody.cookies('http://localhost')]).toEqual([
      '',
      {},
      [],
    ])
    await nobody.take(await supertest(expressApp(sessions)).get('/login').set(nobody.headers))
    expect((await nobody.session()).get('user')).toBe('ann')
  },
)

plainTest('sessions that are shared with a Django site have visitors', async () => {
  const secretKey = 'a secret for tests, of 50 characters or more, as Django makes them'
  const store = sqliteStore(':memory:', { table: DJANGO_TABLE })
  closing.push(() => store.close?.())
  store.migrate()
  for (const engine of [djangoDb(store), djangoSignedCookies()]) {
    const sessions = djangoSessions<Any>({ secretKey, engine })
    const ann = await visitor(sessions, { user: 'ann' })
    const response = await supertest(expressApp(sessions)).get('/').set('Cookie', ann.cookie)
    expect(response.body).toBe('ann')
  }
})

plainTest(
  'under express-session a visitor is made by the bridge, on our engines and on its own stores',
  async () => {
    const secret = 'keyboard cat'
    const stores = {
      ours: toExpressStore(lruStore()),
      MemoryStore: new expressSession.MemoryStore(),
    }
    for (const [name, store] of Object.entries(stores)) {
      const app = express()
        .use(
          expressSession({ store: store as any, secret, resave: false, saveUninitialized: false }),
        )
        .get('/', (request: any, response) => response.json(request.session.user ?? 'nobody'))
        .get('/login', (request: any, response, next) => {
          request.session.regenerate((error: unknown) => {
            if (error) return next(error)
            request.session.user = 'bob'
            response.json('in')
          })
        })
      const cookie = connectCookie({ secrets: [secret] })
      const sessions = createSessions<Any>({ store: fromExpressStore(store), cookie })
      const ann = await visitor(sessions, { user: 'ann' })
      expect((await supertest(app).get('/').set('Cookie', ann.cookie)).body, name).toBe('ann')
      await ann.take(await supertest(app).get('/login').set('Cookie', ann.cookie))
      expect((await ann.session()).get('user'), name).toBe('bob')
      expect((await supertest(app).get('/').set('Cookie', ann.cookie)).body, name).toBe('bob')
    }
  },
)

plainTest(
  'a session that has got another key, whose response was not taken, is an error that says so',
  async () => {
    const sessions = createSessions<any>({ store: lruStore() })
    const ann = await visitor(sessions, { user: 'ann' })
    const response = await supertest(expressApp(sessions)).get('/login').set('Cookie', ann.cookie)
    await expect(ann.session()).rejects.toMatchObject({
      code: 'ERR_SESSION_VISITOR',
      message: expect.stringContaining('await visitor.take(response)'),
    })
    await ann.take(response)
    expect((await ann.session()).get('user')).toBe('ann')
  },
)

plainTest(
  'an application with another store is told of: by a warning at its first request, by an error at its first cookie',
  async () => {
    const warnings: any[] = []
    const note = (warning: unknown) => void warnings.push(warning)
    subscribe('coatcheck:warning', note)
    closing.push(() => unsubscribe('coatcheck:warning', note))
    const app = expressApp({ store: lruStore() })
    const ann = await visitor<Any>({ store: lruStore() }, { user: 'ann' })
    await supertest(app).get('/').set('Cookie', ann.cookie)
    expect(warnings).toMatchObject([{ code: 'VISITOR_UNKNOWN' }])
    expect(JSON.stringify(warnings)).not.toContain(ann.cookie.slice(-32))
    const response = await supertest(app).get('/login').set('Cookie', ann.cookie)
    await expect(ann.take(response)).rejects.toMatchObject({ code: 'ERR_SESSION_VISITOR' })
  },
)

plainTest(
  'a session that has ended, as one that a test logs out, is no reason for a warning',
  async () => {
    const warnings: any[] = []
    const note = (warning: unknown) => void warnings.push(warning)
    subscribe('coatcheck:warning', note)
    closing.push(() => unsubscribe('coatcheck:warning', note))
    const sessions = createSessions<any>({ store: lruStore() })
    const app = expressApp(sessions)
    const ann = await visitor(sessions, { user: 'ann' })
    await supertest(app).get('/logout').set('Cookie', ann.cookie)
    expect((await supertest(app).get('/').set('Cookie', ann.cookie)).body).toBe('nobody')
    expect((await ann.session()).isEmpty()).toBe(true)
    expect(warnings).toEqual([])
  },
)

plainTest(
  'a cookie that the application deletes by itself is forgotten, as browsers do',
  async () => {
    const app = express().get('/', (_request, response) => {
      response.cookie('other', '1').clearCookie('sessionid').json('gone')
    })
    const lines = [
      'sessionid=; Max-Age=0',
      'sessionid=x; max-age=-1; Expires=Fri, 31 Dec 9999 23:59:59 GMT',
    ]
    const responses = [
      await supertest(app).get('/'),
      ...lines.map((line) => new Response('', { headers: { 'Set-Cookie': line } })),
      { headers: { 'set-cookie': lines } },
    ]
    for (const response of responses) {
      const ann = await visitor<Any>({ store: lruStore() }, { user: 'ann' })
      await ann.take(new Response('', { headers: { 'Set-Cookie': 'other=1' } }))
      expect(ann.cookie).not.toBe('')
      await ann.take(response)
      expect(ann.cookie).toBe('')
    }
  },
)

plainTest('a visitor before migrate() is the store’s error, which says to call it', async () => {
  const store = sqliteStore(':memory:')
  closing.push(() => store.close?.())
  await expect(visitor<Any>({ store }, { user: 'ann' })).rejects.toThrow(/store\.migrate\(\)/)
})

plainTest('what is no manager, no data and no response is refused in words', async () => {
  const refused = { code: 'ERR_SESSION_OPTIONS' }
  const options = { store: lruStore() }
  await expect(visitor(undefined!)).rejects.toMatchObject(refused)
  await expect(visitor(options, 'ann' as any)).rejects.toThrow("{ user: 'ann' }")
  await expect(visitor(options, null as any)).rejects.toMatchObject(refused)
  const ann = await visitor<Any>(options, { user: 'ann' })
  for (const url of ['localhost', '/', undefined]) {
    expect(() => ann.cookies(url as string)).toThrow(expect.objectContaining(refused))
  }
  for (const wrong of [undefined, null, 'cookie', {}, { headers: () => ({}) }]) {
    await expect(ann.take(wrong as any)).rejects.toMatchObject(refused)
  }
})

plainTest(
  'of a browser’s cookies of one name the visitor takes the one that the site is sent',
  async () => {
    const sessions = createSessions<any>({ store: lruStore() })
    const ann = await visitor(sessions, { user: 'ann' })
    const [mine] = ann.cookies('http://shop.example/')
    const another = { ...mine!, domain: 'other.example', value: 'x'.repeat(32) }
    await ann.take([another, mine!])
    expect((await ann.session()).get('user')).toBe('ann')
    await ann.take([another])
    expect((await ann.session()).size).toBe(0)
  },
)

// An application moves from express-session to Coatcheck: whoever was logged in stays logged in, and the way back is open.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { session } from '@coatcheck/express'
import connectPgSimple from 'connect-pg-simple'
import { RedisStore } from 'connect-redis'
import express from 'express'
import expressSession from 'express-session'
import pg from 'pg'
import { createClient } from 'redis'
import { CookieJar } from 'tough-cookie'
import { afterAll, expect, test as plainTest } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { postgres, redis } from '../../../testing/services.ts'
import { connectCookie, fromExpressStore, type ExpressStore } from './index.ts'

const servers = {
  'connect-redis': await testWith(redis),
  'connect-pg-simple': await testWith(postgres),
}
const closing: (() => unknown)[] = []
afterAll(async () => {
  for (const close of closing.toReversed()) await close()
  for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
})

/** Each store as its README sets it up. */
const stores: Record<keyof typeof servers, (url: string) => Promise<expressSession.Store>> = {
  async 'connect-redis'(url) {
    const client = createClient({ url })
    await client.connect()
    closing.push(() => client.destroy())
    return new RedisStore({ client, prefix: 'myapp:' })
  },
  async 'connect-pg-simple'(url) {
    const pool = new pg.Pool({ connectionString: url })
    closing.push(() => pool.end())
    const table = createRequire(import.meta.url).resolve('connect-pg-simple/table.sql')
    await pool.query(readFileSync(table, 'utf8'))
    const store = new (connectPgSimple(expressSession))({ pool, pruneSessionInterval: false })
    return store
  },
}

const SECRETS = ['keyboard cat', 'an older secret']

/** The application as it was. */
function before(store: expressSession.Store, genid?: expressSession.SessionOptions['genid']) {
  const app = express()
  app.use(
    expressSession({
      store,
      secret: SECRETS,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 3_600_000 },
      ...(genid && { genid }),
    }),
  )
  app.get('/login', (request: any, response) => {
    request.session.user = 'ann'
    request.session.cart = [1]
    response.json(true)
  })
  app.get('/', (request: any, response) =>
    response.json([request.session.user, request.session.cart]),
  )
  return app
}

/** The same on Coatcheck. */
function after(store: ExpressStore) {
  const app = express()
  app.use(session({ store: fromExpressStore(store), cookie: connectCookie({ secrets: SECRETS }) }))
  app.get('/', (request: any, response) =>
    response.json([request.session.get('user'), request.session.get('cart')]),
  )
  app.get('/add', (request: any, response) => {
    request.session.update('cart', (cart: number[] = []) => [...cart, 2])
    response.json(true)
  })
  app.get('/logout', (request: any, response) => {
    request.session.flush()
    response.json(true)
  })
  return app
}

async function listen(app: RequestListener) {
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** One browser that finds both applications under the same address, as before and after a deploy. */
function browser() {
  const jar = new CookieJar()
  const site = 'http://shop.example.org/'
  return {
    jar,
    async visit(url: string) {
      const response = await fetch(url, { headers: { cookie: await jar.getCookieString(site) } })
      for (const line of response.headers.getSetCookie()) await jar.setCookie(line, site)
      return response.json()
    },
  }
}

for (const [name, open] of Object.entries(stores) as [
  keyof typeof servers,
  (typeof stores)[keyof typeof servers],
][]) {
  servers[name].test(
    `${name}: nobody is logged out by the move, the old application still reads what the new one wrote, and a logout holds on both`,
    async () => {
      const store = await open(servers[name].url!)
      const [old, fresh] = [await listen(before(store)), await listen(after(store))]
      const { visit, jar } = browser()
      await visit(`${old}/login`)
      expect(await visit(old)).toEqual(['ann', [1]])
      const cookie = await jar.getCookieString('http://shop.example.org/')
      expect(cookie).toMatch(/^connect\.sid=s%3A/)

      expect(await visit(fresh)).toEqual(['ann', [1]])
      await visit(`${fresh}/add`)
      expect(await visit(fresh)).toEqual(['ann', [1, 2]])
      // Both run side by side while a deploy is under way.
      expect(await visit(old)).toEqual(['ann', [1, 2]])

      await visit(`${fresh}/logout`)
      expect(await jar.getCookieString('http://shop.example.org/')).toBe('')
      await jar.setCookie(`${cookie}; Path=/`, 'http://shop.example.org/')
      expect(await visit(old)).toEqual([null, null])
    },
  )
}

plainTest(
  'a connect.sid whose signature is wrong is an anonymous session, and the cookie is deleted',
  async () => {
    const url = await listen(after(new expressSession.MemoryStore()))
    for (const value of [
      's:abcdefgh12345678.forged',
      'abcdefgh12345678',
      's:',
      's:.',
      's%3Aabcdefgh12345678',
    ]) {
      const response = await fetch(url, { headers: { cookie: `connect.sid=${value}` } })
      expect(await response.json()).toEqual([null, null])
      expect(response.headers.getSetCookie()[0]).toMatch(/^connect\.sid=; Max-Age=0/)
    }
  },
)

plainTest('an old secret of express-session is still read', async () => {
  const store = new expressSession.MemoryStore()
  const old = await listen(before(store))
  const { visit } = browser()
  await visit(`${old}/login`)
  const app = express()
  const cookie = connectCookie({ secrets: ['the newest secret', ...SECRETS] })
  app.use(session({ store: fromExpressStore(store), cookie }))
  app.get('/', (request: any, response) => response.json(request.session.get('user')))
  expect(await visit(await listen(app))).toBe('ann')
})

plainTest(
  'of several cookies of the name the first counts whose signature is good and whose session is there',
  async () => {
    const store = new expressSession.MemoryStore()
    const [old, fresh] = [await listen(before(store)), await listen(after(store))]
    const { visit, jar } = browser()
    await visit(`${old}/login`)
    const live = await jar.getCookieString('http://shop.example.org/')
    const ended = connectCookie({ secrets: SECRETS }).format!.write('ended-ended-ended-ended')
    for (const value of ['', 's:forged-forged.forged', 'abcdefgh12345678', ended]) {
      const header = `connect.sid=${encodeURIComponent(value)}; ${live}`
      const response = await fetch(fresh, { headers: { cookie: header } })
      expect(await response.json()).toEqual(['ann', [1]])
      expect(response.headers.getSetCookie()).toEqual([])
    }
  },
)

plainTest(
  'an id that genid made of other text is not taken over: the visitor is anonymous, logs in again, and the old session is left alone',
  async () => {
    const store = new expressSession.MemoryStore()
    const sid = 'tenant:7c9e6679-7425-40de-944b-e07fc1f90ae7'
    const [old, fresh] = [await listen(before(store, () => sid)), await listen(after(store))]
    const { visit, jar } = browser()
    await visit(`${old}/login`)
    expect(await visit(fresh)).toEqual([null, null])
    expect(await jar.getCookieString('http://shop.example.org/')).toBe('')
    await visit(`${fresh}/add`)
    expect(await visit(fresh)).toEqual([null, [2]])
    expect(Object.keys((store as any).sessions)).toContain(sid)
  },
)

plainTest('an id that genid made of letters, digits, _ and - is taken over', async () => {
  const store = new expressSession.MemoryStore()
  const sid = 'tenant-7c9e6679_7425-40de-944b-e07fc1f90ae7'
  const { visit } = browser()
  await visit(`${await listen(before(store, () => sid))}/login`)
  expect(await visit(await listen(after(store)))).toEqual(['ann', [1]])
})

plainTest('without a secret, connectCookie says what is missing', () => {
  for (const secrets of [undefined, [], ['']]) {
    expect(() => connectCookie({ secrets: secrets as string[] })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
    )
  }
})

plainTest('connectCookie says where a cookie’s age belongs', () => {
  const options = { secrets: ['keyboard cat'], maxAge: 86_400_000 }
  expect(() => connectCookie(options as any)).toThrow('`session({ maxAge: seconds })`')
})

// An ordinary application on express-session, with passport and connect-flash, on every server-side engine of ours.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { SessionStoreError, type SessionStore } from '@coatcheck/core/store'
import fastifyCookie from '@fastify/cookie'
import flash from 'connect-flash'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import passport from 'passport'
import { Strategy } from 'passport-local'
import { CookieJar } from 'tough-cookie'
import { afterEach, expect, test as plainTest, vi } from 'vitest'
import { controlled, signal } from '../../../testing/controlled-store.ts'
import { mapStore } from '../../../testing/map-store.ts'
import { slow as slowly } from '../../../testing/wrappers.ts'
import { openPlaces } from '../../../testing/places.ts'
import { engineNames, needsOf, subjectAt } from '../../../testing/subjects.ts'
import { toExpressStore, type ToExpressStoreOptions } from './index.ts'

// Its types and those of @coatcheck/fastify both say what `request.session` is.
const fastifySession = createRequire(import.meta.url)('@fastify/session')

const { places, servers } = await openPlaces('to-express', engineNames)
const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closing.splice(0).toReversed()) await close()
})

async function listen(server: Server) {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const jar = new CookieJar()
  return async (path: string, form?: Record<string, string>) => {
    const response = await fetch(url + path, {
      redirect: 'manual',
      headers: { cookie: await jar.getCookieString(url) },
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) await jar.setCookie(line, url)
    return { status: response.status, text: await response.text() }
  }
}

/**
 * What tutorials show: express-session, passport's local strategy, connect-flash.
 * @param whenLoaded What a handler of `/set` waits for: it has the session by then, and sets something in it after.
 */
function application(store: SessionStore, whenLoaded: () => Promise<void> = async () => {}) {
  const authentication = new passport.Passport()
  authentication.use(
    new Strategy((username, password, done) =>
      password === 'right'
        ? done(null, { username })
        : done(null, false, { message: 'wrong password' }),
    ),
  )
  authentication.serializeUser((user, done) => done(null, (user as { username: string }).username))
  authentication.deserializeUser((username, done) => done(null, { username } as Express.User))
  const app = express()
  app.use(
    expressSession({
      store: toExpressStore(store),
      secret: 'keyboard cat',
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 60_000 },
    }),
    flash(),
    authentication.initialize(),
    authentication.session(),
    express.urlencoded(),
  )
  const say = (request: any, response: any) =>
    response.json({
      user: request.user?.username,
      errors: request.flash('error'),
      n: request.session.n,
    })
  app.get('/', say)
  app.post(
    '/login',
    authentication.authenticate('local', {
      successRedirect: '/',
      failureRedirect: '/',
      failureFlash: true,
    }),
  )
  app.post('/logout', (request, response, next) => {
    request.logout((error) => (error ? next(error) : response.redirect('/')))
  })
  app.get('/count', (request: any, response) => {
    request.session.n = (request.session.n ?? 0) + 1
    response.json(request.session.n)
  })
  app.get('/set', async (request: any, response) => {
    const { key } = request.query
    await whenLoaded()
    request.session[key] = true
    response.json(true)
  })
  app.get('/keys', (request: any, response) => {
    response.json(Object.keys(request.session).filter((key) => key.startsWith('key')).length)
  })
  app.get('/destroy', (request: any, response, next) => {
    request.session.destroy((error: unknown) => (error ? next(error) : response.json(true)))
  })
  return createServer(app)
}

for (const engine of engineNames) {
  const { open, traits } = subjectAt(engine, places)
  if (traits?.stateless) continue
  const missing = needsOf(engine).find((name) => !places[name])
  const test = missing ? servers[missing]!.test : plainTest
  const openStore = async () => {
    const name = `to_express_${crypto.randomUUID().replaceAll('-', '')}`
    const store = await open({ now: Date.now, name })
    closing.push(() => store.close?.())
    return store
  }

  test(`${engine}: passport logs in and out, connect-flash tells once, and the session counts`, async () => {
    const visit = await listen(application(await openStore()))
    const page = async () => JSON.parse((await visit('/')).text)
    expect((await visit('/count')).text).toBe('1')
    expect((await visit('/count')).text).toBe('2')
    await visit('/login', { username: 'ann', password: 'wrong' })
    expect(await page()).toMatchObject({ errors: ['wrong password'], n: 2 })
    expect(await page()).toMatchObject({ errors: [] })
    await visit('/login', { username: 'ann', password: 'right' })
    expect(await page()).toMatchObject({ user: 'ann' })
    await visit('/logout', {})
    expect((await page()).user).toBeUndefined()
  })

  test(`${engine}: fifty requests at once that each set a key of their own: all are kept`, async () => {
    let count = 0
    const all = signal()
    // All have loaded the session before the first one saves it.
    const whenLoaded = () => {
      if (++count === 50) all.resolve()
      return all.promise
    }
    const visit = await listen(application(await openStore(), whenLoaded))
    await visit('/count')
    await Promise.all(Array.from({ length: 50 }, (_, n) => visit(`/set?key=key${n}`)))
    expect((await visit('/keys')).text).toBe('50')
  })

  test(`${engine}: a session that was destroyed while a slow request ran is not back`, async () => {
    const [loaded, destroyed] = [signal(), signal()]
    const whenLoaded = () => {
      loaded.resolve()
      return destroyed.promise
    }
    const visit = await listen(application(await openStore(), whenLoaded))
    await visit('/count')
    const slow = visit('/set?key=key')
    await loaded.promise
    await visit('/destroy')
    destroyed.resolve()
    expect((await slow).status).toBe(200)
    expect(JSON.parse((await visit('/')).text).n).toBeUndefined()
  })
}

plainTest('@fastify/session works on it too', async () => {
  const store = await subjectAt('sqlite', places).open({ now: Date.now, name: 'fastify' })
  closing.push(() => store.close?.())
  const app = Fastify()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: 'a secret with minimum length of 32 characters',
    cookie: { secure: false },
    store: toExpressStore(store),
  })
  app.get('/count', (request, reply) => {
    const session = request.session as unknown as { n?: number }
    session.n = (session.n ?? 0) + 1
    reply.send(session.n)
  })
  app.get('/destroy', async (request) => {
    await (request.session as unknown as { destroy(): Promise<void> }).destroy()
    return true
  })
  await app.ready()
  const visit = await listen(createServer((request, response) => app.routing(request, response)))
  expect((await visit('/count')).text).toBe('1')
  expect((await visit('/count')).text).toBe('2')
  await visit('/destroy')
  expect((await visit('/count')).text).toBe('1')
})

/** A store, and the calls of express-session's interface to it as promises. */
function promised(
  options: ToExpressStoreOptions<Record<string, any>> = {},
  store: SessionStore = mapStore(),
) {
  const bridge = toExpressStore(store, options)
  const call = (name: 'get' | 'set' | 'touch', ...args: any[]) =>
    new Promise<any>((resolve, reject) =>
      (bridge[name] as any)(...args, (error: unknown, result: unknown) =>
        error ? reject(error as Error) : resolve(result),
      ),
    )
  return { store, call }
}
const SID = 's'.repeat(32)
const cookieFor = (ms: number, originalMaxAge = ms) => ({
  originalMaxAge,
  expires: new Date(Date.now() + ms),
})

plainTest('a retired key is no session, and nothing that is saved onto it is there', async () => {
  const { store, call } = promised()
  await call('set', SID, { cookie: cookieFor(60_000), n: 1 })
  const loaded = await call('get', SID)
  store.save(SID, { data: '', expiresAt: Date.now() + 60_000 })
  expect(await call('get', SID)).toBeNull()
  await call('set', SID, { ...loaded, n: 2 })
  await call('set', SID, Object.assign(loaded, { n: 3 }))
  await call('touch', SID, loaded)
  expect(store.load(SID)).toMatchObject({ data: '' })
})

plainTest('a touch moves the end that its session was loaded with, and no other', async () => {
  const { store, call } = promised()
  await call('set', SID, { cookie: cookieFor(60_000), n: 1 })
  const [mine, yours] = [await call('get', SID), await call('get', SID)]
  mine.cookie = cookieFor(10_000, 60_000)
  yours.cookie = cookieFor(90_000, 60_000)
  await call('touch', SID, mine)
  await call('touch', SID, yours)
  expect(await store.load(SID)).toMatchObject({ expiresAt: mine.cookie.expires.getTime() })
  mine.cookie = cookieFor(20_000, 60_000)
  await call('touch', SID, mine)
  expect(await store.load(SID)).toMatchObject({ expiresAt: mine.cookie.expires.getTime() })
})

plainTest('of two sessions that are new under one id at once the last save wins', async () => {
  const { store, call } = promised()
  await Promise.all([1, 2].map((n) => call('set', SID, { cookie: cookieFor(60_000), n })))
  expect(JSON.parse((await store.load(SID))!.data).n).toBe(2)
})

/** Two requests that have loaded one session. */
async function two(data: object, options: ToExpressStoreOptions<Record<string, any>> = {}) {
  const { store, call } = promised(options)
  await call('set', SID, { cookie: cookieFor(60_000), ...data })
  const [mine, yours] = [await call('get', SID), await call('get', SID)]
  const seen = async () => {
    const { cookie: _, ...fields } = JSON.parse((await store.load(SID))!.data)
    return fields
  }
  return { mine, yours, save: (session: object) => call('set', SID, session), seen }
}

plainTest(
  'a second save of one request takes away nothing that another has set meanwhile',
  async () => {
    const { mine, yours, save, seen } = await two({ cart: ['a'] })
    yours.theirs = 1
    yours.cart.push('theirs')
    await save(yours)
    mine.x = 1
    await save(mine)
    mine.y = 1
    mine.cart.push('b')
    await save(mine)
    mine.cart = [...mine.cart, 'c']
    delete mine.x
    await save(mine)
    expect(await seen()).toEqual({ cart: ['a', 'theirs', 'b', 'c'], theirs: 1, y: 1 })
  },
)

plainTest('a clash is reported with its path; a field that is declared has none', async () => {
  const clashes: unknown[] = []
  const note = (clash: unknown) => void clashes.push(clash)
  subscribe('coatcheck:clash', note)
  const data = { views: 1, n: 1, user: { id: 'guest', roles: ['guest'] } }
  const { mine, yours, save, seen } = await two(data, { merge: { views: 'sum' } })
  for (const session of [mine, yours]) session.views++
  mine.n = 2
  yours.n = 3
  Object.assign(mine.user, { id: 'ann', roles: ['admin'] })
  yours.user.roles.push('editor')
  await save(mine)
  await save(yours)
  unsubscribe('coatcheck:clash', note)
  const user = { id: 'guest', roles: ['guest', 'editor'] }
  expect(await seen()).toEqual({ views: 3, n: 3, user })
  expect(clashes).toEqual([{ path: ['n'] }, { path: ['user'] }])
})

plainTest('a field that is declared to reject fails the second save, with 409', async () => {
  const { mine, yours, save, seen } = await two({ stock: 2 }, { merge: { stock: 'reject' } })
  for (const session of [mine, yours]) session.stock--
  await save(mine)
  await expect(save(yours)).rejects.toMatchObject({ code: 'ERR_SESSION_CONFLICT', key: 'stock' })
  expect(await seen()).toEqual({ stock: 1 })
})

plainTest('a strategy that there is not is refused at the start', () => {
  expect(() => toExpressStore(mapStore(), { merge: { n: 'summ' as 'sum' } })).toThrow(
    /merge.n.*summ/,
  )
})

plainTest('saves of one session that overlap count each change once', async () => {
  const { store, call } = promised({ merge: { n: 'sum' } }, slowly(mapStore()))
  await call('set', SID, { cookie: cookieFor(60_000), l: ['0'], n: 1 })
  const session = await call('get', SID)
  session.l.push('a')
  session.n++
  const first = call('set', SID, session)
  session.l.push('b')
  await Promise.all([first, call('set', SID, session)])
  expect(JSON.parse((await store.load(SID))!.data)).toMatchObject({ l: ['0', 'a', 'b'], n: 2 })
})

plainTest('a save whose answer was lost is looked for, and not made twice', async () => {
  const calls = controlled(slowly(mapStore()))
  const { store, call } = promised({ merge: { n: 'sum' } }, calls.store)
  await call('set', SID, { cookie: cookieFor(60_000), l: ['0'], n: 1 })
  for (const effect of [true, false]) {
    const session = await call('get', SID)
    session.l.push(`effect ${effect}`)
    session.n++
    calls.fail('save', { effect })
    await expect(call('set', SID, session)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    await call('set', SID, session)
  }
  const { l, n } = JSON.parse((await store.load(SID))!.data)
  expect([l, n]).toEqual([['0', 'effect true', 'effect false'], 3])
})

plainTest(
  'where another request has saved after a lost answer, it is an error and no guess',
  async () => {
    const calls = controlled(slowly(mapStore()))
    const { store, call } = promised({}, calls.store)
    await call('set', SID, { cookie: cookieFor(60_000), l: ['0'] })
    const [mine, yours] = [await call('get', SID), await call('get', SID)]
    mine.l.push('mine')
    calls.fail('save', { effect: true })
    await expect(call('set', SID, mine)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    yours.l.push('yours')
    await call('set', SID, yours)
    await expect(call('set', SID, mine)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect(JSON.parse((await store.load(SID))!.data).l).toEqual(['0', 'mine', 'yours'])
  },
)

plainTest('what a strategy returns must be JSON, as everywhere', async () => {
  for (const value of [new Date(), Number.NaN, new Map(), () => 1, Promise.resolve(1)]) {
    const { mine, yours, save, seen } = await two({ n: 1 }, { merge: { n: () => value } })
    mine.n = 2
    yours.n = 3
    await save(mine)
    await expect(save(yours)).rejects.toMatchObject({ code: 'ERR_SESSION_ENCODE' })
    expect(await seen()).toEqual({ n: 2 })
  }
})

plainTest('the cookie cannot be declared', () => {
  expect(() => toExpressStore(mapStore(), { merge: { cookie: 'last' } as any })).toThrow(/cookie/)
})

plainTest('a touch beside a save leaves what the save has noted', async () => {
  const store = slowly(mapStore(), { touch: 20 })
  const { call } = promised({}, store)
  await call('set', SID, { cookie: cookieFor(60_000), l: ['a'] })
  const session = await call('get', SID)
  session.cookie = cookieFor(90_000)
  const touched = call('touch', SID, session)
  session.l.push('b')
  await call('set', SID, session)
  await touched
  session.l.push('c')
  await call('set', SID, session)
  expect(JSON.parse((await store.load(SID))!.data).l).toEqual(['a', 'b', 'c'])
})

plainTest(
  'a longer life that one request has given the cookie stays, whatever another changes',
  async () => {
    const { store, call } = promised({}, mapStore())
    const session = { cookie: cookieFor(60_000), cart: [] as number[] }
    await call('set', SID, session)
    const [remember, cart] = [await call('get', SID), await call('get', SID)]
    remember.cookie = cookieFor(2_592_000_000)
    remember.remembered = true
    await call('set', SID, remember)
    cart.cart.push(1)
    // As express-session does at the end of each request.
    cart.cookie = cookieFor(59_999)
    await call('set', SID, cart)
    const kept = await call('get', SID)
    expect(kept).toMatchObject({ remembered: true, cart: [1] })
    expect(kept.cookie.originalMaxAge).toBe(2_592_000_000)
    expect((await store.load(SID))!.expiresAt).toBeGreaterThan(Date.now() + 2_500_000_000)
  },
)

plainTest(
  'a renewal goes on from a shorter one, and undoes no change of another request',
  async () => {
    const { store, call } = promised({}, mapStore())
    await call('set', SID, { cookie: cookieFor(60_000) })
    const [slow, short] = [await call('get', SID), await call('get', SID)]
    const renew = async (session: any, maxAge: number) => {
      session.cookie.expires = new Date(Date.now() + maxAge).toISOString()
      await call('touch', SID, session)
    }
    await renew(short, 70_000)
    await renew(slow, 80_000)
    const end = (await store.load(SID))!.expiresAt
    expect(end).toBeGreaterThan(Date.now() + 75_000)
    const changed = await call('get', SID)
    changed.cookie = cookieFor(5000)
    await call('set', SID, changed)
    await renew(slow, 90_000)
    expect((await store.load(SID))!.expiresAt).toBeLessThan(Date.now() + 6000)
  },
)

plainTest('what is no session of express-session’s is none, with a warning', async () => {
  const { store, call } = promised({}, mapStore())
  const expiresAt = Date.now() + 60_000
  await store.create(SID, { data: '{}', expiresAt })
  const codes: string[] = []
  const note = (warning: any) => codes.push(warning.code)
  subscribe('coatcheck:warning', note)
  const others = ['null', 'xx', '[1]', '{"cookie":"x"}', '7', '{"user":1}', '{"cookie":{"ok":1}}']
  for (const data of others) {
    await store.save(SID, { data, expiresAt })
    expect(await call('get', SID)).toBeNull()
  }
  unsubscribe('coatcheck:warning', note)
  expect(codes).toEqual(others.map(() => 'CORRUPT_DATA'))
})

plainTest('a renewal that was refused, and cannot look why, is no error', async () => {
  const calls = controlled(slowly(mapStore()))
  const { store, call } = promised({}, calls.store)
  await call('set', SID, { cookie: cookieFor(60_000) })
  const session = await call('get', SID)
  const end = (await store.load(SID))!.expiresAt
  await store.touch(SID, end + 5)
  session.cookie.expires = new Date(end + 10_000).toISOString()
  const fault = calls.fail('load')
  await call('touch', SID, session)
  expect(fault.came).toBe(true)
  expect((await store.load(SID))!.expiresAt).toBe(end + 5)
})

plainTest(
  'writes of one session that wait for one which fails late fail with it, and do not each wait for a store that is away',
  async () => {
    const record = { data: '{}', expiresAt: Date.now() + 60_000 }
    let touches = 0
    const fault = signal()
    const away = {
      load: () => record,
      touch: async () => {
        touches++
        await fault.promise
        throw new SessionStoreError('away')
      },
    } as unknown as SessionStore
    const stored = toExpressStore(Object.assign(mapStore(), away))
    const session = { cookie: { originalMaxAge: 60_000, expires: new Date(record.expiresAt) } }
    let time = performance.now()
    vi.spyOn(performance, 'now').mockImplementation(() => time)
    const waiting = Array.from(
      { length: 6 },
      () => new Promise((resolve) => stored.touch('k'.repeat(32), session, resolve)),
    )
    time += 1500
    fault.resolve()
    const errors = await Promise.all(waiting)
    expect(touches).toBe(1)
    for (const error of errors) expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
  },
)

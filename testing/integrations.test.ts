// Middleware that applications have beside their sessions, as npm has it: what docs/integrations.md says works.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions } from '@coatcheck/core'
import { session as onExpress } from '@coatcheck/express'
import { toExpressStore } from '@coatcheck/express-session'
import { session as onFastify } from '@coatcheck/fastify'
import { session as onHono } from '@coatcheck/hono'
import { session as onKoa } from '@coatcheck/koa'
import { visitor } from '@coatcheck/testing'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { compress } from 'hono/compress'
import { csrf } from 'hono/csrf'
import { secureHeaders } from 'hono/secure-headers'
import Koa from 'koa'
import supertest from 'supertest'
import { afterEach, describe, expect, test } from 'vitest'

/** As JavaScript has them: some have no types, and some others' say what `request.session` is. */
const load = createRequire(import.meta.url)

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const openSessions = () => createSessions<any>({ store: lruStore() })

/** An application on our adapter. */
const ours = () => express().use(onExpress(openSessions()))

/** An application on express-session over a store of ours. */
const bridged = () =>
  express().use(
    expressSession({
      store: toExpressStore(lruStore()) as any,
      secret: 'keyboard cat',
      resave: false,
      saveUninitialized: false,
    }),
  )

/** What passport's local strategy lets in, as each framework's passport has it. */
function localStrategy() {
  const { Strategy } = load('passport-local')
  return new Strategy((name: string, password: string, done: Function) =>
    password === 'right' ? done(null, { name }) : done(null, false),
  )
}
const right = { username: 'ann', password: 'right' }
const wrong = { ...right, password: 'wrong' }

function counting(app: express.Express) {
  return app.get('/', (request: any, response) => {
    request.session.update('n', (n = 0) => n + 1)
    response.send(`${request.session.get('n')}${' '.repeat(2000)}`)
  })
}

describe('on the adapter of Express', () => {
  test('helmet, compression, cookie-parser with a secret and express-rate-limit stand before or after it', async () => {
    const beside = () => [
      load('helmet')(),
      load('compression')({ threshold: 0 }),
      load('cookie-parser')('a secret'),
      load('express-rate-limit').rateLimit({ limit: 2 }),
    ]
    const after = ours().use(...beside())
    const before = express().use(...beside(), onExpress(openSessions()))
    for (const app of [before, after]) {
      const agent = supertest.agent(counting(app))
      await agent.get('/')
      const second = await agent.get('/')
      expect([second.text.trim(), second.get('Content-Encoding')]).toEqual(['2', 'gzip'])
      expect(second.get('X-Frame-Options')).toBe('SAMEORIGIN')
      expect((await agent.get('/')).status).toBe(429)
    }
  })

  test('express-rate-limit counts by session', async () => {
    const { rateLimit } = load('express-rate-limit')
    const sessions = openSessions()
    const keyGenerator = ({ session }: any) => session.key
    const app = counting(express().use(onExpress(sessions), rateLimit({ limit: 1, keyGenerator })))
    for (const user of ['ann', 'bob']) {
      const { cookie } = await visitor(sessions, { user })
      const visit = () => supertest(app).get('/').set('Cookie', cookie)
      expect([(await visit()).status, (await visit()).status]).toEqual([200, 429])
    }
  })

  test('multer’s files arrive beside the session', async () => {
    const app = ours().post('/', load('multer')().single('file'), (request: any, response) => {
      request.session.update('bytes', (bytes = 0) => bytes + request.file.size)
      response.json(request.session.get('bytes'))
    })
    const agent = supertest.agent(app)
    const send = () => agent.post('/').attach('file', Buffer.from('hello'), 'file.txt')
    await send()
    expect((await send()).body).toBe(10)
  })

  test('passport checks who it is, and the session is one’s own: authenticate(…, { session: false })', async () => {
    const authentication = new (load('passport').Passport)().use(localStrategy())
    const sessions = openSessions()
    const app = express().use(onExpress(sessions), express.urlencoded())
    app.get('/', (request: any, response) => response.json(request.session.get('user', 'nobody')))
    app.post(
      '/login',
      authentication.authenticate('local', { session: false }),
      (request: any, response) => {
        request.session.cycleKey()
        request.session.set('user', request.user.name)
        response.json('in')
      },
    )
    const guest = await visitor(sessions, { cart: [1] })
    const login = (who: object) =>
      supertest(app).post('/login').type('form').set('Cookie', guest.cookie).send(who)
    expect((await login(wrong)).status).toBe(401)
    const before = guest.cookie
    await guest.take(await login(right))
    expect(guest.cookie).not.toBe(before)
    expect((await supertest(app).get('/').set('Cookie', guest.cookie)).body).toBe('ann')
    expect((await guest.session()).get('cart')).toEqual([1])
  })

  test('csrf-csrf ties its token to the session', async () => {
    const { doubleCsrf } = load('csrf-csrf')
    const { doubleCsrfProtection, generateCsrfToken } = doubleCsrf({
      getSecret: () => 'a secret for tests, of 32 characters or more',
      getSessionIdentifier: ({ session }: any) => session.key,
      cookieName: 'csrf',
      cookieOptions: { secure: false },
    })
    const sessions = openSessions()
    const app = express().use(load('cookie-parser')(), onExpress(sessions))
    app.get('/token', (request, response) => response.send(generateCsrfToken(request, response)))
    app.post('/', doubleCsrfProtection, (_request, response) => response.send('done'))
    const [ann, bob] = [
      await visitor(sessions, { user: 'ann' }),
      await visitor(sessions, { user: 'bob' }),
    ]
    const given = await supertest(app).get('/token').set('Cookie', ann.cookie)
    const csrfCookie = given
      .get('Set-Cookie')!
      .find((line) => line.startsWith('csrf='))!
      .split(';')[0]
    const send = ({ cookie }: { cookie: string }, token: string) =>
      supertest(app).post('/').set('Cookie', `${cookie}; ${csrfCookie}`).set('x-csrf-token', token)
    expect((await send(ann, given.text)).status).toBe(200)
    expect((await send(ann, 'another')).status).toBe(403)
    expect((await send(bob, given.text)).status).toBe(403)
  })

  test('csrf-sync and lusca keep their token where they are told to', async () => {
    const { csrfSync } = load('csrf-sync')
    const sync = csrfSync({
      getTokenFromState: ({ session }: any) => session.get('csrf'),
      storeTokenInState: ({ session }: any, token: string) => session.set('csrf', token),
    })
    const create = ({ session }: any) => ({
      token: session.setDefault('csrf', crypto.randomUUID()),
      validate: (later: any, token: string) => later.session.get('csrf') === token,
    })
    const protections = {
      'csrf-sync': { protect: sync.csrfSynchronisedProtection, tokenOf: sync.generateToken },
      lusca: {
        protect: load('lusca').csrf({ impl: { create } }),
        tokenOf: (_request: any, response: any) => response.locals['_csrf'],
      },
    }
    for (const [name, { protect, tokenOf }] of Object.entries(protections)) {
      const app = ours().use(protect)
      app.get('/token', (request, response) => response.send(tokenOf(request, response)))
      app.post('/', (_request, response) => response.send('done'))
      app.use(((error, _request, response, _next) => {
        response.status(403).send(error.message)
      }) as express.ErrorRequestHandler)
      const agent = supertest.agent(app)
      const { text } = await agent.get('/token')
      const send = (token: string) => agent.post('/').set('x-csrf-token', token)
      expect((await send(text)).status, name).toBe(200)
      expect((await send('another')).status, name).toBe(403)
    }
  })

  test('socket.io reads the session by io.engine.use, and saves a change', async () => {
    const { Server } = load('socket.io')
    const { io: connect } = load('socket.io-client')
    const sessions = openSessions()
    const server = createServer()
    const io = new Server(server)
    closing.push(() => io.close())
    io.engine.use(onExpress(sessions))
    io.on('connection', (socket: any) => {
      const { session } = socket.request
      socket.on('count', async (answer: Function) => {
        session.update('n', (n = 0) => n + 1)
        await session.save()
        answer([session.get('user'), session.get('n')])
      })
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const ann = await visitor(sessions, { user: 'ann' })
    for (const [count, transport] of ['websocket', 'polling'].entries()) {
      const options = { transports: [transport], extraHeaders: ann.headers, forceNew: true }
      const socket = connect(url, options)
      closing.push(() => socket.close())
      expect(await socket.timeout(10_000).emitWithAck('count')).toEqual(['ann', count + 1])
    }
    expect((await ann.session()).get('n')).toBe(2)
  })
})

describe('what needs the bridge is an error at once on our adapter, and nothing that is lost or shown to another', () => {
  /** An application that answers an error with its code and its words. */
  const told = (app: express.Express) =>
    app.use(((error, _request, response, _next) => {
      response.status(500).json([error.code, error.message])
    }) as express.ErrorRequestHandler)
  const misuse = (words: RegExp) => ['ERR_SESSION_USAGE', expect.stringMatching(words)]

  for (const name of ['connect-flash', 'express-flash']) {
    test(`${name} writes its messages nowhere, and shows nobody those of another`, async () => {
      const app = ours().use(load(name)())
      app.get('/', (request: any, response) => response.json(request.flash('info', 'hello')))
      told(app)
      for (const agent of [supertest.agent(app), supertest.agent(app)]) {
        expect((await agent.get('/')).body).toEqual(misuse(/session\.flash/))
      }
    })
  }

  test('csrf-sync and lusca as they come name the property that they assign', async () => {
    const sync = ours().get('/', (request: any, response) => {
      response.json(load('csrf-sync').csrfSync().generateToken(request))
    })
    expect((await supertest(told(sync)).get('/')).body).toEqual(misuse(/'csrfToken'/))
    const lusca = told(ours().use(load('lusca').csrf()))
    expect((await supertest(lusca).get('/')).body).toEqual(misuse(/'_csrfSecret'/))
  })

  test('passport’s own login and logout answer, and say what to call', async () => {
    const authentication = new (load('passport').Passport)().use(localStrategy())
    authentication.serializeUser(({ name }: any, done: Function) => done(null, name))
    authentication.deserializeUser((name: string, done: Function) => done(null, { name }))
    const app = ours().use(express.urlencoded(), authentication.session())
    app.post('/login', authentication.authenticate('local'))
    app.post('/logout', (request: any, response, next) => {
      request.logout((error: unknown) => (error ? next(error) : response.json('out')))
    })
    told(app)
    const login = await supertest(app).post('/login').type('form').send(right)
    expect(login.body).toEqual(misuse(/cycleKey\(\)/))
    expect((await supertest(app).post('/logout')).body).toEqual(misuse(/await session\.save\(\)/))
  })

  test('@fastify/passport and @fastify/csrf-protection for @fastify/session answer an error', async () => {
    const app = await fastify()
    const { authentication, initialize } = fastifyPassport(app)
    await initialize()
    await app.register(authentication.secureSession())
    await app.register(load('@fastify/csrf-protection'), { sessionPlugin: '@fastify/session' })
    const preValidation = authentication.authenticate('local', { successRedirect: '/' })
    app.post('/login', { preValidation }, () => {})
    app.get('/token', async (_request: any, reply: any) => reply.generateCsrf())
    const visit = inject(app)
    expect((await visit('POST', '/login', right)).statusCode).toBe(500)
    expect((await visit('GET', '/token')).json().code).toBe('ERR_SESSION_USAGE')
  })
})

describe('on express-session over toExpressStore', () => {
  for (const name of ['connect-flash', 'express-flash']) {
    test(`${name} tells its message once, and to its visitor alone`, async () => {
      const app = bridged().use(load(name)())
      app.get('/say', (request: any, response) => response.json(request.flash('info', 'hello')))
      app.get('/', (request: any, response) => response.json(request.flash('info')))
      const [ann, bob] = [supertest.agent(app), supertest.agent(app)]
      await ann.get('/say')
      expect((await bob.get('/')).body).toEqual([])
      expect((await ann.get('/')).body).toEqual(['hello'])
      expect((await ann.get('/')).body).toEqual([])
    })
  }

  test('csrf-sync and lusca as they come', async () => {
    const { generateToken, csrfSynchronisedProtection } = load('csrf-sync').csrfSync()
    const protections = {
      'csrf-sync': { protect: csrfSynchronisedProtection, tokenOf: generateToken },
      lusca: {
        protect: load('lusca').csrf(),
        tokenOf: (_request: any, response: any) => response.locals['_csrf'],
      },
    }
    for (const [name, { protect, tokenOf }] of Object.entries(protections)) {
      const app = bridged().use(protect)
      app.get('/token', (request, response) => response.send(tokenOf(request, response)))
      app.post('/', (_request, response) => response.send('done'))
      const agent = supertest.agent(app)
      const { text } = await agent.get('/token')
      expect((await agent.post('/').set('x-csrf-token', text)).status, name).toBe(200)
      expect((await agent.post('/')).status, name).toBeGreaterThanOrEqual(400)
    }
  })
})

/** A client of Fastify's `inject` that keeps its cookies. */
function inject(app: any) {
  const jar = new Map<string, string>()
  return async (method: string, url: string, payload?: object, headers = {}) => {
    const response = await app.inject({
      method,
      url,
      payload,
      cookies: Object.fromEntries(jar),
      headers,
    })
    for (const { name, value } of response.cookies) jar.set(name, value)
    return response
  }
}

/** Fastify on our adapter. */
async function fastify() {
  const app: any = Fastify()
  await app.register(onFastify, { sessions: openSessions() } as any)
  return app
}

/** Fastify on its own session over a store of ours. */
async function bridgedFastify() {
  const app: any = Fastify()
  await app.register(load('@fastify/cookie'))
  await app.register(load('@fastify/session'), {
    secret: 'a secret with minimum length of 32 characters',
    cookie: { secure: false },
    store: toExpressStore(lruStore()),
  })
  return app
}

for (const [name, open] of Object.entries({ fastify, bridgedFastify })) {
  test(`${name}: @fastify/flash tells its message once, and to its visitor alone`, async () => {
    const app = await open()
    await app.register(load('@fastify/flash'))
    app.get('/say', async (request: any) => request.flash('info', 'hello'))
    app.get('/', async (_request: any, reply: any) => reply.flash('info'))
    const [ann, bob] = [inject(app), inject(app)]
    await ann('GET', '/say')
    expect((await bob('GET', '/')).json()).toEqual([])
    expect((await ann('GET', '/')).json()).toEqual(['hello'])
    expect((await ann('GET', '/')).json()).toEqual([])
  })

  test(`${name}: @fastify/csrf-protection keeps its secret in the session`, async () => {
    const app = await open()
    const sessionPlugin = open === fastify ? '@fastify/secure-session' : '@fastify/session'
    await app.register(load('@fastify/csrf-protection'), { sessionPlugin })
    app.get('/token', async (_request: any, reply: any) => reply.generateCsrf())
    app.post('/', { onRequest: app.csrfProtection }, async () => 'done')
    const [ann, bob] = [inject(app), inject(app)]
    const { body: token } = await ann('GET', '/token')
    await bob('GET', '/token')
    const headers = { 'x-csrf-token': token }
    expect((await ann('POST', '/', {}, headers)).statusCode).toBe(200)
    expect((await ann('POST', '/', {})).statusCode).toBe(403)
    expect((await bob('POST', '/', {}, headers)).statusCode).toBe(403)
  })
}

function fastifyPassport(app: any) {
  const authentication = new (load('@fastify/passport').Authenticator)()
  authentication.use('local', localStrategy())
  authentication.registerUserSerializer(async ({ name }: any) => name)
  authentication.registerUserDeserializer(async (name: string) => ({ name }))
  return { authentication, initialize: () => app.register(authentication.initialize()) }
}

test('fastify: @fastify/passport checks who it is, and the session is one’s own', async () => {
  const app = await fastify()
  const { authentication, initialize } = fastifyPassport(app)
  await initialize()
  const preValidation = authentication.authenticate('local', { session: false })
  app.get('/', async (request: any) => request.session.get('user', 'nobody'))
  app.post('/login', { preValidation }, async (request: any) => {
    request.session.cycleKey()
    request.session.set('user', request.user.name)
    return 'in'
  })
  const visit = inject(app)
  expect((await visit('POST', '/login', wrong)).statusCode).toBe(401)
  expect((await visit('GET', '/')).body).toBe('nobody')
  await visit('POST', '/login', right)
  expect((await visit('GET', '/')).body).toBe('ann')
})

test('bridgedFastify: @fastify/passport as it comes', async () => {
  const app = await bridgedFastify()
  const { authentication, initialize } = fastifyPassport(app)
  await initialize()
  await app.register(authentication.secureSession())
  const preValidation = authentication.authenticate('local', { successRedirect: '/' })
  app.get('/', async (request: any) => request.user?.name ?? 'nobody')
  app.post('/login', { preValidation }, () => {})
  app.post('/logout', async (request: any) => request.logout())
  const visit = inject(app)
  await visit('POST', '/login', right)
  expect((await visit('GET', '/')).body).toBe('ann')
  await visit('POST', '/logout', {})
  expect((await visit('GET', '/')).body).toBe('nobody')
})

test('Koa: koa-passport checks who it is, and the session is one’s own', async () => {
  const authentication = new (load('koa-passport').KoaPassport)()
  authentication.use(localStrategy())
  const app = new Koa().use(onKoa(openSessions())).use(async (ctx: any) => {
    if (ctx.path !== '/login') return (ctx.body = ctx.session.get('user', 'nobody'))
    ctx.request.body = ctx.query
    await authentication.authenticate('local', { session: false })(ctx, async () => {
      ctx.session.cycleKey()
      ctx.session.set('user', ctx.state.user.name)
      ctx.body = 'in'
    })
  })
  const agent = supertest.agent(app.callback())
  expect((await agent.get('/login').query(wrong)).status).toBe(401)
  expect((await agent.get('/')).text).toBe('nobody')
  await agent.get('/login').query(right)
  expect((await agent.get('/')).text).toBe('ann')
})

test('Hono: csrf, secureHeaders and compress stand before the session', async () => {
  const sessions = openSessions()
  const app = new Hono().use(csrf(), secureHeaders(), compress({ threshold: 0 }), onHono(sessions))
  app.post('/', (c) => {
    ;(c.get('session') as any).set('posted', true)
    return c.text('done')
  })
  const ann = await visitor(sessions, { user: 'ann' })
  const send = (origin: string) =>
    app.request('http://shop.test/', {
      method: 'POST',
      body: new URLSearchParams({ a: '1' }),
      headers: { ...ann.headers, origin, 'accept-encoding': 'gzip' },
    })
  expect((await send('http://evil.test')).status).toBe(403)
  expect((await ann.session()).has('posted')).toBe(false)
  const response = await send('http://shop.test')
  expect([response.status, response.headers.get('x-frame-options')]).toEqual([200, 'SAMEORIGIN'])
  expect(response.headers.get('content-encoding')).toBe('gzip')
  expect((await ann.session()).has('posted')).toBe(true)
})

// Libraries that take a session for express-session's: with ours they keep nothing quietly and hang nobody, but say what to write.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createSessions, type SessionStore } from '@coatcheck/core'
import { getSession, session } from '@coatcheck/express'
import flash from 'connect-flash'
import express, { type ErrorRequestHandler, type Express } from 'express'
import expressSession from 'express-session'
import { Passport } from 'passport'
import { Strategy } from 'passport-local'
import { afterEach, expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** Answers with the message of an error, as an application in development does. */
const tell: ErrorRequestHandler = (error: Error, _request, response, _next) => {
  response.status(500).send(error.message)
}

async function serve(app: Express) {
  app.use(tell)
  const server = createServer(app as RequestListener)
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return async (path: string, cookie = '') => {
    const response = await fetch(url + path, { headers: { cookie } })
    return { status: response.status, text: await response.text(), response }
  }
}

test('connect-flash shows no visitor’s messages to another: it is told what to write', async () => {
  const app = express()
  app.use(session({ store: mapStore() }), flash())
  app.get('/set', (request, response) => {
    request.flash('info', 'for Ann alone')
    response.send('done')
  })
  app.get('/get', (request, response) => {
    response.send(request.flash('info'))
  })
  const get = await serve(app)
  for (const path of ['/set', '/get']) {
    const { status, text } = await get(path)
    expect([status, text]).toEqual([500, expect.stringContaining("session.flash is the session's")])
    expect(text).not.toContain('Ann')
  }
})

/** A site of passport's, with a login by name. */
async function passportSite(store: SessionStore) {
  const passport = new Passport()
  passport.use(new Strategy((name, _password, done) => done(null, { name })))
  passport.serializeUser((user, done) => done(null, (user as { name: string }).name))
  passport.deserializeUser((name: string, done) => done(null, { name }))
  const app = express()
  app.use(session({ store }), passport.initialize(), passport.session())
  app.get('/login', passport.authenticate('local'))
  app.get('/logout', (request, response, next) => {
    request.logout((error) => (error ? next(error) : response.send('logged out')))
  })
  app.get('/', async (request, response) => {
    const mine = await getSession<any>(request)
    response.send(mine.get('seen') ? 'seen' : 'new')
  })
  return serve(app)
}

test('passport’s login and logout say what to write, and do not answer that all is well', async () => {
  const store = mapStore()
  const get = await passportSite(store)
  const login = await get('/login?username=ann&password=x')
  expect(login.status).toBe(500)
  expect(login.text).toContain("regenerate() is a method of other libraries' sessions")
  const logout = await get('/logout')
  expect(logout.status).toBe(500)
  expect(logout.text).toContain('session.save() takes no callback and returns a promise')
})

test('a page behind passport that nobody is logged in to works', async () => {
  const store = mapStore()
  const ours = await createSessions<any>({ store }).open(undefined)
  await ours.set('seen', 1).save()
  const get = await passportSite(store)
  expect((await get('/', `sessionid=${ours.key}`)).text).toBe('seen')
})

const theirs = () => expressSession({ secret: 's', resave: false, saveUninitialized: false })

test('express-session mounted after ours takes no session of its own', async () => {
  const app = express()
  app.use(session({ store: mapStore() }), theirs())
  app.get('/', async (request, response) => {
    const mine = await getSession<any>(request)
    mine.set('a', 1)
    response.send('done')
  })
  const { text, response } = await (await serve(app))('/')
  expect(text).toBe('done')
  expect(response.headers.getSetCookie()).toEqual([expect.stringMatching(/^sessionid=/)])
})

test('express-session mounted before ours works beside one of another property, and is no session that can be shadowed', async () => {
  const app = express()
  app.use(theirs(), session({ store: mapStore() }, { property: 'coat' }))
  app.get('/', (request, response) => {
    ;(request.session as unknown as { a: number }).a = 1
    ;(request as unknown as { coat: { set(key: string, value: number): void } }).coat.set('a', 1)
    response.send('done')
  })
  const { text, response } = await (await serve(app))('/')
  expect(text).toBe('done')
  expect(response.headers.getSetCookie()).toHaveLength(2)
  const shadowing = express()
  shadowing.use(theirs(), session({ store: mapStore() }))
  const refused = await (await serve(shadowing))('/')
  expect(refused.text).toContain("This request has something else in 'session' already.")
})

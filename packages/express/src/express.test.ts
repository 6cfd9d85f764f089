// Express 5 and 4, Connect and bare node:http: the session is stored before the client sees a header.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import {
  createSessions,
  SessionStoreError,
  type SessionsOptions,
  type SessionStore,
} from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { afterEach, describe, expect, test } from 'vitest'
import { controlled, signal } from '../../../testing/controlled-store.ts'
import { frameworks } from '../../../testing/node-frameworks.ts'
import { slow } from '../../../testing/wrappers.ts'
import { getSession, session } from './index.ts'

type Handler = (request: any, response: any, next: (error?: unknown) => void) => unknown

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

function freshStore(): SessionStore {
  const store = sqliteStore(':memory:')
  store.migrate()
  return store
}

async function serve(
  framework: string,
  store: SessionStore,
  handler: Handler,
  { after, ...options }: Partial<SessionsOptions> & { after?: Handler } = {},
) {
  const handlers = [session({ store, ...options }) as Handler, handler, ...(after ? [after] : [])]
  const server = createServer(frameworks[framework]!(handlers))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  let cookie = ''
  return {
    url,
    get cookie() {
      return cookie
    },
    set cookie(value) {
      cookie = value
    },
    async get(path = '/', init: RequestInit = {}) {
      const headers = { cookie, ...(init.headers as Record<string, string>) }
      const response = await fetch(url + path, { redirect: 'manual', ...init, headers })
      for (const line of response.headers.getSetCookie()) {
        if (line.startsWith('sessionid='))
          cookie = /Max-Age=0/.test(line) ? '' : line.split(';')[0]!
      }
      return response
    },
  }
}

/** The ways a handler may answer; each says what the client should see. */
const answers: Record<string, { answer: Handler; status?: number; body?: string; only?: RegExp }> =
  {
    end: { answer: (_, response) => response.end('done'), body: 'done' },
    'end in a callback later': {
      answer: (_, response) => void setTimeout(5).then(() => response.end('done')),
      body: 'done',
    },
    'write and end': {
      answer: (_, response) => {
        response.write('a')
        response.write('b')
        response.end('c')
      },
      body: 'abc',
    },
    'writes with pauses': {
      async answer(_, response) {
        for (const part of ['a', 'b', 'c']) {
          response.write(part)
          await setTimeout(5)
        }
        response.end()
      },
      body: 'abc',
    },
    'flushHeaders first': {
      async answer(_, response) {
        response.flushHeaders()
        await setTimeout(5)
        response.end('flushed')
      },
      body: 'flushed',
    },
    'writeHead with headers': {
      answer(_, response) {
        response.writeHead(201, 'Made', { 'Set-Cookie': ['a=1', 'b=2'], 'X-Own': 'yes' })
        response.end('head')
      },
      status: 201,
      body: 'head',
    },
    'writeHead with an array': {
      answer(_, response) {
        response.writeHead(201, ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X-Own', 'yes'])
        response.end('head')
      },
      status: 201,
      body: 'head',
    },
    'a stream piped, larger than every buffer': {
      answer: (_, response) => {
        const chunk = 'x'.repeat(65_536)
        Readable.from(Array.from({ length: 40 }, () => chunk)).pipe(response)
      },
      body: 'x'.repeat(65_536 * 40),
    },
    'a redirect by hand': {
      answer(_, response) {
        response.writeHead(302, { Location: '/read' })
        response.end()
      },
      status: 302,
      body: '',
    },
    'res.redirect': {
      answer: (_, response) => response.redirect('/read'),
      status: 302,
      only: /Express/,
    },
    'res.json': {
      answer: (_, response) => response.json({ a: 1 }),
      body: '{"a":1}',
      only: /Express/,
    },
    'res.send': { answer: (_, response) => response.send('text'), body: 'text', only: /Express/ },
    'res.sendStatus': {
      answer: (_, response) => response.sendStatus(404),
      status: 404,
      only: /Express/,
    },
    'res.sendFile': {
      answer: (_, response) => response.sendFile(`${import.meta.dirname}/fixtures/file.txt`),
      body: 'A file.\n',
      only: /Express/,
    },
    'res.sendFile of a file that is not there': {
      answer: (_, response, next) => response.sendFile('/nowhere/at/all.txt', next),
      status: 404,
      only: /Express/,
    },
  }

const stores: Record<string, () => SessionStore> = {
  'a synchronous store': freshStore,
  'an asynchronous store': () => slow(freshStore(), { create: 10, save: 10 }),
}

describe.each(Object.keys(frameworks))('%s', (framework) => {
  describe.each(Object.keys(stores))('on %s', (kind) => {
    for (const [name, { answer, status = 200, body, only }] of Object.entries(answers)) {
      if (only && !only.test(framework)) continue
      test(`the session is stored before the headers leave: ${name}`, async () => {
        const store = stores[kind]!()
        const app = await serve(framework, store, (request, response, next) => {
          if (request.url === '/read') return response.end(String(request.session.get('a')))
          request.session.set('a', 'remembered')
          return answer(request, response, next)
        })
        for (const method of ['GET', 'POST', 'HEAD']) {
          app.cookie = ''
          const response = await app.get('/', { method })
          // fetch resolves when the headers are here; the body may still be on its way.
          const key = app.cookie.slice('sessionid='.length)
          expect(await store.load(key)).toMatchObject({ data: '{"a":"remembered"}' })
          expect(response.status).toBe(status)
          expect(response.headers.get('vary')).toContain('Cookie')
          if (/writeHead/.test(name)) {
            expect(response.headers.get('x-own')).toBe('yes')
            expect(response.headers.getSetCookie()).toEqual([
              'a=1',
              'b=2',
              expect.stringMatching(/^sessionid=/),
            ])
          }
          const text = await response.text()
          if (method === 'HEAD') expect(text).toBe('')
          else if (body !== undefined)
            expect(text === body, 'the body came through whole').toBe(true)
          expect(await (await app.get('/read')).text()).toBe('remembered')
        }
      })
    }

    test('a session emptied meanwhile: the slow request gets 400 and brings nothing back', async () => {
      const store = stores[kind]!()
      const inside = signal()
      const loggedOut = signal()
      const app = await serve(framework, store, async (request, response) => {
        if (request.url === '/logout') request.session.flush()
        else request.session.set('seen', request.url)
        if (request.url === '/slow') {
          inside.resolve()
          await loggedOut.promise
        }
        response.setHeader('Content-Type', 'application/json')
        response.end('{"done":true}')
      })
      await app.get('/login')
      const old = app.cookie
      const slowRequest = app.get('/slow')
      await inside.promise
      await app.get('/logout')
      expect(app.cookie).toBe('')
      loggedOut.resolve()
      const response = await slowRequest
      expect(response.status).toBe(400)
      expect(response.headers.getSetCookie()).toEqual([])
      expect(await response.text()).not.toContain('done')
      expect(await store.load(old.slice('sessionid='.length))).toBeUndefined()
    })

    test('a failed save: what the handler still sends is dropped, and the error handler answers', async () => {
      const broken = (): never => {
        throw new SessionStoreError('The disk is full.')
      }
      const store: SessionStore = {
        ...stores[kind]!(),
        create: kind.includes('asynchronous') ? async () => broken() : broken,
      }
      const app = await serve(framework, store, async (request, response) => {
        request.session.set('a', 1)
        response.setHeader('Content-Type', 'text/csv')
        response.setHeader('Content-Length', '6')
        response.write('abc')
        response.write('def')
        response.end()
        response.end()
      })
      const response = await app.get()
      expect(response.status).toBe(503)
      expect(response.headers.get('content-type')).not.toBe('text/csv')
      expect(await response.text()).not.toContain('abc')
    })
  })

  test('an error thrown in a handler is answered 500, and the session is not saved', async () => {
    const store = freshStore()
    const app = await serve(framework, store, (request, response, next) => {
      request.session.set('a', (request.session.get('a') ?? 0) + 1)
      if (request.url === '/fail') return next(new Error('no'))
      response.end(String(request.session.get('a')))
    })
    await app.get('/')
    const failed = await app.get('/fail')
    expect(failed.status).toBe(500)
    expect(failed.headers.getSetCookie()).toEqual([])
    expect(await (await app.get('/')).text()).toBe('2')
  })

  test('a session changed after the headers: a warning, and save() works there', async () => {
    const headers = signal()
    const app = await serve(framework, slow(freshStore()), async (request, response) => {
      if (request.url === '/start') request.session.set('a', 1)
      if (request.url === '/stream') {
        request.session.get('a')
        response.write('first ')
        await headers.promise
        await request.session.set('a', 2).save()
      }
      response.end(String(request.session.get('a')))
    })
    await app.get('/start')
    const streaming = await app.get('/stream')
    headers.resolve()
    expect(await streaming.text()).toBe('first 2')
    expect(await (await app.get('/')).text()).toBe('2')
  })

  test('a client that hangs up while the session is being saved harms nobody', async () => {
    const calls = controlled(slow(freshStore()))
    const left = signal()
    const app = await serve(framework, calls.store, (request, response) => {
      if (request.url === '/hang') {
        for (const event of ['end', 'close']) request.socket.once(event, left.resolve)
        request.session.set('a', 1)
      }
      response.end('x'.repeat(1_000_000))
    })
    const saving = calls.hold('create')
    const client = new AbortController()
    const hanging = app.get('/hang', { signal: client.signal })
    expect(await saving.reached(hanging)).toBe(true)
    client.abort()
    await expect(hanging).rejects.toThrow()
    await left.promise
    saving.release()
    await setTimeout(20)
    expect((await app.get('/')).status).toBe(200)
  })

  test('lazy: getSession loads the session when the handler asks for it', async () => {
    const app = await serve(
      framework,
      slow(freshStore()),
      async (request, response) => {
        if (request.url === '/plain') return response.end('plain')
        const visitor = await getSession<Record<string, number>>(request)
        visitor.set('n', visitor.get('n', 0) + 1)
        response.end(String(visitor.get('n')))
      },
      { lazy: true },
    )
    expect(await (await app.get('/plain')).text()).toBe('plain')
    for (const n of ['1', '2']) expect(await (await app.get('/')).text()).toBe(n)
  })

  test('hostile cookies are anonymous sessions', async () => {
    const app = await serve(framework, freshStore(), (request, response) => {
      response.end(String(request.session.size))
    })
    for (const value of [
      '../../etc/passwd',
      '%00%00%00%00%00%00%00%00',
      'x'.repeat(8000),
      '%',
      ';;=',
    ]) {
      app.cookie = `sessionid=${value}`
      const response = await app.get()
      expect([response.status, await response.text()]).toEqual([200, '0'])
    }
  })
})

test('Express: 304 Not Modified still carries the session', async () => {
  const app = await serve('Express 5', freshStore(), (request, response) => {
    if (request.url === '/read') return response.end(String(request.session.get('a')))
    request.session.set('a', 'remembered')
    response.set('ETag', '"1"').send('body')
  })
  const response = await app.get('/', {
    headers: { 'if-none-match': '"1"', 'cache-control': 'max-age=0' },
  })
  expect(response.status).toBe(304)
  expect(await (await app.get('/read')).text()).toBe('remembered')
})

test("Express: the application's own error handler answers a failed save", async () => {
  const store = { ...freshStore(), create: () => Promise.reject(new SessionStoreError('down')) }
  const app = await serve(
    'Express 5',
    store,
    (request, response) => {
      request.session.set('a', 1)
      response.status(201).json({ ok: true })
    },
    {
      after: ((error: any, _request: any, response: any, _next: any) =>
        response.status(error.status).json({ code: error.code })) as unknown as Handler,
    },
  )
  const response = await app.get()
  expect(response.status).toBe(503)
  expect(await response.json()).toEqual({ code: 'ERR_SESSION_STORE' })
})

test('Express: a store that fails to load is answered 503', async () => {
  const store = {
    ...freshStore(),
    traits: {},
    load: () => Promise.reject(new SessionStoreError('down')),
  }
  const app = await serve('Express 5', store, (_, response) => response.end('never'))
  app.cookie = `sessionid=${'k'.repeat(32)}`
  expect((await app.get()).status).toBe(503)
})

test('redirect after save: with a store that takes 300 ms to save, the next request finds the value, 100 of 100', async () => {
  const store = slow(freshStore(), { save: 300 })
  const app = await serve('Express 5', store, (request, response) => {
    if (request.url === '/start') request.session.set('n', -1)
    if (request.url.startsWith('/set')) {
      request.session.set('n', Number(request.query.n))
      return response.redirect('/read')
    }
    response.json(request.session.get('n'))
  })
  const found = await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const start = await fetch(`${app.url}/start`)
      const headers = { cookie: start.headers.getSetCookie()[0]!.split(';')[0]! }
      // fetch follows the redirect by itself, with the same headers.
      const response = await fetch(`${app.url}/set?n=${n}`, { headers })
      return (await response.json()) === n
    }),
  )
  expect(found.filter(Boolean)).toHaveLength(100)
})

test('a parallel request with the old key during a login does not log the user out', async () => {
  const inside = signal()
  const answered = signal()
  const app = await serve('Express 5', slow(freshStore()), async (request, response) => {
    if (request.url === '/login') {
      request.session.cycleKey()
      request.session.set('user', 'ann')
      inside.resolve()
      await answered.promise
    } else if (request.url !== '/who') {
      request.session.update('visits', (visits: number = 0) => visits + 1)
    }
    response.end(String(request.session.get('user')))
  })
  await app.get('/')
  const old = app.cookie
  const login = app.get('/login')
  // One straggler during the login, by fetch alone so that only the login's cookie is kept; one after it.
  await inside.promise
  const during = await fetch(`${app.url}/`, { headers: { cookie: old } })
  expect(during.status).toBe(200)
  answered.resolve()
  await login
  const after = await fetch(`${app.url}/`, { headers: { cookie: old } })
  expect(after.status).toBe(400)
  expect(after.headers.getSetCookie()).toEqual([])
  const reading = await fetch(`${app.url}/who`, { headers: { cookie: old } })
  expect([reading.status, reading.headers.getSetCookie()]).toEqual([200, []])
  expect(await (await app.get('/who')).text()).toBe('ann')
})

test('the middleware takes a manager too, and getSession without it says what is missing', async () => {
  const sessions = createSessions({ store: freshStore() })
  expect(session(sessions)).toBeTypeOf('function')
  await expect(getSession({} as never)).rejects.toThrow(/Put the session middleware before/)
})

test('an error handler that says no status answers a failed load, and a failed save, by the error’s', async () => {
  const down = () => Promise.reject(new SessionStoreError('down'))
  const app = await serve(
    'Express 5',
    { ...freshStore(), traits: {}, load: down, create: down },
    (request, response) => {
      request.session.set('a', 1)
      response.end('never')
    },
    {
      after: ((_error: any, _request: any, response: any, _next: any) =>
        response.send('sorry')) as unknown as Handler,
    },
  )
  const saving = await app.get()
  expect([saving.status, await saving.text()]).toEqual([503, 'sorry'])
  app.cookie = `sessionid=${'k'.repeat(32)}`
  const loading = await app.get()
  expect([loading.status, await loading.text()]).toEqual([503, 'sorry'])
})

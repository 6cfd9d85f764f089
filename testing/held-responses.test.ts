// What attackers have found of held responses: each was an answer lost, cut, mixed or given to the wrong visitor, or a process that ended.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { connect, type AddressInfo } from 'node:net'
import { createReadStream } from 'node:fs'
import { pipeline, Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions, SessionStoreError, type SessionStore } from '@coatcheck/core'
import { getSession, session } from '@coatcheck/express'
import { session as fastifySession } from '@coatcheck/fastify'
import { withSession } from '@coatcheck/fetch'
import { session as honoSession } from '@coatcheck/hono'
import { session as koaSession } from '@coatcheck/koa'
import { createAdaptorServer } from '@hono/node-server'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import serverless from 'serverless-http'
import { afterEach, describe, expect, test } from 'vitest'
import { signal } from './controlled-store.ts'
import { slow } from './wrappers.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** Takes 60 ms to save. */
const slowly = () => slow(lruStore(), { create: 60, save: 60 })
/** Takes 60 ms to fail. */
const failing = (): SessionStore => ({
  ...slowly(),
  create: () => setTimeout(60).then(() => Promise.reject(new SessionStoreError('away'))),
})

async function listen(server: Server | ReturnType<typeof createHttp2Server>): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => {
    ;(server as Server).closeAllConnections?.()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

type Handler = (request: any, response: ServerResponse, next: (error?: unknown) => void) => unknown

/** A handler that changes its session, behind the middleware, with the error page of an application of its own. */
const applicationOf =
  (store: SessionStore, handler: Handler, answer?: Handler) =>
  (request: IncomingMessage, response: ServerResponse) => {
    const errorPage = (error?: any) => {
      if (answer) return answer(error, response, () => {})
      response.statusCode = error.status
      response.end('error page')
    }
    session({ store })(request, response, (error) => {
      if (error) return errorPage(error)
      ;(request as any).session.set('a', 1)
      handler(request, response, errorPage)
    })
  }

const serve = (...args: Parameters<typeof applicationOf>) =>
  listen(createServer(applicationOf(...args)))

/** All that a client of these bytes gets. */
async function ask(port: number, more = '', end = false): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const request = `${more.startsWith('POST') ? '' : 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'}${more || '\r\n'}`
  if (end) socket.end(request)
  else socket.write(request)
  const chunks: Buffer[] = []
  try {
    for await (const chunk of socket) chunks.push(chunk as Buffer)
  } catch {
    // Cut: what came until then counts.
  }
  return Buffer.concat(chunks).toString('latin1')
}

describe('an answer that was ended is the client’s, whoever closes the connection', () => {
  const closers: Record<string, Handler> = {
    'response.socket.end()': (_request, response) => response.socket!.end(),
    'response.socket.end(callback)': (_request, response) => response.socket!.end(() => {}),
    'response.socket.end() and destroy()': (_request, response) => {
      response.socket!.end()
      response.socket!.destroy()
    },
    'response.socket.destroySoon()': (_request, response) => response.socket!.destroySoon(),
    'request.destroy(error)': (request) => request.destroy(new Error('too large')),
    'request.socket.destroy()': (request) => request.socket.destroy(),
    'response.destroy()': (_request, response) => response.destroy(),
  }
  test.each(Object.entries(closers))('%s', async (_, close) => {
    const port = await serve(slowly(), (request, response, next) => {
      response.end('page')
      close(request, response, next)
    })
    expect(await ask(port)).toMatch(/^HTTP\/1\.1 200 OK[^]*\r\n\r\npage$/)
  })

  test.each(Object.entries(closers))(
    '%s, and a save that fails at once: the error page',
    async (_, close) => {
      const down = (): never => {
        throw new SessionStoreError('away')
      }
      const port = await serve({ ...lruStore(), create: down }, (request, response, next) => {
        response.end('never')
        close(request, response, next)
      })
      expect(await ask(port)).toMatch(/^HTTP\/1\.1 503 [^]*error page$/)
    },
  )

  test('two requests at once of a client that says no more: both', async () => {
    const port = await serve(slowly(), (request, response) => {
      response.end(`page of ${request.url}`)
      expect(response.writableEnded).toBe(true)
    })
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.end('GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n')
    let answer = ''
    for await (const chunk of socket) answer += String(chunk)
    expect(answer).toMatch(/page of \/one[^]*page of \/two/)
  })

  test('a client that says no more', async () => {
    const port = await serve(slowly(), (_request, response) => response.end('page'))
    expect(await ask(port, '', true)).toMatch(/page$/)
  })

  test.each(['close', 'closeAllConnections'] as const)(
    'a server that shuts down: %s, and 5 MB',
    async (how) => {
      const server = createServer(
        applicationOf(slowly(), (_request, response) => {
          response.end(Buffer.alloc(5_000_000, 'x'))
          server.close()
          if (how === 'closeAllConnections') server.closeAllConnections()
        }),
      )
      const answer = await ask(await listen(server))
      expect(answer.length - answer.indexOf('\r\n\r\n') - 4).toBe(5_000_000)
    },
  )

  test('a shutdown while a save fails is not kept waiting by its connection', async () => {
    let start = 0
    const server = createServer(
      applicationOf(failing(), (_request, response) => {
        response.end('never')
        start = Date.now()
        server.close()
        server.closeAllConnections()
      }),
    )
    server.keepAliveTimeout = 30_000
    const closed = once(server, 'close')
    expect((await fetch(`http://127.0.0.1:${await listen(server)}/`)).status).toBe(503)
    await closed
    expect(Date.now() - start).toBeLessThan(15_000)
  })
})

describe('a save that fails', () => {
  test('while the request’s own body is sent back: the error page, and not a cut connection', async () => {
    const port = await serve(failing(), (request, response) => request.pipe(response))
    const body = 'x'.repeat(50_000)
    const answer = await ask(
      port,
      `POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 503 [^]*error page$/)
  })

  test('a handler that writes whenever there is room writes nothing into an error page that streams', async () => {
    const page = 'p'.repeat(3_000_000)
    const port = await serve(
      failing(),
      (_request, response) => {
        const write = () => {
          while (response.write('SECRET'.repeat(3000))) continue
          response.once('drain', write)
        }
        write()
      },
      (error, response) => {
        response.statusCode = error.status
        Readable.from([page, page]).pipe(response)
      },
    )
    const response = await fetch(`http://127.0.0.1:${port}/`)
    expect(response.status).toBe(503)
    expect(await response.text()).toBe(page + page)
  })

  test('the application’s own page answers, also where the handler passes on what its pipeline is told', async () => {
    const app = express().set('env', 'test')
    app.use(session({ store: failing() }))
    app.get('/', async (request, response, next) => {
      ;(await getSession(request)).set('a', 1)
      pipeline(createReadStream(import.meta.filename), response, (error) => error && next(error))
    })
    app.use((error: any, _request: any, response: any, next: any) => {
      if (response.headersSent) return next(error)
      response.status(error.status).send('our page')
    })
    const response = await fetch(`http://127.0.0.1:${await listen(createServer(app))}/`)
    expect([response.status, await response.text()]).toEqual([503, 'our page'])
  })

  test('an error handler that is slow is not overtaken by the handler’s own end, nor ended by its lateness', async () => {
    const failed = signal()
    const ended = signal()
    const port = await serve(
      failing(),
      async (_request, response) => {
        response.write('never')
        await failed.promise
        response.write('never')
        await setTimeout(40)
        response.end()
        ended.resolve()
      },
      async (error, response) => {
        failed.resolve()
        await ended.promise
        await setTimeout(300)
        response.setHeader('X-Late', 'no')
        response.statusCode = error.status
        response.end('our page')
      },
    )
    const response = await fetch(`http://127.0.0.1:${port}/`)
    expect([response.status, await response.text()]).toEqual([503, 'our page'])
  })

  test('an error handler whose context is lost leaves nobody waiting', async () => {
    const queue: (() => void)[] = []
    const pool = setInterval(() => queue.shift()?.(), 5)
    closing.push(() => clearInterval(pool))
    const port = await serve(
      failing(),
      (_request, response) => response.end('never'),
      (error, response) =>
        void queue.push(() => {
          response.statusCode = error.status
          response.end('our page')
        }),
    )
    const response = await fetch(`http://127.0.0.1:${port}/`)
    expect([response.status, await response.text()]).toEqual([503, 'Service Unavailable'])
  })

  test('what a wrapper has made unchangeable, and a listener that throws, end no process', async () => {
    const port = await serve(failing(), (_request, response) => {
      Object.defineProperty(response, 'write', { value: response.write, writable: false })
      Object.defineProperty(response, 'end', { value: response.end, writable: false })
      response.on('error', () => {
        throw new Error('of the listener')
      })
      response.on('drain', async () => {
        throw new Error('of the other')
      })
      response.end('never')
    })
    const response = await fetch(`http://127.0.0.1:${port}/`)
    expect([response.status, await response.text()]).toEqual([503, 'error page'])
  })

  test('what the handler still does to the status and the trailers is not the error page’s', async () => {
    const failed = signal()
    const ended = signal()
    const port = await serve(
      failing(),
      async (_request, response) => {
        response.write('never')
        await failed.promise
        if (response.headersSent) expect(response.destroyed).toBe(true)
        else response.statusCode = 200
        response.statusCode = 200
        response.statusMessage = 'All saved'
        response.addTrailers({ 'X-Secret': 'yes' })
        response.end('never')
        ended.resolve()
      },
      async (error, response) => {
        response.statusCode = error.status
        failed.resolve()
        await ended.promise
        response.write('our ')
        response.end('page')
      },
    )
    const answer = await ask(port)
    expect(answer).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n/)
    expect(answer).not.toContain('Secret')
  })

  test.each<[string, Handler]>([
    ['destroys the response', (_error, response) => response.destroy()],
    ['destroys the socket', (_error, response) => response.socket!.destroy()],
    [
      'destroys it within its page',
      (_error, response) => {
        response.write('half')
        setImmediate(() => response.destroy())
      },
    ],
  ])('an error handler that %s closes the connection at once', async (_, answer) => {
    let start = 0
    const port = await serve(
      failing(),
      (_request, response) => response.end('never'),
      (...args) => {
        start = Date.now()
        return answer(...args)
      },
    )
    expect(await ask(port)).not.toContain('never')
    // Whom nobody has answered is answered plainly after 3 s.
    expect(Date.now() - start).toBeLessThan(2500)
  })

  test('over http2 nothing of the answer’s trailers is left', async () => {
    const application = applicationOf(failing(), (_request, response) => {
      response.addTrailers({ 'x-secret': 'yes' })
      response.end('never')
    })
    const port = await listen(createHttp2Server(application as never))
    const client = connectHttp2(`http://127.0.0.1:${port}`)
    closing.push(() => client.destroy())
    const stream = client.request()
    const trailers: unknown[] = []
    stream.on('trailers', (headers) => trailers.push(headers))
    const [headers] = await once(stream, 'response')
    stream.resume().end()
    await once(stream, 'close')
    expect([headers[':status'], trailers]).toEqual([503, []])
  })
})

/** What a client gets of a handler behind no session, behind one that is stored at once and behind one that takes its time. */
async function compare(handler: Handler, request?: string): Promise<string[]> {
  const alone = createServer((incoming, response) => handler(incoming, response, () => {}))
  const ports = [
    await listen(alone),
    await serve(lruStore(), handler),
    await serve(slowly(), handler),
  ]
  const answers = await Promise.all(ports.map((port) => ask(port, request)))
  return answers.map((answer) =>
    answer.replaceAll(
      /^(?:Date:|Set-Cookie: sessionid|Vary:|Cache-Control:).*\r\n|(?<=HTTP.{5}500 ).*/gm,
      '',
    ),
  )
}

describe('a writeHead that Node refuses leaves what it leaves without a session', () => {
  const pdf = { 'Content-Length': 5, 'X-File': 'a', 'Content-Disposition': 'filename="日本.pdf"' }
  const KEEP_ALIVE = 'Host: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  const POST = `POST /refused HTTP/1.1\r\nContent-Length: 0\r\n${KEEP_ALIVE}`
  const HEAD = `POST /next HTTP/1.1\r\nContent-Length: 0\r\nHost: x\r\n\r\nHEAD /refused HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
  const refused =
    (headers: any, before?: string): Handler =>
    (request, response) => {
      if (request.url === '/next') return response.end('next page')
      if (before !== undefined) response.setHeader(before, 'b')
      try {
        response.writeHead(200, headers).end('%PDF-')
      } catch (error) {
        response.statusCode = 500
        response.end(`error page ${(error as { code: string }).code}`)
      }
    }

  test.each<[string, Handler, string]>([
    ['a character in a value', refused(pdf), POST],
    ['a character in a value of a list', refused(Object.entries(pdf).flat()), POST],
    ['an odd list', refused(['Connection', 'close', 'X-A']), POST],
    ['an empty name', refused({ 'Content-Length': 5, '': 'a' }), POST],
    ['a header that Node would add itself', refused({ Date: 'x', 'X-A': '€' }), POST],
    [
      'trailers of an answer without a body',
      refused({ 'Content-Length': 5, Trailer: 'X-A' }),
      HEAD,
    ],
    [
      'trailers of an answer of a known length',
      refused({ 'Content-Length': 5, Trailer: 'X-A' }),
      POST,
    ],
  ])('%s', async (_, handler, request) => {
    const [alone, ...behind] = await compare(handler, request)
    expect(alone).toMatch(/ 500 /)
    expect(behind).toEqual([alone, alone])
  })

  test('beside headers that were set before', async () => {
    const [alone, ...behind] = await compare(refused({ ...pdf, 'Content-Length': [] }, 'X-Before'))
    expect(alone).toMatch(/X-Before: b\r\nX-File: a\r\n[^]*error page ERR_INVALID_CHAR/)
    expect(behind).toEqual([alone, alone])
  })

  test('over http2', async () => {
    const answerOf = async (listener: any) => {
      const client = connectHttp2(`http://127.0.0.1:${await listen(createHttp2Server(listener))}`)
      closing.push(() => client.destroy())
      const stream = client.request({ ':path': '/refused' })
      const [headers] = await once(stream, 'response')
      let body = ''
      for await (const chunk of stream) body += String(chunk)
      return [headers[':status'], headers['x-before'], headers['x-a'], headers['x-b'], body]
    }
    for (const list of [
      ['X-A', ['a', 'b'], 'X-Before', 'c', 'X-B', undefined],
      ['X-A', ['a', 'b'], 'X-Before'],
      [
        ['X-A', 'a'],
        ['X-B', ['a', 'b']],
        ['', 'a'],
      ],
    ]) {
      const handler = refused(list, 'X-Before')
      const alone = await answerOf(handler)
      expect(alone.at(-1)).toMatch('error page')
      expect(await answerOf(applicationOf(slowly(), handler))).toEqual(alone)
    }
  })

  test('trailers that can be sent are', async () => {
    const [alone, ...behind] = await compare((_request, response) => {
      response.writeHead(200, { Trailer: 'X-A' })
      response.addTrailers({ 'X-A': 'a' })
      response.end('page')
    })
    expect(alone).toMatch(/page\r\n0\r\nX-A: a\r\n\r\n$/)
    expect(behind).toEqual([alone, alone])
  })
})

test.each<[string, unknown[], string?]>([
  ['an odd number of values', ['Set-Cookie', ['a=1', 'b=2'], 'X-B', 'b']],
  ['an even number of values', ['X-A', ['1', '2', '3'], 'X-B', 'b']],
  [
    'pairs',
    [
      ['X-A', 'a'],
      ['X-B', ['1', '2']],
    ],
  ],
  ['names alone', ['X-A', 'a', 'X-A', 'b']],
  [
    'pairs beside headers that were set before',
    [
      ['X-A', 'a'],
      ['X-B', 'b'],
    ],
    'X-A',
  ],
  ['values beside headers that were set before', ['X-A', ['1', '2'], '', 'b', 'X-A', '3'], 'X-A'],
])('a list of headers is taken as Node takes it: %s', async (_, list, before) => {
  const [alone, ...behind] = await compare((_request, response) => {
    if (before) response.setHeader(before, 'before')
    try {
      response.writeHead(200, structuredClone(list) as string[]).end('page')
    } catch (error) {
      response.statusCode = 500
      response.end((error as { code: string }).code)
    }
  })
  expect(behind).toEqual([alone, alone])
})

describe('a method of a response that was taken or wrapped while it was held is its own afterwards', () => {
  /** Wraps `destroy`, and counts in `request.calls` how often it is called. */
  const countDestroys = (request: any, response: ServerResponse) => {
    const { destroy } = response
    request.calls = 0
    response.destroy = function (this: ServerResponse, error) {
      request.calls++
      return destroy.call(this, error)
    }
  }
  const destroyers: Record<string, Handler> = {
    'destroy, taken': async (_request, response) => {
      response.write('page')
      const destroy = response.destroy.bind(response)
      await setTimeout(200)
      destroy()
    },
    'destroy, wrapped': async (request, response) => {
      response.write('page')
      countDestroys(request, response)
      await setTimeout(200)
      response.destroy()
      expect(request.calls).toBe(1)
    },
    'destroy, wrapped and called at once': async (request, response) => {
      response.write('page')
      countDestroys(request, response)
      response.destroy()
      await setTimeout(200)
      expect(request.calls).toBe(1)
    },
  }
  const twice = (handler: Handler) => {
    const [outer, inner] = ['a', 'b'].map((name) => session({ store: slowly(), cookie: { name } }))
    return (request: any, response: ServerResponse) =>
      outer!(request, response, () => {
        request.session.set('a', 1)
        inner!(request, response, () => {
          request.session.set('a', 1)
          handler(request, response, () => {})
        })
      })
  }

  test.each(Object.entries(destroyers))('%s', async (_, handler) => {
    await ask(await serve(slowly(), handler))
    await ask(await listen(createServer(twice(handler))))
  })

  test.each(Object.entries(destroyers))('%s, over http2', async (_, handler) => {
    for (const application of [applicationOf(slowly(), handler), twice(handler)]) {
      const port = await listen(createHttp2Server(application as never))
      const client = connectHttp2(`http://127.0.0.1:${port}`)
      closing.push(() => client.destroy())
      const stream = client.request()
      stream.resume()
      await once(stream, 'close')
    }
  })

  test('setHeader, over http2', async () => {
    let set: Function | undefined
    const application = applicationOf(
      failing(),
      (_request, response) => {
        response.write('never')
        set = response.setHeader.bind(response)
        expect(() => set!('X-A', 'held')).toThrow('already been initiated')
        const { setHeader } = response
        response.setHeader = (...args) => setHeader.apply(response, args)
      },
      (_error, response) => {
        set!('X-A', 'a')
        response.setHeader('X-B', 'b')
        response.end('error page')
      },
    )
    const port = await listen(createHttp2Server(application as never))
    const client = connectHttp2(`http://127.0.0.1:${port}`)
    closing.push(() => client.destroy())
    const stream = client.request()
    const [headers] = await once(stream, 'response')
    stream.resume()
    expect([headers['x-a'], headers['x-b']]).toEqual(['a', 'b'])
  })
})

test.each<[string, Handler]>([
  ['writeHead', (_request, response) => response.writeHead(404)],
  ['write', (_request, response) => response.write('a')],
  ['a status of no name', (_request, response) => response.writeHead(299)],
  ['a message of its own', (_request, response) => response.writeHead(200, 'Fine')],
])('the message of a status is there once the headers are due: %s', async (_, begin) => {
  const [alone, ...behind] = await compare((request, response, next) => {
    begin(request, response, next)
    response.end(`message: ${response.statusMessage}`)
  })
  expect(alone).toMatch(/message: \w/)
  expect(behind).toEqual([alone, alone])
})

test('an uncork after the end leaves the answer whole', async () => {
  const [alone, ...behind] = await compare((_request, response) => {
    response.write('a')
    response.end('hello')
    response.uncork()
  })
  expect(alone).toMatch(/1\r\na\r\n5\r\nhello\r\n0\r\n\r\n$/)
  expect(behind).toEqual([alone, alone])
})

test('over http2 no warning comes of a status message', async () => {
  const warnings: string[] = []
  const listen2 = (warning: Error) => void warnings.push(warning.name)
  process.on('warning', listen2)
  const application = applicationOf(slowly(), (_request, response) => response.end('page'))
  const port = await listen(createHttp2Server(application as never))
  const client = connectHttp2(`http://127.0.0.1:${port}`)
  closing.push(() => client.destroy())
  const stream = client.request()
  await once(stream, 'response')
  stream.resume().end()
  await once(stream, 'close')
  await setTimeout(10)
  process.off('warning', listen2)
  expect(warnings).toEqual([])
})

test.each([
  ['a store that takes its time', slowly, 200, 'page'],
  ['a store that fails', failing, 503, 'error page'],
] as const)(
  'on a platform that makes an answer of its own out of the response, over %s: whole',
  async (_, store, status, body) => {
    const app = express().set('env', 'test')
    app.use(session({ store: store() }))
    app.get('/', async (request, response) => {
      ;(await getSession(request)).set('a', 1)
      response.send('page')
    })
    app.use((error: any, _request: any, response: any, _next: any) =>
      response.status(error.status).send('error page'),
    )
    const event = { httpMethod: 'GET', path: '/', headers: {}, requestContext: {} }
    const answer = (await serverless(app)(event, {})) as { statusCode: number; body: string }
    expect([answer.statusCode, answer.body]).toEqual([status, body])
  },
)

describe('a buffer that is used again for the next visitor', () => {
  const buffer = Buffer.alloc(20)
  const pageOf = (url: string) => {
    buffer.fill(' ')
    buffer.write(`page of ${new URL(url, 'http://x').pathname}`)
    return buffer
  }
  const servers: Record<string, () => Promise<number>> = {
    Express: () => serve(slowly(), (request, response) => response.end(pageOf(request.url))),
    async Koa() {
      const app = new Koa()
      app.use(koaSession({ store: slowly() }))
      app.use((ctx) => {
        ctx['session'].set('a', 1)
        ctx.body = pageOf(ctx.url)
      })
      return listen(createServer(app.callback()))
    },
    async Fastify() {
      const app = Fastify({ forceCloseConnections: true })
      await app.register(fastifySession, { store: slowly() })
      app.get('/:who', (request, reply) => {
        ;(request.session as any).set('a', 1)
        reply.send(pageOf(request.url))
      })
      await app.ready()
      return listen(app.server)
    },
    async Hono() {
      const app = new Hono()
      app.use(honoSession({ store: slowly() }))
      app.get('/:who', (c) => {
        ;(c.get('session') as any).set('a', 1)
        return c.body(pageOf(c.req.url))
      })
      return listen(createAdaptorServer({ fetch: app.fetch }) as Server)
    },
    async fetch() {
      const handler = withSession<any>({ store: slowly() }, (request, visitor) => {
        visitor.set('a', 1)
        return new Response(pageOf(request.url))
      })
      return listen(
        createAdaptorServer({ fetch: (request: Request) => handler(request) }) as Server,
      )
    },
  }
  test.each(Object.entries(servers))('%s: each gets his own page', async (_, start) => {
    const port = await start()
    const visit = async (who: string) => (await fetch(`http://127.0.0.1:${port}/${who}`)).text()
    const pages = await Promise.all(['ann', 'bob', 'cleo'].map(visit))
    expect(pages.map((page) => page.trim())).toEqual(
      ['ann', 'bob', 'cleo'].map((who) => `page of /${who}`),
    )
  })
})

describe('one manager in two frameworks on one request: one session, one cookie', () => {
  test('Koa in Express', async () => {
    const sessions = createSessions<any>({ store: slowly() })
    const koa = new Koa()
    koa.use(koaSession(sessions))
    koa.use((ctx) => {
      ctx['session'].set('inner', 1)
      ctx.body = JSON.stringify(Object.fromEntries(ctx['session']))
    })
    const app = express()
    app.use(session(sessions), (request, response) => {
      ;(request.session as any).set('outer', 1)
      void koa.callback()(request, response)
    })
    const response = await fetch(`http://127.0.0.1:${await listen(createServer(app))}/`)
    expect(await response.json()).toEqual({ outer: 1, inner: 1 })
    expect(response.headers.getSetCookie()).toHaveLength(1)
  })

  test('withSession in Hono; and what the outer one has left unloaded the inner one loads', async () => {
    const store = slowly()
    const first = createSessions<any>({ store })
    const ann = await first.open(undefined)
    ann.set('user', 'ann')
    const cookie = (await first.commit(ann)).setCookie!.split(';', 1)[0]!
    const inner = withSession<any>({ store }, (_request, visitor) => {
      visitor.set('inner', 1)
      return Response.json(Object.fromEntries(visitor))
    })
    const app = new Hono()
    app.use(honoSession({ store, lazy: true }))
    app.get('/', (c) => inner(c.req.raw))
    const response = await app.request('/', { headers: { cookie } })
    expect(await response.json()).toEqual({ user: 'ann', inner: 1 })
  })
})

test('Fastify: a Response of another copy of the standard classes is held to the same rules', async () => {
  class Foreign {
    readonly [Symbol.toStringTag] = 'Response'
    readonly status = 201
    readonly headers = new Headers({ 'Cache-Control': 'public, max-age=60' })
    readonly bodyUsed = false
    readonly body = new Response('body').body
  }
  const app = Fastify()
  await app.register(fastifySession, { store: slowly() })
  app.get('/', async (request) => {
    ;(request.session as any).set('a', 1)
    return new Foreign()
  })
  const { statusCode, headers, body } = await app.inject('/')
  expect([statusCode, body, headers['cache-control']]).toEqual([201, 'body', 'private, max-age=60'])
})

test('Fastify: a reply that it refuses to send is an error of the reply, also when it has waited', async () => {
  const app = Fastify()
  await app.register(fastifySession, { store: slowly() })
  app.get('/', (request, reply) => {
    ;(request.session as any).set('a', 1)
    reply.type('text/plain').send({ a: 1 })
  })
  const response = await app.inject('/')
  expect([response.statusCode, response.json().code]).toEqual([
    500,
    'FST_ERR_REP_INVALID_PAYLOAD_TYPE',
  ])
})

// Ways of answering that Express has of its own, and the field's wrappers around the response, outside and inside the session.
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import compression from 'compression'
import timeout from 'connect-timeout'
import express from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'
import morgan from 'morgan'
import onFinished from 'on-finished'
import onHeaders from 'on-headers'
import responseTime from 'response-time'
import serveStatic from 'serve-static'
import { failure, FILE, FOLDER, long, MARK, PAGE } from './pages.ts'
import type { Answer, Middleware, Way } from './visit.ts'

/** Ways that need Express's own response. */
export const waysOfExpress: Readonly<Record<string, Answer | Way>> = {
  'res.send': ({ response }) => response.send(PAGE),
  'res.send of a buffer': ({ response }) => response.send(Buffer.from(PAGE)),
  'res.send with a status and a type': ({ response }) =>
    response.status(201).type('text/x-page').send(PAGE),
  'res.send, not modified': {
    answer: ({ response }) => response.set('ETag', '"page"').send(PAGE),
    ask: { headers: { 'If-None-Match': '"page"' } },
  },
  'res.json': ({ response }) => response.json({ page: MARK }),
  'res.json of what is no JSON': ({ response }) => response.json({ page: 1n }),
  'res.jsonp': {
    answer: ({ response }) => response.jsonp({ page: MARK }),
  },
  'res.redirect': ({ response }) => response.redirect('/the-page'),
  'res.redirect 303': ({ response }) => response.redirect(303, '/the-page'),
  'res.sendStatus': ({ response }) => response.sendStatus(404),
  'res.sendFile': ({ response, called }) => response.sendFile(FILE, called('sendFile')),
  'res.sendFile without a callback': ({ response }) => response.sendFile(FILE),
  'res.sendFile of a part': {
    answer: ({ response }) => response.sendFile(FILE),
    ask: { headers: { Range: 'bytes=10-20' } },
  },
  'res.sendFile of a file that is not there': ({ response, next }) =>
    response.sendFile(`${FILE}.not`, next),
  'res.sendFile, HEAD': {
    answer: ({ response }) => response.sendFile(FILE),
    ask: { method: 'HEAD' },
  },
  'res.sendFile to a client that hangs up': {
    answer: ({ response, called }) => response.sendFile(FILE, called('sendFile', 'any')),
    ask: { hangUp: 20 },
    exempt: {
      client: 'without a store the answer has left by then',
      handler: 'without a store the answer has left by then',
    },
  },
  'res.download': ({ response, called }) => response.download(FILE, 'page.txt', called('download')),
  'res.attachment and res.send': ({ response }) => response.attachment('page.txt').send(PAGE),
  'res.format': {
    answer: ({ response }) =>
      response.format({
        json: () => response.json({ page: MARK }),
        html: () => response.send(PAGE),
      }),
    ask: { headers: { Accept: 'text/html' } },
  },
  'res.cookie and res.send': ({ response }) => response.cookie('own', '1').send(PAGE),
  'res.vary and res.send': ({ response }) => response.vary('Accept').send(PAGE),
  'res.send twice': ({ response }) => {
    response.send(PAGE)
    response.send('the second')
  },
  'res.json twice, caught': ({ response, attempt }) => {
    response.json({ page: MARK })
    attempt('again', () => response.status(201).json({ page: 2 }))
  },
  'res.redirect twice': ({ response, attempt }) => {
    response.redirect('/the-page')
    attempt('again', () => response.redirect('/elsewhere'))
  },
  'res.send 10 ms after res.send': async ({ response, apart, wait }) => {
    response.send(PAGE)
    await wait(10)
    try {
      response.send('the second')
    } catch (error) {
      apart('second', error)
    }
  },
  'a rejection after res.send': async ({ response }) => {
    response.send(PAGE)
    throw failure('after the answer')
  },
  'a rejection before an answer': {
    answer: async () => {
      throw failure('no page', 404)
    },
    // Express 4 does not handle rejections.
    on: /Express 5/,
  },
  'an error handler answers': {
    answer: ({ next }) => next(failure('no page')),
    onError: (_error, _request, response, _next) => response.status(400).send(PAGE),
  },
  'an error handler answers what was answered': {
    answer: ({ response, next }) => {
      response.send(PAGE)
      next(failure('after the answer'))
    },
    onError: (_error, _request, response, next) =>
      response.headersSent ? next() : response.status(400).send('by the handler'),
  },
  'an error handler answers twice': {
    answer: ({ next }) => next(failure('no page')),
    onError(_error, _request, response, _next) {
      response.status(400).send(PAGE)
      response.end('the second')
    },
  },
  'an error handler that ends what is under way': {
    answer: ({ response, next }) => {
      response.write(PAGE)
      next(failure('after a part'))
    },
    onError: (_error, _request, response, _next) => response.end('sorry'),
  },
  'express.json before it, and its error': {
    answer: ({ response }) => response.send(PAGE),
    after: () => [express.json() as Middleware],
    ask: { method: 'POST', body: 'no JSON', headers: { 'Content-Type': 'application/json' } },
    changes: false,
  },
  'express.json before it': {
    answer: ({ request, response }) => response.json({ ...request.body, page: MARK }),
    after: () => [express.json() as Middleware],
    ask: { method: 'POST', body: '{"a":1}', headers: { 'Content-Type': 'application/json' } },
  },
}

const GZIP = { headers: { 'Accept-Encoding': 'gzip' } }

/** Calls `next` after some ms, as middleware that looks something up. */
const pausing: Middleware = (_request, _response, next) => void setTimeout(next, 5)

/** Holds `end` back until it has "saved", as express-session does. */
const likeExpressSession: Middleware = (_request, response, next) => {
  const { end } = response
  let ended = false
  response.end = function (...args: unknown[]) {
    if (ended) return false
    ended = true
    setTimeout(() => end.apply(response, args), 5)
    return response
  }
  next()
}

/** Replaces `write` and `end` to see what passes, as loggers of bodies do. */
const countsBytes: Middleware = (_request, response, next) => {
  const { write, end } = response
  let calls = 0
  response.write = (...args: unknown[]) => {
    calls++
    return write.apply(response, args)
  }
  response.end = (...args: unknown[]) => {
    if (!response.headersSent) response.setHeader('X-Before', `${calls} writes`)
    return end.apply(response, args)
  }
  next()
}

const wrappers: Record<string, () => Middleware> = {
  compression: () => compression({ threshold: 0 }) as unknown as Middleware,
  morgan: () => morgan('tiny', { stream: { write() {} } }) as Middleware,
  'response-time': () => responseTime() as Middleware,
  'on-headers': () => (_request, response, next) => {
    onHeaders(response, () => response.setHeader('X-Before', `at ${response.statusCode}`))
    next()
  },
  'connect-timeout': () => timeout('5s') as unknown as Middleware,
  'a wrapper that saves at end': () => likeExpressSession,
  'a wrapper that counts writes': () => countsBytes,
  'middleware with a pause': () => pausing,
}

const wrapped: Record<string, Answer> = {
  'a page': ({ response }) => {
    response.setHeader('Content-Type', 'text/html')
    response.end(PAGE)
  },
  'a page in pieces': async ({ response, wait }) => {
    response.writeHead(200, { 'Content-Type': 'text/html' })
    for (let i = 0; i < 3; i++) {
      response.write(`${MARK} ${i}`)
      await wait(5)
    }
    response.end()
  },
  'a long page': ({ response }) => {
    response.setHeader('Content-Type', 'text/html')
    response.setHeader('ETag', '"page"')
    response.end(long(100_000))
  },
  'a stream': ({ response, source }) => {
    response.setHeader('Content-Type', 'text/html')
    source(Readable.from([MARK, '1', '2'])).pipe(response)
  },
}

/** A handler of another server to be proxied to, as long as the process lives. */
const behind = createServer((request, response) => {
  response.setHeader('X-Own', 'behind')
  response.write(PAGE)
  request.resume().on('end', () => response.end(request.method))
})
let made: Promise<Middleware> | undefined
const proxy = () =>
  (made ??= new Promise((resolve) => {
    behind.listen(0, '127.0.0.1', () => {
      behind.unref()
      const { port } = behind.address() as { port: number }
      resolve(createProxyMiddleware({ target: `http://127.0.0.1:${port}` }) as Middleware)
    })
  }))

const CHAINS = /^(Express|Connect|node:http$)/

/** Ways of a chain of `(request, response, next)`: wrappers around the response, and middleware that answers. */
export const waysOfChains: Readonly<Record<string, Way>> = {
  ...Object.fromEntries(
    Object.entries(wrappers).flatMap(([wrapper, make]) =>
      Object.entries(wrapped).flatMap(([name, answer]): [string, Way][] => {
        const shared = { answer, on: CHAINS, ...(wrapper === 'compression' && { ask: GZIP }) }
        return [
          [`${name} inside of ${wrapper}`, { ...shared, before: () => [make()] }],
          [`${name} with ${wrapper} inside the session`, { ...shared, after: () => [make()] }],
        ]
      }),
    ),
  ),
  'compression with res.flush between writes': {
    answer: async ({ response, wait }) => {
      response.setHeader('Content-Type', 'text/html')
      for (let i = 0; i < 3; i++) {
        response.write(`${MARK} ${i}`)
        response.flush()
        await wait(5)
      }
      response.end()
    },
    after: () => [wrappers['compression']!()],
    ask: GZIP,
    on: CHAINS,
  },
  'on-finished calls when the response has left': {
    answer: ({ response, called, note }) => {
      const finished = called('onFinished', 'any')
      onFinished(response, (error) => finished(error))
      note('finished', onFinished.isFinished(response))
      response.end(PAGE)
      note('finished', onFinished.isFinished(response))
    },
    on: CHAINS,
  },
  'on-headers in the handler': {
    answer: ({ response, note }) => {
      onHeaders(response, () => {
        note('headers', response.statusCode)
        // The head of an error's answer may have it too: the listener is there for whatever is sent.
        response.setHeader('X-Before', 'late')
      })
      response.statusCode = 201
      response.end(PAGE)
    },
    on: CHAINS,
  },
  'on-headers in the handler, answered by pieces': {
    answer: ({ response, note }) => {
      onHeaders(response, () => note('headers', response.statusCode))
      response.write(PAGE)
      response.end()
    },
    on: CHAINS,
  },
  'connect-timeout that is reached': {
    answer: async ({ response, request, wait }) => {
      await wait(60)
      if (!request.timedout) response.end(PAGE)
    },
    after: () => [timeout('20ms') as unknown as Middleware],
    on: CHAINS,
  },
  'serve-static': {
    answer: ({ request, response, next }) => {
      request.url = '/page.txt'
      serveStatic(FOLDER)(request, response, next)
    },
    on: CHAINS,
  },
  'serve-static, not modified': {
    answer: ({ request, response, next }) => {
      request.url = '/page.txt'
      serveStatic(FOLDER)(request, response, next)
    },
    ask: { headers: { 'If-Modified-Since': 'Tue, 14 Nov 2023 22:13:20 GMT' } },
    on: CHAINS,
  },
  'serve-static of a file that is not there': {
    answer: ({ request, response, next }) => {
      request.url = '/none.txt'
      serveStatic(FOLDER, { fallthrough: false })(request, response, next)
    },
    on: /^(Express|Connect)/,
  },
  'a proxy': {
    answer: async ({ request, response, next }) => {
      await (
        await proxy()
      )(request, response, next)
    },
    on: CHAINS,
    exempt: { failing: 'it answers by what another server has sent' },
  },
  'a POST through a proxy': {
    answer: async ({ request, response, next }) => {
      await (
        await proxy()
      )(request, response, next)
    },
    ask: { method: 'POST', body: 'x'.repeat(50_000) },
    on: CHAINS,
    exempt: { failing: 'it answers by what another server has sent' },
  },
  'next() without an answer': { answer: ({ next }) => next(), on: /^(Express|Connect)/ },
  'next() after end': {
    answer: ({ response, next }) => {
      response.end(PAGE)
      next()
    },
    on: /^(Express|Connect)/,
  },
  'next() twice': {
    answer: ({ next }) => {
      next()
      next()
    },
    on: /^(Express|Connect)/,
  },
  'next(error) twice': {
    answer: ({ next }) => {
      next(failure('no page', 404))
      next(failure('no page at all', 404))
    },
    on: /^(Express|Connect)/,
  },
  'throws before an answer': {
    answer: () => {
      throw failure('no page', 404)
    },
    on: /^(Express|Connect)/,
  },
}

// Ways of answering by Koa's context.
import { createReadStream } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import compress from 'koa-compress'
import mount from 'koa-mount'
import { failure, FILE, long, MARK, PAGE } from './pages.ts'
import type { Answer, Way } from './visit.ts'

/** Ways of answering by `ctx`, here `c`. */
export const waysOfKoa: Readonly<Record<string, Answer | Way>> = {
  'ctx.body of a string': ({ c }) => void (c.body = PAGE),
  'ctx.body of a buffer': ({ c }) => void (c.body = Buffer.from(PAGE)),
  'ctx.body of an object': ({ c }) => void (c.body = { page: MARK }),
  'ctx.body of null': ({ c }) => void (c.body = null),
  'ctx.body of a stream': ({ c, source }) => {
    c.type = 'text/x-page'
    c.body = source(createReadStream(FILE))
  },
  'ctx.body of a stream, to a slow client': {
    answer: ({ c, source }) => void (c.body = source(createReadStream(FILE))),
    ask: { slow: 150 },
  },
  'ctx.body of a stream, HEAD': {
    answer: ({ c, source }) => void (c.body = source(Readable.from([PAGE]))),
    ask: { method: 'HEAD' },
    // Koa itself leaves the body of a HEAD open.
    exempt: { failing: 'Koa does not read the body of a HEAD' },
  },
  'ctx.body of a stream that breaks off': {
    answer: ({ c, source }) => {
      const broken = source(new PassThrough())
      broken.write(PAGE)
      setTimeout(() => broken.destroy(failure('broken off')), 100)
      c.body = broken
    },
  },
  'ctx.body of a stream, and a client that hangs up': {
    answer: ({ c, source }) => void (c.body = source(createReadStream(FILE))),
    ask: { hangUp: 20 },
    exempt: {
      client: 'without a store the answer has left by then',
      handler: 'without a store the answer has left by then',
    },
  },
  'ctx.body of a Response': ({ c }) => void (c.body = new Response(PAGE, { status: 201 })),
  'ctx.body of a Response with headers': ({ c }) =>
    void (c.body = new Response(PAGE, {
      headers: { 'X-Own': 'yes', 'Content-Type': 'text/x-page' },
    })),
  'ctx.body of a Blob': ({ c }) => void (c.body = new Blob([PAGE], { type: 'text/x-page' })),
  'ctx.body of a ReadableStream': ({ c }) => void (c.body = new Blob([long(100_000)]).stream()),
  'ctx.body set twice': ({ c }) => {
    c.body = { page: MARK }
    c.body = PAGE
  },
  'ctx.body of a stream, then of a string': ({ c, source }) => {
    c.body = source(Readable.from([PAGE]))
    c.body = 'the second'
  },
  'ctx.body after a pause': async ({ c, wait }) => {
    await wait(10)
    c.body = PAGE
  },
  'headers and a status': ({ c }) => {
    c.status = 201
    c.set({ 'X-Own': 'yes', 'Cache-Control': 'max-age=60', ETag: '"page"' })
    c.append('Set-Cookie', 'own=1')
    c.body = PAGE
  },
  'ctx.cookies.set': ({ c }) => {
    c.cookies.set('own', '1')
    c.body = PAGE
  },
  'ctx.message': ({ c }) => {
    c.message = 'As I say'
    c.body = PAGE
  },
  'ctx.throw 404': ({ c }) => c.throw(404, 'no page'),
  'ctx.throw 500': ({ c }) => c.throw(500, 'no page'),
  'ctx.throw with headers': ({ c }) =>
    c.throw(401, 'no page', { headers: { 'WWW-Authenticate': 'Basic' } }),
  'an error after ctx.body': ({ c }) => {
    c.body = PAGE
    throw failure('after the answer', 404)
  },
  'ctx.redirect': ({ c }) => c.redirect('/the-page'),
  'ctx.status = 204': ({ c }) => void (c.status = 204),
  'ctx.status = 204, and a body': ({ c }) => {
    c.body = PAGE
    c.status = 204
  },
  'ctx.status = 304': ({ c }) => {
    c.set('ETag', '"page"')
    c.body = PAGE
    c.status = 304
  },
  'no answer': () => {},
  HEAD: { answer: ({ c }) => void (c.body = PAGE), ask: { method: 'HEAD' } },
  'ctx.attachment': ({ c }) => {
    c.attachment('page.txt')
    c.body = PAGE
  },
  'ctx.flushHeaders, then a body': ({ c }) => {
    c.status = 200
    c.flushHeaders()
    c.body = PAGE
  },
  'ctx.flushHeaders, then headers': ({ c, attempt }) => {
    c.status = 200
    c.flushHeaders()
    attempt('set', () => c.set('X-Late', 'yes'))
    c.body = PAGE
  },
  'ctx.res.end without respond = false': ({ c, note }) => {
    c.status = 200
    c.res.end(PAGE)
    note('headerSent', c.headerSent)
    note('writable', c.writable)
  },
  'ctx.res.end, then ctx.body': ({ c }) => {
    c.status = 200
    c.res.end(PAGE)
    c.body = 'the second'
  },
  'ctx.res.end, then an error': ({ c }) => {
    c.status = 200
    c.res.end(PAGE)
    throw failure('after the answer')
  },
  'ctx.res.end, then a redirect': ({ c }) => {
    c.status = 200
    c.res.end(PAGE)
    c.redirect('/elsewhere')
  },
  'ctx.res.write, then an error': {
    answer: ({ c }) => {
      c.status = 200
      c.res.write(PAGE)
      throw failure('after a part')
    },
    exempt: { failing: 'Koa ends nothing that is under way' },
  },
  'ctx.res.end and ctx.respond = false': ({ c }) => {
    c.respond = false
    c.res.statusCode = 200
    c.res.end(PAGE)
  },
  'middleware outside that changes the body': {
    answer: ({ c }) => void (c.body = MARK),
    setUp(app, when) {
      if (when !== 'outside') return
      app.use(async (ctx: any, next: () => Promise<void>) => {
        await next()
        ctx.body += ' and more'
        ctx.set('X-Before', 'yes')
      })
    },
  },
  'middleware outside that catches': {
    answer: ({ c }) => c.throw(404, 'no page'),
    setUp(app, when) {
      if (when !== 'outside') return
      app.use(async (ctx: any, next: () => Promise<void>) => {
        await next().catch(() => (ctx.body = PAGE))
      })
    },
  },
  ...Object.fromEntries(
    (['outside', 'inside'] as const).flatMap((place): [string, Way][] => [
      [
        `koa-compress ${place} the session`,
        {
          answer: ({ c }) => {
            c.type = 'text/html'
            c.body = long(100_000).toString()
          },
          ask: { headers: { 'Accept-Encoding': 'gzip' } },
          setUp: (app, when) => when === place && app.use(compress()),
        },
      ],
      [
        `koa-compress ${place} the session, of a stream`,
        {
          answer: ({ c, source }) => {
            c.type = 'text/html'
            c.body = source(createReadStream(FILE))
          },
          ask: { headers: { 'Accept-Encoding': 'gzip' } },
          setUp: (app, when) => when === place && app.use(compress()),
        },
      ],
    ]),
  ),
  'koa-mount inside the session': {
    answer: ({ c }) => void (c.body = PAGE),
    setUp(app, when) {
      if (when !== 'inside') return
      app.use(
        mount('/', async (ctx: any, next: () => Promise<void>) => {
          await next()
          ctx.set('X-Own', 'mounted')
        }),
      )
    },
  },
}

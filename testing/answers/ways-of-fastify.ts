// Ways of answering by Fastify's reply.
import { createReadStream } from 'node:fs'
import { PassThrough, Readable } from 'node:stream'
import compress from '@fastify/compress'
import statics from '@fastify/static'
import { failure, FILE, FOLDER, long, MARK, PAGE } from './pages.ts'
import type { Answer, Visit, Way } from './visit.ts'

/** A second answer, and what comes of it. */
function sendAgain(reply: any, apart: Visit['apart']): void {
  try {
    reply.send('the second')
    apart('second', 'went through')
  } catch (error) {
    apart('second', error)
  }
}

/** Ways of answering by `reply`, and by what a handler returns. */
export const waysOfFastify: Readonly<Record<string, Answer | Way>> = {
  'reply.send of a string': ({ reply }) => reply.send(PAGE),
  'reply.send of an object': ({ reply }) => reply.send({ page: MARK }),
  'reply.send of a buffer': ({ reply }) => reply.send(Buffer.from(PAGE)),
  'reply.send of a typed array': ({ reply }) => reply.send(new Uint8Array(Buffer.from(PAGE))),
  'reply.send of nothing': ({ reply }) => reply.send(),
  'reply.send of null': ({ reply }) => reply.send(null),
  'reply.send of a stream': ({ reply, source }) =>
    reply.type('text/x-page').send(source(createReadStream(FILE))),
  'reply.send of a stream, HEAD': {
    answer: ({ reply, source }) => reply.send(source(createReadStream(FILE))),
    ask: { method: 'HEAD' },
    // Whether it was opened before it is destroyed is the file system's affair.
  },
  'reply.send of a stream to a slow client': {
    answer: ({ reply, source }) => reply.send(source(createReadStream(FILE))),
    ask: { slow: 150 },
  },
  'reply.send of a stream that breaks off': {
    answer: ({ reply, source }) => {
      const broken = source(new PassThrough())
      broken.write(PAGE)
      setTimeout(() => broken.destroy(failure('broken off')), 100)
      return reply.send(broken)
    },
  },
  'reply.send of a stream that breaks off at once': ({ reply, source }) => {
    const broken = source(new PassThrough())
    reply.send(broken)
    setTimeout(() => broken.destroy(failure('broken off')), 5)
    return reply
  },
  'reply.send of a stream, and a client that hangs up': {
    answer: ({ reply, source }) => reply.send(source(createReadStream(FILE))),
    ask: { hangUp: 20 },
    exempt: {
      client: 'without a store the answer has left by then',
      handler: 'without a store the answer has left by then',
    },
  },
  'reply.send of a file that is not there': ({ reply, source }) =>
    reply.send(source(createReadStream(`${FILE}.not`))),
  'reply.send of a ReadableStream': ({ reply }) => reply.send(new Blob([long(100_000)]).stream()),
  'reply.send of a Response': ({ reply }) =>
    reply.send(new Response(PAGE, { status: 201, headers: { 'X-Own': 'yes', ETag: '"page"' } })),
  'a returned string': async () => PAGE,
  'a returned object': async () => ({ page: MARK }),
  'a returned Response': async () =>
    new Response(PAGE, { status: 201, headers: { 'X-Own': 'yes' } }),
  'a returned stream': async ({ source }) => source(Readable.from([MARK, '1'])),
  'a returned undefined': async () => undefined,
  'headers and a status': ({ reply }) =>
    reply
      .code(201)
      .headers({ 'X-Own': 'yes', 'Cache-Control': 'max-age=60', ETag: '"page"' })
      .header('Set-Cookie', 'own=1')
      .type('text/x-page')
      .send(PAGE),
  'reply.send twice in one turn': ({ reply, attempt, note }) => {
    reply.send(PAGE)
    note('sent', reply.sent)
    attempt('again', () => void reply.send('the second'))
  },
  'reply.send twice, 10 ms between': async ({ reply, apart, wait }) => {
    reply.send(PAGE)
    await wait(10)
    apart('sent', reply.sent)
    sendAgain(reply, apart)
    return reply
  },
  'reply.send twice, the second when the first has left': async ({ reply, apart }) => {
    reply.send(PAGE)
    await new Promise((resolve) => reply.raw.once('close', resolve))
    sendAgain(reply, apart)
    return reply
  },
  'a value returned after reply.send': async ({ reply }) => {
    reply.send(PAGE)
    return 'the second'
  },
  'throws after reply.send': ({ reply }) => {
    reply.send(PAGE)
    throw failure('after the answer')
  },
  'a rejection after reply.send': async ({ reply }) => {
    reply.send(PAGE)
    throw failure('after the answer')
  },
  'a rejection 10 ms after reply.send': async ({ reply, wait }) => {
    reply.send(PAGE)
    await wait(10)
    throw failure('after the answer')
  },
  'throws before an answer': () => {
    throw failure('no page', 404)
  },
  'a rejection before an answer': async () => {
    throw failure('no page', 404)
  },
  'reply.send of an error': ({ reply }) => reply.send(failure('no page', 404)),
  'an error handler answers': {
    answer: async () => {
      throw failure('no page')
    },
    setUp: (app, when) =>
      when === 'inside' &&
      app.setErrorHandler((error: any, _request: unknown, reply: any) =>
        reply.code(error.status === 503 ? 503 : 400).send(error.status === 503 ? 'sorry' : PAGE),
      ),
  },
  'an error handler that throws': {
    answer: async () => {
      throw failure('no page', 404)
    },
    setUp: (app, when) =>
      when === 'inside' &&
      app.setErrorHandler((error: Error) => {
        throw error
      }),
  },
  'headers changed after reply.send': ({ reply, attempt, note }) => {
    reply.send(PAGE)
    attempt('header', () => void reply.header('X-Late', 'yes'))
    attempt('code', () => void reply.code(404))
    note('headersSent', reply.raw.headersSent)
  },
  'reply.redirect': ({ reply }) => reply.redirect('/the-page'),
  'reply.callNotFound': ({ reply }) => void reply.callNotFound(),
  'reply.trailer': ({ reply }) => {
    reply.trailer('X-Sum', (_reply: unknown, _payload: unknown, done: Function) =>
      done(null, 'abc'),
    )
    return reply.send(PAGE)
  },
  'reply.raw.end without hijack': ({ reply }) => void reply.raw.end(PAGE),
  'reply.raw.writeHead and end without hijack': ({ reply }) => {
    reply.raw.writeHead(201, { 'X-Own': 'yes' })
    reply.raw.end(PAGE)
  },
  'reply.raw.write, then reply.send': {
    answer: ({ reply, attempt }) => {
      reply.raw.write(PAGE)
      attempt('send', () => void reply.send('the second'))
      setTimeout(() => reply.raw.end(), 5)
    },
    exempt: {
      client: 'with any hook onSend, what its end throws is the hook’s own error to Fastify',
      handler: 'the same',
      failing: 'the same',
    },
  },
  'reply.hijack and raw, in a later turn': async ({ reply, wait }) => {
    reply.hijack()
    await wait(10)
    reply.raw.setHeader('X-Own', 'yes')
    reply.raw.end(PAGE)
  },
  'reply.hijack and a session that was saved': {
    answer: async ({ reply, request, note }) => {
      await request.session?.save?.()
      reply.hijack()
      reply.raw.end(PAGE)
      note('saved')
    },
    exempt: { failing: 'the handler itself is told of the save that failed' },
  },
  'reply.writeEarlyHints': {
    answer: ({ reply }) => {
      reply.raw.writeEarlyHints({ link: '</a.css>; rel=preload' })
      return reply.send(PAGE)
    },
  },
  HEAD: { answer: ({ reply }) => reply.send(PAGE), ask: { method: 'HEAD' } },
  '204': ({ reply }) => reply.code(204).send(),
  '304': ({ reply }) => reply.code(304).header('ETag', '"page"').send(),
  'two requests at once on one connection': {
    answer: async ({ wait }) => {
      await wait(5)
      return PAGE
    },
    ask: { times: 2 },
  },
  'a POST with a body': {
    answer: async ({ request }) => ({ page: MARK, body: request.body }),
    ask: { method: 'POST', body: '{"a":1}', headers: { 'Content-Type': 'application/json' } },
  },
  'a POST with a body that is none': {
    answer: async () => PAGE,
    ask: { method: 'POST', body: 'no JSON', headers: { 'Content-Type': 'application/json' } },
    changes: false,
  },
  'onResponse is called once': {
    answer: async () => PAGE,
    setUp(app, when) {
      if (when !== 'inside') return
      app.addHook('onSend', async (_request: unknown, reply: any) => {
        reply.header('X-Own', `${Number(reply.getHeader('X-Own') ?? 0) + 1}`)
      })
    },
    exempt: { failing: 'the hook is the site’s own, and runs for the error too' },
  },
  'onSend that changes the payload': {
    answer: async () => MARK,
    setUp(app, when) {
      if (when !== 'inside') return
      app.addHook('onSend', async (_request: unknown, _reply: unknown, payload: string) =>
        typeof payload === 'string' && payload === MARK ? `${payload} and more` : payload,
      )
    },
  },
  ...Object.fromEntries(
    (['outside', 'inside'] as const).map((place): [string, Way] => [
      `@fastify/compress ${place} the session`,
      {
        answer: ({ reply }) => reply.type('text/html').send(long(100_000).toString()),
        ask: { headers: { 'Accept-Encoding': 'gzip' } },
        setUp: async (app, when) => {
          if (when === place) await app.register(compress, { encodings: ['gzip'] })
        },
      },
    ]),
  ),
  '@fastify/static': {
    answer: ({ reply }) => reply.sendFile('page.txt'),
    setUp: async (app, when) => {
      if (when === 'inside') await app.register(statics, { root: FOLDER, serve: false })
    },
  },
}

// Ways of answering by a standard Response: Hono's handlers, and those of `withSession`.
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { HTTPException } from 'hono/http-exception'
import { stream, streamSSE, streamText } from 'hono/streaming'
import { failure, FILE, long, MARK, PAGE } from './pages.ts'
import type { Answer, Way } from './visit.ts'

/** A stream of pieces with pauses that fails, if it is told to, after the last one. */
const streamOf = (count: number, ms: number, error?: Error) =>
  new ReadableStream<Uint8Array>({
    async start(controller) {
      for (let i = 0; i < count; i++) {
        controller.enqueue(Buffer.from(`${MARK} ${i}\n`))
        await setTimeout(ms)
      }
      if (error) controller.error(error)
      else controller.close()
    },
  })

const fileAsWeb = (source: (stream: Readable) => Readable) =>
  Readable.toWeb(source(createReadStream(FILE))) as ReadableStream<Uint8Array>

/** One for all requests of a process, as a module-wide constant. */
const SHARED = new Response(null, { status: 204, headers: { 'X-Own': 'shared' } })

/** What cannot be sent. */
const IMPOSSIBLE = {
  page: 'each server has its own page for it, and may close the connection',
  failing: 'it is an error before it is saved, or after',
}

const HANGS_UP: Pick<Way, 'ask' | 'exempt'> = {
  ask: { hangUp: 20 },
  exempt: {
    client: 'without a store the answer has left by then',
    handler: 'without a store the answer has left by then',
  },
}

/** Ways of a handler that returns or throws a Response. */
export const waysOfResponses: Readonly<Record<string, Answer | Way>> = {
  'a Response': () => new Response(PAGE),
  'a Response with headers and a status': () =>
    new Response(PAGE, {
      status: 201,
      headers: [
        ['X-Own', 'yes'],
        ['Set-Cookie', 'own=1'],
        ['Set-Cookie', 'more=2'],
        ['ETag', '"page"'],
        ['Cache-Control', 'max-age=60'],
        ['Content-Type', 'text/x-page'],
      ],
    }),
  'a Response, later': async ({ wait }) => {
    await wait(10)
    return new Response(PAGE)
  },
  'Response.json': () => Response.json({ page: MARK }),
  'Response.redirect': () => Response.redirect('http://localhost/the-page', 303),
  'Response.error()': { answer: () => Response.error(), exempt: IMPOSSIBLE },
  'a Response of null': () => new Response(null, { status: 204 }),
  'a Response that says 304': () =>
    new Response(null, { status: 304, headers: { ETag: '"page"' } }),
  'a Response of a buffer': () => new Response(long(100_000)),
  'a Response of a Blob': () => new Response(new Blob([PAGE], { type: 'text/x-page' })),
  'a Response of FormData': {
    answer: () => new Response(new URLSearchParams({ page: MARK })),
  },
  'a Response of a stream': () => new Response(streamOf(3, 5)),
  'a Response of a stream that outlasts the save': () => new Response(streamOf(4, 30)),
  'a Response of a file': ({ source }) => new Response(fileAsWeb(source)),
  'a Response of a file to a slow client': {
    answer: ({ source }) => new Response(fileAsWeb(source)),
    ask: { slow: 150 },
  },
  'a Response of a file, and a client that hangs up': {
    answer: ({ source }) => new Response(fileAsWeb(source)),
    ...HANGS_UP,
  },
  'a Response of a stream that breaks off': () =>
    new Response(streamOf(3, 40, failure('broken off'))),
  'a Response whose body is used': {
    async answer() {
      const response = new Response(PAGE)
      await response.text()
      return response
    },
    exempt: IMPOSSIBLE,
  },
  'a Response whose body is locked': {
    answer() {
      const response = new Response(PAGE)
      response.body!.getReader()
      return response
    },
    exempt: IMPOSSIBLE,
  },
  'one Response for two requests': {
    answer: () => SHARED,
    ask: { times: 2 },
  },
  'a copy of a Response': () => new Response(PAGE, { headers: { 'X-Own': 'yes' } }).clone(),
  'a Response that was fetched': async () => fetch(`data:text/x-page,${encodeURIComponent(PAGE)}`),
  'a thrown Response': () => {
    throw new Response(PAGE, { status: 404 })
  },
  'a thrown error': () => {
    throw failure('no page')
  },
  'a rejection': async ({ wait }) => {
    await wait(5)
    throw failure('no page')
  },
  'no Response': {
    answer: () => undefined,
    exempt: { ...IMPOSSIBLE, handler: 'the connection of what is no answer' },
  },
  HEAD: { answer: () => new Response(PAGE), ask: { method: 'HEAD' } },
  'HEAD of a stream': { answer: () => new Response(streamOf(2, 5)), ask: { method: 'HEAD' } },
  'two requests at once on one connection': { answer: () => new Response(PAGE), ask: { times: 2 } },
  'a POST whose body is not read': {
    answer: () => new Response(PAGE),
    ask: { method: 'POST', body: 'x'.repeat(50_000) },
  },
  'a POST sent back': {
    answer: async ({ request }) => new Response(`${MARK}${await (request.raw ?? request).text()}`),
    ask: { method: 'POST', body: 'x'.repeat(5000) },
  },
  'a client of HTTP/1.0': { answer: () => new Response(PAGE), ask: { version: '1.0' } },
}

/** Ways of answering by Hono's context. */
export const waysOfHono: Readonly<Record<string, Answer | Way>> = {
  'c.text': ({ c }) => c.text(PAGE),
  'c.text with a status and headers': ({ c }) =>
    c.text(PAGE, 201, { 'X-Own': 'yes', ETag: '"page"', 'Content-Type': 'text/x-page' }),
  'c.json': ({ c }) => c.json({ page: MARK }),
  'c.html': ({ c }) => c.html(PAGE),
  'c.body': ({ c }) => c.body(PAGE),
  'c.body of null': ({ c }) => c.body(null, 204),
  'c.body of a stream': ({ c }) => c.body(streamOf(3, 5)),
  'c.header and c.status': ({ c }) => {
    c.status(201)
    c.header('X-Own', 'yes')
    c.header('Set-Cookie', 'own=1')
    c.header('Set-Cookie', 'more=2', { append: true })
    return c.text(PAGE)
  },
  'c.redirect': ({ c }) => c.redirect('/the-page'),
  'c.notFound': ({ c }) => c.notFound(),
  stream: ({ c }) =>
    stream(c, async (out) => {
      for (let i = 0; i < 3; i++) {
        await out.write(`${MARK} ${i}`)
        await out.sleep(5)
      }
    }),
  streamText: ({ c }) => streamText(c, async (out) => void (await out.writeln(PAGE))),
  streamSSE: ({ c }) =>
    streamSSE(c, async (out) => {
      for (let i = 0; i < 3; i++) {
        await out.writeSSE({ data: `${MARK} ${i}` })
        await out.sleep(20)
      }
    }),
  'streamSSE to a client that hangs up': {
    answer: ({ c, called }) => {
      const aborted = called('aborted', 'any')
      return streamSSE(c, async (out) => {
        out.onAbort(() => aborted())
        for (let i = 0; i < 20 && !out.aborted; i++) {
          await out.writeSSE({ data: `${MARK} ${i}` })
          await out.sleep(10)
        }
      })
    },
    ask: { hangUp: 100 },
    exempt: { client: 'how much has come by then is the socket’s affair' },
  },
  'a thrown HTTPException': () => {
    throw new HTTPException(404, { message: 'no page' })
  },
  'a thrown HTTPException with a Response': () => {
    throw new HTTPException(401, {
      res: new Response(PAGE, { status: 401, headers: { 'X-Own': 'yes' } }),
    })
  },
  'c.res set by hand': ({ c }) => {
    c.res = new Response(PAGE, { headers: { 'X-Own': 'yes' } })
    return c.res
  },
  'a header set after the answer, by middleware inside': {
    answer: ({ c }) => c.text(PAGE),
    setUp: (app, when) =>
      when === 'inside' &&
      app.use(async (c: any, next: () => Promise<void>) => {
        await next()
        c.header('X-Own', 'inside')
      }),
  },
  'a header set after the answer, by middleware outside': {
    answer: ({ c }) => c.text(PAGE),
    setUp: (app, when) =>
      when === 'outside' &&
      app.use(async (c: any, next: () => Promise<void>) => {
        await next()
        c.header('X-Before', 'outside')
      }),
  },
  'onError answers': {
    answer: () => {
      throw failure('no page')
    },
    setUp: (app, when) =>
      when === 'outside' &&
      app.onError((error: any, c: any) =>
        error.status === 503 ? c.text('sorry', 503) : c.text(PAGE, 400),
      ),
  },
}

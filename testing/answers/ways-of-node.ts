// Ways of answering by Node's response, on whatever framework it is within reach.
import { createReadStream } from 'node:fs'
import { PassThrough, pipeline, Readable, Transform } from 'node:stream'
import { pipeline as piped } from 'node:stream/promises'
import { failure, FILE, long, MARK, PAGE } from './pages.ts'
import type { Answer, Way } from './visit.ts'

/** Where there is a socket of its own for each connection of requests: not over HTTP/2. */
const HTTP1 = /^(?!node:http2)/

/** A text of several pieces, each after some ms. */
async function* pieces(wait: (ms: number) => Promise<void>, count = 3, ms = 5) {
  for (let i = 0; i < count; i++) {
    if (i > 0) await wait(ms)
    yield `${MARK} ${i}\n`
  }
}

/** Resolves when a response takes more, or never will. */
async function drained(response: any): Promise<void> {
  let done = () => {}
  await new Promise<void>((resolve) => response.once('drain', (done = resolve)).once('close', done))
  response.off('drain', done).off('close', done)
}

/** Asks all that a handler may ask a response whether it has answered. */
const questions = (response: any): string =>
  ['headersSent', 'writableEnded', 'finished', 'writable', 'destroyed', 'closed', 'errored']
    .map((name) => `${name}=${response[name]}`)
    .join(' ')

const beginnings: Record<string, Answer | Way> = {
  end: ({ response }) => response.end(),
  'end(chunk)': ({ response }) => response.end(PAGE),
  'end(chunk, encoding, callback)': ({ response, called }) =>
    response.end(Buffer.from(PAGE).toString('base64'), 'base64', called('end')),
  'end(chunk, callback)': ({ response, called }) => response.end(PAGE, called('end')),
  'end(callback)': ({ response, called }) => response.end(called('end')),
  'end(a buffer)': ({ response }) => response.end(Buffer.from(PAGE)),
  'end of a Uint8Array': ({ response }) => response.end(new Uint8Array(Buffer.from(PAGE))),
  'what end and write return': ({ response, attempt }) => {
    attempt('write', () => response.write(PAGE))
    attempt('end', () => response.end())
  },
  'end in a later turn': async ({ response, wait }) => {
    await wait(10)
    response.end(PAGE)
  },
  'write and end': ({ response }) => {
    response.write(MARK)
    response.write('b')
    response.end('c')
  },
  'writes with pauses': async ({ response, wait }) => {
    for (let i = 0; i < 4; i++) {
      response.write(`${MARK} ${i}`)
      await wait(5)
    }
    response.end()
  },
  'writes with pauses that outlast the save': async ({ response, wait }) => {
    for (let i = 0; i < 3; i++) {
      response.write(`${MARK} ${i}`)
      await wait(40)
    }
    response.end('last')
  },
  'a write every few ms until after the save': async ({ response, wait }) => {
    for (let i = 0; i < 50; i++) {
      response.write(`${MARK} ${i}`)
      await wait(2)
    }
    response.end()
  },
  'the callbacks of write and end': ({ response, called }) => {
    response.write(PAGE, called('first'))
    response.write('61', 'hex', called('second'))
    response.end('c', called('end'))
  },
  'finish, prefinish and close': ({ response, note, called }) => {
    response.on('prefinish', () => note('prefinish'))
    response.once('finish', called('finish', 'any')).once('close', called('close', 'any'))
    response.end(PAGE, called('end'))
  },
  'the handler waits for finish': {
    answer: async ({ response, note }) => {
      response.end(PAGE)
      await new Promise((resolve) => response.once('finish', resolve).once('close', resolve))
      note('goes on')
    },
  },
  'writes of every encoding': ({ response }) => {
    response.write(`${MARK} é\n`, 'latin1')
    response.write(`${MARK} é\n`, 'utf8')
    response.write(Buffer.from(`${MARK}\n`).toString('hex'), 'hex')
    response.end('é', 'utf16le')
  },
  setDefaultEncoding: {
    answer: ({ response, attempt }) => {
      attempt('setDefaultEncoding', () => response.setDefaultEncoding('latin1'))
      response.end(`${MARK} é`)
    },
    on: HTTP1,
  },
}

const heads: Record<string, Answer | Way> = {
  'headers set one by one': ({ response }) => {
    response.setHeader('Content-Type', 'text/x-page')
    response.setHeader('ETag', '"page"')
    response.setHeader('Cache-Control', 'max-age=60')
    response.setHeader('X-Own', ['one', 'two'])
    response.setHeader('Set-Cookie', ['own=1', 'more=2'])
    response.setHeader('Last-Modified', 'Tue, 14 Nov 2023 22:13:20 GMT')
    response.end(PAGE)
  },
  'setHeaders and appendHeader': ({ response }) => {
    response.setHeaders(
      new Map([
        ['X-Own', 'a'],
        ['ETag', '"page"'],
      ]),
    )
    response.appendHeader('X-Own', 'b')
    response.end(PAGE)
  },
  'writeHead with an object': ({ response }) => {
    response.setHeader('X-Own', 'before')
    response.setHeader('X-Stays', 'yes')
    response.writeHead(201, { 'X-Own': 'from writeHead', 'Set-Cookie': ['own=1', 'more=2'] })
    response.end(PAGE)
  },
  'writeHead with an array': ({ response }) => {
    response.writeHead(201, ['Set-Cookie', 'own=1', 'Set-Cookie', 'more=2', 'X-Own', 'yes'])
    response.end(PAGE)
  },
  'writeHead with an array, over headers that were set': ({ response }) => {
    response.setHeader('x-own', 'before')
    response.writeHead(200, ['X-Own', 'one', 'X-Own', 'two'])
    response.end(PAGE)
  },
  'writeHead with pairs': {
    answer: ({ response, attempt }) => {
      attempt('writeHead', () =>
        response.writeHead(201, [
          ['X-Own', 'yes'],
          ['X-More', 'too'],
        ]),
      )
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'writeHead with an array of odd length': ({ response, attempt }) => {
    attempt('writeHead', () => response.writeHead(201, ['X-Own', 'yes', 'X-More']))
    response.end(PAGE)
  },
  'writeHead with a reason': {
    answer: ({ response }) => {
      response.writeHead(202, 'Taken', { 'X-Own': 'yes' })
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'writeHead alone, then a pause': async ({ response, attempt, note, wait }) => {
    attempt('writeHead', () => response.writeHead(200, { 'X-Own': 'yes' }))
    note('sent', response.headersSent)
    await wait(10)
    response.end(PAGE)
  },
  'writeHead twice': ({ response, attempt }) => {
    response.writeHead(200, { 'X-Own': 'yes' })
    attempt('again', () => response.writeHead(404))
    attempt('setHeader', () => response.setHeader('X-Late', 'yes'))
    response.end(PAGE)
  },
  'writeHead after write': ({ response, attempt }) => {
    response.write(PAGE)
    attempt('writeHead', () => response.writeHead(404, { 'X-Late': 'yes' }))
    response.end()
  },
  'writeHead with an invalid status': {
    answer: ({ response, attempt }) => {
      for (const status of [99, 1000, 'none', undefined, -1]) {
        attempt(`writeHead(${status})`, () => response.writeHead(status))
      }
      response.end(PAGE)
    },
    exempt: { http2: 'Node’s http2 takes any text for a status, and keeps it' },
  },
  'writeHead with an invalid header': ({ response, attempt }) => {
    attempt('name', () => response.writeHead(200, { 'not a name': 'x' }))
    attempt('value', () => response.writeHead(200, { 'X-Own': 'two\r\nlines' }))
    attempt('sent', () => response.headersSent)
    response.statusCode = 200
    response.end(PAGE)
  },
  'writeHead with an undefined value': ({ response, attempt }) => {
    attempt('writeHead', () => response.writeHead(200, { 'X-Own': undefined }))
    response.end(PAGE)
  },
  'statusCode = 99': ({ response, attempt }) => {
    attempt('statusCode', () => (response.statusCode = 99))
    attempt('end', () => response.end(PAGE))
    if (response.headersSent) return
    response.statusCode = 200
    response.end(PAGE)
  },
  'statusCode = 99, and write': ({ response, attempt }) => {
    attempt('statusCode', () => (response.statusCode = 99))
    attempt('write', () => response.write(PAGE))
    attempt('statusCode', () => (response.statusCode = 200))
    response.end()
  },
  statusMessage: {
    answer: ({ response }) => {
      response.statusCode = 201
      response.statusMessage = 'As I say'
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'statusMessage that is none': {
    answer: ({ response, attempt }) => {
      response.statusMessage = 'two\r\nlines'
      attempt('end', () => response.end(PAGE))
      response.statusMessage = 'OK'
      if (!response.headersSent) response.end(PAGE)
    },
    on: HTTP1,
  },
  'headers read after end': ({ response, attempt }) => {
    response.setHeader('X-Own', 'yes')
    response.end(PAGE)
    attempt('getHeader', () => response.getHeader('x-own'))
    attempt('hasHeader', () => response.hasHeader('x-own'))
    attempt('names', () => response.getHeaderNames().filter((name: string) => name === 'x-own'))
  },
  'headers changed after end': ({ response, attempt }) => {
    response.setHeader('X-Own', 'yes')
    response.end(PAGE)
    attempt('setHeader', () => response.setHeader('X-Late', 'yes'))
    attempt('appendHeader', () => response.appendHeader('X-Late', 'yes'))
    attempt('removeHeader', () => response.removeHeader('X-Own'))
    attempt('setHeaders', () => response.setHeaders(new Map([['X-Late', 'yes']])))
    attempt('statusCode', () => (response.statusCode = 404))
    attempt('statusMessage', () => (response.statusMessage = 'Late'))
    attempt('flushHeaders', () => response.flushHeaders())
    attempt('writeHead', () => response.writeHead(404))
    attempt('sendDate', () => (response.sendDate = false))
    attempt('statusCode', () => response.statusCode)
  },
  'headers changed 10 ms after end': {
    answer: async ({ response, apart, wait }) => {
      response.setHeader('X-Own', 'yes')
      response.end(PAGE)
      await wait(10)
      const late: Record<string, () => unknown> = {
        setHeader: () => response.setHeader('X-Late', 'yes'),
        removeHeader: () => response.removeHeader('X-Own'),
        writeHead: () => response.writeHead(404),
      }
      for (const [name, call] of Object.entries(late)) {
        try {
          call()
          apart(name, 'went through')
        } catch (error) {
          apart(name, error)
        }
      }
      response.statusCode = 404
    },
    exempt: { http2: 'its stream is gone by then, and takes headers again' },
  },
  'headers changed after write': ({ response, attempt }) => {
    response.write(PAGE)
    attempt('setHeader', () => response.setHeader('X-Late', 'yes'))
    attempt('removeHeader', () => response.removeHeader('Date'))
    attempt('statusCode', () => (response.statusCode = 404))
    response.end()
  },
  'sendDate = false': ({ response }) => {
    response.sendDate = false
    response.end(PAGE)
  },
  'flushHeaders, then a pause': async ({ response, note, wait }) => {
    response.setHeader('X-Own', 'yes')
    response.flushHeaders()
    note('sent', response.headersSent)
    await wait(10)
    response.end(PAGE)
  },
  'flushHeaders, then writeHead': ({ response, attempt }) => {
    response.flushHeaders()
    attempt('writeHead', () => response.writeHead(404))
    attempt('setHeader', () => response.setHeader('X-Late', 'yes'))
    response.end(PAGE)
  },
}

const answeredTwice: Record<string, Answer | Way> = {
  'what it says after end': ({ response, note }) => {
    response.end(PAGE)
    note('after end', questions(response))
    note('_header', Boolean(response['_header']))
  },
  'what it says after write': ({ response, note }) => {
    response.write(PAGE)
    note('after write', questions(response))
    response.end()
  },
  'what it says 10 ms after end': async ({ response, apart, wait }) => {
    response.end(PAGE)
    await wait(10)
    apart('headersSent', response.headersSent)
    apart('writableEnded', response.writableEnded)
    apart('finished', response.finished)
  },
  'two answers in one turn, the second by its own headers': ({ response, attempt }) => {
    response.end(PAGE)
    attempt('setHeader', () => response.setHeader('X-Second', 'yes'))
    attempt('end', () => response.end('the second'))
  },
  'two answers with 10 ms between': async ({ response, apart, wait }) => {
    response.setHeader('X-Own', 'first')
    response.end(PAGE)
    await wait(10)
    try {
      response.statusCode = 404
      response.setHeader('X-Own', 'second')
      response.end('the second')
      apart('second', 'went through')
    } catch (error) {
      apart('second', error)
    }
  },
  'two answers, the second when the first has left': async ({ response, apart }) => {
    response.setHeader('X-Own', 'first')
    response.end(PAGE)
    await new Promise((resolve) => response.once('close', resolve))
    try {
      response.statusCode = 404
      response.setHeader('X-Own', 'second')
      response.end('the second')
      apart('second', 'went through')
    } catch (error) {
      apart('second', error)
    }
  },
  ...Object.fromEntries(
    ['writableEnded', 'finished', 'headersSent', '_header'].map((name): [string, Answer] => [
      `a second answer if not ${name}`,
      async ({ response, wait }) => {
        response.end(PAGE)
        if (!response[name]) response.end('the second')
        await wait(10)
        if (!response[name]) response.end('the third')
        await wait(60)
        if (!response[name]) response.end('the fourth')
      },
    ]),
  ),
  'a second answer if not writableFinished': ({ response, note }) => {
    response.end(PAGE)
    note('writableFinished', response.writableFinished)
  },
  'end twice': ({ response, attempt }) => {
    response.end(PAGE)
    attempt('again', () => response.end())
  },
  'end twice, with callbacks': ({ response, called, apart }) => {
    response.end(PAGE, called('end'))
    response.end(called('end again'))
    // Told at once, and so before or after the others, as the line is slow or fast.
    response.end('more', (error: unknown) => apart('end with more', error))
  },
  'end with a callback when it has finished': ({ response, called }) => {
    const again = called('end again', 'any')
    response.end(PAGE)
    response.once('close', () => response.end(again))
  },
  'write after end': {
    answer: ({ response, apart }) => {
      // Told at once, and so before or after what waits for the line.
      response.on('error', (error: unknown) => apart('error', error))
      response.end(PAGE)
      apart(
        'write',
        response.write('late', (error: unknown) => apart('late', error)),
      )
    },
    exempt: {
      http2: 'its stream is destroyed with an answer that has left; one that is held would be cut',
    },
  },
  'write after end without a listener': {
    answer: ({ response }) => {
      response.end(PAGE)
      response.write('late')
    },
    exempt: {
      http2: 'its stream is destroyed with an answer that has left; one that is held would be cut',
    },
  },
  'write 10 ms after end': {
    answer: async ({ response, wait, called }) => {
      response.on('error', () => {})
      response.end(PAGE)
      await wait(10)
      response.write('late', called('late'))
    },
    exempt: { handler: 'over a slow line Node emits an error, over a fast one it does not' },
  },
  'write when the answer has left': async ({ response, apart }) => {
    response.end(PAGE)
    await new Promise((resolve) => response.once('close', resolve))
    apart('write', response.write('late'))
  },
  'pipe after end': async ({ response, note, source }) => {
    response.on('error', (error: unknown) => note('error', error))
    response.end(PAGE)
    source(Readable.from([])).pipe(response)
  },
}

const chunks: Record<string, Answer | Way> = {
  'write(null)': ({ response, attempt }) => {
    attempt('write', () => response.write(null))
    response.end(PAGE)
  },
  'write(123)': ({ response, attempt }) => {
    attempt('write', () => response.write(123))
    response.end(PAGE)
  },
  'write of an object': ({ response, attempt }) => {
    attempt('write', () => response.write({ a: 1 }))
    response.end(PAGE)
  },
  'write(undefined)': ({ response, attempt }) => {
    attempt('write', () => response.write())
    response.end(PAGE)
  },
  'end(123)': ({ response, attempt }) => {
    attempt('end', () => response.end(123))
    response.end(PAGE)
  },
  'end(null)': ({ response }) => response.end(null),
  'write(123) after write': ({ response, attempt }) => {
    response.write(PAGE)
    attempt('write', () => response.write(123))
    attempt('null', () => response.write(null))
    response.end()
  },
  'a buffer used again after its write': ({ response }) => {
    const buffer = Buffer.from(`${MARK} 1`)
    response.write(buffer)
    response.end(buffer)
  },
  'empty writes': {
    answer: ({ response, called }) => {
      response.write('', called('empty'))
      response.write(Buffer.alloc(0))
      response.write(PAGE)
      response.write('')
      response.end('')
    },
    // Over HTTP/2 Node 24 itself sends bytes of foreign memory after an empty buffer, now and then.
    on: HTTP1,
  },
  'only empty writes': ({ response, called }) => {
    response.write('')
    response.end('', called('end'))
  },
  'cork and uncork': ({ response, note }) => {
    response.cork()
    response.write(`${MARK} 1`)
    response.write(`${MARK} 2`)
    note('corked', response.writableCorked)
    response.uncork()
    response.end('3')
  },
  'cork, write, and uncork in the next tick': ({ response, called }) => {
    response.cork()
    response.write(`${MARK} 1`, called('write'))
    process.nextTick(() => {
      response.uncork()
      response.end('2', called('end'))
    })
  },
  'cork without uncork': {
    answer: ({ response }) => {
      response.cork()
      response.write(`${MARK} 1`)
      response.end('2')
    },
    exempt: {
      client: 'Node 24 itself sends what was corked behind the end of the body',
      failing: 'Node 24 itself sends what was corked behind the end of the body',
    },
  },
}

const streams: Record<string, Answer | Way> = {
  'a file piped': ({ response, source }) => source(createReadStream(FILE)).pipe(response),
  'a file by stream.pipeline': ({ response, source, called }) =>
    pipeline(source(createReadStream(FILE)), response, called('pipeline')),
  'a file by the promise of stream.pipeline': async ({ response, source, note }) => {
    try {
      await piped(source(createReadStream(FILE)), response)
      note('piped')
    } catch (error) {
      note('pipeline', error)
    }
  },
  'a file that is not there, by pipeline': async ({ response, source, note }) => {
    try {
      await piped(source(createReadStream(`${FILE}.not`)), response)
    } catch (error) {
      note('pipeline', error)
    }
  },
  'a PassThrough piped': ({ response, source }) => {
    const through = source(new PassThrough())
    through.pipe(response)
    through.write(`${MARK} 1`)
    through.end('2')
  },
  'a PassThrough piped, with pauses': async ({ response, source, wait }) => {
    const through = source(new PassThrough())
    through.pipe(response)
    for (let i = 0; i < 4; i++) {
      through.write(`${MARK} ${i}`)
      await wait(20)
    }
    through.end()
  },
  'two sources piped one after the other': ({ response, source }) => {
    const first = source(Readable.from([MARK, '1']))
    first.pipe(response, { end: false })
    first.on('end', () => source(Readable.from(['2', '3'])).pipe(response))
  },
  'a pipeline with a transform': ({ response, source, called }) => {
    const upper = new Transform({
      transform: (chunk, _, done) => done(null, String(chunk).toUpperCase()),
    })
    pipeline(source(createReadStream(FILE)), upper, response, called('pipeline'))
  },
  'a generator by pipeline': async ({ response, wait, note }) => {
    try {
      await piped(pieces(wait), response)
      note('piped')
    } catch (error) {
      note('pipeline', error)
    }
  },
  'a generator that outlasts the save': async ({ response, wait, note }) => {
    try {
      await piped(pieces(wait, 4, 30), response)
      note('piped')
    } catch (error) {
      note('pipeline', error)
    }
  },
  'a source that breaks off at once': {
    answer: async ({ response, note }) => {
      const broken = async function* () {
        yield PAGE
        throw failure('broken off')
      }
      await piped(broken, response).catch((error: unknown) => note('pipeline', error))
    },
    // What is torn down before its head has left: nothing of it need arrive, as over a slow line.
    exempt: {
      http2: 'whether it is told before or after the stream’s close is the stream’s affair',
      failing: 'the answer was broken off by its own source',
    },
  },
  'a source that breaks off after the save': {
    answer: async ({ response, note, wait }) => {
      const broken = async function* () {
        yield PAGE
        await wait(120)
        throw failure('broken off')
      }
      await piped(broken, response).catch((error: unknown) => note('pipeline', error))
    },
  },
  'a source piped by pipe that breaks off': {
    answer: ({ response, source, note }) => {
      const broken = source(new PassThrough())
      broken.on('error', (error) => {
        note('error', error)
        response.destroy(error)
      })
      broken.pipe(response)
      broken.write(PAGE)
      setTimeout(() => broken.destroy(failure('broken off')), 100)
    },
  },
  '2 MB in one write': ({ response, called }) => {
    response.write(long(2_000_000), called('write'))
    response.end(called('end'))
  },
  '2 MB in one end': ({ response, called }) => response.end(long(2_000_000), called('end')),
  '20 MB, as write and drain say': {
    answer: async ({ response }) => {
      const chunk = long(200_000)
      for (let i = 0; i < 100 && !response.destroyed; i++) {
        if (response.write(chunk)) continue
        await drained(response)
      }
      response.end()
    },
    on: /^(Express 5|node:http|node:http2)$/,
  },
  '2 MB by write and drain to a slow client': {
    answer: async ({ response }) => {
      const chunk = long(50_000)
      for (let i = 0; i < 40 && !response.destroyed; i++) {
        if (response.write(chunk)) continue
        await drained(response)
      }
      response.end()
    },
    ask: { slow: 150 },
  },
  '2 MB against back pressure': ({ response }) => {
    for (let i = 0; i < 40; i++) response.write(long(50_000))
    response.end()
  },
  'a file piped to a slow client': {
    answer: ({ response, source }) => source(createReadStream(FILE)).pipe(response),
    ask: { slow: 150 },
  },
}

const protocol: Record<string, Answer | Way> = {
  addTrailers: ({ response }) => {
    response.setHeader('Trailer', 'X-Sum')
    response.write(PAGE)
    response.addTrailers({ 'X-Sum': 'abc' })
    response.end()
  },
  'addTrailers after end': ({ response, attempt }) => {
    response.setHeader('Trailer', 'X-Sum')
    response.write(PAGE)
    response.end()
    attempt('addTrailers', () => response.addTrailers({ 'X-Sum': 'abc' }))
  },
  'trailers before the body': {
    answer: ({ response }) => {
      response.setHeader('Trailer', 'X-Sum')
      response.setHeader('Transfer-Encoding', 'chunked')
      response.addTrailers({ 'X-Sum': 'abc' })
      response.end(PAGE)
    },
    on: HTTP1,
  },
  writeEarlyHints: ({ response, called }) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' }, called('hints', 'any'))
    response.end(PAGE)
  },
  writeContinue: {
    answer: ({ response, called }) => {
      response.writeContinue(called('continue', 'any'))
      response.end(PAGE)
    },
    on: HTTP1,
  },
  writeProcessing: {
    answer: ({ response, called }) => {
      response.writeProcessing(called('processing', 'any'))
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'writeEarlyHints after end': {
    answer: ({ response, attempt }) => {
      response.end(PAGE)
      attempt('hints', () => response.writeEarlyHints({ link: '</a.css>; rel=preload' }))
    },
    on: HTTP1,
  },
  'HEAD with a body': { answer: ({ response }) => response.end(PAGE), ask: { method: 'HEAD' } },
  'HEAD with writes': {
    answer: ({ response, called }) => {
      response.write(PAGE, called('write'))
      response.end(PAGE, called('end'))
    },
    ask: { method: 'HEAD' },
  },
  'HEAD with a Content-Length': {
    answer: ({ response }) => {
      response.setHeader('Content-Length', 1234)
      response.end()
    },
    ask: { method: 'HEAD' },
  },
  '204 with a body': ({ response }) => {
    response.statusCode = 204
    response.end(PAGE)
  },
  '304 with a body': ({ response }) => {
    response.writeHead(304, { ETag: '"page"' })
    response.end(PAGE)
  },
  '404 by hand': ({ response }) => {
    response.writeHead(404, { 'Content-Type': 'text/x-page' })
    response.end(PAGE)
  },
  'a redirect by hand': ({ response }) => {
    response.writeHead(302, { Location: '/the-page' })
    response.end()
  },
  'the client closes: Connection: close': {
    answer: ({ response }) => response.end(PAGE),
    ask: { headers: { Connection: 'close' } },
    on: HTTP1,
  },
  'the handler closes: Connection: close': {
    answer: ({ response }) => {
      response.setHeader('Connection', 'close')
      response.write(PAGE)
      response.end()
    },
    on: HTTP1,
  },
  'shouldKeepAlive = false': {
    answer: ({ response }) => {
      response.shouldKeepAlive = false
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'a client of HTTP/1.0': {
    answer: ({ response }) => {
      response.write(PAGE)
      response.end('b')
    },
    ask: { version: '1.0' },
    on: HTTP1,
    exempt: { failing: 'Node tells no length of its own there' },
  },
  'two requests at once on one connection': {
    answer: ({ response }) => response.end(PAGE),
    ask: { times: 2 },
    on: HTTP1,
  },
  'three requests at once, answered in the other order': {
    answer: async ({ response, wait }) => {
      countdown = (countdown + 2) % 3
      await wait(countdown * 10)
      response.write(PAGE)
      response.end()
    },
    ask: { times: 3 },
    on: HTTP1,
  },
  'a POST whose body is not read': {
    answer: ({ response }) => response.end(PAGE),
    ask: { method: 'POST', body: 'x'.repeat(50_000) },
  },
  'a POST whose body is read after the answer': {
    answer: async ({ request, response, note }) => {
      response.end(PAGE)
      let size = 0
      try {
        for await (const chunk of request) size += (chunk as Buffer).length
      } catch (error) {
        note('body', error)
      }
      return size
    },
    ask: { method: 'POST', body: 'x'.repeat(50_000) },
  },
  'a POST sent back': {
    answer: ({ request, response, called }) => {
      response.write(MARK)
      pipeline(request, response, called('pipeline'))
    },
    ask: { method: 'POST', body: 'x'.repeat(50_000) },
  },
  'Content-Length by hand': ({ response }) => {
    response.setHeader('Content-Length', PAGE.length)
    response.write(PAGE.slice(0, 9))
    response.end(PAGE.slice(9))
  },
  'Content-Length too long': {
    answer: ({ response }) => {
      response.setHeader('Content-Length', PAGE.length + 5)
      response.end(PAGE)
    },
  },
  'Content-Length too short': ({ response }) => {
    response.setHeader('Content-Length', PAGE.length - 5)
    response.end(PAGE)
  },
  'strictContentLength, right': {
    answer: ({ response, called }) => {
      response.strictContentLength = true
      response.setHeader('Content-Length', PAGE.length)
      response.write(PAGE)
      response.end(called('end'))
    },
    on: HTTP1,
  },
  'strictContentLength, too much': {
    answer: ({ response, attempt }) => {
      response.strictContentLength = true
      response.setHeader('Content-Length', PAGE.length - 5)
      attempt('write', () => response.write(PAGE))
      attempt('end', () => response.end(PAGE.slice(5)))
    },
    on: HTTP1,
    exempt: {
      client: 'Node’s own response hangs',
      handler: 'Node’s own response hangs',
      failing: 'Node’s own response hangs',
    },
  },
  'strictContentLength, too little': {
    answer: ({ response, attempt }) => {
      response.strictContentLength = true
      response.setHeader('Content-Length', PAGE.length)
      attempt('write', () => response.write(PAGE.slice(5)))
      attempt('end', () => response.end())
      attempt('end', () => response.end(PAGE.slice(0, 5)))
    },
    on: HTTP1,
  },
}
let countdown = 0

const ends: Record<string, Answer | Way> = {
  'destroy before an answer': {
    answer: ({ response, called }) => {
      response.destroy()
      response.end(PAGE, called('end'))
    },
    exempt: { http2: 'a stream that is gone tells nothing of its end' },
  },
  'destroy after end': {
    answer: ({ response, called }) => {
      response.end(PAGE, called('end', 'any'))
      response.destroy()
    },
    exempt: {
      client: 'how much has left by then is the socket’s affair',
      failing: 'it was destroyed by the handler',
      handler: 'whether the end was before it is the socket’s affair',
    },
  },
  'destroy after write, with an error': {
    answer: ({ response, called, note }) => {
      response.on('error', (error: unknown) => note('error', error))
      response.write(PAGE, called('write', 'any'))
      response.destroy(failure('enough'))
    },
    exempt: {
      client: 'how much has left by then is the socket’s affair',
      failing: 'it was destroyed by the handler',
      handler: 'whether the write was before it is the socket’s affair',
    },
  },
  'the socket destroyed after end': {
    answer: ({ request, response, called }) => {
      response.end(PAGE, called('end', 'any'))
      request.socket.destroy()
    },
    on: HTTP1,
    exempt: {
      client: 'how much has left by then is the socket’s affair',
      failing: 'it was destroyed by the handler',
      handler: 'whether the end was before it is the socket’s affair',
    },
  },
  'setTimeout that is not reached': {
    answer: ({ response, note, attempt }) => {
      attempt('setTimeout', () => response.setTimeout(5000, () => note('timeout')))
      response.end(PAGE)
    },
  },
  'setTimeout with an answer': {
    answer: ({ response, note }) => {
      response.setTimeout(30, () => {
        note('timeout')
        response.statusCode = 408
        response.end(PAGE)
      })
    },
    on: HTTP1,
  },
  'a client that hangs up before the answer': {
    answer: async ({ response, wait, called }) => {
      await wait(60)
      response.write(PAGE, called('write', 'any'))
      response.end(called('end', 'any'))
    },
    ask: { hangUp: 20 },
    exempt: { handler: 'whether it is called with an error depends on what the socket knows' },
  },
  'a client that hangs up while the answer is held': {
    answer: async ({ response, wait, called }) => {
      response.write(PAGE, called('write', 'any'))
      await wait(30)
      response.end(called('end', 'any'))
    },
    ask: { hangUp: 20 },
    exempt: {
      http2: 'a write to a stream that is gone is told to nobody',
      client: 'without a store the answer has left by then',
      handler: 'without a store the answer has left by then',
    },
  },
  'a client that hangs up while a file is piped': {
    answer: ({ response, source, called }) =>
      pipeline(source(createReadStream(FILE)), response, called('pipeline', 'any')),
    ask: { hangUp: 20 },
    exempt: {
      http2: 'a write to a stream that is gone is told to nobody',
      client: 'without a store the answer has left by then',
      handler: 'without a store the answer has left by then',
    },
  },
  'a client that hangs up during a stream that outlasts the save': {
    answer: async ({ response, wait }) => {
      await piped(pieces(wait, 20, 10), response).catch(() => {})
    },
    ask: { hangUp: 120 },
    exempt: { client: 'how much has come by then is the socket’s affair' },
  },
  'throws after end': {
    answer: ({ response }) => {
      response.end(PAGE)
      throw failure('after the answer')
    },
    exempt: { failing: 'on bare node:http the parser’s caller answers what is uncaught, by 400' },
  },
  'a rejection after end': {
    answer: async ({ response }) => {
      response.end(PAGE)
      throw failure('after the answer')
    },
  },
  'a rejection 10 ms after end': {
    answer: async ({ response, wait }) => {
      response.end(PAGE)
      await wait(10)
      throw failure('after the answer')
    },
    exempt: {
      page: 'where the framework closes the connection, the next request may be faster',
      handler: 'a timer races with what waits for the store',
    },
  },
  'throws after write': {
    answer: ({ response }) => {
      response.write(PAGE)
      throw failure('after a part')
    },
    exempt: {
      client: 'what has left by then is the socket’s affair',
      handler: 'what has left by then is the socket’s affair',
      failing: 'the answer was broken off by its own handler',
    },
  },
  'throws in a listener for finish': {
    answer: ({ response }) => {
      response.on('finish', () => {
        throw failure('in finish')
      })
      response.end(PAGE)
    },
    on: HTTP1,
  },
  'throws in the callback of end': ({ response }) =>
    response.end(PAGE, () => {
      throw failure('in the callback')
    }),
  'an error before the answer': ({ next }) => next(failure('no page', 404)),
  'an error of 500 before the answer': ({ next }) => next(failure('no page')),
  'next(error) after end': ({ response, next }) => {
    response.end(PAGE)
    next(failure('after the answer'))
  },
}

/** The ways of answering by Node's response. */
export const waysOfNode: Readonly<Record<string, Answer | Way>> = {
  ...beginnings,
  ...heads,
  ...answeredTwice,
  ...chunks,
  ...streams,
  ...protocol,
  ...ends,
}

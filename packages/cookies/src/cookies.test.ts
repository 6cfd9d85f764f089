// Cookies as in Django's guide: what is read, what is sent, what is refused; and on every framework's request and response.
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Hono } from 'hono'
import Fastify from 'fastify'
import Koa from 'koa'
import express from 'express'
import { expect, test } from 'vitest'
import { createCookies, type Cookies } from './index.ts'

const secrets = ['test-secret-test-secret-test-secret!']
const request = (cookie?: string) =>
  new Request('http://localhost/', { headers: cookie ? { cookie } : {} })

/** The cookies of a request with this Cookie header, and the Set-Cookie lines they lead to. */
function open(cookie?: string, options = {}) {
  const headers = new Headers()
  const cookies = createCookies({ secrets, ...options })(request(cookie), headers)
  return { cookies, lines: () => headers.getSetCookie() }
}

test('get: what the browser sent, or the default', () => {
  const { cookies } = open('theme=dark; name=%C3%9Cn%20x; empty=; __proto__=p')
  expect(cookies.get('theme')).toBe('dark')
  expect(cookies.get('name')).toBe('Ün x')
  expect(cookies.get('empty')).toBe('')
  expect(cookies.get('missing')).toBeUndefined()
  expect(cookies.get('missing', 'light')).toBe('light')
  expect(cookies.get('toString')).toBeUndefined()
  expect(cookies.names()).toEqual(['theme', 'name', 'empty', '__proto__'])
  expect(open().cookies.get('theme')).toBeUndefined()
})

test('set: every attribute, and only those that are named', () => {
  const { cookies, lines } = open()
  cookies.set('plain', 'value')
  cookies.set('all', 'v', {
    maxAge: 60,
    expires: new Date(0),
    domain: 'example.org',
    path: '/a',
    secure: true,
    httpOnly: true,
    sameSite: 'none',
    partitioned: true,
    priority: 'high',
  })
  expect(lines()).toEqual([
    'plain=value; Path=/',
    'all=v; Max-Age=60; Domain=example.org; Path=/a; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; Partitioned; Priority=High; SameSite=None',
  ])
})

test('defaults hold for every cookie that says nothing else', () => {
  const { cookies, lines } = open('', { defaults: { sameSite: 'lax', secure: true, maxAge: 5 } })
  cookies.set('a', '1')
  cookies.set('b', '2', { sameSite: 'strict' })
  cookies.delete('c')
  expect(lines()).toEqual([
    'a=1; Max-Age=5; Path=/; Secure; SameSite=Lax',
    'b=2; Max-Age=5; Path=/; Secure; SameSite=Strict',
    'c=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; SameSite=Lax',
  ])
})

test('a cookie set again replaces the first, unless its path or domain is another', () => {
  const { cookies, lines } = open()
  cookies.set('a', '1')
  cookies.set('a', '1', { path: '/shop' })
  cookies.set('a', '2')
  cookies.delete('a', { path: '/shop' })
  expect(lines()).toEqual([
    'a=2; Path=/',
    'a=; Max-Age=0; Path=/shop; Expires=Thu, 01 Jan 1970 00:00:00 GMT',
  ])
})

test('a cookie of the same host, however written, is replaced, and none of another path', () => {
  const headers = new Headers()
  for (const line of ['a=1', 'a=2; Domain=.Example.org; Path=/']) headers.append('Set-Cookie', line)
  const cookies = createCookies()(request(), headers)
  cookies.set('a', '3', { domain: 'example.org' })
  cookies.set('a', '4')
  expect(headers.getSetCookie()).toEqual(['a=1', 'a=3; Domain=example.org; Path=/', 'a=4; Path=/'])
})

test('a response whose headers cannot be changed is refused, with what to give instead', () => {
  const redirect = Response.redirect('http://localhost/')
  expect(() => createCookies()(request(), redirect).set('a', '1')).toThrow(
    expect.objectContaining({
      code: 'ERR_COOKIE',
      message: expect.stringContaining('new Response(response.body, response)'),
    }),
  )
  const copy = new Response(redirect.body, redirect)
  createCookies()(request(), copy).set('a', '1')
  expect(copy.headers.getSetCookie()).toEqual(['a=1; Path=/'])
})

test('a maxAge of NaN is refused, whether there is a cookie or not', () => {
  for (const cookies of [open().cookies, open('a=1').cookies]) {
    expect(() => cookies.getSigned('a', { maxAge: Number(undefined) })).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_OPTIONS',
        message: expect.stringMatching(/maxAge.*is NaN\./),
      }),
    )
  }
})

test('any text is a value, and comes back as it was', () => {
  for (const value of [
    '',
    'a b',
    '"quoted"',
    'ä漢\u{1f30d}',
    '100%',
    'a;b,c\\d',
    'x=y',
    '\r\nSet-Cookie: evil=1',
    '\0',
  ]) {
    const { cookies, lines } = open()
    cookies.set('v', value)
    const [line] = lines()
    expect(lines()).toHaveLength(1)
    expect(line).toMatch(/^v=[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*; Path=\/$/)
    expect(open(line!.split(';')[0]).cookies.get('v')).toBe(value)
  }
})

test.each([
  ['a name with a blank', 'a b', '1', {}],
  ['a name that ends the header', 'a\r\nX: y', '1', {}],
  ['an empty name', '', '1', {}],
  ['a name with =', 'a=b', '1', {}],
  ['a value that is no string', 'a', 7, {}],
  ['a value with half a character', 'a', '\ud800', {}],
  ['a path that ends the attribute', 'a', '1', { path: '/; Domain=evil.example' }],
  ['a domain with a line break', 'a', '1', { domain: 'a\r\nSet-Cookie: x=1' }],
  ['a maxAge that is no whole number', 'a', '1', { maxAge: Number.NaN }],
  ['an invalid date', 'a', '1', { expires: new Date(Number.NaN) }],
  ['sameSite none without secure', 'a', '1', { sameSite: 'none' }],
  ['partitioned without secure', 'a', '1', { partitioned: true }],
  ['sameSite in capitals', 'a', '1', { sameSite: 'Lax' }],
  ["secure 'auto', as there is no request to go by", 'a', '1', { secure: 'auto' }],
  ['a path without its slash', 'a', '1', { path: 'app' }],
  ['an empty domain', 'a', '1', { domain: '' }],
  ['a domain with a port', 'a', '1', { domain: 'example.org:80' }],
  ['a path of more than 1024 bytes', 'a', '1', { path: `/${'x'.repeat(1024)}` }],
  ['__Host-Http- without httpOnly', '__Host-Http-a', '1', { secure: true }],
  ['__Host- with a path', '__Host-a', '1', { secure: true, path: '/a' }],
  ['__Secure- without secure', '__Secure-a', '1', {}],
])('%s is refused, and nothing is sent', (_, name, value, attributes) => {
  const { cookies, lines } = open()
  expect(() => cookies.set(name, value as string, attributes as {})).toThrow(
    expect.objectContaining({ code: 'ERR_COOKIE' }),
  )
  expect(lines()).toEqual([])
})

test('a line of more than 4096 bytes is refused with both numbers, instead of being dropped by the browser', () => {
  const { cookies, lines } = open()
  cookies.set('a', 'x'.repeat(4096 - 'a=; Path=/'.length))
  expect(() => cookies.set('b', 'x'.repeat(4097 - 'b=; Path=/'.length))).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE', bytes: 4097, limit: 4096 }),
  )
  expect(lines()).toHaveLength(1)
})

test('a signed cookie comes back; changed, too old, of another name, salt or secret it does not', () => {
  let time = Date.now()
  const now = () => time
  const { cookies, lines } = open('', { now })
  cookies.setSigned('visits', '7', { salt: 'x', maxAge: 60, httpOnly: true })
  const [line] = lines()
  expect(line).toMatch(/^visits=7:\w+:[\w-]{43}; Max-Age=60; Path=\/; HttpOnly$/)
  const sent = line!.split(';')[0]!
  const read = (cookie: string, options = {}, more = {}) =>
    open(cookie, { now, ...more }).cookies.getSigned('visits', { salt: 'x', ...options })
  expect(read(sent)).toBe('7')
  expect(read(sent, { maxAge: 60 })).toBe('7')
  expect(read(sent, { salt: 'y' })).toBeUndefined()
  expect(read(sent.replace('=7', '=8'))).toBeUndefined()
  expect(read(sent.replace('visits', 'others'))).toBeUndefined()
  expect(read('visits=7')).toBeUndefined()
  expect(read('', { fallback: 'none' })).toBe('none')
  const rotated = { secrets: ['another-secret-another-secret-another', ...secrets] }
  expect(read(sent, {}, rotated)).toBe('7')
  expect(read(sent, {}, { secrets: rotated.secrets.slice(0, 1) })).toBeUndefined()
  time += 61_000
  expect(read(sent, { maxAge: 60 })).toBeUndefined()
  expect(read(sent)).toBe('7')
})

test('of several cookies of one name `get` gives the first, and `getSigned` the first that is genuine', () => {
  const { cookies, lines } = open()
  cookies.setSigned('visits', '7')
  const [genuine] = lines()[0]!.split(';')
  cookies.setSigned('visits', '8')
  const [later] = lines()[0]!.split(';')
  const forged = 'visits=9:1r31uy:FUL_ratTMh2uPRymtnLkQroR0JraYEv7a3vhA4X9grc'
  const all = open(`xvisits=1; visits; visits=; ${forged}; ${genuine}; ${later}`).cookies
  expect(all.get('visits')).toBe('')
  expect(all.getSigned('visits')).toBe('7')
  expect(open(`${later}; ${genuine}`).cookies.getSigned('visits')).toBe('8')
  expect(open(`${forged}; visits=`).cookies.getSigned('visits', { fallback: 'none' })).toBe('none')
})

interface Vector {
  name: string
  salt: string
  value: string
  legacy: string
  current: string
}
/** Made by fixtures/signed-cookies.py: the same by Django 3.2.25 and by 5.2.17, each by its own set_signed_cookie for its own. */
const { secret, timestamp, vectors } = JSON.parse(
  readFileSync(join(import.meta.dirname, 'fixtures/signed-cookies.json'), 'utf8'),
) as { secret: string; timestamp: number; vectors: Vector[] }
const django = { secrets: [secret], now: () => timestamp * 1000 }

for (const { name, salt, value, legacy, current } of vectors) {
  const read = (signed: string, options = {}) =>
    open(`${name}=${encodeURIComponent(signed)}`, { ...django, ...options }).cookies.getSigned(
      name,
      {
        salt,
      },
    )

  test(`set_signed_cookie of Django, '${name}' salted '${salt}' as ${JSON.stringify(value)}: read, and written byte for byte; the older one is read where it is asked for`, () => {
    expect(read(current)).toBe(value)
    expect(read(current, { legacySalt: true })).toBe(value)
    expect(read(legacy)).toBeUndefined()
    expect(read(legacy, { legacySalt: true })).toBe(value)
    for (const legacySalt of [false, true]) {
      const { cookies, lines } = open('', { ...django, legacySalt })
      cookies.setSigned(name, value, { salt })
      expect(decodeURIComponent(lines()[0]!)).toBe(`${name}=${current}; Path=/`)
    }
  })
}

test('a signed cookie is genuine under its own name and salt alone, however the two are put together', () => {
  const pairs = [
    ['a', 'bc'],
    ['ab', 'c'],
    ['abc', ''],
    ['a', '2:bc'],
    ['bca', ''],
    ['a', '\u{1f36a}'],
    ['a', '\u{1f36a}\u{1f36a}'],
  ] as const
  for (const [name, salt] of pairs) {
    const { cookies, lines } = open()
    cookies.setSigned(name, 'v', { salt })
    const [sent] = lines()[0]!.slice(name.length).split(';')
    const readers = pairs.filter(
      ([other, by]) => open(other + sent).cookies.getSigned(other, { salt: by }) === 'v',
    )
    expect(readers).toEqual([[name, salt]])
  }
})

test('an older signed cookie ends by its age, and stands behind none that is genuine before it', () => {
  const { legacy, current } = vectors.find(({ value }) => value === 'hello')!
  const { legacy: other } = vectors.find(({ value }) => value === 'a:b:c')!
  const at = (seconds: number) => ({
    ...django,
    legacySalt: true,
    now: () => (timestamp + seconds) * 1000,
  })
  const read = (values: string[], seconds: number) =>
    open(values.map((value) => `visits=${value}`).join('; '), at(seconds)).cookies.getSigned(
      'visits',
      { maxAge: 10 },
    )
  expect(read([legacy], 10)).toBe('hello')
  expect(read([legacy], 11)).toBeUndefined()
  expect(read([current], 11)).toBeUndefined()
  expect(read([other, current], 0)).toBe('a:b:c')
  expect(read([current, other], 0)).toBe('hello')
})

test('signed cookies without a secret, or with a short one, are a clear error', () => {
  const cookies = createCookies()(request(), new Headers())
  expect(() => cookies.setSigned('a', '1')).toThrow(/createCookies\(\{ secrets/)
  expect(() => createCookies({ secrets: ['short'] })).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
  )
  expect(() => createCookies({ defaults: { sameSite: 'none' } })).toThrow(
    expect.objectContaining({ code: 'ERR_COOKIE' }),
  )
})

const open2 = createCookies({ secrets })
/** What each framework's handler does: reads one cookie, sets two, one of them twice. */
function use(cookies: Cookies): string {
  cookies.set('seen', 'once')
  cookies.set('seen', 'twice')
  cookies.setSigned('signed', '1')
  return cookies.get('theme', 'none')
}

const servers: Record<string, (own: string) => Promise<(init: RequestInit) => Promise<Response>>> =
  {
    'node:http': async (own) =>
      listen((message, response) => {
        response.setHeader('Set-Cookie', own)
        response.end(use(open2(message, response)))
      }),
    Express: async (own) => {
      const app = express()
      app.get('/', (message, response) => {
        response.append('Set-Cookie', own).send(use(open2(message, response)))
      })
      return listen(app)
    },
    Koa: async (own) => {
      const app = new Koa()
      app.use((ctx) => {
        ctx.append('Set-Cookie', own)
        ctx.body = use(open2(ctx, ctx))
      })
      return listen(app.callback())
    },
    Fastify: async (own) => {
      const app = Fastify()
      app.get('/', (message, reply) => {
        reply.header('Set-Cookie', own)
        return reply.send(use(open2(message, reply)))
      })
      await app.ready()
      return listen((message, response) => app.routing(message, response))
    },
    Hono: async (own) => {
      const app = new Hono()
      app.get('/', (c) => {
        c.header('Set-Cookie', own)
        return c.text(use(open2(c, c)))
      })
      return async (init) => app.request('/', init)
    },
    fetch: async (own) => async (init) => {
      const response = new Response('', { headers: { 'Set-Cookie': own } })
      return new Response(use(open2(new Request('http://localhost/', init), response)), response)
    },
  }

async function listen(handler: (message: IncomingMessage, response: ServerResponse) => unknown) {
  const server = createServer(handler).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  server.unref()
  const { port } = server.address() as { port: number }
  return (init: RequestInit) => fetch(`http://127.0.0.1:${port}/`, init)
}

test.each(Object.keys(servers))(
  '%s: cookies are read from its request and set on its response, beside its own',
  async (name) => {
    const visit = await servers[name]!('own=1; Path=/')
    const response = await visit({ headers: { cookie: 'theme=dark' } })
    expect(await response.text()).toBe('dark')
    const lines = response.headers.getSetCookie()
    expect(lines).toEqual([
      'own=1; Path=/',
      'seen=twice; Path=/',
      expect.stringMatching(/^signed=1:/),
    ])
  },
)

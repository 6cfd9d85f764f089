// What caches are told, header by header.
import { afterEach, expect, test, vi } from 'vitest'
import { changesToKeepPrivate, isSharedResponse } from './cache-control.ts'
import { addSessionHeaders } from './headers.ts'

type Given = Record<string, string>
const getOf = (given: Given) => (name: string) => new Headers(given).get(name)

/** Cache-Control as a handler sets it, and as it goes out beside a session's cookie. */
const rewritten: [before: string, after: string][] = [
  ['', 'no-store'],
  ['no-store', 'no-store'],
  ['private', 'private'],
  ['PRIVATE, max-age=60', 'PRIVATE, max-age=60'],
  ['no-cache, No-Store, must-revalidate', 'no-cache, No-Store, must-revalidate'],
  ['private, public', 'private, public'],
  ['public', 'private'],
  ['Public, Max-Age=600', 'private, Max-Age=600'],
  ['public, max-age=600, s-maxage=3600, immutable', 'private, max-age=600, immutable'],
  ['s-maxage="3600"', 'private'],
  ['max-age=0', 'private, max-age=0'],
  ['no-cache', 'private, no-cache'],
  ['no-cache="Set-Cookie"', 'private, no-cache="Set-Cookie"'],
  ['no-cache="A, public", public', 'private, no-cache="A, public"'],
  ['must-revalidate, proxy-revalidate', 'private, must-revalidate'],
  ['max-age=60, stale-while-revalidate=30', 'private, max-age=60, stale-while-revalidate=30'],
  ['private="X-A, private", max-age=60', 'private, max-age=60'],
  ['private="X", private', 'private="X", private'],
  ['ext="a private, no-store b", max-age=60', 'private, ext="a private, no-store b", max-age=60'],
  ['ext="\\", private", public', 'private, ext="\\", private"'],
  ['must-understand, no-store, max-age=60', 'private, must-understand, no-store, max-age=60'],
  [' , ,', 'no-store'],
  ['ext="never closed, private', 'no-store'],
]

test.each(rewritten)('beside a cookie, Cache-Control "%s" goes out as "%s"', (before, after) => {
  const headers = new Headers(before === '' ? {} : { 'Cache-Control': before })
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.get('Cache-Control')).toBe(after)
})

test('several Cache-Control headers are read as one, and go out as one', () => {
  const headers = new Headers([
    ['Cache-Control', 'public'],
    ['Cache-Control', 'max-age=60'],
  ])
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.get('Cache-Control')).toBe('private, max-age=60')
})

const targeted = [
  'CDN-Cache-Control',
  'Cloudflare-CDN-Cache-Control',
  'Netlify-CDN-Cache-Control',
  'Vercel-CDN-Cache-Control',
  'Surrogate-Control',
]
test.each(targeted)('beside a cookie, %s allows no storing', (name) => {
  const sent = (value: string) => {
    const headers = new Headers({ [name]: value, 'Cache-Control': 'no-store' })
    addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
    return headers.get(name)
  }
  expect(sent('max-age=600')).toBe('no-store')
  expect(sent('must-revalidate')).toBe('no-store')
  expect(sent('no-store')).toBe('no-store')
  expect(sent('private')).toBe('private')
  expect(sent('max-age=600, content="ESI/1.0"')).toBe('no-store, content="ESI/1.0"')
})

test.each([
  ['600', '0'],
  ['@1893456000', '0'],
  ['off', '0'],
  ['0', '0'],
])('beside a cookie, X-Accel-Expires %s goes out as %s', (before, after) => {
  const headers = new Headers({ 'X-Accel-Expires': before })
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.get('X-Accel-Expires')).toBe(after)
})

test('without a cookie, what the handler says to caches stays', () => {
  const given = { 'Cache-Control': 'public, max-age=60', 'CDN-Cache-Control': 'max-age=600' }
  const headers = new Headers(given)
  addSessionHeaders(headers, { vary: true, private: true })
  expect(headers.get('Cache-Control')).toBe(given['Cache-Control'])
  expect(headers.get('CDN-Cache-Control')).toBe(given['CDN-Cache-Control'])
})

test('a response that shows a session is kept by no cache, where the handler has said nothing', () => {
  const headers = new Headers()
  addSessionHeaders(headers, { vary: true, private: true })
  expect(headers.get('Cache-Control')).toBe('no-store')
})

/** What a handler sets, and whether shared caches are asked to keep the response. */
const shared: [given: Given, expected: boolean][] = [
  [{}, false],
  [{ ETag: '"1"', 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT' }, false],
  [{ 'Cache-Control': 'public' }, true],
  [{ 'Cache-Control': 'PUBLIC, max-age=0' }, true],
  [{ 'Cache-Control': 'max-age=60' }, true],
  [{ 'Cache-Control': 'max-age="60"' }, true],
  [{ 'Cache-Control': 'max-age=0, must-revalidate' }, false],
  [{ 'Cache-Control': 's-maxage=60' }, true],
  [{ 'Cache-Control': 'immutable' }, true],
  [{ 'Cache-Control': 'no-cache' }, false],
  [{ 'Cache-Control': 'private, max-age=60' }, false],
  [{ 'Cache-Control': 'private="X", max-age=60' }, true],
  [{ 'Cache-Control': 'no-store, max-age=60' }, false],
  [{ 'Cache-Control': 'must-understand, no-store, max-age=60' }, true],
  [{ 'Cache-Control': 'ext="public"' }, false],
  [{ Expires: new Date(Date.now() + 60_000).toUTCString() }, true],
  [{ Expires: new Date(Date.now() - 60_000).toUTCString() }, false],
  [{ Expires: '0' }, false],
  [{ Expires: new Date(Date.now() + 60_000).toUTCString(), 'Cache-Control': 'no-cache' }, false],
  [{ 'Cache-Control': 'private', 'CDN-Cache-Control': 'max-age=60' }, true],
  [{ 'Cache-Control': 'public', 'CDN-Cache-Control': 'no-store' }, true],
  [{ 'Surrogate-Control': 'max-age=60' }, true],
  [{ 'Surrogate-Control': 'content="ESI/1.0"' }, false],
  [{ 'X-Accel-Expires': '60' }, true],
  [{ 'X-Accel-Expires': '@1893456000' }, true],
  [{ 'X-Accel-Expires': '0' }, false],
]

test.each(shared)('shared caches are asked to keep a response with %o: %s', (given, expected) => {
  expect(isSharedResponse(getOf(given))).toBe(expected)
})

test.each(shared)('whatever was set (%o), nothing is shared any more beside a cookie', (given) => {
  const headers = new Headers(given)
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(isSharedResponse((name) => headers.get(name))).toBe(false)
  expect(changesToKeepPrivate((name) => headers.get(name))).toEqual([])
})

afterEach(() => vi.restoreAllMocks())

test('a public response with a cookie is a process warning, once; and an event each time for those who listen', async () => {
  vi.resetModules()
  const { addSessionHeaders: add } = await import('./headers.ts')
  const { subscribe, unsubscribe } = await import('node:diagnostics_channel')
  const emitted = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const send = (given: Given) => add(new Headers(given), { setCookie: 'sessionid=x', vary: true })
  send({ 'Cache-Control': 'no-cache' })
  send({ 'Cache-Control': 'max-age=0' })
  send({ 'Cache-Control': 'private, max-age=60' })
  send({})
  expect(emitted).not.toHaveBeenCalled()
  send({ 'Cache-Control': 'public, max-age=60', 'CDN-Cache-Control': 'max-age=600' })
  send({ 'Cache-Control': 'public, max-age=60' })
  expect(emitted).toHaveBeenCalledTimes(1)
  const [message, { code }] = emitted.mock.calls[0] as unknown as [string, { code: string }]
  expect(code).toBe('PUBLIC_RESPONSE')
  expect(message).toContain(
    "'Cache-Control: public, max-age=60' to 'Cache-Control: private, max-age=60'",
  )
  expect(message).toContain("'CDN-Cache-Control: max-age=600' to 'CDN-Cache-Control: no-store'")
  expect(message).not.toContain('sessionid')

  const heard: unknown[] = []
  const listen = (warning: unknown) => void heard.push(warning)
  subscribe('coatcheck:warning', listen)
  send({ 'Cache-Control': 'public' })
  send({ 'X-Accel-Expires': '60' })
  unsubscribe('coatcheck:warning', listen)
  expect(heard).toEqual([
    { code: 'PUBLIC_RESPONSE', message: expect.stringContaining("'Cache-Control: public'") },
    { code: 'PUBLIC_RESPONSE', message: expect.stringContaining("'X-Accel-Expires: 60'") },
  ])
  expect(emitted).toHaveBeenCalledTimes(1)
})

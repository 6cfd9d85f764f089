import { expect, test } from 'vitest'
import { addSessionHeaders } from './headers.ts'

test('Set-Cookie joins the others, and is kept out of shared caches', () => {
  const headers = new Headers([['Set-Cookie', 'a=1']])
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.getSetCookie()).toEqual(['a=1', 'sessionid=x'])
  expect(headers.get('Cache-Control')).toBe('no-cache="Set-Cookie"')
  expect(headers.get('Vary')).toBe('Cookie')
})

test("the handler's own Cache-Control stays", () => {
  const headers = new Headers({ 'Cache-Control': 'private, max-age=60' })
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.get('Cache-Control')).toBe('private, max-age=60')
})

test.each([
  ['Accept-Encoding', 'Accept-Encoding, Cookie'],
  ['Accept, cookie', 'Accept, cookie'],
  ['*', '*'],
  ['X-Cookie', 'X-Cookie, Cookie'],
])('Vary: %s becomes %s', (before, after) => {
  const headers = new Headers({ Vary: before })
  addSessionHeaders(headers, { vary: true })
  expect(headers.get('Vary')).toBe(after)
})

test('an untouched session adds nothing', () => {
  const headers = new Headers()
  addSessionHeaders(headers, { vary: false })
  expect([...headers]).toEqual([])
})

import { expect, test } from 'vitest'
import { addSessionHeaders } from './headers.ts'

test('Set-Cookie joins the others, and is kept by no cache', () => {
  const headers = new Headers([['Set-Cookie', 'a=1']])
  addSessionHeaders(headers, { setCookie: 'sessionid=x', vary: true })
  expect(headers.getSetCookie()).toEqual(['a=1', 'sessionid=x'])
  expect(headers.get('Cache-Control')).toBe('no-store')
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

test('an adapter needs get and set for all but Set-Cookie', () => {
  const set: Record<string, string> = { 'Cache-Control': 'public' }
  const append = (name: string) => expect(name).toBe('Set-Cookie')
  const target = {
    get: (name: string) => set[name],
    set: (name: string, value: string) => void (set[name] = value),
    append,
  }
  addSessionHeaders(target, {
    setCookie: 'a=1',
    vary: true,
    private: true,
    clearSiteData: '"cache"',
  })
  expect(set).toEqual({ 'Cache-Control': 'private', Vary: 'Cookie', 'Clear-Site-Data': '"cache"' })
})

test.each([
  ['"cookies"', '"cookies", "cache", "storage"'],
  ['"storage" , "cookies"', '"storage", "cookies", "cache"'],
])('Clear-Site-Data: %s of the handler goes out as %s', (before, after) => {
  const headers = new Headers({ 'Clear-Site-Data': before })
  addSessionHeaders(headers, { vary: true, clearSiteData: '"cache", "storage"' })
  expect(headers.get('Clear-Site-Data')).toBe(after)
})

import { expect, test } from 'vitest'
import { sessionCookie } from './cookie.ts'

test('the line is Django’s default, with SameSite and HttpOnly', () => {
  expect(sessionCookie().write('abc', 60, false)).toBe(
    'sessionid=abc; Max-Age=60; Path=/; HttpOnly; SameSite=Lax',
  )
})

test('sameSite: false leaves it to the browser', () => {
  expect(sessionCookie({ sameSite: false }).write('abc', 60, false)).toBe(
    'sessionid=abc; Max-Age=60; Path=/; HttpOnly',
  )
})

test('a browser-length cookie has neither Max-Age nor Expires', () => {
  expect(sessionCookie().write('abc', undefined, false)).not.toMatch(/max-age|expires/i)
})

test('secure: auto follows the request, true and false do not', () => {
  expect(sessionCookie().write('a', 1, true)).toContain('; Secure')
  expect(sessionCookie().write('a', 1, false)).not.toContain('Secure')
  expect(sessionCookie({ secure: true }).write('a', 1, false)).toContain('; Secure')
  expect(sessionCookie({ secure: false }).write('a', 1, true)).not.toContain('Secure')
})

test('the cookie is deleted with the attributes it was set with', () => {
  const cookie = sessionCookie({ name: 'sid', path: '/app', domain: 'example.com', secure: true })
  expect(cookie.remove(false)).toBe(
    'sid=; Max-Age=0; Domain=example.com; Path=/app; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax',
  )
})

test('a line of 4096 bytes is written, one of 4097 is refused with both numbers', () => {
  const cookie = sessionCookie()
  const around = cookie.write('', 60, true).length
  expect(cookie.write('x'.repeat(4096 - around), 60, true)).toHaveLength(4096)
  expect(() => cookie.write('x'.repeat(4097 - around), 60, true)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE', bytes: 4097, limit: 4096 }),
  )
})

test('read finds every cookie of the name among others, in the order sent, each value once', () => {
  const { read } = sessionCookie()
  for (const [header, values] of [
    ['sessionid=abc', ['abc']],
    ['a=1; sessionid=abc; b=2', ['abc']],
    ['sessionid=first; sessionid=second', ['first', 'second']],
    ['sessionid=first;sessionid=second;\tsessionid = third ', ['first', 'second', 'third']],
    ['sessionid=one; a=1; sessionid=two; sessionid=one', ['one', 'two']],
    ['sessionid=; sessionid=abc', ['', 'abc']],
    ['sessionid="quoted"; sessionid=plain', ['"quoted"', 'plain']],
    ['sessionid=%41b; sessionid=%E0%A4%A; sessionid=c', ['Ab', '%E0%A4%A', 'c']],
    ['sessionid=a=b; sessionid=c', ['a=b', 'c']],
    ['xsessionid=abc; sessionid=def', ['def']],
    ['sessionidx=abc; sessionid=def; SESSIONID=ghi', ['def']],
    ['sessionid; sessionid=def', ['def']],
    ['last=sessionid; sessionid=def', ['def']],
    ['last=sessionid=abc; next="sessionid=abc"', []],
    ['last="; sessionid=def; "', ['def']],
    ['xsessionid=abc', []],
    ['sessionid', []],
    ['; ;=;', []],
    ['', []],
    [undefined, []],
  ] as const) {
    expect(read(header), header).toEqual(values)
  }
})

test('read gives empty text for what the format does not know, once, and every key that it does', () => {
  const { read } = sessionCookie({
    format: {
      write: (key) => `s:${key}`,
      read: (value) => (value.startsWith('s:') ? value.slice(2) : undefined),
    },
  })
  expect(read('sessionid=x; sessionid=s:one; sessionid=y; sessionid=s:two')).toEqual([
    '',
    'one',
    'two',
  ])
})

test.each([
  ['__Host- without secure', { name: '__Host-id' }],
  ['__Host- with a path', { name: '__Host-id', secure: true, path: '/app' }],
  ['__Host- with a domain', { name: '__Host-id', secure: true, domain: 'example.com' }],
  ['__Secure- without secure', { name: '__Secure-id', secure: 'auto' as const }],
  ['sameSite none without secure', { sameSite: 'none' as const, secure: false }],
  ['partitioned without secure', { partitioned: true }],
  ['a name that is no token', { name: 'a b' }],
  ['a path that ends the attribute', { path: '/; Domain=evil.example' }],
  ['a domain with a line break', { domain: 'a\r\nSet-Cookie: x=1' }],
])('%s is refused when the manager is made', (_, options) => {
  expect(() => sessionCookie(options)).toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
  )
})

test('__Host- with its rules kept is taken', () => {
  const cookie = sessionCookie({ name: '__Host-id', secure: true })
  expect(cookie.write('a', 1, false)).toMatch(/^__Host-id=a; .*Path=\/; HttpOnly; Secure/)
})

// The session's cookie: its line, its rules, and how it is read.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, test } from 'vitest'
import { sessionCookie, type CookieOptions } from './cookie.ts'
import type { SessionWarning } from './events.ts'

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

test('the format is asked for every line: its secret may have changed', () => {
  let secret = 'old'
  const format = { write: (key: string) => `${key}.${secret}`, read: () => undefined }
  const { write } = sessionCookie({ format })
  expect(write('abc', 60, false)).toMatch(/^sessionid=abc\.old;/)
  secret = 'new'
  expect(write('abc', 60, false)).toMatch(/^sessionid=abc\.new;/)
})

const refused: Record<string, [options: object, words: RegExp]> = {
  '__Host- without secure': [{ name: '__Host-id' }, /secure: true.*path: '\/'.*no domain/],
  '__Host- with a path': [{ name: '__Host-id', secure: true, path: '/app' }, /prefix __Host-\)/],
  '__Host- with a domain': [{ name: '__Host-id', secure: true, domain: 'example.com' }, /__Host-/],
  '__host- in small letters': [{ name: '__host-id' }, /prefix __Host-\)/],
  '__Secure- without secure': [{ name: '__Secure-id', secure: 'auto' }, /prefix __Secure-\)/],
  '__SECURE- in capitals': [{ name: '__SECURE-id' }, /prefix __Secure-\)/],
  '__Http- without secure': [{ name: '__Http-id' }, /secure: true, httpOnly: true, or/],
  '__Http- without httpOnly': [{ name: '__Http-id', secure: true, httpOnly: false }, /__Http-/],
  '__Host-Http- without httpOnly': [
    { name: '__Host-Http-id', secure: true, httpOnly: false },
    /secure: true, httpOnly: true, path: '\/' and no domain.*prefix __Host-Http-\)/,
  ],
  '__Host-Http- with a path': [
    { name: '__host-http-id', secure: true, path: '/a' },
    /prefix __Host-Http-\)/,
  ],
  'sameSite none without secure': [{ sameSite: 'none', secure: false }, /secure: true/],
  'partitioned without secure': [{ partitioned: true }, /secure: true/],
  'a name that is no token': [{ name: 'a b' }, /a name that cannot be sent/],
  'an empty name': [{ name: '' }, /a name that cannot be sent/],
  'a name that is no text': [{ name: 7 }, /a name that cannot be sent/],
  'a path that ends the attribute': [{ path: '/; Domain=evil.example' }, /path is invalid/],
  'a path without its slash': [{ path: 'app' }, /begins with \/.* and has 'app'/],
  'an empty path': [{ path: '' }, /begins with \//],
  'a path that is no text': [{ path: 7 }, /text as its path, and has 7/],
  'a path of more than 1024 bytes': [{ path: `/${'x'.repeat(1024)}` }, /path of 1025 bytes/],
  'a domain with a line break': [{ domain: 'a\r\nSet-Cookie: x=1' }, /host's name alone/],
  'an empty domain': [{ domain: '' }, /host's name alone/],
  'a domain with a blank': [{ domain: 'exa mple.org' }, /host's name alone/],
  'a domain with a port': [{ domain: 'example.org:8080' }, /host's name alone/],
  'a domain with a scheme': [{ domain: 'https://example.org' }, /has text of 19 characters/],
  'a domain with a wildcard': [{ domain: '*.example.org' }, /host's name alone/],
  'a domain with a dot behind': [{ domain: 'example.org.' }, /host's name alone/],
  'a domain with two dots before': [{ domain: '..example.org' }, /host's name alone/],
  'a domain that is a dot': [{ domain: '.' }, /host's name alone/],
  'a domain in brackets': [{ domain: '[::1]' }, /host's name alone/],
  'a domain of more than 1024 bytes': [
    { domain: 'a.'.repeat(600) + 'org' },
    /domain of 1203 bytes/,
  ],
  'a domain that is null': [{ domain: null }, /text as its domain, and has null/],
  "sameSite 'None'": [{ sameSite: 'None', secure: true }, /did you mean 'none'\?/],
  "sameSite 'Lax'": [{ sameSite: 'Lax' }, /has 'Lax': did you mean 'lax'\?/],
  'sameSite true': [{ sameSite: true }, /has true: did you mean 'strict'\?/],
  'sameSite of another word': [
    { sameSite: 'loose' },
    /'strict', 'lax', 'none' or false, and has 'loose'\./,
  ],
  "secure 'true'": [{ secure: 'true' }, /secure: true, false or 'auto', and has 'true'/],
  'secure 1': [{ secure: 1 }, /secure: true, false or 'auto', and has 1/],
  "httpOnly 'false'": [{ httpOnly: 'false' }, /httpOnly: true or false, and has 'false'/],
  'partitioned 1': [{ partitioned: 1, secure: true }, /partitioned: true or false, and has 1/],
}
test.each(Object.entries(refused))(
  '%s is refused when the manager is made, in words',
  (_, [options, words]) => {
    const make = () => sessionCookie(options)
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
    expect(make).toThrow(words)
  },
)

const taken: Record<string, [options: CookieOptions, line: RegExp]> = {
  '__Host-': [{ name: '__Host-id', secure: true }, /^__Host-id=a; .*Path=\/; HttpOnly; Secure/],
  '__HOST- in capitals': [{ name: '__HOST-id', secure: true }, /^__HOST-id=a; .*Secure/],
  '__Secure-': [{ name: '__Secure-id', secure: true, path: '/a', domain: 'a.org' }, /Path=\/a/],
  '__Http-': [{ name: '__Http-id', secure: true, path: '/a' }, /Path=\/a; HttpOnly; Secure/],
  '__Host-Http-': [{ name: '__Host-Http-id', secure: true }, /Path=\/; HttpOnly; Secure/],
  'a path of 1024 bytes': [{ path: `/${'x'.repeat(1023)}` }, /Path=\/x+;/],
  'a domain with a dot before': [{ domain: '.example.org' }, /Domain=\.example\.org/],
  'a domain of one label': [{ domain: 'localhost' }, /Domain=localhost/],
  'an address as the domain': [{ domain: '127.0.0.1' }, /Domain=127\.0\.0\.1/],
}
test.each(Object.entries(taken))('%s with its rules kept is taken', (_, [options, line]) => {
  expect(sessionCookie(options).write('a', 1, false)).toMatch(line)
})

test('a cookie with SameSite=None always carries Secure, and over plain HTTP a warning says what that needs', () => {
  const warnings: SessionWarning[] = []
  const listen = (message: unknown) => void warnings.push(message as SessionWarning)
  subscribe('coatcheck:warning', listen)
  const cookie = sessionCookie({ sameSite: 'none' })
  expect(cookie.write('a', 1, true)).toContain('; Secure')
  expect(warnings).toEqual([])
  expect(cookie.write('a', 1, false)).toContain('; Secure')
  expect(cookie.write('b', 1, false)).toContain('; Secure')
  expect(cookie.remove(false)).toContain('; Secure')
  expect(sessionCookie({ name: 'other', sameSite: 'none' }).write('a', 1, false)).toContain(
    'Secure',
  )
  unsubscribe('coatcheck:warning', listen)
  expect(warnings.length).toBeGreaterThan(1)
  expect(warnings[0]).toEqual({
    code: 'COOKIE_NEEDS_HTTPS',
    message: expect.stringMatching(/'sessionid'.*proxy.*trust/),
  })
})

test('a cookie is told 400 days at the most, as browsers keep it', () => {
  const cookie = sessionCookie()
  expect(cookie.write('a', 34_560_000, false)).toContain('Max-Age=34560000;')
  expect(cookie.write('a', 34_560_001, false)).toContain('Max-Age=34560000;')
  expect(cookie.write('a', 253_402_300_800, false)).toContain('Max-Age=34560000;')
})

// The signed-cookie engine: the conformance suite, both ways to seal, and what a forger might try.
import { createHmac, createHash } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { createSessions } from '@coatcheck/core'
import { createSigner } from '@coatcheck/core/signing'
import { describe, expect, test } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { signedCookieStore } from './index.ts'

const secret = 'test-secret-test-secret-test-secret!'
const later = () => Date.now() + 60_000

for (const encrypt of [false, true]) {
  const name = encrypt ? 'signed-cookie encrypted' : 'signed-cookie'
  await proveEngines(name)

  describe(name, () => {
    const store = signedCookieStore({ secrets: [secret], encrypt })
    const issue = (data: string) => store.create('', { data, expiresAt: later() }) as string

    test('a change to any character of the token is a forgery', () => {
      const token = issue('{"user":7}')
      for (let at = 0; at < token.length; at++) {
        for (const letter of ['A', 'B', '.', ':', '']) {
          const forged = token.slice(0, at) + letter + token.slice(at + 1)
          const record = store.load(forged)
          // Unused bits of a last base64 letter decode to the same bytes.
          if (forged !== token)
            expect(record ?? { data: '{"user":7}' }).toMatchObject({ data: '{"user":7}' })
          if (forged !== token && at < token.length - 1) expect(record, forged).toBeUndefined()
        }
      }
    })

    test('an old secret is still read, and the next save uses the current one', async () => {
      const token = issue('{"a":1}')
      const rotated = signedCookieStore({ secrets: ['n'.repeat(32), secret], encrypt })
      expect(rotated.load(token)).toMatchObject({ data: '{"a":1}' })
      const renewed = await rotated.touch(token, later())
      expect(store.load(renewed)).toBeUndefined()
      expect(signedCookieStore({ secrets: ['n'.repeat(32)], encrypt }).load(renewed)).toBeDefined()
      expect(
        signedCookieStore({ secrets: [secret], encrypt, salt: 'other' }).load(token),
      ).toBeUndefined()
    })

    test('text that compresses takes less room; text that does not is left as it is', () => {
      const words = JSON.stringify({ text: 'lorem ipsum '.repeat(500) })
      const token = issue(words)
      expect(token.length).toBeLessThan(400)
      expect(store.load(token)).toMatchObject({ data: words })
      const noise = Buffer.from(Array.from({ length: 2000 }, (_, n) => (n * 7919) % 251)).toString(
        'base64',
      )
      expect(store.load(issue(noise))).toMatchObject({ data: noise })
    })

    test('what is issued can be read again: more than 1 MiB is refused, however little it is compressed', () => {
      const atMost = 1_048_576 - `${later().toString(36)}:`.length
      expect(store.load(issue('x'.repeat(atMost)))).toMatchObject({ data: 'x'.repeat(atMost) })
      const tooLong = { data: 'x'.repeat(atMost + 1), expiresAt: later() }
      const code = 'ERR_SESSION_TOO_LARGE'
      expect(() => store.create('', tooLong)).toThrow(expect.objectContaining({ code }))
      expect(() => store.save(issue('1'), tooLong)).toThrow(expect.objectContaining({ code }))
    })

    test('junk is no session, whatever its length', () => {
      for (const junk of [
        '',
        '.',
        ':',
        '::',
        'e',
        'c',
        'eAAAA',
        '.:1:x',
        '\0',
        'x'.repeat(4096),
        'x'.repeat(1_000_000),
      ]) {
        expect(store.load(junk)).toBeUndefined()
      }
    })

    test('a session of the greatest size fits a Set-Cookie line of 4096 bytes; one byte more is refused', async () => {
      const sessions = createSessions<{ text: string }>({ store })
      const noise = (length: number) =>
        Buffer.from(Array.from({ length }, () => Math.floor(Math.random() * 256)))
          .toString('base64url')
          .slice(0, length)
      let fits = 0
      let line = ''
      for (let length = 2500; length < 4500; length++) {
        const session = await sessions.open(undefined)
        session.set('text', noise(length))
        try {
          line = (await sessions.commit(session)).setCookie!
          fits = length
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_SESSION_TOO_LARGE', limit: 4096 })
          expect((error as { bytes: number }).bytes).toBeGreaterThan(4096)
          break
        }
      }
      expect(fits).toBeGreaterThan(2800)
      expect(Buffer.byteLength(line)).toBeLessThanOrEqual(4096)
      expect(Buffer.byteLength(line)).toBeGreaterThan(4070)
    })
  })
}

test('a bomb that unpacks to more than 1 MiB is refused', () => {
  const signer = createSigner({ secrets: [secret], salt: 'coatcheck.signed-cookie' })
  const bomb = (length: number) => {
    const text = `${later().toString(36)}:${'x'.repeat(length)}`
    return signer.sign(`.${deflateSync(text).toString('base64url')}`)
  }
  const store = signedCookieStore({ secrets: [secret] })
  expect(store.load(bomb(1000))).toBeDefined()
  expect(bomb(2_000_000).length).toBeLessThan(4096)
  expect(store.load(bomb(2_000_000))).toBeUndefined()
})

test('what the token holds can be read by anybody if it is signed, and by nobody if it is encrypted', () => {
  const record = { data: '{"user":"ann"}', expiresAt: later() }
  const signed = signedCookieStore({ secrets: [secret] }).create('', record) as string
  expect(Buffer.from(signed.split(':')[0]!, 'base64url').toString()).toContain('"ann"')
  const store = signedCookieStore({ secrets: [secret], encrypt: true })
  const [one, two] = [store.create('', record) as string, store.create('', record) as string]
  expect(one).not.toBe(two)
  expect(Buffer.from(one, 'base64url').toString('latin1')).not.toContain('ann')
})

test('the signed format is that of Django: another implementation of it reads and writes our tokens', () => {
  const store = signedCookieStore({ secrets: [secret], salt: 's' })
  const key = createHash('sha256').update(`ssigner${secret}`).digest()
  const packed = deflateSync(`${later().toString(36)}:{"a":1}`).toString('base64url')
  const stamped = `.${packed}:1r31uy`
  const theirs = `${stamped}:${createHmac('sha256', key).update(stamped).digest('base64url')}`
  expect(store.load(theirs)).toMatchObject({ data: '{"a":1}' })
})

test('a secret that is missing or short is refused', () => {
  for (const secrets of [undefined, [], ['short'], 'x'.repeat(40)]) {
    expect(() => signedCookieStore({ secrets: secrets as string[] })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
    )
  }
})

import { timingSafeEqual } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { createSigner } from './signing.ts'

// The real thing, watched.
vi.mock('node:crypto', { spy: true })

// Values that Django 3.2.25 produced at a fixed time, with its own secret and salts.
const SECRET = 'coatcheck-vectors-secret-key-0123456789abcdefghijklmnop'
const NOW = 1_700_001_000_000
const now = () => NOW
const VECTORS = [
  [
    'django.contrib.sessions.SessionStore',
    'e30',
    'e30:1r31uy:TSRu6oTRaHUtN2Nz4hVn-eQ23JH7d6R9lEil78VICwU',
  ],
  [
    'django.contrib.sessions.backends.signed_cookies',
    'eyJ0aGVtZSI6ImRhcmsiLCJsYW5ndWFnZSI6IkhpbmRpIn0',
    'eyJ0aGVtZSI6ImRhcmsiLCJsYW5ndWFnZSI6IkhpbmRpIn0:1r31uy:MmyN-_r_sae9_bl-g1LRCd_N0tH2q2u1B7VovGcZ4Ns',
  ],
] as const

test.each(VECTORS)('with salt %s it signs as Django does, byte for byte', (salt, value, signed) => {
  const signer = createSigner({ secrets: [SECRET], salt, now })
  expect(signer.sign(value)).toBe(signed)
  expect(signer.unsign(signed)).toBe(value)
  expect(signer.unsign(signed, 0)).toBe(value)
})

const old = 'o'.repeat(32)
const current = 'c'.repeat(32)
const options = { salt: 'test', now }

test('old secrets still verify, and the current one signs', () => {
  const before = createSigner({ ...options, secrets: [old] })
  const after = createSigner({ ...options, secrets: [current, old] })
  expect(after.unsign(before.sign('value'))).toBe('value')
  expect(before.unsign(after.sign('value'))).toBeUndefined()
})

test('a change anywhere, another salt, or another secret is a forgery', () => {
  const signer = createSigner({ ...options, secrets: [current] })
  const signed = signer.sign('a:b')
  expect(signer.unsign(signed)).toBe('a:b')
  for (let at = 0; at < signed.length; at++) {
    const changed = signed.slice(0, at) + (signed[at] === 'x' ? 'y' : 'x') + signed.slice(at + 1)
    expect(signer.unsign(changed), changed).toBeUndefined()
  }
  expect(
    createSigner({ ...options, salt: 'other', secrets: [current] }).unsign(signed),
  ).toBeUndefined()
  for (const junk of [
    '',
    ':',
    '::',
    ':::',
    'a',
    'a:b',
    'a:b:c',
    `${signed}=`,
    `${signed} `,
    `\0${signed}`,
  ]) {
    expect(signer.unsign(junk)).toBeUndefined()
  }
})

test('a signature is compared in constant time, however much of it is right', () => {
  const signer = createSigner({ ...options, secrets: [current] })
  const signed = signer.sign('value')
  for (const right of [0, 1, 21, 42]) {
    const length = signed.length - 43 + right
    const changed = signed[length] === 'x' ? 'y' : 'x'
    vi.mocked(timingSafeEqual).mockClear()
    expect(signer.unsign(signed.slice(0, length) + changed.repeat(43 - right))).toBeUndefined()
    expect(timingSafeEqual).toHaveBeenCalledOnce()
  }
})

test('maxAge is counted in seconds from the signature', () => {
  let time = NOW
  const signer = createSigner({ salt: 'test', secrets: [current], now: () => time })
  const signed = signer.sign('value')
  time += 60_000
  expect(signer.unsign(signed, 60)).toBe('value')
  time += 1000
  expect(signer.unsign(signed, 60)).toBeUndefined()
  expect(signer.unsign(signed)).toBe('value')
})

test.each([Number.NaN, null, '60'])(
  'a maxAge of %s is refused: nothing would be too old',
  (age) => {
    const signer = createSigner({ ...options, secrets: [current] })
    const signed = signer.sign('value')
    for (const open of [signer.unsign, signer.read]) {
      expect(() => open(signed, age as number)).toThrow(
        expect.objectContaining({
          code: 'ERR_SESSION_OPTIONS',
          message: expect.stringContaining('`maxAge`'),
        }),
      )
    }
    expect(signer.unsign(signed, Infinity)).toBe('value')
  },
)

test.each([[[]], [['short']], [[current, '']], ['x'.repeat(32)], [undefined]])(
  'secrets %j are refused, and not repeated in the error',
  (secrets) => {
    expect(() => createSigner({ ...options, secrets: secrets as string[] })).toThrow(
      expect.objectContaining({
        code: 'ERR_SESSION_OPTIONS',
        message: expect.not.stringContaining('short,'),
      }),
    )
  },
)

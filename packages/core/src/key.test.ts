import { expect, onTestFinished, test, vi } from 'vitest'
import { createKey, isSessionKey } from './key.ts'

test('a key is 32 characters of a–z0–9', () => {
  for (let n = 0; n < 1000; n++) expect(createKey()).toMatch(/^[a-z0-9]{32}$/)
})

test('100,000 keys are all different', () => {
  expect(new Set(Array.from({ length: 100_000 }, createKey)).size).toBe(100_000)
})

test('every character is equally likely, in every place', () => {
  const count = 50_000
  const seen = Array.from({ length: 32 }, () => new Map<string, number>())
  for (let n = 0; n < count; n++) {
    const key = createKey()
    for (let at = 0; at < 32; at++) {
      seen[at]!.set(key[at]!, (seen[at]!.get(key[at]!) ?? 0) + 1)
    }
  }
  // Chi-squared over all places: 32 × 35 degrees of freedom, mean 1120, standard deviation 47. Six of these either
  // way happen by chance once in 10^8 runs; `byte % 36` without the rejection of biased bytes gives some 60,000.
  const expected = count / 36
  let chi = 0
  for (const place of seen) {
    expect(place.size).toBe(36)
    for (const found of place.values()) chi += (found - expected) ** 2 / expected
  }
  expect(chi).toBeGreaterThan(1120 - 6 * 48)
  expect(chi).toBeLessThan(1120 + 6 * 48)
})

test('a key comes from the system’s random source alone, and no byte of it is used twice', () => {
  const drawn: number[] = []
  const source = crypto.getRandomValues.bind(crypto)
  const drawing = vi.spyOn(crypto, 'getRandomValues').mockImplementation((bytes) => {
    source(bytes)
    drawn.push(...(bytes as Uint8Array))
    return bytes
  })
  onTestFinished(() => drawing.mockRestore())
  // What was drawn before serves 128 keys at the most: 4096 bytes, 32 and more a key.
  for (let n = 0; n <= 128 && drawn.length === 0; n++) createKey()
  const keys = Array.from({ length: 200 }, createKey).join('')
  const letters = drawn
    .filter((byte) => byte < 252)
    .map((byte) => 'abcdefghijklmnopqrstuvwxyz0123456789'[byte % 36])
    .join('')
  expect(letters.length).toBeGreaterThan(keys.length)
  expect(letters).toContain(keys)
})

test('what may be a key: 8 to 64 of letters, digits, _ and -', () => {
  for (const key of ['abcdefgh', 'A-Z_a-z09', 'f'.repeat(64), createKey()]) {
    expect(isSessionKey(key)).toBe(true)
  }
  for (const key of ['', 'abcdefg', 'f'.repeat(65), 'a.b.c.d.e', 'abcdefgh\n', 'äbcdefgh']) {
    expect(isSessionKey(key)).toBe(false)
  }
})

// The session key: how one is made, and what may pass for one.

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'
const KEY_LENGTH = 32

/** The largest multiple of 36 that a byte can hold: bytes from here on would favour the first letters. */
const UNBIASED = 252

/** Random bytes are drawn 4096 at a time: one system call serves some 126 keys. */
const pool = new Uint8Array(4096)
let position = pool.length

/**
 * Makes a new session key: 32 characters of a–z0–9 (165 bits) from the system's random source, each
 * equally likely, as Django's `get_random_string(32, VALID_KEY_CHARS)`.
 */
export function createKey(): string {
  let key = ''
  while (key.length < KEY_LENGTH) {
    if (position === pool.length) {
      crypto.getRandomValues(pool)
      position = 0
    }
    const byte = pool[position]!
    pool[position++] = 0
    if (byte < UNBIASED) key += ALPHABET[byte % ALPHABET.length]
  }
  return key
}

/**
 * Whether a string may be a session key: 8 to 64 characters of A–Z, a–z, 0–9, `_` and `-`. That admits our own
 * keys, Django's, those of express-session (base64url) and SHA-256 in hex, and nothing that a path, a header
 * or a query could stumble over.
 */
export function isSessionKey(value: string): boolean {
  return value.length >= 8 && value.length <= 64 && /^[\w-]+$/.test(value)
}

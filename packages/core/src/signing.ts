// Signed text in Django's format: `value:timestamp:signature`, keyed by a salt and a secret, with old secrets still read.
import { Buffer } from 'node:buffer'
import crypto, { createHash, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import { systemClock } from './clock.ts'
import { SessionUsageError } from './errors.ts'
import { refuseOption } from './options.ts'
import { inWords } from './rules.ts'

/** What {@link createPlainSigner} takes. */
export interface PlainSignerOptions {
  /** The current secret first, old ones after it: all verify, the first one signs. One that is undefined is refused. */
  readonly secrets: readonly (string | undefined)[]
  /** Keeps signatures for one purpose apart from those for another. */
  readonly salt: string
}

/** What {@link createSigner} takes. */
export interface SignerOptions extends PlainSignerOptions {
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/**
 * Signs text for as long as the secret is good, and tells signed text from forged.
 * @see https://docs.djangoproject.com/en/stable/topics/signing/
 */
export interface PlainSigner {
  /** `value:signature`. */
  sign(value: string): string
  /** The value that was signed; undefined if the signature is wrong. */
  unsign(signed: string): string | undefined
}

/**
 * Signs text with the time, and tells signed text from forged.
 * @see https://docs.djangoproject.com/en/stable/topics/signing/
 */
export interface Signer {
  /** `value:timestamp:signature`. */
  sign(value: string): string
  /**
   * The value that was signed; undefined if the signature is wrong, or older than `maxAge` seconds.
   * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for a `maxAge` that is NaN or no number.
   */
  unsign(signed: string, maxAge?: number): string | undefined
  /** What `unsign` returns, and when it was signed, in ms since the Unix epoch (whole seconds). Throws what `unsign` throws. */
  read(signed: string, maxAge?: number): { value: string; signedAt: number } | undefined
}

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** A secret shorter than this, in characters, can be guessed. */
const SHORTEST_SECRET = 32

/** @throws SessionUsageError (code ERR_SESSION_OPTIONS) if there is no secret, or one is too short to be one. */
export function assertSecrets(
  secrets: readonly (string | undefined)[],
): asserts secrets is readonly string[] {
  if (Array.isArray(secrets) && secrets.includes(undefined)) {
    throw new SessionUsageError(
      `\`secrets[${secrets.indexOf(undefined)}]\` is undefined. Is the environment variable set that it comes from?`,
      'ERR_SESSION_OPTIONS',
    )
  }
  const good =
    Array.isArray(secrets) &&
    secrets.length > 0 &&
    secrets.every((secret) => typeof secret === 'string' && secret.length >= SHORTEST_SECRET)
  if (good) return
  throw new SessionUsageError(
    `\`secrets\` must be a list of strings of at least ${SHORTEST_SECRET} characters, the current one first. Make one: node -p "crypto.randomBytes(32).toString('hex')"`,
    'ERR_SESSION_OPTIONS',
  )
}

function assertSigner(by: string, options: PlainSignerOptions): void {
  if (typeof options === 'object' && options !== null) return
  refuseOption(`${by} needs { secrets, salt }, and got ${inWords(options)}`)
}

/** Makes a signer, as Django's `Signer(salt=…)`. @throws SessionUsageError for a missing or short secret. */
export function createPlainSigner(options: PlainSignerOptions): PlainSigner {
  assertSigner('createPlainSigner', options)
  const { secrets, salt } = options
  assertSecrets(secrets)
  const signatures = secrets.map((secret) =>
    createMac(createHash('sha256').update(`${salt}signer${secret}`).digest()),
  )
  const [signature, ...old] = signatures as [Mac, ...Mac[]]
  return {
    sign: (value) => `${value}:${signature(value)}`,
    unsign(signed) {
      const end = signed.length - SIGNATURE_LENGTH - 1
      if (end < 0 || signed[end] !== ':') return undefined
      const value = signed.slice(0, end)
      const given = signed.slice(end + 1)
      const isBy = (mac: Mac) => isEqual(mac(value), given)
      return isBy(signature) || old.some(isBy) ? value : undefined
    },
  }
}

/** Makes a signer, as Django's `TimestampSigner(salt=…)`. @throws SessionUsageError for a missing or short secret. */
export function createSigner(options: SignerOptions): Signer {
  assertSigner('createSigner', options)
  const { secrets, salt, now = systemClock } = options
  const signer = createPlainSigner({ secrets, salt })

  /** The second that was last signed in, and how it is written. */
  let second = Number.NaN
  let stamp = ''

  const read: Signer['read'] = (signed, maxAge) => {
    // No age is greater than NaN: nothing would be too old.
    if (maxAge !== undefined && (typeof maxAge !== 'number' || Number.isNaN(maxAge))) {
      refuseOption(`\`maxAge\` must be a number of seconds, and is ${inWords(maxAge)}`)
    }
    const stamped = signer.unsign(signed)
    if (stamped === undefined) return undefined
    const middle = stamped.lastIndexOf(':')
    const signedAt = fromBase62(stamped.slice(middle + 1)) * 1000
    if (middle < 0 || Number.isNaN(signedAt)) return undefined
    if (maxAge !== undefined && now() - signedAt > maxAge * 1000) return undefined
    return { value: stamped.slice(0, middle), signedAt }
  }

  return {
    sign(value) {
      const time = Math.floor(now() / 1000)
      if (time !== second) {
        second = time
        stamp = toBase62(time)
      }
      return signer.sign(`${value}:${stamp}`)
    },
    unsign(signed, maxAge) {
      if (maxAge !== undefined) return read(signed, maxAge)?.value
      const stamped = signer.unsign(signed)
      if (stamped === undefined || stamped.endsWith(':')) return undefined
      const middle = stamped.lastIndexOf(':')
      return middle < 0 ? undefined : stamped.slice(0, middle)
    },
    read,
  }
}

/** A text's HMAC-SHA-256 with one key, in base64url. */
type Mac = (text: string) => string

/** What SHA-256 takes at a time, in bytes. */
const BLOCK = 64
const DIGEST = 32

/** Bytes of text that are signed without an object for each; no cookie is longer. */
const ROOM = 4096 * 3

/**
 * HMAC as it is defined, by two hashes: `createHmac` makes an object for each text, which costs more than both.
 * @see https://www.rfc-editor.org/rfc/rfc2104#section-2
 */
function createMac(key: Buffer): Mac {
  const secret = createSecretKey(key)
  const inner = Buffer.alloc(BLOCK + ROOM)
  const outer = Buffer.alloc(BLOCK + DIGEST)
  for (let at = 0; at < BLOCK; at++) {
    const byte = key[at] ?? 0
    inner[at] = byte ^ 0x36
    outer[at] = byte ^ 0x5c
  }
  return (text) => {
    // Not on every platform there is.
    if (!crypto.hash || text.length * 3 > ROOM) {
      return createHmac('sha256', secret).update(text).digest('base64url')
    }
    const end = BLOCK + inner.write(text, BLOCK)
    outer.write(crypto.hash('sha256', inner.subarray(0, end), 'binary'), BLOCK, 'binary')
    return crypto.hash('sha256', outer, 'base64url')
  }
}

/** A SHA-256 in base64url, without padding. */
const SIGNATURE_LENGTH = 43

const left = Buffer.alloc(SIGNATURE_LENGTH)
const right = Buffer.alloc(SIGNATURE_LENGTH)

/** Compares two signatures in constant time, without a buffer for each comparison. */
function isEqual(one: string, other: string): boolean {
  if (other.length !== SIGNATURE_LENGTH) return false
  left.write(one, 'latin1')
  right.write(other, 'latin1')
  // A character beyond Latin-1 is written as its low byte, so what is equal is looked at once more.
  return timingSafeEqual(left, right) && one === other
}

function toBase62(value: number): string {
  let text = ''
  for (let rest = value; rest > 0; rest = Math.floor(rest / 62)) text = BASE62[rest % 62]! + text
  return text || '0'
}

/** NaN for what is no number in base 62. */
function fromBase62(text: string): number {
  let value = text === '' ? Number.NaN : 0
  for (const digit of text) {
    const at = BASE62.indexOf(digit)
    value = at < 0 ? Number.NaN : value * 62 + at
  }
  return value
}

// The signed-cookie engine: the whole session travels in the cookie; the server keeps nothing but the secret.
import { Buffer } from 'node:buffer'
import { createCipheriv, createDecipheriv, hkdfSync, randomFillSync } from 'node:crypto'
import { deflateSync, inflateSync } from 'node:zlib'
import { assertSecrets, createSigner } from '@coatcheck/core/signing'
import {
  assertOptions,
  rules,
  SessionGoneError,
  SessionTooLargeError,
  systemClock,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'

/** Options of {@link signedCookieStore}. */
export interface SignedCookieStoreOptions {
  /** The current secret first, old ones after it: all are read, the first one writes. At least 32 characters each; one that is undefined is refused. */
  readonly secrets: readonly (string | undefined)[]
  /** Hide the data from the browser too: AES-256-GCM instead of a signature alone. Default false. */
  readonly encrypt?: boolean
  /** Keeps these tokens apart from others of the same secret. Default `coatcheck.signed-cookie`. */
  readonly salt?: string
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** No cookie is longer, so nothing longer is worth a look. */
const MAX_TOKEN = 4096

/** What a token may hold, in bytes, before it is compressed: far more than 4096 bytes of honest text, far less than a bomb. */
const MAX_UNPACKED = 1_048_576

/** Below this many bytes a token fits easily, and compressing costs ten times what signing does. */
const COMPRESS_FROM = 1024

const IV = 12
const TAG = 16

/** Turns text into a token, and a genuine token back into it. */
interface Sealer {
  seal(bytes: Buffer, compressed: boolean): string
  open(token: string): { bytes: Buffer; compressed: boolean } | undefined
}

/**
 * Keeps each session in its cookie, signed in the format of Django's `signing` (or encrypted). Nothing is stored on the
 * server, so a token cannot be revoked before it expires: after a logout a copy of the old cookie still reads. Use short
 * ages, and a server-side engine where that is not enough. Two requests at once: the cookie that arrives last wins.
 *
 * The whole Set-Cookie line may take 4096 bytes; the manager refuses more with SessionTooLargeError.
 * @throws SessionUsageError for a missing or short secret.
 */
export function signedCookieStore(options: SignedCookieStoreOptions): SessionStore {
  assertOptions('signedCookieStore', options, {
    secrets: rules.secrets,
    encrypt: rules.flag,
    salt: rules.text,
    now: rules.clock,
  })
  const { secrets, salt = 'coatcheck.signed-cookie', encrypt = false, now = systemClock } = options
  assertSecrets(secrets)
  const sealer = encrypt ? encryption(secrets, salt) : signature(secrets, salt, now)

  function issue({ data, expiresAt }: SessionRecord): string {
    const plain = Buffer.from(`${expiresAt.toString(36)}:${data}`)
    // It could be small enough once compressed, and would not be read again.
    if (plain.length > MAX_UNPACKED) {
      throw new SessionTooLargeError(
        "The session's data",
        plain.length,
        MAX_UNPACKED,
        'Keep less in the session, or use an engine that stores it on the server.',
      )
    }
    if (plain.length >= COMPRESS_FROM) {
      const packed = deflateSync(plain)
      if (packed.length < plain.length - 1) return sealer.seal(packed, true)
    }
    return sealer.seal(plain, false)
  }

  const load = (token: string): SessionRecord | undefined => {
    if (token.length > MAX_TOKEN) return undefined
    const opened = sealer.open(token)
    if (!opened) return undefined
    let text
    try {
      const { bytes, compressed } = opened
      text = (compressed ? inflateSync(bytes, { maxOutputLength: MAX_UNPACKED }) : bytes).toString()
    } catch {
      return undefined
    }
    const colon = text.indexOf(':')
    const expiresAt = Number.parseInt(text.slice(0, colon), 36)
    return colon > 0 && expiresAt > now() ? { data: text.slice(colon + 1), expiresAt } : undefined
  }

  return {
    traits: { sync: true, stateless: true },
    load,
    create: (_key, record) => issue(record),
    save: (_token, record) => issue(record),
    touch(token, expiresAt) {
      const record = load(token)
      if (!record) throw new SessionGoneError()
      return issue({ data: record.data, expiresAt })
    },
    delete() {},
  }
}

/** `[.]payload:timestamp:signature`, the payload in base64url; a dot marks one that is compressed. */
function signature(secrets: readonly string[], salt: string, now: () => number): Sealer {
  const signer = createSigner({ secrets, salt, now })
  return {
    seal: (bytes, compressed) =>
      signer.sign(`${compressed ? '.' : ''}${bytes.toString('base64url')}`),
    open(token) {
      const value = signer.unsign(token)
      if (value === undefined) return undefined
      const compressed = value.startsWith('.')
      return { bytes: Buffer.from(compressed ? value.slice(1) : value, 'base64url'), compressed }
    },
  }
}

/** `e` or `c` (compressed), then nonce, ciphertext and tag in base64url. The first letter is authenticated too. */
function encryption(secrets: readonly string[], salt: string): Sealer {
  const keys = secrets.map((secret) =>
    Buffer.from(hkdfSync('sha256', secret, salt, 'coatcheck session encryption', 32)),
  )
  return {
    seal(bytes, compressed) {
      const kind = compressed ? 'c' : 'e'
      const nonce = randomFillSync(Buffer.allocUnsafe(IV))
      const cipher = createCipheriv('aes-256-gcm', keys[0]!, nonce)
      cipher.setAAD(Buffer.from(kind))
      const sealed = Buffer.concat([
        nonce,
        cipher.update(bytes),
        cipher.final(),
        cipher.getAuthTag(),
      ])
      return kind + sealed.toString('base64url')
    },
    open(token) {
      const kind = token[0]
      if (kind !== 'e' && kind !== 'c') return undefined
      const sealed = Buffer.from(token.slice(1), 'base64url')
      // Decoding forgives stray characters; a token has one spelling only.
      if (sealed.length < IV + TAG || sealed.toString('base64url') !== token.slice(1))
        return undefined
      for (const key of keys) {
        const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV), {
          authTagLength: TAG,
        })
        decipher.setAAD(Buffer.from(kind))
        decipher.setAuthTag(sealed.subarray(-TAG))
        try {
          const bytes = decipher.update(sealed.subarray(IV, -TAG))
          decipher.final()
          return { bytes, compressed: kind === 'c' }
        } catch {
          // Not this key, or forged.
        }
      }
      return undefined
    },
  }
}

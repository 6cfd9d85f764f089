// Django's signing of JSON values: `[.]payload:timestamp:signature`, with a dot for a payload that is compressed.
import { Buffer } from 'node:buffer'
import { deflateSync, inflateSync } from 'node:zlib'
import { createSigner, type Signer } from '@coatcheck/core/signing'
import { refuseOption, SessionTooLargeError } from '@coatcheck/core/store'
import { parse, stringify } from './python-json.ts'

/** What a signed value may hold, in bytes, before it is compressed. */
const MAX_UNPACKED = 16_777_216

/** The keys that sign and verify. */
export interface DjangoKeys {
  /** `SECRET_KEY` of the Django site's settings: at least 32 characters. Undefined is refused. */
  readonly secretKey: string | undefined
  /** `SECRET_KEY_FALLBACKS`: old keys, which still verify. */
  readonly fallbackKeys?: readonly (string | undefined)[]
}

/** What {@link dumps} takes. */
export interface DumpsOptions extends DjangoKeys {
  /** Keeps values for one purpose apart from those for another. Default `django.core.signing`. */
  readonly salt?: string
  /** Compress where that makes it shorter. Default false. */
  readonly compress?: boolean
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** What {@link loads} takes. */
export interface LoadsOptions extends DjangoKeys {
  /** As the value was signed with. Default `django.core.signing`. */
  readonly salt?: string
  /** How old the signature may be, in seconds. Default: as old as can be. */
  readonly maxAge?: number
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

const DEFAULT_SALT = 'django.core.signing'

/**
 * The secrets in the order that signers take them.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for one that is undefined.
 */
export function secretsOf({ secretKey, fallbackKeys = [] }: DjangoKeys): string[] {
  return [
    given('secretKey', secretKey),
    ...fallbackKeys.map((key, at) => given(`fallbackKeys[${at}]`, key)),
  ]
}

function given(name: string, key: string | undefined): string {
  return (
    key ??
    refuseOption(`\`${name}\` is undefined. Is the environment variable set that it comes from?`)
  )
}

/**
 * A value as URL-safe text, signed with the time. Anybody can read it, and nobody can change it.
 * @throws SessionUsageError for a missing or short secret; SessionTooLargeError for more than 16 MiB to
 * compress; what JSON.stringify throws for a value that it cannot write.
 * @see https://docs.djangoproject.com/en/stable/topics/signing/#django.core.signing.dumps
 */
export function dumps(value: unknown, options: DumpsOptions): string {
  const { salt = DEFAULT_SALT, compress = false } = options
  const text = stringify(value)
  return createSigner({ ...options, secrets: secretsOf(options), salt }).sign(
    compress ? pack(text) : encode(Buffer.from(text)),
  )
}

/**
 * The value that {@link dumps} or Django signed; undefined if the text was changed, is older than `maxAge`, or was signed with
 * another salt or secret.
 * @throws SessionUsageError for a missing or short secret, or a `maxAge` that is NaN or no number.
 * @see https://docs.djangoproject.com/en/stable/topics/signing/#django.core.signing.loads
 */
export function loads(signed: string, options: LoadsOptions): unknown {
  const { salt = DEFAULT_SALT, maxAge } = options
  const signer = createSigner({ ...options, secrets: secretsOf(options), salt })
  const payload = signer.unsign(signed, maxAge)
  if (payload === undefined) return undefined
  try {
    return parse(unpack(payload))
  } catch {
    return undefined
  }
}

/** Text that is JSON already, signed as `dumps(…, compress=True)` signs it. */
export function seal(signer: Signer, json: string): string {
  return signer.sign(pack(json))
}

/** What {@link seal} or Django sealed, and when, in ms since the epoch; undefined if it is forged. */
export function unseal(
  signer: Signer,
  signed: string,
): { json: string; signedAt: number } | undefined {
  const opened = signer.read(signed)
  if (!opened) return undefined
  try {
    return { json: unpack(opened.value), signedAt: opened.signedAt }
  } catch {
    return undefined
  }
}

function encode(bytes: Buffer): string {
  return bytes.toString('base64url')
}

/** Base64url of the text, or, if that is shorter by more than the dot, of its compressed form. */
function pack(text: string): string {
  const bytes = Buffer.from(text)
  if (bytes.length > MAX_UNPACKED) {
    const advice = 'What is longer is not read again. Keep less in it.'
    throw new SessionTooLargeError('The signed value', bytes.length, MAX_UNPACKED, advice)
  }
  const compressed = deflateSync(bytes)
  return compressed.length < bytes.length - 1 ? `.${encode(compressed)}` : encode(bytes)
}

function unpack(payload: string): string {
  if (!payload.startsWith('.')) return Buffer.from(payload, 'base64url').toString()
  const bytes = Buffer.from(payload.slice(1), 'base64url')
  return inflateSync(bytes, { maxOutputLength: MAX_UNPACKED }).toString()
}

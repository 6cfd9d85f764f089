// What the engines know of the Django site: its keys, its cookie's name and age, and how it writes session data.
import type { Codec, SessionStore } from '@coatcheck/core'
import { createSigner } from '@coatcheck/core/signing'
import { pythonJsonCodec } from './python-json.ts'
import { seal, secretsOf, unseal, type DjangoKeys } from './signing.ts'

/** The Django site that sessions are shared with. */
export interface DjangoSite {
  readonly keys: DjangoKeys
  /** The salt that `SessionBase.encode` signs with. */
  readonly keySalt: string
  /** `SESSION_COOKIE_NAME`. */
  readonly cookieName: string
  /** `SESSION_COOKIE_AGE`, in seconds. */
  readonly cookieAge: number
  /** The clock, in ms since the Unix epoch. */
  readonly now: () => number
}

/** One of Django's session engines, as `djangoSessions` takes it: where sessions are, and how their data is written. */
export type DjangoEngine = (site: DjangoSite) => { store: SessionStore; codec: Codec }

/** Signs session data for one purpose. */
export interface Sealing {
  readonly seal: (json: string) => string
  /** The data, and when it was signed, in ms since the epoch; undefined if it is forged. */
  readonly unseal: (sealed: string) => { json: string; signedAt: number } | undefined
  /** Session data that is stored sealed. */
  readonly codec: Codec
}

/** Signs session data as `SessionBase.encode` does: JSON, compressed where that is shorter. */
export function sealing(site: DjangoSite, salt: string): Sealing {
  const signer = createSigner({ secrets: secretsOf(site.keys), salt, now: site.now })
  return {
    seal: (json) => seal(signer, json),
    unseal: (sealed) => unseal(signer, sealed),
    codec: {
      ...dataCodec,
      seal: (json) => seal(signer, json),
      open(stored) {
        const opened = unseal(signer, stored)
        if (!opened) throw new Error('The session data is not signed by this site.')
        return opened.json
      },
    },
  }
}

const EXPIRY_KEY = '_session_expiry'

/** Session data as JSON that Django reads: a date of expiry in the form that `datetime.fromisoformat` of every Python takes. */
export const dataCodec: Codec = {
  encode(data, suspects) {
    const expiry = Object.hasOwn(data, EXPIRY_KEY) ? data[EXPIRY_KEY] : undefined
    if (typeof expiry !== 'string' || !expiry.endsWith('Z')) {
      return pythonJsonCodec.encode(data, suspects)
    }
    const date = `${expiry.slice(0, -1)}000+00:00`
    return pythonJsonCodec.encode({ ...data, [EXPIRY_KEY]: date }, suspects)
  },
  decode: (text) => pythonJsonCodec.decode(text),
}

/**
 * When a session ends by what its data says, in ms since the epoch, if it was last changed at `changed`.
 * @param json The data, as the codec encodes it.
 */
export function expiryOf(json: string, changed: number, cookieAge: number): number {
  let expiry: unknown
  try {
    expiry = json.includes(EXPIRY_KEY) ? dataCodec.decode(json)[EXPIRY_KEY] : undefined
  } catch {
    // Data that cannot be read has no say.
  }
  if (typeof expiry === 'number' && expiry !== 0) return changed + expiry * 1000
  const date = typeof expiry === 'string' ? Date.parse(expiry) : Number.NaN
  return Number.isNaN(date) ? changed + cookieAge * 1000 : date
}

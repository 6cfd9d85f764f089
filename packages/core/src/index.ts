// The public face of @coatcheck/core: everything an application, an adapter or a store author needs.
export { getSession, keepSession, type AdapterOptions } from './adapter.ts'
export { after, attempt, type Awaitable } from './awaitable.ts'
export {
  createJsonCodec,
  jsonCodec,
  type Codec,
  type Dictionary,
  type JsonCodecOptions,
} from './codec.ts'
export {
  assertCookieRules,
  MAX_COOKIE_BYTES,
  type CookieFormat,
  type CookieOptions,
} from './cookie.ts'
export {
  KeyExistsError,
  SessionConflictError,
  SessionEncodeError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionTooLargeError,
  SessionUsageError,
  type SessionErrorOptions,
} from './errors.ts'
export type { SessionConflict, SessionWarning } from './events.ts'
export { addSessionHeaders, type HeaderTarget, type SessionHeaders } from './headers.ts'
export { hashKeys } from './hash-keys.ts'
export { createKey, isSessionKey } from './key.ts'
export { createLock, type Lock } from './lock.ts'
export {
  Session,
  type Fields,
  type KeyOf,
  type SessionData,
  type SessionState,
  type ValueOf,
} from './session.ts'
export { MOVED } from './writer.ts'
export {
  createSessions,
  type ResponseInfo,
  type Sessions,
  type SessionsOptions,
} from './sessions.ts'
export {
  assertSecrets,
  createPlainSigner,
  createSigner,
  type PlainSigner,
  type PlainSignerOptions,
  type Signer,
  type SignerOptions,
} from './signing.ts'
export {
  MAX_EXPIRES_AT,
  type ClearExpiredOptions,
  type SessionRecord,
  type SessionStore,
  type StoreTraits,
} from './store.ts'

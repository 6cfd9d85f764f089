// The entry for applications. What stores, adapters and signers are made with has entries of its own: ./store, ./adapter, ./node, ./signing.
export { getSession } from './adapter.ts'
export {
  createJsonCodec,
  jsonCodec,
  type Codec,
  type Dictionary,
  type JsonCodecOptions,
} from './codec.ts'
export type { CookieFormat, CookieOptions } from './cookie.ts'
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
export type {
  SessionClash,
  SessionConflict,
  SessionWarning,
  SweepReport,
  UnknownKey,
} from './events.ts'
export { hashKeys } from './hash-keys.ts'
export { merge, type Path } from './merge.ts'
export { Session, type Fields, type KeyOf, type SessionData, type ValueOf } from './session.ts'
export {
  createSessions,
  type CookieInfo,
  type ResponseInfo,
  type Sessions,
  type SessionsOptions,
} from './sessions.ts'
export {
  append,
  atomic,
  byId,
  first,
  last,
  max,
  min,
  reject,
  sum,
  union,
  type ClashKind,
  type MergeName,
  type MergePlace,
  type MergeRule,
  type MergeRules,
  type MergeStrategy,
} from './strategies.ts'
export type { CodecValues, NotStorable, Storable } from './storable.ts'
export type { SessionStore } from './store.ts'
export { sweep, type SweepOptions } from './sweep.ts'

// The public face of @coatcheck/django: the preset, Django's engines, its signing, and its users.
export * from '@coatcheck/core'
export type { RedisClient } from '@coatcheck/cache/redis'
export {
  djangoAuthHash,
  getDjangoUser,
  isDjangoUserCurrent,
  setDjangoUser,
  updateDjangoAuthHash,
  verifyDjangoUser,
  type DjangoUser,
  type DjangoUserId,
} from './auth.ts'
export { djangoCache, type DjangoCacheOptions } from './cache.ts'
export { DJANGO_TABLE, djangoCachedDb, djangoDb } from './database.ts'
export { djangoFile } from './file.ts'
export { djangoSessions, type DjangoSessionsOptions, type DjangoSettings } from './sessions.ts'
export { djangoSignedCookies } from './signed-cookies.ts'
export { dumps, loads, type DjangoKeys, type DumpsOptions, type LoadsOptions } from './signing.ts'
export type { DjangoEngine, DjangoSite } from './site.ts'

declare module '@coatcheck/core' {
  interface CodecValues {
    /** Python's whole numbers, of any size. */
    bigint: bigint
  }
}

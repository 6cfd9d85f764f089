// Both ways: Coatcheck's engines under express-session, and express-session's stores under Coatcheck.
export * from '@coatcheck/core'
export { connectCookie, type ConnectCookieOptions } from './connect-cookie.ts'
export {
  fromExpressStore,
  type ExpressStore,
  type FromExpressStoreOptions,
} from './from-express-store.ts'
export {
  toExpressStore,
  type CoatcheckExpressStore,
  type ToExpressStoreOptions,
} from './to-express-store.ts'

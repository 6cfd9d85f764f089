// For an application's own tests: a visitor with a session, requests that truly overlap, a clock.
export { atOnce, type ExpressStoreLike } from './at-once.ts'
export { testClock, type Duration, type TestClock } from './clock.ts'
export { visitor, type Answer, type BrowserCookie, type Visitor } from './visitor.ts'

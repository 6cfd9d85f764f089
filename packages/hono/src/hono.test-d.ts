// Types: a session's own type, from the options or the manager, reaches the handlers that follow.
import { Hono } from 'hono'
import { expectTypeOf, test } from 'vitest'
import { createSessions, session, type Session, type SessionStore } from './index.ts'

interface Visitor {
  visits: number
}
declare const store: SessionStore

test("c.get('session') has the type that session() was given, by hand or by its manager", () => {
  new Hono().use(session<Visitor>({ store })).get('/', (c) => {
    expectTypeOf(c.get('session')).toEqualTypeOf<Session<Visitor>>()
    return c.text('')
  })
  new Hono().get('/', session(createSessions<Visitor>({ store })), (c) => {
    expectTypeOf(c.get('session').get('visits')).toEqualTypeOf<number | undefined>()
    return c.text('')
  })
})

test('the middleware fits an application with variables of its own, and may stand under another name', () => {
  const app = new Hono<{ Variables: { user: string } }>()
  app.use(session<Visitor>({ store }))
  app.use(session<Visitor>({ store }, { property: 'admin' }))
  app.get('/', (c) => {
    expectTypeOf(c.var.user).toEqualTypeOf<string>()
    expectTypeOf(c.get('session')).toEqualTypeOf<Session>()
    return c.text('')
  })
})

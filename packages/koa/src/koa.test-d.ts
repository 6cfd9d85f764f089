// Types: ctx.session is there whatever state and context an application declares, and of a type of its own where it says so.
import Koa from 'koa'
import { expectTypeOf, test } from 'vitest'
import { session, type Session, type SessionStore } from './index.ts'

interface Visitor {
  visits: number
}
interface State {
  user: string
}
declare const store: SessionStore

test('ctx.session is the session, also in an application with a state and a context of its own', () => {
  new Koa().use(session({ store })).use((ctx) => {
    expectTypeOf(ctx.session).toEqualTypeOf<Session>()
  })
  new Koa<State, { db: string }>().use(session({ store })).use((ctx) => {
    expectTypeOf(ctx.session).toEqualTypeOf<Session>()
    expectTypeOf(ctx.state.user).toEqualTypeOf<string>()
  })
})

test('an application says by its context what its session holds', () => {
  const app = new Koa<State, { session: Session<Visitor> }>()
  app.use(session<Visitor>({ store }))
  app.use((ctx) => {
    expectTypeOf(ctx.session.get('visits')).toEqualTypeOf<number | undefined>()
    // @ts-expect-error -- no such key
    ctx.session.get('visit')
  })
})

// Types: what a platform passes besides the request reaches the handler, whether the session's type is given by hand or not.
import { expectTypeOf, test } from 'vitest'
import { createSessions, withSession, type Session, type SessionStore } from './index.ts'

interface Visitor {
  visits: number
  product: string
}
declare const store: SessionStore

test("Next's route handler has its params, and is what Next checks for", () => {
  const POST = withSession<Visitor>({ store }, async (request, session, { params }) => {
    expectTypeOf(request).toEqualTypeOf<Request>()
    expectTypeOf(session).toEqualTypeOf<Session<Visitor>>()
    session.set('product', (await params).product)
    return Response.redirect(new URL('/cart', request.url), 303)
  })
  interface NextRequest extends Request {
    nextUrl: URL
  }
  type Context = { params: Promise<{ product: string }> }
  expectTypeOf(POST).toExtend<(request: NextRequest, context: Context) => Promise<Response>>()
  withSession<Visitor>({ store }, async (_, session, { params }: Context) => {
    session.set('product', (await params).product)
    // @ts-expect-error -- not among the route's params
    session.set('product', (await params).colour)
    return new Response()
  })
})

test('a manager gives the session its type, and the handler the request and the rest theirs', () => {
  interface OwnRequest extends Request {
    ip: string
  }
  const handler = withSession(
    createSessions<Visitor>({ store }),
    (request: OwnRequest, session, event: { locals: { session?: Session<Visitor> } }) => {
      event.locals.session = session
      return new Response(request.ip)
    },
  )
  expectTypeOf(handler).parameters.toEqualTypeOf<
    [OwnRequest, { locals: { session?: Session<Visitor> } }]
  >()
})

test('a handler of the request alone is called with the request alone', () => {
  const handler = withSession<Visitor>({ store }, (_, session) => {
    session.update('visits', (visits = 0) => visits + 1)
    return new Response(`${session.get('visits')}`)
  })
  expectTypeOf(handler(new Request('http://localhost/'))).toEqualTypeOf<Promise<Response>>()
})

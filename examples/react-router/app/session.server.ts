// The session: opened and saved by a middleware around every page, found by loaders and actions in their context.
import { withSession, type Session } from '@coatcheck/fetch'
import { fileStore } from '@coatcheck/file'
import { createContext, type MiddlewareFunction } from 'react-router'

interface Visitor {
  visits: number
  user: string
}

const store = fileStore(process.env['SESSIONS'] ?? 'sessions')

export const sessionContext = createContext<Session<Visitor>>()

const handle = withSession<Visitor>({ store }, (_request, session, context, next) => {
  context.set(sessionContext, session)
  return next()
})

export const sessionMiddleware: MiddlewareFunction<Response> = ({ request, context }, next) =>
  handle(request, context, next)

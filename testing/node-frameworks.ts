// The frameworks whose middleware is `(request, response, next)`, each as a listener for node:http.
import type { RequestListener } from 'node:http'
import connect from 'connect'
import express5 from 'express'
// @ts-expect-error -- Express 4 under another name has no types of its own; it takes the same handlers
import express4 from 'express4'

type Handler = (request: any, response: any, next: (error?: unknown) => void) => unknown

/** An application that says nothing to the terminal of the errors that tests make on purpose. */
const quiet = (app: any) => app.set('env', 'test')

/** What comes out answers requests by the handlers, in order. */
export const frameworks: Record<string, (handlers: Handler[]) => RequestListener> = {
  'Express 5': (handlers) => quiet(express5()).use(...handlers),
  'Express 4': (handlers) => quiet(express4()).use(...handlers),
  Connect: (handlers) => {
    const app = connect()
    for (const handler of handlers) app.use(handler as never)
    return app as unknown as RequestListener
  },
  'node:http': (handlers) => (request, response) => {
    const run = (at: number) => (error?: unknown) => {
      if (error === undefined) return handlers[at]?.(request, response, run(at + 1))
      response.statusCode = (error as { status?: number }).status ?? 500
      response.end(String(error))
    }
    run(0)()
  },
}

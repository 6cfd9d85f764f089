// One server process of natural-handlers.test.ts: every handler, on sessions of ours and on those of express-session.
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { getSession, session } from '@coatcheck/express'
import { toExpressStore } from '@coatcheck/express-session'
import express, { type ErrorRequestHandler, type Request, type RequestHandler } from 'express'
import expressSession from 'express-session'
import { onExpressSession, onSession, type Visit } from './natural-handlers.ts'
import { subjectAt, type Places } from './subjects.ts'

const [engine, name, places] = process.argv.slice(2) as [string, string, string]
const store = await subjectAt(engine, JSON.parse(places) as Places).open({ name, now: Date.now })

/** What went wrong; express-session passes on what a save threw when the answer is under way. */
const faults: string[] = []
const app = express()

/** Serves the handlers of one kind of session under `path`. */
function serve<S>(
  path: string,
  middleware: RequestHandler,
  open: (request: Request) => S | Promise<S>,
  handlers: Record<string, (session: S, x: number, work: () => Promise<void>) => Promise<void>>,
  { begin, read }: { begin(session: S, visit: Visit): void; read(session: S): object },
) {
  const router = express.Router().use(middleware)
  router.post('/begin', async (request, response) => {
    begin(await open(request), { cart: [], prefs: {}, visits: 0 })
    response.end()
  })
  router.post('/add', async (request, response) => {
    const x = Number(request.query['x'])
    const handler = handlers[String(request.query['handler'])]!
    await handler(await open(request), x, () => setTimeout(5 + (x % 16)))
    response.end()
  })
  router.get('/kept', async (request, response) => {
    response.json(read(await open(request)))
  })
  app.use(path, router)
}

const concurrencies = {
  '/merge': { merge: { visits: 'sum' } },
  '/merge without sum': {},
  '/overwrite': { concurrency: 'overwrite' },
} as const
for (const [path, options] of Object.entries(concurrencies)) {
  const open = (request: Request) => getSession<Visit>(request)
  serve(encodeURI(path), session({ store, ...options }), open, onSession, {
    begin: (visitor, visit) => visitor.update(visit),
    read: (visitor) => Object.fromEntries(visitor),
  })
}

const bridges = {
  '/express-session': toExpressStore(store, { merge: { visits: 'sum' } }),
  '/express-session without sum': toExpressStore(store),
}
for (const [path, bridge] of Object.entries(bridges)) {
  const middleware = expressSession({
    store: bridge,
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
  })
  const open = (request: Request) => request.session as unknown as Visit
  serve(encodeURI(path), middleware, open, onExpressSession, {
    begin: (visitor, visit) => void Object.assign(visitor, visit),
    read: (visitor) => visitor,
  })
}

app.get('/faults', (_, response) => void response.json(faults))
const noted: ErrorRequestHandler = (error, _, response, _next) => {
  faults.push(String((error as Error).stack))
  if (!response.headersSent) response.status((error as { status?: number }).status ?? 500).end()
}
app.use(noted)

const server = app.listen(0, '127.0.0.1', () => {
  process.send!((server.address() as AddressInfo).port)
})
// A connection that the server gives up just as the next request comes would be a failure of the test's own.
server.keepAliveTimeout = 0
process.on('disconnect', async () => {
  await store.close?.()
  process.exit()
})

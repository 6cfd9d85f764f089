// express-session over an engine of ours, by the README of @coatcheck/express-session: a visit counter and a login.
import { sqliteStore } from '@coatcheck/db/sqlite'
import { toExpressStore } from '@coatcheck/express-session'
import express from 'express'
import session from 'express-session'

declare module 'express-session' {
  interface SessionData {
    visits: number
    user: string
  }
}

const store = sqliteStore(process.env['SESSIONS'] ?? 'sessions.sqlite')
await store.migrate()

const app = express()
app.use(
  session({
    store: toExpressStore(store),
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
  }),
)

app.get('/', (request, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  response.json({ visits: request.session.visits, user: request.session.user })
})
app.post('/login', (request, response, next) => {
  const { visits = 0 } = request.session
  request.session.regenerate((error) => {
    if (error) return next(error)
    Object.assign(request.session, { visits, user: 'ann' })
    request.session.save(() => response.redirect('/'))
  })
})
app.post('/logout', (request, response) => {
  request.session.destroy(() => response.redirect('/'))
})

const server = app.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})

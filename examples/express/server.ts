// Express: a visit counter and a login, with sessions in SQLite.
import { sqliteStore } from '@coatcheck/db/sqlite'
import { getSession, session } from '@coatcheck/express'
import express from 'express'

interface Visitor {
  visits: number
  user: string
}

const store = sqliteStore(process.env['SESSIONS'] ?? 'sessions.sqlite')
store.migrate()

const app = express()
app.use(session({ store }))

app.get('/', async (request, response) => {
  const visitor = await getSession<Visitor>(request)
  visitor.update('visits', (visits = 0) => visits + 1)
  response.json({ visits: visitor.get('visits'), user: visitor.get('user') })
})
app.post('/login', async (request, response) => {
  const visitor = await getSession<Visitor>(request)
  visitor.cycleKey()
  visitor.set('user', 'ann')
  response.redirect('/')
})
app.post('/logout', async (request, response) => {
  const visitor = await getSession<Visitor>(request)
  visitor.flush()
  response.redirect('/')
})

const server = app.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})

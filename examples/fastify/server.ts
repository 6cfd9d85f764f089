// Fastify: a visit counter and a login, with sessions in SQLite.
import { sqliteStore } from '@coatcheck/db/sqlite'
import { getSession, session } from '@coatcheck/fastify'
import Fastify from 'fastify'

interface Visitor {
  visits: number
  user: string
}

const store = sqliteStore(process.env['SESSIONS'] ?? 'sessions.sqlite')
store.migrate()

const app = Fastify()
app.register(session, { store })

app.get('/', async (request) => {
  const visitor = await getSession<Visitor>(request)
  visitor.update('visits', (visits = 0) => visits + 1)
  return { visits: visitor.get('visits'), user: visitor.get('user') }
})
app.post('/login', async (request, reply) => {
  const visitor = await getSession<Visitor>(request)
  visitor.cycleKey()
  visitor.set('user', 'ann')
  return reply.redirect('/')
})
app.post('/logout', async (request, reply) => {
  const visitor = await getSession<Visitor>(request)
  visitor.flush()
  return reply.redirect('/')
})

await app.listen({ port: Number(process.env['PORT'] ?? 3000) })
console.log(`http://localhost:${(app.server.address() as { port: number }).port}`)

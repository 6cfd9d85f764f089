// Bare node:http, by the README of @coatcheck/express: a visit counter and a login.
import { createServer, type ServerResponse } from 'node:http'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { getSession, session } from '@coatcheck/express'

interface Visitor {
  visits: number
  user: string
}

const store = sqliteStore(process.env['SESSIONS'] ?? 'sessions.sqlite')
await store.migrate()

const open = session({ store })
const server = createServer((request, response) => {
  open(request, response, async (error) => {
    if (error) return response.writeHead(500).end()
    const visitor = await getSession<Visitor>(request)
    if (request.url === '/login') {
      visitor.cycleKey()
      visitor.set('user', 'ann')
      return home(response)
    }
    if (request.url === '/logout') {
      visitor.flush()
      return home(response)
    }
    visitor.update('visits', (visits = 0) => visits + 1)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ visits: visitor.get('visits'), user: visitor.get('user') }))
  })
}).listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})

const home = (response: ServerResponse) => response.writeHead(302, { location: '/' }).end()

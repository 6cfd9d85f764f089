// The same application on Coatcheck, on the same sessions: whoever was logged in stays logged in.
import { getSession, session } from '@coatcheck/express'
import { connectCookie, fromExpressStore } from '@coatcheck/express-session'
import express from 'express'
import { openFileStore, SECRET } from './file-store.ts'

interface Visitor {
  visits: number
  user: string
}

const app = express()
app.use(
  session({
    store: fromExpressStore(openFileStore()),
    cookie: connectCookie({ secrets: [SECRET] }),
    maxAge: 86_400,
  }),
)

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

// Hono: a visit counter and a login, with sessions in files.
import { fileStore } from '@coatcheck/file'
import { getSession, session } from '@coatcheck/hono'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

interface Visitor {
  visits: number
  user: string
}

const app = new Hono()
app.use(session({ store: fileStore(process.env['SESSIONS'] ?? 'sessions') }))

app.get('/', async (c) => {
  const visitor = await getSession<Visitor>(c)
  visitor.update('visits', (visits = 0) => visits + 1)
  return c.json({ visits: visitor.get('visits'), user: visitor.get('user') })
})
app.post('/login', async (c) => {
  const visitor = await getSession<Visitor>(c)
  visitor.cycleKey()
  visitor.set('user', 'ann')
  return c.redirect('/')
})
app.post('/logout', (c) => {
  c.get('session').flush()
  return c.redirect('/')
})

serve({ fetch: app.fetch, port: Number(process.env['PORT'] ?? 3000) }, ({ port }) => {
  console.log(`http://localhost:${port}`)
})

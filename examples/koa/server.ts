// Koa: a visit counter and a login, with sessions in files.
import { fileStore } from '@coatcheck/file'
import { getSession, session } from '@coatcheck/koa'
import Koa from 'koa'

interface Visitor {
  visits: number
  user: string
}

const app = new Koa()
app.use(session({ store: fileStore(process.env['SESSIONS'] ?? 'sessions') }))

app.use(async (ctx) => {
  const visitor = await getSession<Visitor>(ctx)
  if (ctx.path === '/login') {
    visitor.cycleKey()
    visitor.set('user', 'ann')
    return ctx.redirect('/')
  }
  if (ctx.path === '/logout') {
    visitor.flush()
    return ctx.redirect('/')
  }
  visitor.update('visits', (visits = 0) => visits + 1)
  ctx.body = { visits: visitor.get('visits'), user: visitor.get('user') }
})

const server = app.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})

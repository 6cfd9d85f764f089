// The application as it was: express-session, with its sessions in files.
import express from 'express'
import expressSession from 'express-session'
import { openFileStore, SECRET } from './file-store.ts'

const app = express()
app.use(
  expressSession({
    store: openFileStore(),
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 86_400_000 },
  }),
)

app.get('/', (request: any, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  response.json({ visits: request.session.visits, user: request.session.user })
})
app.post('/login', (request: any, response) => {
  request.session.user = 'ann'
  response.redirect('/')
})

const server = app.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`http://localhost:${(server.address() as { port: number }).port}`)
})

// A Django site on its way to Node: the routes that have moved are here, and everything else still comes from Django.
// Start it by `npx pnpm@12 --filter @coatcheck/example-django start`; it starts Django (site.py) itself.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { sqliteStore } from '@coatcheck/db/sqlite'
import {
  DJANGO_TABLE,
  djangoDb,
  djangoSessions,
  getDjangoUser,
  verifyDjangoUser,
} from '@coatcheck/django'
import { getSession, session } from '@coatcheck/express'
import Database from 'better-sqlite3'
import express from 'express'

/** What the Django site keeps in a session. */
interface Shop {
  cart: string[]
}

const secretKey = process.env['SECRET_KEY'] ?? randomBytes(32).toString('hex')
const file =
  process.env['DATABASE'] ?? join(mkdtempSync(join(tmpdir(), 'coatcheck-django-')), 'db.sqlite3')
const django = await startDjango()

// The application's own connection to Django's database: for the sessions, and for Django's users.
const database = new Database(file, { timeout: 5000 })
const sessions = djangoSessions<Shop>({
  secretKey,
  engine: djangoDb(sqliteStore(database, { table: DJANGO_TABLE })),
})
const selectUser = database.prepare('SELECT username, password FROM auth_user WHERE id = ?')

const app = express()

// What has moved: each router has the session; what is proxied does not, as Django has its own.
const moved = express.Router()
moved.use(session(sessions), express.urlencoded())
moved.get('/cart', async (request, response) => {
  const visitor = await getSession<Shop>(request)
  const rows = visitor.get('cart', []).map((product) => `<li>${escape(product)}</li>`)
  const user = getDjangoUser(visitor)
  const row = user && (selectUser.get(user.id) as { username: string; password: string })
  const name = row && verifyDjangoUser(visitor, row.password, { secretKey }) ? row.username : ''
  response.send(
    page(`<h1>${name ? `${escape(name)}’s cart` : 'Your cart'}</h1><ul>${rows.join('')}</ul>
      <form method=post><label>Product <input name=product value=coat></label><button>Add</button></form>
      <form method=post action=/cart/clear><button>Clear</button></form>`),
  )
})
moved.post('/cart', async (request, response) => {
  const visitor = await getSession<Shop>(request)
  const product = String(request.body?.product ?? '').slice(0, 40)
  visitor.update('cart', (cart = []) => [...cart, product])
  response.redirect(303, '/cart')
})
moved.post('/cart/clear', async (request, response) => {
  const visitor = await getSession<Shop>(request)
  visitor.delete('cart')
  response.redirect(303, '/cart')
})
app.get('/style.css', (_request, response) => {
  response.type('css').send(STYLE)
})
app.use(/^\/cart(\/|$)/, (request, response, next) => {
  request.url = request.originalUrl
  moved(request, response, next)
})
app.use(proxy)

const server = app.listen(Number(process.env['PORT'] ?? 3000), () => {
  console.log(`Shop: http://localhost:${(server.address() as { port: number }).port}`)
})

/** Passes a request on to Django, and its answer back. */
function proxy(request: IncomingMessage, response: ServerResponse): void {
  const { method, url, headers } = request
  const onward = httpRequest(`${django}${url}`, { method: method!, headers }, (answer) => {
    response.writeHead(answer.statusCode!, answer.rawHeaders)
    answer.pipe(response)
  })
  onward.on('error', () => {
    if (!response.headersSent) response.writeHead(502)
    response.end('Django does not answer.')
  })
  request.pipe(onward)
}

async function startDjango(): Promise<string> {
  const python = process.env['PYTHON'] ?? '/usr/bin/python3'
  const site = spawn(python, [join(import.meta.dirname, 'site.py'), '0'], {
    env: { ...process.env, SECRET_KEY: secretKey, DATABASE: file, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      site.kill()
      process.exit()
    })
  }
  for await (const line of createInterface(site.stdout)) return line.replace('Django: ', '')
  throw new Error(
    `${python} did not start Django. Get it by: apt-get install python3-django (or set PYTHON)`,
  )
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function page(body: string): string {
  return `<!doctype html><html lang=en><title>Shop</title><link rel=stylesheet href=/style.css>
    <header><a href=/>Home</a> <a href=/cart>Cart</a> <small>this page: Node</small></header><main>${body}</main>`
}

const STYLE = `
  :root { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif }
  body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem }
  header { display: flex; gap: 1rem; align-items: baseline; border-bottom: 1px solid; padding-bottom: .5rem }
  small { margin-left: auto; opacity: .7 }
  label { display: block; margin: .5rem 0 } input, button { font: inherit; padding: .3rem .6rem }
`

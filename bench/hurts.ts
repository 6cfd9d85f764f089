// What hurts, measured: the same handlers over the peers, each at its defaults, and over ours; prints the tables of docs/hurts.md.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
} from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import type { SessionStore } from '@coatcheck/core/store'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { session } from '@coatcheck/express'
import { toExpressStore, type ExpressStore } from '@coatcheck/express-session'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import express, { type Express, type RequestHandler } from 'express'
import expressSession from 'express-session'
import { postgres, redis } from '../testing/services.ts'
import type { Places } from '../testing/subjects.ts'
import { slow } from '../testing/wrappers.ts'
import { peers, versionOf } from './peers.ts'

const PARALLEL = 200
const REDIRECTS = 20
const SLOW_SAVE = 300
/** What a handler asks elsewhere takes 20 ms: requests at once are under way at the same time. */
const elsewhere = () => setTimeout(20)

/** A handler, `s` being the request's session; what it returns is the answer. */
type Handler = (s: any, x: string) => unknown
/** The same handler twice, step by step: on express-session's session, and on ours. */
interface Pair {
  theirs: Handler
  ours: Handler
}

// What 200 requests do at once, each with another `x`: x0, x1, ... It is read, 20 ms pass, it is changed and put back; nothing
// here knows of the other requests.
const forms = {
  cart: {
    theirs: async (s, x) => {
      const cart = s.cart ?? []
      await elsewhere()
      cart.push(x)
      s.cart = cart
    },
    ours: async (s, x) => {
      const cart = s.get('cart', [])
      await elsewhere()
      cart.push(x)
      s.set('cart', cart)
    },
  },
  'push in place': {
    theirs: async (s, x) => {
      const cart = s.cart
      await elsewhere()
      cart.push(x)
    },
    ours: async (s, x) => {
      const cart = s.get('cart')
      await elsewhere()
      cart.push(x)
    },
  },
  'new list': {
    theirs: async (s, x) => {
      const cart = s.cart
      await elsewhere()
      s.cart = [...cart, x]
    },
    ours: async (s, x) => {
      const cart = s.get('cart')
      await elsewhere()
      s.set('cart', [...cart, x])
    },
  },
  'a field each': {
    theirs: async (s, x) => {
      const prefs = s.prefs
      await elsewhere()
      prefs[x] = 1
    },
    ours: async (s, x) => {
      const prefs = s.get('prefs')
      await elsewhere()
      prefs[x] = 1
    },
  },
  'a key each': {
    theirs: async (s, x) => {
      const before = s[x] ?? 0
      await elsewhere()
      s[x] = before + 1
    },
    ours: async (s, x) => {
      const before = s.get(x, 0)
      await elsewhere()
      s.set(x, before + 1)
    },
  },
  counter: {
    theirs: async (s) => {
      const visits = s.visits
      await elsewhere()
      s.visits = visits + 1
    },
    ours: async (s) => {
      const visits = s.get('visits')
      await elsewhere()
      s.set('visits', visits + 1)
    },
  },
} satisfies Record<string, Pair>

// What the rest is measured by.
const others = {
  start: {
    theirs: (s) => {
      s.cart = []
      s.prefs = {}
      s.visits = 0
    },
    ours: (s) => {
      s.set('cart', [])
      s.set('prefs', {})
      s.set('visits', 0)
    },
  },
  login: {
    theirs: (s) => {
      s.user = 'ann'
    },
    ours: (s) => {
      s.set('user', 'ann')
    },
  },
  slow: {
    theirs: async (s) => {
      const late = s.late ?? 0
      await setTimeout(200)
      s.late = late + 1
    },
    ours: async (s) => {
      const late = s.get('late', 0)
      await setTimeout(200)
      s.set('late', late + 1)
    },
  },
  logout: {
    theirs: (s) => new Promise((resolve) => s.destroy(resolve)),
    ours: (s) => s.flush(),
  },
  set: {
    theirs: (s, x) => {
      s[x] = true
    },
    ours: (s, x) => {
      s.set(x, true)
    },
  },
  all: {
    theirs: (s) => ({ ...s }),
    ours: (s) => Object.fromEntries(s),
  },
} satisfies Record<string, Pair>

/** How a form is measured: what the requests at once find, and how many of their changes are there afterwards. */
interface Measurement {
  title: string
  form: keyof typeof forms
  first: 'start' | 'login'
  kept(data: any): number
  /** Measured where it is declared that visits are summed up. */
  sum?: true
}
const keptInCart = ({ cart }: { cart: string[] }) => countOnce(cart)
const keptInVisits = ({ visits }: { visits: number }) => visits
const measurements: Measurement[] = [
  { title: 'cart', form: 'cart', first: 'start', kept: keptInCart },
  { title: 'cart that is not there yet', form: 'cart', first: 'login', kept: keptInCart },
  { title: 'push in place', form: 'push in place', first: 'start', kept: keptInCart },
  { title: 'new list', form: 'new list', first: 'start', kept: keptInCart },
  {
    title: 'a field each',
    form: 'a field each',
    first: 'start',
    kept: ({ prefs }) => Object.keys(prefs).length,
  },
  {
    title: 'a key each',
    form: 'a key each',
    first: 'login',
    kept: (data) => Object.keys(data).filter((key) => /^x\d/.test(key)).length,
  },
  { title: 'counter', form: 'counter', first: 'start', kept: keptInVisits },
  {
    title: "counter, `merge: { visits: 'sum' }`",
    form: 'counter',
    first: 'start',
    kept: keptInVisits,
    sum: true,
  },
]

/** Every handler under its name, by `/name` or `/name/x`; `/redirect/x` is `set`, and a redirect. */
function serveHandlers(middleware: RequestHandler, side: keyof Pair): Express {
  const app = express().use(middleware)
  const run = (pair: Pair, request: any) => pair[side](request.session, request.params.x)
  for (const [name, pair] of Object.entries<Pair>({ ...forms, ...others })) {
    app.get(`/${slug(name)}{/:x}`, async (request, response) => {
      response.json((await run(pair, request)) ?? true)
    })
  }
  app.get('/redirect/:x', async (request, response) => {
    await run(others.set, request)
    response.redirect('/all')
  })
  // The errors are part of the measurement, and not for the terminal.
  return app.set('env', 'test')
}

const slug = (name: string) => name.replaceAll(/\W+/g, '-')

/** How many are in a list. */
function countOnce(list: string[] = []): number {
  if (new Set(list).size < list.length) throw new Error(`Some are twice in ${list.join()}`)
  return list.length
}

/** A client that goes on as soon as the headers are there, as a browser does that follows a redirect. */
function browser(url: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL })
  let cookie = ''
  const head = (path: string) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest(url + path, { agent, headers: cookie ? { cookie } : {} }, resolve)
        .on('error', reject)
        .end()
    })
  return {
    head,
    close: () => agent.destroy(),
    keep(lines: string[] | undefined) {
      for (const line of lines ?? []) cookie = /Max-Age=0|=;/.test(line) ? '' : line.split(';')[0]!
    },
    get cookie() {
      return cookie
    },
    async get(path: string): Promise<any> {
      const response = await head(path)
      let body = ''
      for await (const chunk of response) body += String(chunk)
      return {
        lines: response.headers['set-cookie'],
        body: response.statusCode === 200 ? JSON.parse(body) : response.statusCode,
      }
    },
  }
}

/** A browser that has made its first request. */
async function visit(url: string, first: string) {
  const client = browser(url)
  client.keep((await client.get(`/${first}`)).lines)
  return client
}

async function serve(app: RequestListener) {
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

interface Row {
  /** What has the sessions, and on which engine where that is one of ours. */
  name: string
  engine?: string
  /** By the title of the measurement; null where there is nothing to declare. */
  kept: Record<string, number | null>
  back: boolean
  missed: number
}

/** How a session is to be served. */
interface Setting {
  slowSave?: boolean
  /** What is declared of the session's values. */
  declared?: { merge?: { visits: 'sum' } }
}

/** Measures one side's handlers behind what `build` makes. */
async function measure(
  names: { name: string; engine?: string },
  side: keyof Pair,
  build: (setting: Setting) => RequestHandler,
): Promise<Row> {
  const start = (setting: Setting) => serve(serveHandlers(build(setting), side))
  const plain = await start({})
  const kept: Row['kept'] = {}
  for (const { title, form, first, kept: count, sum } of measurements) {
    if (sum && names.engine === undefined) {
      kept[title] = null
      continue
    }
    const served = sum ? await start({ declared: { merge: { visits: 'sum' } } }) : plain
    const client = await visit(served.url, first)
    const answers = await Promise.all(
      Array.from({ length: PARALLEL }, (_, n) => client.get(`/${slug(form)}/x${n}`)),
    )
    const refused = answers.filter(({ body }) => body !== true)
    if (refused.length > 0) throw new Error(`${title}: refused with ${refused[0]!.body}`)
    const all = count((await client.get('/all')).body)
    if (all > PARALLEL) throw new Error(`${title}: ${all} kept of ${PARALLEL}`)
    kept[title] = all
    client.close()
    if (sum) served.close()
  }

  const leaving = await visit(plain.url, 'login')
  const late = leaving.get('/slow')
  await setTimeout(50)
  await leaving.get('/logout')
  await late
  const { user, late: lateValue } = (await leaving.get('/all')).body
  const back = user !== undefined || lateValue !== undefined
  leaving.close()
  plain.close()

  const delayed = await start({ slowSave: true })
  const redirected = await visit(delayed.url, 'login')
  let missed = 0
  for (let n = 0; n < REDIRECTS; n++) {
    const redirect = await redirected.head(`/redirect/x${n}`)
    const { body } = await redirected.get('/all')
    redirect.resume()
    if (body[`x${n}`] !== true) missed++
    await setTimeout(SLOW_SAVE + 50)
  }
  redirected.close()
  delayed.close()
  return { ...names, kept, back, missed }
}

/** express-session as its guide sets it up. */
const underExpressSession = (store: ExpressStore) =>
  expressSession({
    store: store as expressSession.Store,
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
  })

/** An express-session store whose `set` takes its time. */
function slowPeer(store: ExpressStore): ExpressStore {
  const set = store.set.bind(store)
  return Object.assign(Object.create(store), {
    set: (sid: string, value: unknown, done: () => void) =>
      void setTimeout(SLOW_SAVE).then(() =>
        set(sid, structuredClone(JSON.parse(JSON.stringify(value))), done),
      ),
  })
}
const slowly = (store: SessionStore) => slow(store, { save: SLOW_SAVE, create: SLOW_SAVE })

if (!redis.launch || !postgres.launch) throw new Error(`${redis.how}; ${postgres.how}`)
const servers = { redis: await redis.launch(), postgres: await postgres.launch() }
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-hurts-'))
const places: Places = { folder, redis: servers.redis.url, postgres: servers.postgres.url }
const rows: Row[] = []
const note = (row: Row) => {
  rows.push(row)
  console.error(JSON.stringify(row))
}
try {
  for (const [name, peer] of Object.entries(peers)) {
    const { store, close } = await peer.open(`hurts_${name.replaceAll(/\W/g, '_')}`, places)
    const names = { name: `${name} ${versionOf(peer.package)}` }
    note(
      await measure(names, 'theirs', ({ slowSave }) =>
        underExpressSession(slowSave ? slowPeer(store) : store),
      ),
    )
    await close()
  }
  const sqlite = sqliteStore(join(folder, 'ours.sqlite'))
  sqlite.migrate()
  const pg = postgresStore(places['postgres']!)
  await pg.migrate()
  const engines = {
    lru: lruStore(),
    sqlite,
    file: fileStore(join(folder, 'ours')),
    redis: redisStore(places['redis']!),
    postgres: pg,
  } satisfies Record<string, SessionStore>
  for (const engine of ['sqlite', 'redis'] as const) {
    const store = engines[engine]
    const names = { name: 'express-session over Coatcheck', engine }
    note(
      await measure(names, 'theirs', ({ slowSave, declared }) =>
        underExpressSession(toExpressStore(slowSave ? slowly(store) : store, declared)),
      ),
    )
  }
  for (const [engine, store] of Object.entries<SessionStore>(engines)) {
    note(
      await measure({ name: 'Coatcheck', engine }, 'ours', ({ slowSave, declared }) =>
        session({ store: slowSave ? slowly(store) : store, ...declared }),
      ),
    )
    await store.close?.()
  }
  const cookies = await largeCookies()
  console.log([handlersTable(), atOnceTable(), restTable(), cookies].join('\n\n'))
  writeFileSync(
    'bench/results/hurts.json',
    `${JSON.stringify({ date: new Date().toISOString(), rows, cookies }, null, 2)}\n`,
  )
} finally {
  for (const server of Object.values(servers)) await server[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

/** The handlers as they were measured, from their source. */
function handlersTable(): string {
  return table(
    ['Handler', 'On express-session', 'On Coatcheck'],
    Object.entries<Pair>(forms).map(([form, { theirs, ours }]) => [
      form,
      `\`${steps(theirs)}\``,
      `\`${steps(ours)}\``,
    ]),
  )
}

/** A handler in one line; `…` is the wait. */
function steps(handler: Handler): string {
  const body = String(handler).split('\n').slice(1, -1).join('; ').replaceAll(/\s+/g, ' ').trim()
  return body.replace('await elsewhere()', '…').replaceAll('const ', '')
}

function atOnceTable(): string {
  const titles = measurements.map(({ title }) => title)
  return table(
    [`Kept of ${PARALLEL} at once`, ...titles],
    byName().map(([label, group]) => [
      label,
      ...titles.map((title) => range(group.map(({ kept }) => kept[title]!))),
    ]),
  )
}

function restTable(): string {
  return table(
    [
      'Store',
      'A session that ended while a slow request ran',
      `A redirect before a save of ${SLOW_SAVE} ms: the next request missed the change`,
    ],
    byName().map(([label, group]) => [
      label,
      [...new Set(group.map(({ back }) => (back ? 'is back' : 'stays ended')))].join(', '),
      `${range(group.map(({ missed }) => missed))} of ${REDIRECTS}`,
    ]),
  )
}

/** The rows of one name together, and what they are called. */
function byName(): [label: string, group: Row[]][] {
  return [...new Set(rows.map(({ name }) => name))].map((name) => {
    const group = rows.filter((row) => row.name === name)
    const engines = group.flatMap(({ engine }) => engine ?? [])
    return [engines.length > 0 ? `${name}: ${engines.join(', ')}` : name, group]
  })
}

function range(figures: (number | null)[]): string {
  const known = figures.filter((figure) => figure !== null)
  if (known.length === 0) return '—'
  const [least, most] = [Math.min(...known), Math.max(...known)]
  return least === most ? `${least}` : `${least} to ${most}`
}

function table(head: string[], lines: string[][]): string {
  return [head, head.map(() => '---'), ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}

/** A session of 4000 characters in a cookie. */
async function largeCookies(): Promise<string> {
  const require = createRequire(import.meta.url)
  // From a generator that every run repeats; it hardly compresses.
  let seed = 1
  const text = Array.from({ length: 4000 }, () => {
    seed = (seed * 48_271) % 2_147_483_647
    return String.fromCodePoint(33 + (seed % 90))
  }).join('')
  const app = express()
  app.use(require('cookie-session')({ keys: ['keyboard cat'] }))
  app.get('/', (request: any, response) => {
    request.session.text = text
    response.json(true)
  })
  const their = await serve(app)
  const line = (await browser(their.url).get('/')).lines?.[0] ?? ''
  their.close()
  const own = express()
  const seen: string[] = []
  own.use(
    session({
      store: signedCookieStore({ secrets: ['a secret of thirty-two characters or more'] }),
    }),
  )
  own.get('/', (request: any, response) => {
    request.session.set('text', text)
    response.json(true)
  })
  own.use((error: any, _request: any, response: any, _next: unknown) => {
    seen.push(`${error.code}: ${error.message}`)
    response.status(500).end()
  })
  const our = await serve(own)
  await browser(our.url).get('/')
  our.close()
  return `cookie-session ${versionOf('cookie-session')} sent a Set-Cookie line of ${Buffer.byteLength(line)} bytes without a word. Coatcheck, signed-cookie: ${seen[0]}`
}

// What hurts, measured: the same handlers over the peers, each at its defaults, and over ours; prints the README's table.
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
import type { ExpressStore } from '@coatcheck/express-session'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import express, { type Express } from 'express'
import expressSession from 'express-session'
import { postgres, redis } from '../testing/services.ts'
import type { Places } from '../testing/subjects.ts'
import { slow } from '../testing/wrappers.ts'
import { peers, versionOf } from './peers.ts'

const PARALLEL = 200
const REDIRECTS = 20
const SLOW_SAVE = 300
/** What a handler asks elsewhere takes so long, in ms: requests at once are under way at the same time. */
const HANDLER = 20

/** What the handlers need of a session: the same routes on both sides. */
interface Hands {
  append(request: any, n: number): void
  set(request: any, key: string): void
  get(request: any, key: string): unknown
  count(request: any): number
  end(request: any): unknown
}
const theirs: Hands = {
  append: ({ session: s }, n) => (s.items = [...(s.items ?? []), n]),
  set: ({ session: s }, key) => (s[key] = true),
  get: ({ session: s }, key) => s[key],
  count: ({ session: s }) => Object.keys(s).filter((key) => key.startsWith('key')).length,
  end: (request) => new Promise((resolve) => request.session.destroy(resolve)),
}
const ours: Hands = {
  append: ({ session: s }, n) => s.update('items', (items: number[] = []) => [...items, n]),
  set: ({ session: s }, key) => s.set(key, true),
  get: ({ session: s }, key) => s.get(key),
  count: ({ session: s }) => [...s.keys()].filter((key) => key.startsWith('key')).length,
  end: ({ session: s }) => s.flush(),
}

function routes(app: Express, hands: Hands): Express {
  app.get('/append/:n', async (request, response) => {
    hands.get(request, 'items')
    await setTimeout(HANDLER)
    hands.append(request, Number(request.params.n))
    response.json(true)
  })
  app.get('/set/:key', async (request, response) => {
    hands.get(request, request.params.key)
    await setTimeout(HANDLER)
    hands.set(request, request.params.key)
    response.json(true)
  })
  app.get('/slow', async (request, response) => {
    hands.get(request, 'late')
    await setTimeout(200)
    hands.set(request, 'late')
    response.json(true)
  })
  app.get('/redirect/:key', (request, response) => {
    hands.set(request, request.params.key)
    response.redirect('/next')
  })
  app.get('/has/:key', (request, response) =>
    response.json(hands.get(request, request.params.key) ?? null),
  )
  app.get('/items', (request, response) =>
    response.json((hands.get(request, 'items') as unknown[] | undefined)?.length ?? 0),
  )
  app.get('/count', (request, response) => response.json(hands.count(request)))
  app.get('/end', async (request, response) => {
    await hands.end(request)
    response.json(true)
  })
  // The errors are part of the measurement, and not for the terminal.
  return app.set('env', 'test')
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
  name: string
  appended: number
  ownKeys: number
  back: boolean
  missed: number
}

async function measure(name: string, build: (slowSave: boolean) => RequestListener): Promise<Row> {
  const { url, close } = await serve(build(false))
  const visit = async (start: string) => {
    const client = browser(url)
    client.keep((await client.get(start)).lines)
    return client
  }
  const first = await visit('/append/0')
  await Promise.all(Array.from({ length: PARALLEL - 1 }, (_, n) => first.get(`/append/${n + 1}`)))
  const appended = (await first.get('/items')).body
  const second = await visit('/set/key0')
  await Promise.all(Array.from({ length: PARALLEL - 1 }, (_, n) => second.get(`/set/key${n + 1}`)))
  const ownKeys = (await second.get('/count')).body
  const third = await visit('/set/key0')
  const late = third.get('/slow')
  await setTimeout(50)
  await third.get('/end')
  await late
  const back =
    (await third.get('/has/key0')).body === true || (await third.get('/has/late')).body === true
  for (const client of [first, second, third]) client.close()
  close()

  const slowly = await serve(build(true))
  const fourth = browser(slowly.url)
  fourth.keep((await fourth.get('/set/start')).lines)
  let missed = 0
  for (let n = 0; n < REDIRECTS; n++) {
    const redirect = await fourth.head(`/redirect/key${n}`)
    const { body } = await fourth.get(`/has/key${n}`)
    redirect.resume()
    if (body !== true) missed++
    await setTimeout(SLOW_SAVE + 50)
  }
  fourth.close()
  slowly.close()
  return { name, appended, ownKeys, back, missed }
}

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

if (!redis.launch || !postgres.launch) throw new Error(`${redis.how}; ${postgres.how}`)
const servers = { redis: await redis.launch(), postgres: await postgres.launch() }
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-hurts-'))
const places: Places = { folder, redis: servers.redis.url, postgres: servers.postgres.url }
const rows: Row[] = []
try {
  for (const [name, peer] of Object.entries(peers)) {
    const opened = await peer.open(`hurts_${name.replaceAll(/\W/g, '_')}`, places)
    rows.push(
      await measure(`${name} ${versionOf(peer.package)}`, (slowSave) => {
        const store = (slowSave ? slowPeer(opened.store) : opened.store) as expressSession.Store
        const app = express()
        app.use(
          expressSession({
            store,
            secret: 'keyboard cat',
            resave: false,
            saveUninitialized: false,
          }),
        )
        return routes(app, theirs)
      }),
    )
    await opened.close()
    console.error(JSON.stringify(rows.at(-1)))
  }
  const sqlite = sqliteStore(join(folder, 'ours.sqlite'))
  sqlite.migrate()
  const pg = postgresStore(places['postgres']!)
  await pg.migrate()
  const engines: Record<string, SessionStore> = {
    lru: lruStore(),
    sqlite,
    file: fileStore(join(folder, 'ours')),
    redis: redisStore(places['redis']!),
    postgres: pg,
  }
  for (const [name, store] of Object.entries(engines)) {
    rows.push(
      await measure(`Coatcheck, ${name}`, (slowSave) => {
        const app = express()
        app.use(
          session({
            store: slowSave ? slow(store, { save: SLOW_SAVE, create: SLOW_SAVE }) : store,
          }),
        )
        return routes(app, ours)
      }),
    )
    await store.close?.()
    console.error(JSON.stringify(rows.at(-1)))
  }
  const cookies = await largeCookies()
  const lines = [
    `| Store | ${PARALLEL} requests at once append to one array: kept | ${PARALLEL} each set a key of their own: kept | A session that ended while a slow request ran | A redirect before a save of ${SLOW_SAVE} ms: the next request missed the change |`,
    '| --- | --- | --- | --- | --- |',
    ...rows.map(
      ({ name, appended, ownKeys, back, missed }) =>
        `| ${name} | ${appended} | ${ownKeys} | ${back ? '**is back**' : 'stays ended'} | ${missed} of ${REDIRECTS} |`,
    ),
  ]
  console.log(`${lines.join('\n')}\n\n${cookies}`)
  writeFileSync(
    'bench/results/hurts.json',
    `${JSON.stringify({ date: new Date().toISOString(), rows, cookies }, null, 2)}\n`,
  )
} finally {
  for (const server of Object.values(servers)) await server[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

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

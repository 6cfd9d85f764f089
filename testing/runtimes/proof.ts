// What is proven on every runtime: the suite over the engines that need nothing but the language, cookies, fetch and Hono.
import { lruStore } from '@coatcheck/cache/lru'
import { runConformance, type Subject } from '@coatcheck/conformance'
import { createCookies } from '@coatcheck/cookies'
import { createSessions, SessionError, type SessionStore } from '@coatcheck/core'
import { sqliteStore, type SqliteConnection } from '@coatcheck/db/sqlite'
import { withSession } from '@coatcheck/fetch'
import { session } from '@coatcheck/hono'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import { Hono } from 'hono'
import { LRUCache } from 'lru-cache'

/** How one part went: what failed, in words. */
export interface Part {
  name: string
  passed: number
  failed: string[]
}

const secrets = ['a secret for tests, of 32 characters or more']
const subjects: Subject[] = [
  {
    name: 'cache/lru',
    traits: { evicts: true, ephemeral: true, unshared: true },
    open: ({ now }) => lruStore({ now, max: 1000, LRUCache }),
  },
  ...[false, true].map((encrypt): Subject => ({
    name: encrypt ? 'signed-cookie encrypted' : 'signed-cookie',
    traits: { stateless: true },
    open: ({ now, name }) => signedCookieStore({ secrets, salt: name, encrypt, now }),
  })),
]

/** A few requests through a handler, as a browser makes them. */
async function shop(handle: (request: Request) => Response | Promise<Response>): Promise<void> {
  let cookie = ''
  const visit = async (path: string) => {
    const response = await handle(new Request(`http://localhost${path}`, { headers: { cookie } }))
    const line = response.headers.getSetCookie().find((one) => one.startsWith('sessionid='))
    if (line) cookie = /Max-Age=0/.test(line) ? '' : line.split(';')[0]!
    return response.text()
  }
  const seen = [
    await visit('/add'),
    await visit('/add'),
    await visit('/'),
    await visit('/end'),
    await visit('/'),
  ]
  if (seen.join() !== '1,2,2,0,0') throw new Error(`counted ${seen.join()}`)
  if (cookie !== '') throw new Error('the cookie was not deleted')
}

const stores: Record<string, () => SessionStore> = {
  lru: () => lruStore({ LRUCache }),
  'signed-cookie': () => signedCookieStore({ secrets }),
}

const record = (data: string) => ({ data, expiresAt: Date.now() + 1000 })

const checks: Record<string, () => unknown> = {
  async 'core: a manager, its errors and warnings'() {
    const sessions = createSessions<{ n: number }>({ store: lruStore({ LRUCache }), maxBytes: 5 })
    const own = await sessions.open('sessionid=../../etc/passwd')
    own.set('n', 123)
    try {
      await sessions.commit(own)
    } catch (error) {
      if (error instanceof SessionError && error.code === 'ERR_SESSION_TOO_LARGE') return
    }
    throw new Error('a session that is too large was taken')
  },
  async cookies() {
    const headers = new Headers()
    const open = createCookies({ secrets })
    open(new Request('http://localhost'), headers).setSigned('a', 'b c', { httpOnly: true })
    const [line] = headers.getSetCookie()
    const request = new Request('http://localhost', { headers: { cookie: line!.split(';')[0]! } })
    if (open(request, headers).getSigned('a') !== 'b c')
      throw new Error('the signed cookie was not read')
  },
}
for (const [name, open] of Object.entries(stores)) {
  checks[`fetch × ${name}`] = () =>
    shop(
      withSession<{ n: number }>({ store: open() }, (request, own) => {
        if (request.url.endsWith('/add')) own.update('n', (n = 0) => n + 1)
        if (request.url.endsWith('/end')) own.flush()
        return new Response(String(own.get('n', 0)))
      }),
    )
  checks[`hono × ${name}`] = () => {
    const app = new Hono()
    app.use(session({ store: open() }))
    app.get('*', (c) => {
      const own = c.get('session') as unknown as Map<string, number> & { flush(): void }
      if (c.req.path === '/add') own.set('n', (own.get('n') ?? 0) + 1)
      if (c.req.path === '/end') own.flush()
      return c.text(String(own.get('n') ?? 0))
    })
    return shop((request) => app.fetch(request))
  }
}

if ('bun' in process.versions) {
  checks['db/sqlite by bun:sqlite'] = async () => {
    // @ts-expect-error -- a module of Bun's own
    const { Database } = await import('bun:sqlite')
    const store = sqliteStore(new Database(':memory:') as SqliteConnection)
    store.migrate()
    await store.create('abcdefgh', record('1'))
    await store.save('abcdefgh', record('2'), '1')
    const conflict = await Promise.resolve()
      .then(() => store.save('abcdefgh', record('3'), '1'))
      .catch((error: SessionError) => error.code)
    const found = await store.load('abcdefgh')
    await store.save('abcdefgh', { data: '', expiresAt: 0 })
    const ended = await store.load('abcdefgh')
    await store.create('ijklmnop', { data: '1', expiresAt: Date.now() + 1 })
    await new Promise((resolve) => setTimeout(resolve, 10))
    const seen = [conflict, found?.data, ended, await store.clearExpired!()]
    if (seen.join() !== 'ERR_SESSION_CONFLICT,2,,1') throw new Error(`saw ${seen.join()}`)
  }
}

export async function prove(): Promise<Part[]> {
  const parts: Part[] = []
  for (const subject of subjects) {
    const report = await runConformance(subject)
    const failed = report.results.flatMap(({ case: one, error }) =>
      error === undefined
        ? []
        : [`${one.id}: ${error instanceof Error ? error.message : String(error)}`],
    )
    parts.push({ name: `suite: ${subject.name}`, passed: report.passed, failed })
  }
  for (const [name, check] of Object.entries(checks)) {
    const part: Part = { name, passed: 0, failed: [] }
    try {
      await check()
      part.passed = 1
    } catch (error) {
      part.failed.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    parts.push(part)
  }
  return parts
}

// The servers of the benchmark of requests: started with their sessions, proven to do what they say, and loaded.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { HERE } from './checkout.ts'
import { requestContenders, type Mode } from './request-contenders.ts'
import type { Measured, Round } from './request-tables.ts'
import { load, writeScript } from './wrk.ts'

export const SESSIONS = 200

/** A server that runs, and the sessions that it has. */
export interface Server extends Measured {
  readonly process: ChildProcess
  readonly url: string
  readonly cookies: readonly string[]
  /** The scripts by which wrk asks it for each mode. */
  readonly scripts: Readonly<Record<Mode, string>>
}

/** What a fetch found: the number in the answer, and the cookie if there is a new one. */
async function ask({ url }: { url: string }, path: string, cookie?: string) {
  const response = await fetch(`${url}${path}`, cookie ? { headers: { cookie } } : {})
  if (response.status !== 200) throw new Error(`${url}${path}: status ${response.status}`)
  const lines = response.headers.getSetCookie()
  const { n } = (await response.json()) as { n: number }
  return { n, cookie: lines.map((line) => line.split(';')[0]).join('; ') }
}

/** The number that the session of a cookie starts with, so that no session can be taken for another. */
const firstOf = (session: number) => session * 1_000_000

/** Starts a server with its sessions, from the checkout at `root`, and makes sure that it does what it says. */
export async function start(
  framework: string,
  name: string,
  root: string,
  { folder, redisUrl }: { folder: string; redisUrl: string },
): Promise<Server> {
  const contender = requestContenders[framework]![name]!
  const child = fork(
    `${import.meta.dirname}/request-server.ts`,
    [framework, name, redisUrl, root],
    { env: { ...process.env, NODE_ENV: 'production' } },
  )
  const [message] = await Promise.race([once(child, 'message'), once(child, 'exit')])
  if (!message?.port) throw new Error(`${contender.label}: its server has ended`)
  const url = `http://127.0.0.1:${message.port}`
  const cookies: string[] = []
  for (let session = 0; session < SESSIONS; session++) {
    const { cookie } = await ask({ url }, `/login?n=${firstOf(session)}`)
    if (!cookie && contender.role !== 'alone') {
      throw new Error(`${contender.label}: a login gave no cookie`)
    }
    cookies.push(cookie || `sessionid=${String(session).padStart(32, '0')}`)
  }
  const scriptFor = (mode: Mode) => {
    const file = join(folder, `${child.pid}-${mode}.lua`)
    writeScript(file, `/${mode}`, cookies)
    return file
  }
  const server: Server = {
    ...contender,
    name,
    other: root === HERE ? undefined : root,
    process: child,
    url,
    cookies,
    scripts: {
      untouched: scriptFor('untouched'),
      read: scriptFor('read'),
      write: scriptFor('write'),
    },
    seen: { untouched: [], read: [], write: [] },
  }
  if (contender.role !== 'alone') await proveSessions(server)
  return server
}

/** Makes sure that a server does what it is measured for: each cookie opens its own session, changes are kept, none is made anew. */
async function proveSessions(server: Server): Promise<void> {
  const { cookies, label, isStateless } = server
  const expect = (what: string, is: unknown, should: unknown) => {
    if (is !== should) throw new Error(`${label}: ${what}: ${is} where ${should} is right`)
  }
  for (const [session, cookie] of cookies.entries()) {
    const read = await ask(server, '/read', cookie)
    expect('the number of a session', read.n, firstOf(session))
    expect('a cookie after reading', read.cookie, '')
    const untouched = await ask(server, '/untouched', cookie)
    expect('a cookie after nothing', untouched.cookie, '')
    const written = await ask(server, '/write', cookie)
    expect('a changed number', written.n, firstOf(session) + 1)
    if (isStateless) expect('whether the cookie is another', written.cookie !== cookie, true)
    else if (written.cookie) expect('the cookie after a change', written.cookie, cookie)
    const again = await ask(server, '/read', written.cookie || cookie)
    expect('the number after a change', again.n, firstOf(session) + 1)
  }
}

/** Of the changes so many are there at the least: peers lose those of requests that meet on one session. */
const KEPT = 0.95

/** Makes sure that what was written under load is there, in the sessions that are kept on the server. */
export async function proveWrites(server: Server, requests: number): Promise<void> {
  if (server.role === 'alone' || server.isStateless) return
  let changes = 0
  for (const [session, cookie] of server.cookies.entries()) {
    changes += (await ask(server, '/read', cookie)).n - firstOf(session)
  }
  if (changes < requests * KEPT) {
    throw new Error(`${server.label}: ${changes} changes are there after ${requests} requests`)
  }
}

/** A server's processor time until now, in microseconds. */
async function usageOf({ process: child }: Server): Promise<NodeJS.CpuUsage> {
  child.send('usage')
  return (await once(child, 'message'))[0]
}

/** Loads a server for so many ms: what a request costs it, and how many were answered. */
export async function measureOnce(
  server: Server,
  mode: Mode,
  ms: number,
): Promise<Round & { requests: number }> {
  const before = await usageOf(server)
  const { requests, rate } = await load(server.url, server.scripts[mode], ms)
  const after = await usageOf(server)
  const user = (after.user - before.user) / requests
  const system = (after.system - before.system) / requests
  return { requests, rate, user, system }
}

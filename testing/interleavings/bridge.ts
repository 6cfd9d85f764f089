// express-session's own manager over our store, in the explorer's world: what its requests do, and what must hold.
import { createHmac } from 'node:crypto'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import * as core from '@coatcheck/core'
import type { SessionStore } from '@coatcheck/core/store'
import { fromExpressStore, toExpressStore, type ExpressStore } from '@coatcheck/express-session'
import expressSession from 'express-session'
import { World, type Choose, type FaultKind, type Tested } from './world.ts'

/** One thing that a handler does to `req.session`. */
export type BridgeStep = 'get' | 'set' | 'push' | 'save' | 'save!' | 'regenerate' | 'destroy'

export interface BridgeRequest {
  readonly process: number
  readonly steps: readonly BridgeStep[]
  /** Begins when all before it are over. */
  readonly later?: boolean
}

export interface BridgeScript {
  readonly requests: readonly BridgeRequest[]
  readonly rolling: boolean
  readonly faults: number
  readonly kinds: readonly FaultKind[]
}

/** What a request has changed under a key, and whether that was acknowledged. */
interface Change {
  readonly key: string
  readonly token: string
  readonly isPushed: boolean
  acked: boolean
}

const SECRET = 'keyboard cat'
const MAX_AGE = 1_209_600_000
const FIRST = `${'k'.repeat(31)}f`

/** What is broken after a run, as a sentence; undefined if every promise held. */
export async function runBridge(
  script: BridgeScript,
  choose: Choose,
): Promise<{ broken: string | undefined; trace: readonly string[] }> {
  const world = new World(core, { ...script, sync: false, jump: 0, turns: true }, choose)
  const expires = new Date(Date.now() + MAX_AGE).toISOString()
  const cookie = { originalMaxAge: MAX_AGE, expires, httpOnly: true, path: '/' }
  const data = JSON.stringify({ cookie, base: 'base', list: ['first'] })
  world.records.set(FIRST, { data, expiresAt: Date.parse(expires) })
  const changes: Change[] = []
  /** Keys that were destroyed, acknowledged; and those that somebody has wanted to destroy. */
  const ended = new Set<string>()
  const endangered = new Set<string>()
  let broken: string | undefined
  world.watch = () => {
    for (const key of ended) {
      // A new session whose create got no answer, and arrives after all: see the README.
      const isUnheard = world.trace.includes(`create ${key}: late`)
      if (world.live(key) && !isUnheard) broken ??= 'a key that was destroyed opens again'
    }
  }
  const middlewares = [0, 1].map((process) =>
    expressSession({
      store: toExpressStore(world.store(process), { now: () => world.now }),
      secret: SECRET,
      resave: false,
      saveUninitialized: false,
      rolling: script.rolling,
      cookie: { maxAge: MAX_AGE },
    }),
  )

  async function serve({ process, steps }: BridgeRequest, n: number): Promise<void> {
    await world.pause(process, `request ${n}`)
    const request: any = Object.assign(new IncomingMessage(new Socket()), {
      url: '/',
      method: 'GET',
    })
    request.headers.cookie = `connect.sid=${encodeURIComponent(`s:${signed(FIRST)}`)}`
    const response = new ServerResponse(request)
    const errors: unknown[] = []
    let answered!: () => void
    const answer = new Promise<void>((resolve) => (answered = resolve))
    // What express-session calls when it has saved.
    response.end = ((): ServerResponse => (answered(), response)) as ServerResponse['end']
    await new Promise<void>((resolve) => {
      let isBegun = false
      middlewares[process]!(request, response as any, (error: unknown) => {
        if (error) errors.push(error)
        if (!isBegun) resolve()
        isBegun = true
      })
    })
    if (errors.length > 0) return
    const own: Change[] = []
    const acknowledge = (asked: number) => {
      for (const change of own.slice(0, asked)) change.acked = true
    }
    for (const [at, step] of steps.entries()) {
      const { session } = request
      if (!session) break
      const token = `r${n}s${at}`
      const note = (isPushed: boolean) => {
        const change = { key: request.sessionID, token, isPushed, acked: false }
        own.push(change)
        changes.push(change)
      }
      if (step === 'get') void session.base
      else if (step === 'set') {
        session[token] = token
        note(false)
      } else if (step === 'push') {
        session.list ??= []
        session.list.push(token)
        note(true)
      } else {
        const asked = own.length
        const key: string = request.sessionID
        const isEnd = step === 'destroy' || step === 'regenerate'
        if (isEnd) endangered.add(key)
        const done = new Promise<void>((resolve) => {
          session[step === 'save!' ? 'save' : step]((error: unknown) => {
            if (!error && isEnd) ended.add(key)
            else if (!error) acknowledge(asked)
            resolve()
          })
        })
        if (step !== 'save!') await done
      }
    }
    await world.pause(process, `request ${n} answers`)
    const asked = own.length
    response.end()
    await answer
    // An error of the save at the end comes in a turn of its own, after the answer.
    await world.pause(process, `request ${n} is over`)
    if (errors.length === 0 && request.session) acknowledge(asked)
  }

  const before: Promise<unknown>[] = []
  for (const [n, one] of script.requests.entries()) {
    const begun = one.later ? Promise.all(before) : Promise.resolve()
    before.push(begun.then(() => serve(one, n)))
  }
  await world.run()
  return { broken: broken ?? lost(world, changes, endangered), trace: world.trace }
}

/** An acknowledged change that is not there, though nobody has wanted its session to end. */
function lost(world: World, changes: readonly Change[], endangered: ReadonlySet<string>) {
  const dataOf = (key: string) => JSON.parse(world.live(key)?.data || '{}')
  const first = dataOf(FIRST)
  if (!endangered.has(FIRST) && first.base !== 'base') return 'what was stored before is lost'
  for (const { key, token, isPushed, acked } of changes) {
    if (endangered.has(key)) continue
    const { list = [], ...data } = dataOf(key)
    if (isPushed && list.filter((one: string) => one === token).length > 1)
      return `what was pushed once is there twice: ${token}`
    if (acked && !(isPushed ? list.includes(token) : data[token] === token))
      return `an acknowledged change is lost: ${token}`
  }
  return undefined
}

/** As express-session signs. */
function signed(key: string): string {
  const signature = createHmac('sha256', SECRET).update(key).digest('base64').replace(/=+$/, '')
  return `${key}.${signature}`
}

/** Every pair of what two requests may do, in one process and in two, with and without faults. */
export function bridgeScripts(): BridgeScript[] {
  const one: BridgeStep[][] = [
    ['get'],
    ['set'],
    ['push'],
    ['set', 'save', 'push'],
    ['push', 'save!', 'push'],
    ['set', 'regenerate', 'set'],
    ['set', 'destroy'],
    ['set', 'save!', 'destroy'],
  ]
  const scripts: BridgeScript[] = []
  const plain = { rolling: false, faults: 0, kinds: [] }
  for (const steps of one) {
    for (const kinds of [['fail'], ['lose'], ['late'], ['crash']] as FaultKind[][]) {
      const requests = [{ process: 0, steps: [...steps, 'save', 'push'] as const }]
      scripts.push({ ...plain, requests, faults: 1, kinds })
    }
    for (const other of one) {
      for (const process of [0, 1]) {
        const requests = [
          { process: 0, steps },
          { process, steps: other },
        ]
        scripts.push({ ...plain, requests }, { ...plain, requests, rolling: true })
      }
      const requests = [
        { process: 0, steps },
        { process: 1, steps: other },
      ]
      for (const kind of ['lose', 'late'] as const) {
        scripts.push({ ...plain, requests, faults: 1, kinds: [kind] })
      }
    }
  }
  return scripts
}

/** Our managers, in one process, over a store of express-session that the scheduler holds. */
export const overExpressStore: Tested = {
  core,
  storeOf(world) {
    const known = stores.get(world)
    if (known) return known
    const store = fromExpressStore(expressStoreOf(world), { now: () => world.now })
    stores.set(world, store)
    return store
  },
}
const stores = new WeakMap<World, SessionStore>()

/** As MemoryStore; what it keeps is put among the world's records as the promises are checked by them. */
function expressStoreOf(world: World): ExpressStore {
  const sessions = new Map<string, string>()
  const read = (sid: string) => {
    const kept = sessions.get(sid)
    const record = world.live(sid)
    if (!kept && record) return { ...JSON.parse(record.data), cookie: cookieOf(record.expiresAt) }
    return kept && record ? JSON.parse(kept) : undefined
  }
  return {
    get: (sid, callback) =>
      answer(
        world.call(0, `get ${sid}`, () => read(sid)),
        callback,
      ),
    set(sid, session, callback) {
      const kept = JSON.stringify(session)
      const effect = () => {
        sessions.set(sid, kept)
        const { cookie, _coatcheck: text, ...fields } = JSON.parse(kept)
        const data = text ?? JSON.stringify(fields)
        world.records.set(sid, { data, expiresAt: Date.parse(cookie.expires) })
      }
      return answer(world.call(0, `set ${sid}`, effect), callback)
    },
    destroy(sid, callback) {
      const effect = () => void (sessions.delete(sid), world.records.delete(sid))
      return answer(world.call(0, `destroy ${sid}`, effect), callback)
    },
  }
}

const answer = (asked: Promise<unknown>, callback: (error?: any, value?: any) => void) =>
  asked.then((value) => callback(null, value), callback)

const cookieOf = (expiresAt: number) => ({ expires: new Date(expiresAt).toISOString() })

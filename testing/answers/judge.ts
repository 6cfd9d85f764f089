// Runs a way of answering on a framework: plain, and behind our adapter over three stores; says what is not as it must be.
import { AsyncLocalStorage } from 'node:async_hooks'
import type { ServerHttp2Session } from 'node:http2'
import type { Server } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionStoreError, type SessionStore } from '@coatcheck/core/store'
import { slow } from '../wrappers.ts'
import { askHttp1, askHttp2, type Answered, type Heard } from './client.ts'
import { listen, servers } from './servers.ts'
import { begin, shown, type Seen, type Way } from './visit.ts'
import { MARK } from './pages.ts'

/** What a run is behind. */
export type Kind = 'plain' | 'sync' | 'async' | 'failing'

/** How long a save takes, in ms: long enough that a handler's rest comes before it. */
const HELD = 50

/** How long callbacks and events are waited for when the client has gone, in ms. */
const GRACE = 2000

/** Room for the few sessions of a run: what holds more takes its room at once. */
const SMALL = { max: 10 }

const storeOf: Record<Kind, () => SessionStore | undefined> = {
  plain: () => undefined,
  sync: () => lruStore(SMALL),
  async: () => slow(lruStore(SMALL), { create: HELD, save: HELD }),
  failing() {
    const fails = async (): Promise<never> => {
      await setTimeout(HELD)
      throw new SessionStoreError('The backend is away.')
    }
    return {
      ...lruStore(SMALL),
      traits: { ephemeral: true, unshared: true },
      create: fails,
      save: fails,
    }
  },
}

/** What one run has shown. */
export interface Trial {
  readonly heard: Heard
  readonly seen: readonly Seen[]
  /** Each response's own properties in the end. */
  readonly states: readonly string[]
  /** Whether the responses had closed before the client left. */
  closedInTime: boolean | undefined
  /** What would have ended the process. */
  readonly uncaught: string[]
}

/** What is thrown into the void is told to the list that it was started under. */
export const running: AsyncLocalStorage<string[]> = new AsyncLocalStorage()

/** Has what is thrown into the void told to the run that it belongs to. For a process that does nothing else. */
export function catchAll(): void {
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error) => {
      const uncaught = running.getStore()
      if (uncaught) uncaught.push(shown(error))
      else console.error('The judge itself:', error)
    })
  }
}

function stateOf(response: any): string {
  if (!response) return ''
  const { headersSent, writableEnded, writableFinished, destroyed, finished, statusCode } = response
  return JSON.stringify({
    headersSent,
    writableEnded,
    writableFinished,
    destroyed,
    finished,
    statusCode,
  })
}

/** One run of a way. */
export function trial(framework: string, way: Way, kind: Kind): Promise<Trial> {
  const uncaught: string[] = []
  return running.run(uncaught, async () => {
    const { serve, protocol } = servers[framework]!
    const seen: Seen[] = []
    const server = await serve(way, (given) => begin(way, given, seen), storeOf[kind]())
    const sessions = new Set<ServerHttp2Session>()
    server.on('session', (session: ServerHttp2Session) => sessions.add(session))
    const port = await listen(server)
    let closedInTime: boolean | undefined
    const beforeLeaving = () => {
      closedInTime = seen.every(({ response, notes }) => !response || notes.includes('close'))
    }
    const heard = await (protocol === 1 ? askHttp1 : askHttp2)(port, way.ask ?? {}, beforeLeaving)
    const over = () =>
      seen.every(
        ({ settled, pending, response, notes, sources }) =>
          settled &&
          pending.size === 0 &&
          (!response || notes.includes('close')) &&
          sources.every((source) => source.destroyed),
      )
    for (const until = Date.now() + GRACE; !over() && Date.now() < until;) await setTimeout(5)
    await setTimeout(10)
    await setImmediate()
    for (const session of sessions) session.destroy()
    close(server)
    return {
      heard,
      seen,
      closedInTime,
      uncaught,
      states: seen.map(({ response }) => stateOf(response)),
    }
  })
}

function close(server: Server): void {
  ;(server as { closeAllConnections?(): void }).closeAllConnections?.()
  server.close()
}

/** Names of headers that are the session's own, the time's, or differ with the length of an answer. */
function comparable(answer: Answered): Answered {
  const headers = answer.headers.flatMap(([name, value]): [string, string][] => {
    const lower = name.toLowerCase()
    if (lower === 'date') return []
    if (lower === 'set-cookie' && value.startsWith('sessionid=')) return []
    if (lower === 'cache-control') return value === 'no-store' ? [] : [[name, asPrivate(value)]]
    if (lower === 'x-response-time') return [[name, 'so many ms']]
    if (lower === 'vary') {
      const others = value.split(/\s*,\s*/).filter((part) => part.toLowerCase() !== 'cookie')
      return others.length ? [[name, others.join(', ')]] : []
    }
    return [[name, value]]
  })
  return { ...answer, headers }
}

/** What a page says to caches, as it must say it beside a session's cookie. */
function asPrivate(value: string): string {
  const shared = value.replace(/\bpublic\b/i, 'private')
  return /\b(private|no-store)\b/i.test(shared) ? shared : `private, ${shared}`
}

const text = (value: unknown) => JSON.stringify(value, undefined, 1)

/** An answer without what a server's shortcut changes. */
function spelledAlike(answer: Answered): Partial<Answered> {
  const { status, headers, body, whole, trailers } = answer
  return {
    status,
    body,
    whole,
    trailers,
    headers: headers
      .map(([name, value]): [string, string] => [
        name.toLowerCase(),
        /^content-type$/i.test(name) ? value.toLowerCase().replace(/;\s*/, ';') : value,
      ])
      .filter(([name]) => !/^(content-length|transfer-encoding|content-type)$/.test(name)),
  }
}

/** What a client can tell, for comparing. */
function clientView(way: Way, framework: string, { heard }: Trial): unknown {
  if (way.exempt?.page) return heard.answers.map(({ status }) => status)
  const answers = heard.answers.map(comparable)
  return {
    ...heard,
    answers: servers[framework]!.shortcut ? answers.map(spelledAlike) : answers,
  }
}

/** What a handler can tell, for comparing. */
const handlerView = ({ seen, states, closedInTime }: Trial) => ({
  requests: seen.map(({ notes, apart, pending, settled }, at) => ({
    notes,
    apart,
    neverCalled: [...pending].toSorted(),
    settled,
    state: states[at],
  })),
  closedInTime,
})

/** The lines in which two texts differ, the plain one first. */
function difference(plain: unknown, other: unknown): string {
  const [left, right] = [text(plain).split('\n'), text(other).split('\n')]
  const only = (lines: string[], others: string[]) => lines.filter((line) => !others.includes(line))
  const lines = [
    ...only(left, right).map((line) => `- ${line.trim()}`),
    ...only(right, left).map((line) => `+ ${line.trim()}`),
  ]
  return (lines.length ? lines : ['the order', ...right]).slice(0, 24).join('\n    ')
}

/** Callbacks and handlers that wait for ever, where those of the plain server do not. */
function waiting(plain: Trial, other: Trial): string[] {
  return other.seen.flatMap(({ pending, settled }, at) => {
    const usual = plain.seen[at]
    const late = [...pending].filter((name) => !usual?.pending.has(name))
    return [
      ...late.map((name) => `never called: ${name}`),
      ...(settled || usual?.settled === false ? [] : ['the handler waits for ever']),
    ]
  })
}

/** What differs from a plain server (`-`), one text a fault. */
export function compared(
  framework: string,
  way: Way,
  kind: string,
  plain: Trial,
  other: Trial,
): string[] {
  const faults: string[] = []
  if (way.exempt?.http2 && framework === 'node:http2') return faults
  const compare = (what: string, left: unknown, right: unknown) => {
    if (text(left) !== text(right)) faults.push(`${kind}: ${what}\n    ${difference(left, right)}`)
  }
  if (!way.exempt?.client)
    compare('the client', clientView(way, framework, plain), clientView(way, framework, other))
  if (!way.exempt?.handler) compare('the handler', handlerView(plain), handlerView(other))
  else {
    faults.push(...waiting(plain, other).map((what) => `${kind}: ${what}`))
  }
  // A write after the end of which nobody hears ends a process with plain Node, and with a response that is held harms nobody.
  if (other.uncaught.some((one) => !plain.uncaught.includes(one))) {
    compare('uncaught', plain.uncaught, other.uncaught)
  }
  return faults
}

const codeOf = ({ status }: Answered) => Number(/\d{3}/.exec(status)?.[0])

/** The client must hold the key of what was stored: one cookie with each answer of a changed session. */
function withoutCookie(way: Way, kind: string, { heard, seen }: Trial): string[] {
  if (way.changes === false || way.exempt?.client) return []
  return heard.answers.flatMap((answer, at) => {
    if (codeOf(answer) >= 500 || !seen[at]) return []
    const cookies = answer.headers.filter(
      ([name, value]) => name.toLowerCase() === 'set-cookie' && value.startsWith('sessionid='),
    )
    return cookies.length === 1 ? [] : [`${kind}: ${cookies.length} cookies with answer ${at + 1}`]
  })
}

/** Headers that an error's answer may have in common with the answer it stands for: nobody's, or the framework's. */
const COMMON =
  /^(connection|keep-alive|date|content-length|transfer-encoding|x-powered-by|vary|x-before|x-response-time|content-security-policy|x-content-type-options)$/i
/** The types of the frameworks' own error pages. */
const ERROR_TYPES = /^(text\/(html|plain)|application\/json); ?charset=utf-8$|^text\/plain$/i

/** What is wrong with the answer to a request whose save has failed. */
function failed(way: Way, plain: Trial, trialled: Trial): string[] {
  const { heard, seen, uncaught } = trialled
  const faults: string[] = []
  const fault = (what: string) => void faults.push(`failing: ${what}`)
  if (uncaught.length > 0 && text(uncaught) !== text(plain.uncaught))
    fault(`uncaught: ${uncaught.join(', ')}`)
  waiting(plain, trialled).forEach(fault)
  for (const { succeeded, sources } of seen) {
    for (const name of succeeded) fault(`called without an error: ${name}`)
    if (sources.some((source) => !source.destroyed)) fault('a source stays open')
  }
  if (way.exempt?.failing || way.ask?.hangUp !== undefined) return faults
  if (heard.stray) fault(`no HTTP: ${heard.stray}`)
  plain.heard.answers.forEach((intended, at) => {
    const answer = heard.answers[at]
    if (!answer) {
      if (heard.connection !== 'closed' || heard.informational.length === 0) fault('no answer')
      return
    }
    const { status, headers, framing, body, whole } = answer
    if (!/^(HTTP\/1\.1 503 Service Unavailable|503)$/.test(status)) fault(`status: ${status}`)
    if (!whole) fault('the answer is not whole')
    if (framing === 'close') fault('its length is not told')
    if (body.includes(MARK)) fault(`bytes of the page: ${body.slice(0, 200)}`)
    for (const [name, value] of headers) {
      const same = intended.headers.some(([own, sent]) => own === name && sent === value)
      const errors = /^content-type$/i.test(name) && ERROR_TYPES.test(value)
      // What packs outside of the session packs the error's page too.
      const outside = way.before && /^content-encoding$/i.test(name)
      if (!same || errors || outside || COMMON.test(name)) continue
      fault(`a header of the page: ${name}: ${value}`)
    }
  })
  if (heard.connection === 'silent') fault('the connection hangs')
  if (heard.answers.length > plain.heard.answers.length) fault('one answer too many')
  return faults
}

/** So often a way is tried of which something is wrong: its timers mean nothing on a machine that is too busy for them. */
const TRIES = 3

/** All that is wrong with a way on a framework, each time. Empty: a held response is a sent one. */
export async function judge(framework: string, way: Way): Promise<string[]> {
  let faults: string[] = []
  for (let tries = 0; tries < TRIES; tries++) {
    faults = await judgeOnce(framework, way)
    if (faults.length === 0) break
  }
  return faults
}

async function judgeOnce(framework: string, way: Way): Promise<string[]> {
  const [plain, sync, held, failing] = await Promise.all(
    (['plain', 'sync', 'async', 'failing'] as const).map((kind) => trial(framework, way, kind)),
  )
  const faults = [
    ...compared(framework, way, 'sync', plain!, sync!),
    ...withoutCookie(way, 'sync', sync!),
    ...compared(framework, way, 'async', plain!, held!),
    ...withoutCookie(way, 'async', held!),
  ]
  if (way.exempt?.http2 && framework === 'node:http2') return faults
  // An answer of 500 and more writes nothing, and so it cannot fail; what becomes one only after the save may be either error.
  const breaks = plain!.heard.answers.some((answer) => codeOf(answer) >= 500)
  const isSaveFailed = failing!.heard.answers.some((answer) => codeOf(answer) === 503)
  if (way.changes !== false && !breaks) faults.push(...failed(way, plain!, failing!))
  else if (breaks && isSaveFailed) faults.push(...waiting(plain!, failing!))
  else faults.push(...compared(framework, way, 'failing', plain!, failing!))
  return faults
}

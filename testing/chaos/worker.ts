// One process of the application of a fault test: the real manager over Redis and PostgreSQL; a message is a request.
import { setTimeout } from 'node:timers/promises'
import { redisStore } from '@coatcheck/cache/redis'
import { createSessions, type Session } from '@coatcheck/core'
import { postgresStore } from '@coatcheck/db/postgres'

/** What a visitor's session holds. */
export interface Visit {
  id: string
  tokens: string[]
  count: number
}

export interface WorkerOptions {
  readonly redis: string
  readonly postgres: string
  readonly freshFor: number
  /** The module of `cachedDbStore`: that of the workspace, or a broken copy. */
  readonly cachedDb: string
}

export interface Question {
  readonly kind: keyof typeof handlers
  /** Whose session it must be. */
  readonly id: string
  /** The session cookie's value. */
  readonly cookie: string | undefined
  readonly token?: string
  /** When the session is to end, in ms since the epoch. */
  readonly end?: number
}

export interface Answer {
  /** Why the request failed; undefined if it is acknowledged. */
  readonly code?: string | undefined
  /** What the session held before the request changed it; undefined for nothing. */
  readonly seen?: Visit | undefined
  /** The session cookie's new value; empty if it is deleted. */
  readonly told?: string | undefined
}

type Handler = (session: Session<Visit>, question: Question) => unknown
const handlers = {
  begin: (session, { id }) => session.update({ id, tokens: [], count: 0 }),
  read: () => {},
  async push(session, { token }) {
    const tokens = session.get('tokens')!
    await setTimeout(Math.random() * 10)
    tokens.push(token!)
    session.set('tokens', tokens)
  },
  count: (session) => session.update('count', (count = 0) => count + 1),
  cycle: (session) => session.cycleKey(),
  flush: (session) => session.flush(),
  expire: (session, { end }) => session.setExpiry(new Date(end!)),
} satisfies Record<string, Handler>

const { redis, postgres, freshFor, cachedDb } = JSON.parse(process.argv[2]!) as WorkerOptions
const { cachedDbStore } = (await import(cachedDb)) as typeof import('@coatcheck/cached-db')
const store = cachedDbStore({ cache: redisStore(redis), db: postgresStore(postgres), freshFor })
const sessions = createSessions<Visit>({ store })

const told = (line = '') => /^sessionid=([^;]*)/.exec(line)?.[1]

async function answer(question: Question): Promise<Answer> {
  const { kind, cookie, id } = question
  let session
  let seen: Visit | undefined
  try {
    session = await sessions.open(cookie && `sessionid=${cookie}`)
    if (!session.isEmpty()) seen = structuredClone(Object.fromEntries(session)) as unknown as Visit
    // As an application does with a visitor who has to log in first.
    const isFree = ['begin', 'read', 'flush'].includes(kind)
    if (!isFree && seen?.id !== id) return { code: 'NO_SESSION', seen }
    await (handlers[kind] as Handler)(session, question)
    return { seen, told: told((await sessions.commit(session)).setCookie) }
  } catch (error) {
    const { code = String(error) } = error as { code?: string }
    return { code, seen, told: session && told(sessions.headers(session).setCookie) }
  }
}

const underWay = new Set<Promise<void>>()
process.on('message', async (message: { n: number; question: Question } | 'close') => {
  if (message === 'close') {
    await Promise.all(underWay)
    await sessions.close()
    process.exit()
  }
  const { n, question } = message
  const answering = answer(question).then((answered) => void process.send!({ n, answer: answered }))
  underWay.add(answering)
  await answering
  underWay.delete(answering)
})
process.on('disconnect', () => process.exit())
process.send!('up')

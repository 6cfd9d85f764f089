// What a fault test has asked and was answered, on its one clock; and which answers break a promise.
import type { Answer, Question } from './worker.ts'

/** The moment, in ms since the epoch; it never goes back. */
export const clock = () => performance.timeOrigin + performance.now()

/** The processes' clock is corrected now and then: it may be off by this much, in ms. */
const SKEW = 20

/** Somebody with a cookie, and what was acknowledged. */
export interface Visitor {
  readonly id: string
  cookie: string | undefined
  /** What is in doubt may have ended. */
  is: 'live' | 'in doubt' | 'over'
  /** How many ends and moves were begun or are done; and how many are under way. */
  moves: number
  moving: number
  /** When each token was acknowledged. What was not acknowledged may be there or not. */
  readonly tokens: Map<string, number>
  readonly unsure: Set<string>
  counted: number
  countedUnsure: number
  /** The last changes, for who looks into a violation. */
  readonly past: string[]
}

export interface Request {
  readonly visitor: Visitor
  readonly question: Question
  readonly process: number
  readonly began: number
  /** Whether an end or a move was under way. */
  readonly moving: number
  readonly moves: number
}

export type Log = ReturnType<typeof createLog>

/** The keys of a cookie: `to` and `from`, if it tells of a login in doubt. */
const keysOf = (cookie = '') => cookie.split('.', 2).filter(Boolean)

const count = (what: Record<string, number>, name: string) => (what[name] = (what[name] ?? 0) + 1)

const age = (at: number) => ((at - clock()) / 1000).toFixed(2)

const isOfRedis = (what: string) => what.includes('Redis') && !what.includes('PostgreSQL')

const isMove = ({ kind }: Question) => ['cycle', 'flush', 'expire'].includes(kind)

/** @param fresh How long a copy is believed, in ms. @param onEnd Hears of each key that ends, and when. */
export function createLog(fresh: number, onEnd: (key: string, at: number) => void) {
  const dead = new Map<string, { at: number; how: string; visitor: Visitor }>()
  const befell: { what: string; from: number; to: number }[] = []
  const log = {
    violations: [] as string[],
    requests: 0,
    /** When each request was acknowledged. */
    acknowledged: [] as number[],
    errors: {} as Record<string, number>,
    faults: {} as Record<string, number>,
    ends: {} as Record<string, number>,
    looksAtEnded: 0,
    /** How late a Redis that forgets has shown again what had ended, in ms; and when it last crashed. */
    shownAgain: [] as number[],
    forgot: -Infinity,
    /** How long requests took, by their kinds and by the faults meanwhile, in ms. */
    times: new Map<string, number[]>(),

    violated(what: string, more: object) {
      const recent = befell.filter(({ to }) => to > clock() - 15_000)
      const faults = recent.map((one) => `${one.what} ${age(one.from)}..${age(one.to)}`)
      log.violations.push(`${what} ${JSON.stringify({ ...more, faults })}`)
    },

    /** Notes a fault, until what it returns is called. */
    befalls(what: string) {
      const one = { what, from: clock(), to: Infinity }
      befell.push(one)
      count(log.faults, what)
      return () => (one.to = clock())
    },

    begin(visitor: Visitor, question: Question, process: number): Request {
      if (isMove(question)) {
        visitor.moves++
        visitor.moving++
      }
      const { moves, moving } = visitor
      return { visitor, question, process, began: clock(), moves, moving }
    },

    end(request: Request, answer: Answer) {
      const { visitor, question, began, process } = request
      const { kind, cookie } = question
      const { code = 'done', told, seen } = answer
      const isDone = code === 'done'
      const now = clock()
      log.requests++
      if (isDone) log.acknowledged.push(now)
      else count(log.errors, code)
      measure(request, now, code)
      judge(request, answer)
      if (kind !== 'read' || told !== undefined) {
        const when = `${began.toFixed(0)}..${now.toFixed(0)}`
        const saw = seen ? 'it' : 'nothing'
        visitor.past.push(
          `${when} ${kind} by ${process} of ${cookie}: ${code}, ${told}, saw ${saw}`,
        )
        visitor.past.splice(0, visitor.past.length - 8)
      }
      if (isMove(question)) {
        visitor.moves++
        visitor.moving--
      }
      if (told) {
        const [key, isInDoubt] = keysOf(told)
        const [to, from] = keysOf(cookie)
        if (isDone && !isInDoubt && key !== from) {
          for (const old of [to, from]) if (old && old !== key) ends(old, now, kind, visitor)
        }
        // One login at a time, so its answer is the latest; any other's, where nothing has come in between.
        if (kind === 'cycle' || cookie === visitor.cookie) visitor.cookie = told
      }
      if (kind === 'push') {
        if (isDone) visitor.tokens.set(question.token!, now)
        else visitor.unsure.add(question.token!)
      } else if (kind === 'count') {
        if (isDone) visitor.counted++
        else visitor.countedUnsure++
      } else if (isDone && (kind === 'flush' || kind === 'expire')) {
        visitor.is = 'over'
        const at = kind === 'expire' ? Math.max(now, question.end! + SKEW) : now
        for (const key of keysOf(cookie)) ends(key, at, seen ? kind : `${kind} of nothing`, visitor)
      } else if (isMove(question) && visitor.is === 'live') {
        const isInDoubt = kind === 'cycle' ? code === 'DIED' : code !== 'NO_SESSION'
        if (isInDoubt && !isDone) visitor.is = 'in doubt'
      }
    },

    /** Everything is back and nobody writes: what is there has to be what was acknowledged. */
    settle(visitor: Visitor, { seen, code }: Answer) {
      const { id, tokens, unsure, counted, countedUnsure, past } = visitor
      if (seen?.id !== id) return log.violated('a live session is gone', { code, past })
      const there = new Set(seen.tokens)
      const lost = [...tokens.keys()].filter((token) => !there.has(token))
      if (lost.length > 0) log.violated('an acknowledged token is lost', { lost, past })
      const foreign = seen.tokens.filter((token) => !tokens.has(token) && !unsure.has(token))
      if (foreign.length > 0 || there.size < seen.tokens.length) {
        log.violated('a token is there twice, or is nobody’s', { foreign, past })
      }
      if (seen.count < counted || seen.count > counted + countedUnsure) {
        log.violated('a wrong count', { count: seen.count, counted, countedUnsure, past })
      }
    },
  }

  function ends(key: string, at: number, how: string, visitor: Visitor) {
    if (dead.has(key)) return
    dead.set(key, { at, how, visitor })
    count(log.ends, how)
    onEnd(key, at)
  }

  function judge(request: Request, { seen, code }: Answer) {
    const { visitor, question, process, began, moves, moving } = request
    const { kind, cookie } = question
    const deaths = keysOf(cookie).map((key) => dead.get(key))
    const last = deaths.reduce((at, death) => Math.max(at, death?.at ?? Infinity), 0)
    if (last > 0 && last <= began) {
      const late = began - last
      log.looksAtEnded++
      if (seen && log.forgot > last - fresh && late < fresh + SKEW) log.shownAgain.push(late)
      else if (seen) {
        const { how, visitor: its } = deaths[0]!
        log.violated(`what was ended by ${how} is served`, { process, began, late, past: its.past })
      }
    }
    const isSteady = visitor.moves === moves && moving === 0 && visitor.cookie === cookie
    const isAnswer = code === undefined || code === 'NO_SESSION'
    if (visitor.is === 'live' && isSteady && isAnswer && kind !== 'begin' && !seen) {
      log.violated('a live session is not found', { kind, process, began, past: visitor.past })
    }
    const there = new Set(seen?.tokens)
    for (const [token, at] of seen ? visitor.tokens : []) {
      if (at > began - fresh - SKEW || there.has(token)) continue
      log.violated('a change is seen too late', { process, late: began - at, past: visitor.past })
    }
  }

  function measure({ question, began }: Request, now: number, code: string) {
    if (code === 'DIED') return
    const during = befell.filter(({ from, to }) => from < now && to > began)
    const whats = new Set(during.map(({ what }) => what))
    const names = [question.kind, ...[...whats].map((what) => `during: ${what}`)]
    if (isMove(question) && code === 'done' && [...whats].every(isOfRedis)) {
      names.push(whats.size > 0 ? 'an end, Redis alone away' : 'an end, no fault')
    }
    for (const name of names) {
      const all = log.times.get(name) ?? []
      log.times.set(name, all)
      all.push(now - began)
    }
  }

  return log
}

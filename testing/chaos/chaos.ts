// A fault test of cached-db: visitors ask processes that are cut off, killed and frozen, as Redis and PostgreSQL are; the log judges.
import { setTimeout as sleep } from 'node:timers/promises'
import { createKey } from '@coatcheck/core/store'
import { randomOf } from '../interleavings/explore.ts'
import type { Service } from '../services.ts'
import { clock, createLog, type Log, type Visitor } from './log.ts'
import { openSite, type Fault } from './site.ts'
import type { Question } from './worker.ts'

export interface ChaosOptions {
  readonly redis: Service
  readonly postgres: Service
  readonly seed: number
  /** How long faults are injected. */
  readonly seconds: number
  /** Redis comes back from a crash without its last writes. Default false. */
  readonly forgets?: boolean
  /** The module of `cachedDbStore`. Default: that of the workspace. */
  readonly cachedDb?: string
  /** The only fault that there is. Default: all. */
  readonly only?: string
  /** Ends at the first violation. Default false. */
  readonly untilFound?: boolean
}

/** What came of it. */
export interface Report extends Log {
  readonly seed: number
  /** Acknowledged requests a second, before the first fault. */
  readonly rate: number
  /** So long after the last fault there were half as many again, in ms. */
  readonly backAfter: number
  readonly liveAtEnd: number
}

/** In seconds; shorter than the default, so that most outages outlast it. */
const FRESH_FOR = 2
const VISITORS = 120
const BROWSERS = 40
/** Of each kind, so many of a thousand requests. */
const SHARES = { read: 520, push: 270, count: 140, cycle: 35, flush: 20, expire: 15 }
/** A request is answered within this time, in ms: the driver gives each call to PostgreSQL 15 s, and a login makes several. */
const BOUND = 60_000
/** So long it goes on after the last fault at the least, in ms. */
const REST = 6000
/** The throughput is back within this time after the last fault, in ms: a machine that is busy with something else has its own pauses. */
const BACK_WITHIN = 15_000

export async function runChaos(options: ChaosOptions): Promise<Report> {
  const { redis, postgres, seed, seconds, only, forgets = false, untilFound = false } = options
  const { cachedDb = import.meta.resolve('@coatcheck/cached-db') } = options
  await using site = await openSite([redis, postgres], { freshFor: FRESH_FOR, cachedDb }, forgets)
  const { workers } = site
  const random = randomOf(seed)
  const looks = new Set<Promise<unknown>>()
  const log = createLog(FRESH_FOR * 1000, (key, at) => {
    // Asked of every process, at once and until nobody can believe a copy any more.
    for (const process of workers.keys()) {
      for (const after of [
        0,
        random(300),
        random(FRESH_FOR * 1000),
        FRESH_FOR * 1000 + random(500),
      ]) {
        const looking = sleep(Math.max(0, at - clock() + after))
          .then(() => ask(visitorWith(key), { kind: 'read' }, process))
          .finally(() => looks.delete(looking))
        looks.add(looking)
      }
    }
  })

  async function ask(
    visitor: Visitor,
    what: Omit<Question, 'id' | 'cookie'>,
    process = random(workers.length),
  ) {
    while (!workers[process]!.isUp) process = (process + 1) % workers.length
    const question = { ...what, id: visitor.id, cookie: visitor.cookie }
    const request = log.begin(visitor, question, process)
    const answer = await workers[process]!.ask(question)
    log.end(request, answer)
    return answer
  }

  const visitors = Array.from({ length: VISITORS }, () => visitorWith())
  const busy = new Set<Visitor>()
  let tokens = 0

  /** A request of a visitor, of some more often than of others. */
  async function visit(): Promise<void> {
    const at = Math.floor((random(VISITORS) * random(VISITORS)) / VISITORS)
    const visitor = visitors[at]!
    if (visitor.is === 'over' || visitor.cookie === undefined) {
      visitors[at] = visitorWith()
      await ask(visitors[at], { kind: 'begin' })
      return
    }
    if (visitor.is === 'in doubt') {
      const { code } = await ask(visitor, { kind: random(2) ? 'read' : 'flush' })
      // It lives on under a key that nobody was told.
      if (code === 'ERR_SESSION_GONE') visitor.is = 'over'
      return
    }
    let left = random(1000)
    const kinds = Object.keys(SHARES) as (keyof typeof SHARES)[]
    const kind = kinds.find((one) => (left -= SHARES[one]) < 0)!
    // One login at a time; and a change that is under way would put off the end.
    if ((kind === 'cycle' && visitor.moving > 0) || (kind === 'expire' && busy.has(visitor))) return
    const isFirst = !busy.has(visitor)
    busy.add(visitor)
    const end = Date.now() + 300 + random(FRESH_FOR * 2000)
    const asking = [ask(visitor, { kind, token: `${++tokens}`, end })]
    if (kind === 'expire') visitor.is = 'in doubt'
    // Whoever looks at it just now has a copy put into the cache.
    for (let n = SHARES[kind] < 50 ? random(4) : 0; n > 0; n--) {
      asking.push(sleep(random(20)).then(() => ask(visitor, { kind: 'read' })))
    }
    await Promise.all(asking)
    if (isFirst) busy.delete(visitor)
  }

  let isOpen = true
  const goesOn = () => isOpen && !(untilFound && log.violations.length > 0)
  async function browse() {
    while (goesOn()) {
      await visit()
      await sleep(random(60))
    }
  }

  await Promise.all(visitors.map((visitor) => ask(visitor, { kind: 'begin' })))
  const browsing = Array.from({ length: BROWSERS }, browse)
  await sleep(2000)
  const start = clock()
  const rate = rateOf(log, start - 1000)
  const areLeft = () => workers.filter(({ isUp }) => isUp).length > 2
  const mayBefall = ({ places }: Fault) => !places[0]!.startsWith('process') || areLeft()
  const isTime = () => goesOn() && clock() < start + seconds * 1000
  const faults = site.faults.filter(({ what }) => what === (only ?? what))
  await inject(faults, { log, forgets, random: randomOf(seed + 1), mayBefall, isTime })
  const last = clock()
  let backAfter = 0
  const isBack = () => rateOf(log, last + backAfter) >= rate / 2
  while (goesOn() && clock() < last + REST) await sleep(100)
  while (!isBack() && backAfter < BACK_WITHIN && goesOn()) {
    if (clock() > last + backAfter + 1000) backAfter += 100
    else await sleep(100)
  }
  isOpen = false
  await Promise.all(browsing)
  while (looks.size > 0) await Promise.all(looks)
  if (backAfter >= BACK_WITHIN && !untilFound) log.violated('the throughput is not back', {})
  const slow = [...log.times.values()].flat().filter((ms) => ms > BOUND)
  if (slow.length > 0) log.violated('a request takes too long', { slow })
  const live = visitors.filter(({ is, cookie }) => is === 'live' && cookie)
  for (const worker of workers) {
    for (const visitor of live) {
      log.settle(
        visitor,
        await worker.ask({ kind: 'read', id: visitor.id, cookie: visitor.cookie }),
      )
    }
  }
  return { ...log, seed, rate, backAfter, liveAtEnd: live.length }
}

const visitorWith = (cookie?: string): Visitor => ({
  id: createKey(),
  cookie,
  is: cookie === undefined ? 'live' : 'over',
  moves: 0,
  moving: 0,
  tokens: new Map(),
  unsure: new Set(),
  counted: 0,
  countedUnsure: 0,
  past: [],
})

/** The requests that were acknowledged in the second after a moment. */
const rateOf = ({ acknowledged }: Log, from: number) =>
  acknowledged.filter((at) => at >= from && at < from + 1000).length

interface Injecting {
  log: Log
  forgets: boolean
  random: (below: number) => number
  mayBefall: (fault: Fault) => boolean
  isTime: () => boolean
}

/** Up to three faults at a time, until it is enough; then everything comes back. */
async function inject(
  faults: readonly Fault[],
  { log, forgets, random, mayBefall, isTime }: Injecting,
) {
  const taken = new Set<string>()
  const underWay = new Set<Promise<void>>()
  const kinds = [...new Set(faults.map(({ what }) => what))]

  async function befall({ what, places, begin, end }: Fault, ms: number) {
    for (const place of places) taken.add(place)
    const isOver = log.befalls(what)
    if (forgets && ['Redis killed', 'Redis stopped'].includes(what)) log.forgot = clock()
    try {
      await begin()
      await sleep(ms)
    } catch {
      // Redis does not answer who is to fill or empty it.
    }
    await end()
    isOver()
    for (const place of places) taken.delete(place)
  }

  while (isTime()) {
    const kind = kinds[random(kinds.length)]
    const all = faults.filter(({ what }) => what === kind)
    const fault = all[random(all.length)]!
    const ms = 100 + random(fault.longest)
    const isFree = !fault.places.some((place) => taken.has(place))
    if (underWay.size < 3 && isFree && mayBefall(fault)) {
      const befalling = befall(fault, ms).finally(() => underWay.delete(befalling))
      underWay.add(befalling)
    }
    await sleep(random(1000))
  }
  await Promise.all(underWay)
}

/** What `pnpm chaos` prints. */
export function describeReport({
  times,
  errors,
  faults,
  ends,
  shownAgain,
  ...log
}: Report): string {
  const figures = [...times].toSorted().map(([what, all]) => {
    const sorted = all.toSorted((a, b) => a - b)
    const at = (part: number) => `${sorted[Math.ceil(sorted.length * part) - 1]!.toFixed(0)} ms`
    return `  ${what}: ${all.length}, p50 ${at(0.5)}, p99 ${at(0.99)}, longest ${at(1)}`
  })
  return [
    `seed ${log.seed}: requests ${log.requests}, acknowledged ${log.acknowledged.length}, errors ${JSON.stringify(errors)}`,
    ...figures,
    `faults ${JSON.stringify(faults)}`,
    `ends acknowledged ${JSON.stringify(ends)}, looks at what has ended ${log.looksAtEnded}`,
    `shown again by a Redis that forgets: ${shownAgain.length}, at the latest ${Math.max(0, ...shownAgain).toFixed(0)} ms after the end`,
    `live sessions at the end ${log.liveAtEnd}; acknowledged ${log.rate} a second before the faults, half of it ${log.backAfter} ms after them`,
    ...log.violations.slice(0, 20),
    `violations ${log.violations.length}`,
  ].join('\n')
}

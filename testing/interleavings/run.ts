// Runs one script under one schedule, and notes what was acknowledged, what each client was told, and what went wrong.
import type { Session, Sessions } from '@coatcheck/core'
import type { RequestScript, Script, Step } from './scripts.ts'
import { World, type Choose, type Tested } from './world.ts'

/** One thing that a handler did, and whether the store has acknowledged it. */
export interface Deed {
  readonly step: Step
  /** What tells it in the data. */
  readonly token: string
  /** The key under which the store had the session then. */
  readonly key: string | undefined
  acked: boolean
  /** When it was, on the world's clock. */
  ackedAt?: number
}

/** What became of one request. */
export interface Visit {
  readonly script: RequestScript
  readonly deeds: Deed[]
  /** The key of the cookie that it was sent with. */
  sentWith: string | undefined
  /** What that key opened: nothing, a session, or it was retired. */
  opened: 'nothing' | 'session' | 'retired' | undefined
  /** Errors of saves and of the commit, by code; `crash` for one that is no SessionError. */
  readonly errors: string[]
  /** The key that the response's cookie told; `deleted` if it took the cookie away. */
  told: string | undefined
}

export interface Run {
  readonly world: World
  readonly visits: Visit[]
  /** Keys that some client was told, the first one too. */
  readonly told: Set<string>
  /** The key that the browser holds. */
  jar: string | undefined
  /** Keys that were ended, acknowledged. */
  readonly ended: Set<string>
  /** The key that the browser holds at first. */
  readonly first: string
  /** Whether a request may write over what another had acknowledged. */
  readonly overwrites: boolean
  /** How long the cache's copies are believed, in ms. */
  readonly freshFor: number
  /** A promise that was broken in passing. */
  broken: string | undefined
}

type Any = Record<string, any>

/** What the session of the browser holds at first. */
const FIRST = {
  base: 'base',
  list: ['first'],
  prefs: { first: 1 },
  n: 100,
  visits: 100,
  user: { id: 'first', roles: ['first'], count: 1 },
  gone: 1,
}

/** What an earlier request has flashed, if the script says so. */
const FLASHED = { hint: 'hint', _session_flash: ['hint'], _session_flash_marks: { hint: 'mark' } }

/** When it ends, in ms. */
const TWO_WEEKS = 1_209_600_000

export async function runScript(
  { core, storeOf = (to, process) => to.store(process), freshFor = 0 }: Tested,
  script: Script,
  choose: Choose,
): Promise<Run> {
  const world = new World(core, script, choose)
  const first = `${'k'.repeat(31)}f`
  const data = JSON.stringify(script.flashed ? { ...FIRST, ...FLASHED } : FIRST)
  world.records.set(first, { data, expiresAt: world.now + TWO_WEEKS })
  const managers = [0, 1].map((process) =>
    core.createSessions<Any>({
      store: storeOf(world, process),
      now: () => world.now,
      concurrency: script.concurrency,
      lazy: script.lazy,
      saveEveryRequest: script.saveEveryRequest,
      ...(script.concurrency === 'merge' && { merge: { visits: 'sum' as const } }),
    }),
  )
  const run: Run = {
    world,
    visits: [],
    told: new Set([first]),
    jar: first,
    ended: new Set(),
    first,
    overwrites: script.concurrency === 'overwrite',
    freshFor,
    broken: undefined,
  }
  world.watch = () => {
    for (const record of world.records.values()) {
      if (record.data !== '') run.broken ??= mixture(JSON.parse(record.data))
    }
    for (const key of run.ended) {
      const record = world.live(key)
      if (record && record.data !== '') run.broken ??= `a key that was ended opens ${record.data}`
      const copy = world.live(key, world.cached)?.data.replace(/^\d+:\d+:|^reserved:.*/, '')
      if (copy) run.broken ??= `of a key that was ended there is a copy of ${copy}`
    }
  }
  const before: Promise<unknown>[] = []
  for (const [n, one] of script.requests.entries()) {
    const visit: Visit = {
      script: one,
      deeds: [],
      sentWith: undefined,
      opened: undefined,
      errors: [],
      told: undefined,
    }
    run.visits.push(visit)
    const begun = one.later ? Promise.all(before) : Promise.resolve()
    before.push(begun.then(() => serve(run, managers[one.process]!, visit, n)))
  }
  await world.run()
  return run
}

/** Whether one request's user has another's role, or a product is twice in the list. */
function mixture({ user, list = [] }: Any): string | undefined {
  if (user && (user.roles.length !== user.count || user.roles.at(-1) !== user.id)) {
    return `the user ${user.id} has roles of others: ${user.roles.join()}`
  }
  if (new Set(list).size < list.length)
    return `there is twice in the list what was added once: ${list.join()}`
  return undefined
}

/** One request, as an adapter serves it. */
async function serve(run: Run, sessions: Sessions<Any>, visit: Visit, n: number): Promise<void> {
  const { world } = run
  const { script } = visit
  try {
    await world.pause(script.process, `request ${n}`)
    visit.sentWith = script.fresh ? undefined : run.jar
    const expected = expectedOf(run, visit.sentWith, script.process)
    const session = await sessions.open(visit.sentWith && `sessionid=${visit.sentWith}`)
    await sessions.load(session)
    run.broken ??= expected(session)
    const handler = new Handler(run, visit, session, n)
    for (const step of script.steps) await handler.take(step, sessions)
    await world.pause(script.process, `request ${n} answers`)
    await answer(run, sessions, visit, session, handler)
    for (const step of script.after ?? []) await handler.take(step, sessions)
  } catch (error) {
    note(run, visit, error)
  }
}

/** What a request must find that begins now: nothing of a key that was ended, and all that was acknowledged. */
function expectedOf(
  { ended, visits, world, overwrites, freshFor }: Run,
  key: string | undefined,
  process: number,
): (session: Session<Any>) => string | undefined {
  const isEnded = key !== undefined && ended.has(key)
  const isSeen = (deed: Deed, by: number) =>
    world.faults === 0 || by === process || deed.ackedAt! + freshFor < world.now
  const seen = visits.flatMap(({ deeds, script }) =>
    deeds.filter(
      (deed) =>
        deed.step === 'set' && deed.acked && deed.key === key && isSeen(deed, script.process),
    ),
  )
  return (session) => {
    if (isEnded && session.has('base')) return 'a request with a key that was ended is served'
    if (overwrites || !session.has('base')) return undefined
    const unseen = seen.find(({ token }) => !session.has(token))
    return unseen && `a request does not see what was acknowledged before it: ${unseen.token}`
  }
}

async function answer(
  run: Run,
  sessions: Sessions<Any>,
  visit: Visit,
  session: Session<Any>,
  handler: Handler,
): Promise<void> {
  const { script } = visit
  const asked = visit.deeds.length
  let headers
  try {
    headers = await sessions.commit(session, { status: script.status })
    if (script.status < 500) handler.acknowledge(asked)
  } catch (error) {
    note(run, visit, error)
    headers = sessions.headers(session)
  }
  const value = /^sessionid=([^;]*)/.exec(headers.setCookie ?? '')?.[1]
  if (value === undefined) return
  visit.told = value === '' ? 'deleted' : value
  // A login in doubt tells both keys: the new one, the old one, and when.
  for (const key of value.split('.').slice(0, 2)) if (key !== '') run.told.add(key)
  if (!script.fresh) run.jar = value === '' ? undefined : value
}

function note(run: Run, visit: Visit, error: unknown): void {
  if (error instanceof run.world.core.SessionError) {
    visit.errors.push(error.code)
    return
  }
  visit.errors.push('crash')
  run.broken ??= `an error of no kind of ours: ${(error as Error)?.stack ?? String(error)}`
}

/** Steps that do nothing to the session. */
const IDLE = new Set<Step>(['get', 'save', 'save!', 'pause', 'load twice'])

/** What a request's handler does to its session. */
class Handler {
  readonly #run: Run
  readonly #visit: Visit
  readonly #session: Session<Any>
  readonly #n: number
  #held: string[] | undefined
  /** What the list was when the handler last read or set it. */
  #seen: readonly string[] | undefined

  constructor(run: Run, visit: Visit, session: Session<Any>, n: number) {
    this.#run = run
    this.#visit = visit
    this.#session = session
    this.#n = n
    const record = visit.sentWith === undefined ? undefined : run.world.live(visit.sentWith)
    if (session.has('base')) visit.opened = 'session'
    else visit.opened = record?.data === '' ? 'retired' : 'nothing'
  }

  /** The store has acknowledged what was done until then. */
  acknowledge(count: number): void {
    const { deeds } = this.#visit
    for (const [at, deed] of deeds.slice(0, count).entries()) {
      deed.acked = true
      deed.ackedAt ??= this.#run.world.now
      const { opened, sentWith } = this.#visit
      const isMissing = opened === 'nothing' && !sentWith?.includes('.')
      const key = deed.step === 'flush' && isMissing ? sentWith : deed.key
      if (key === undefined) continue
      const isEmptied =
        deed.step === 'clear' && deeds.slice(at + 1).every(({ step }) => step === 'clear')
      if (deed.step === 'flush' || deed.step === 'cycle' || isEmptied) this.#run.ended.add(key)
    }
  }

  async take(step: Step, sessions: Sessions<Any>): Promise<void> {
    const { deeds } = this.#visit
    const token = `r${this.#n}d${deeds.length}`
    const isIdle = IDLE.has(step)
    const key = isIdle ? undefined : this.#session.key
    if (step === 'same' && !this.#session.has('base')) return
    if ((step === 'push held' || step === 'set held') && !this.#held) return
    if (isIdle) await this.#wait(step, sessions)
    else {
      this.#do(step, token)
      deeds.push({ step, token, key, acked: false })
    }
  }

  #do(step: Step, token: string): void {
    const session = this.#session
    switch (step) {
      case 'set':
        session.set(token, token)
        break
      case 'set shared':
        session.set('shared', token)
        break
      case 'same':
        session.set('base', session.get('base'))
        break
      case 'update':
        session.update('n', (n = 0) => n + 1)
        break
      case 'push':
        this.#held = session.setDefault('list', [])
        this.#held!.push(token)
        this.#seen = [...this.#held!]
        break
      case 'push held':
        this.#held!.push(token)
        this.#seen = [...this.#held!]
        break
      case 'set held':
        this.#held!.push(token)
        this.#seen = [...this.#held!]
        session.set('list', this.#held)
        break
      case 'copy':
        this.#seen = [...(this.#seen ?? session.get('list', [])), token]
        session.set('list', [...this.#seen])
        this.#held = undefined
        break
      case 'field':
        session.setDefault('prefs', {})[token] = 1
        break
      case 'count':
        session.set('visits', session.get('visits', 0) + 1)
        break
      case 'who': {
        const user = session.setDefault('user', { roles: [] })
        user.id = token
        user.roles.push(token)
        user.count = user.roles.length
        break
      }
      case 'delete':
        session.delete('gone')
        break
      case 'clear':
        session.clear()
        this.#held = this.#seen = undefined
        break
      case 'flush':
        session.flush()
        this.#held = this.#seen = undefined
        break
      case 'cycle':
        session.cycleKey()
        break
      case 'flash':
        session.flash(token, token)
        break
      default:
        session.setExpiry(60)
    }
  }

  async #wait(step: Step, sessions: Sessions<Any>): Promise<void> {
    if (step === 'get') {
      this.#session.get('base')
      this.#held ??= this.#session.get('list')
      if (this.#held) this.#seen = [...this.#held]
    } else if (step === 'pause') {
      await this.#run.world.pause(this.#visit.script.process, `request ${this.#n} goes on`)
    } else if (step === 'load twice') {
      await Promise.all([0, 1].map(() => sessions.load(this.#session)))
    } else await this.#save(step === 'save')
  }

  async #save(awaited: boolean): Promise<void> {
    const asked = this.#visit.deeds.length
    const saved = this.#session.save().then(
      () => this.acknowledge(asked),
      (error: unknown) => note(this.#run, this.#visit, error),
    )
    if (awaited) await saved
  }
}

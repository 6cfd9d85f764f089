// The promises, checked from outside: by what was acknowledged, and by what the keys that clients hold open.
import type { Deed, Run, Visit } from './run.ts'
import type { Script, Step } from './scripts.ts'

type Data = Record<string, any>

/** Steps whose changes are merged with others of the same key. */
const MERGED: readonly Step[] = ['push', 'push held', 'set held', 'copy', 'field', 'count', 'who']

/** What is broken after a run, as a sentence; undefined if every promise held. */
export function brokenPromise(script: Script, run: Run): string | undefined {
  const facts = new Facts(script, run)
  return (
    run.broken ??
    facts.lost() ??
    facts.clientLeftBehind() ??
    facts.falseLogout() ??
    facts.straggler() ??
    facts.counter() ??
    facts.expiry() ??
    facts.copies() ??
    facts.needlessError() ??
    facts.orphan()
  )
}

class Facts {
  readonly #script: Script
  readonly #run: Run
  readonly #visits: readonly Visit[]
  /** Whether a session may have ended, by a handler or by the clock: then nothing need be there. */
  readonly #mayHaveEnded: boolean
  /** Whether one request may have written over what another had acknowledged, as `overwrite` says. */
  readonly #overwrites: boolean

  constructor(script: Script, run: Run) {
    this.#script = script
    this.#run = run
    this.#visits = run.visits
    this.#mayHaveEnded = this.#did('flush', 'clear') || run.world.jumped
    this.#overwrites = script.concurrency === 'overwrite' && run.visits.length > 1
  }

  /** 1 and 4: what was acknowledged, and what was there before, is found under a key that some client holds. */
  lost(): string | undefined {
    if (this.#mayHaveEnded) return undefined
    const reachable = this.#reachable()
    if (!reachable.some((data) => data['base'] === 'base')) return 'what was stored before is lost'
    if (this.#overwrites) return undefined
    for (const visit of this.#visits) {
      for (const deed of visit.deeds) {
        if (deed.acked && !reachable.some((data) => this.#holds(data, visit, deed))) {
          return `an acknowledged '${deed.step}' (${deed.token}) is lost`
        }
      }
    }
    return undefined
  }

  /** 5: where requests come one after the other, the browser's own cookie opens all of it; a new visitor's always does. */
  clientLeftBehind(): string | undefined {
    if (this.#mayHaveEnded || this.#run.world.crashed.size > 0) return undefined
    const inTurn = this.#visits.every(({ script }, n) => n === 0 || script.later || script.fresh)
    for (const visit of this.#visits) {
      const { fresh } = visit.script
      if (fresh ? this.#script.requests.some(({ later }) => later) : !inTurn) continue
      const data = this.#open(fresh ? visit.told : this.#run.jar)
      if (!fresh && data?.['base'] !== 'base') return 'the cookie of the browser opens nothing'
      if (this.#overwrites) continue
      for (const deed of visit.deeds) {
        if (deed.acked && !this.#holds(data, visit, deed)) {
          return `the client's cookie does not open an acknowledged '${deed.step}' (${deed.token})`
        }
      }
    }
    return undefined
  }

  /** 3: a logout that was acknowledged has ended the session, wherever it lives by then. */
  falseLogout(): string | undefined {
    const { jumped, crashed, faults } = this.#run.world
    // A login whose old key can neither be retired nor looked at gives the browser the new one: see ARCHITECTURE.md.
    if (jumped || crashed.size > 0 || faults > 1) return undefined
    for (const visit of this.#visits) {
      if (visit.script.fresh || visit.sentWith !== this.#run.first) continue
      if (visit.deeds.some(({ step }) => step === 'cycle')) continue
      const at = visit.deeds.findIndex(({ step, acked }) => step === 'flush' && acked)
      if (at < 0 || visit.deeds.slice(at + 1).some(({ step }) => step !== 'flush')) continue
      if (this.#reachable().some((data) => data['base'] === 'base')) {
        return 'a logout was acknowledged, and the session is still there'
      }
    }
    return undefined
  }

  /** 3: a request with a retired key does not write in silence, and a login gets a session. */
  straggler(): string | undefined {
    for (const { opened, deeds } of this.#visits) {
      if (opened !== 'retired') continue
      const did = (...steps: Step[]) =>
        deeds.some(({ step, acked }) => acked && steps.includes(step))
      const writes = did('set', 'set shared', 'update', 'same', 'clear', 'delete', ...MERGED)
      if (writes && !did('cycle', 'flush')) return 'a write with a retired key was acknowledged'
    }
    if (this.#script.faults > 0 || this.#run.world.jumped) return undefined
    for (const { opened, script, told } of this.#visits) {
      const isLogin = /^(cycle|flush),set$/.test(script.steps.join(','))
      if (isLogin && opened === 'retired' && script.status < 500 && !told) {
        return 'a login with a retired key was refused'
      }
    }
    return undefined
  }

  /** 1 and 6: each acknowledged update counts once, and so does each addition of one that are summed; none twice. */
  counter(): string | undefined {
    return this.#counted('update', 'n') ?? this.#counted('count', 'visits')
  }

  #counted(step: Step, key: string): string | undefined {
    if (this.#mayHaveEnded || this.#logins() > 1 || this.#overwrites) return undefined
    // A sum that a login takes whole counts for itself.
    if (step === 'count' && this.#logins() > 0 && this.#visits.length > 1) return undefined
    const updates = this.#visits
      .filter(({ script, opened }) => !script.fresh && opened === 'session')
      .flatMap(({ deeds }) => deeds.filter((deed) => deed.step === step))
    // After a login in doubt there may be two: the one that the browser was given goes on counting.
    const counts = this.#reachable().flatMap((data) => (data['base'] ? data[key] - 100 : []))
    const counted = Math.max(0, ...counts)
    if (counted < updates.filter(({ acked }) => acked).length)
      return `an acknowledged '${step}' is lost`
    // What another request has saved on top of, or what lands after it was looked for, cannot be told from nothing.
    const { faults, kinds } = this.#script
    const mayRunAgain = faults > 0 && (this.#visits.length > 1 || kinds.includes('late'))
    return counted > updates.length && !mayRunAgain ? `an '${step}' counts twice` : undefined
  }

  /** 1: nobody's renewal moves an end that was acknowledged. */
  expiry(): string | undefined {
    if (this.#mayHaveEnded || this.#logins() > 1 || this.#overwrites) return undefined
    const isSet = this.#visits.some(
      ({ script, deeds, opened }) =>
        !script.fresh &&
        opened === 'session' &&
        deeds.some(({ step, acked }) => step === 'expiry' && acked),
    )
    const { world, told, jar } = this.#run
    for (const key of isSet ? told : []) {
      const record = world.live(key)
      const isLeftBehind = this.#script.faults > 0 && key !== jar
      if (record?.data.includes('"base"') && record.expiresAt > world.now + 60_000) {
        if (!isLeftBehind) return 'an acknowledged expiry was moved'
      }
    }
    return undefined
  }

  /** Where the cache could always be reached, its copies are what the database has: also after a crash. */
  copies(): string | undefined {
    if (this.#script.kinds.some((kind) => kind !== 'crash')) return undefined
    const { world } = this.#run
    for (const key of world.cached.keys()) {
      const [, end, data] = /^\d+:(\d+):(.*)/.exec(world.live(key, world.cached)?.data ?? '') ?? []
      const record = world.live(key)
      if (data !== undefined && (record?.data !== data || record.expiresAt !== Number(end))) {
        return 'a copy is not what the database has'
      }
    }
    return undefined
  }

  /** Where nothing goes wrong by itself, an error has its reason in another request. */
  needlessError(): string | undefined {
    if (this.#script.faults > 0 || this.#run.world.jumped) return undefined
    const { concurrency, requests } = this.#script
    for (const { errors, script } of this.#visits) {
      const hasReason = (code: string) =>
        (code === 'ERR_SESSION_GONE' && this.#did('flush', 'clear', 'cycle')) ||
        (code === 'ERR_SESSION_HEADERS_SENT' && script.after) ||
        (code === 'ERR_SESSION_CONFLICT' && concurrency === 'reject' && requests.length > 1)
      const needless = errors.find((code) => !hasReason(code))
      if (needless !== undefined) return `${needless} without a reason`
    }
    return undefined
  }

  /** Where nothing goes wrong by itself, no record is left that nobody can find. */
  orphan(): string | undefined {
    if (this.#script.faults > 0 || this.#run.world.jumped) return undefined
    const { world, told } = this.#run
    const mayBeLeft = this.#visits.some(
      ({ script, errors }) => script.status >= 500 || script.after || errors.length > 0,
    )
    if (mayBeLeft) return undefined
    for (const [key, { data }] of world.records) {
      if (world.live(key) && data !== '' && !told.has(key)) return 'a record that nobody can find'
    }
    return undefined
  }

  /** How many requests took a new key: two of them may end as two sessions. */
  #logins(): number {
    return this.#visits.filter(({ deeds }) => deeds.some(({ step }) => step === 'cycle')).length
  }

  #did(...steps: Step[]): boolean {
    return this.#visits.some(({ script }) =>
      [...script.steps, ...(script.after ?? [])].some((step) => steps.includes(step)),
    )
  }

  /** What a cookie opens. After a login in doubt: what is under the old key, or under the new one if the old is retired. */
  #open(cookie: string | undefined): Data | undefined {
    const { world } = this.#run
    const [to, from] = cookie?.split('.') ?? []
    const old = from === undefined ? undefined : world.live(from)
    const key = from === undefined || old?.data === '' ? to : from
    const record = key === undefined ? undefined : world.live(key)
    return record && record.data !== '' ? JSON.parse(record.data) : undefined
  }

  /** What the keys open that some client was told. A process that died may have taken a key to its grave. */
  #reachable(): Data[] {
    const { told, world } = this.#run
    const keys = world.crashed.size > 0 ? world.records.keys() : told
    return Array.from(keys).flatMap((key) => this.#open(key) ?? [])
  }

  /** Whether data shows what was done; true for what leaves no trace of its own. */
  #holds(data: Data | undefined, visit: Visit, { step, token }: Deed): boolean {
    if (step === 'set') return data?.[token] === token
    // Another request may have taken a flash away by looking at it.
    if (step === 'flash') return data?.[token] === token || this.#visits.length > 1
    if (!MERGED.includes(step) || step === 'count' || step === 'who') return true
    // What a request has changed that logs in is taken whole: without what others have made of it.
    const isWhole = this.#visits.some(
      (other) =>
        other !== visit &&
        other.deeds.some((deed) => deed.step === 'cycle') &&
        other.deeds.some(
          (deed) => (deed.step === 'field') === (step === 'field') && MERGED.includes(deed.step),
        ),
    )
    if (isWhole) return true
    return step === 'field' ? data?.['prefs']?.[token] === 1 : !!data?.['list']?.includes(token)
  }
}

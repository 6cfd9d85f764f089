// A store whose calls wait, and the scheduler that lets one thing happen at a time: a call, a fault, a step of a handler.
import { setImmediate } from 'node:timers/promises'
import type { SessionRecord, SessionStore } from '@coatcheck/core/store'

/** The core under test: the workspace's own, or a copy of it with a mutation. */
export type Core = typeof import('@coatcheck/core')

/** Decides which of `count` things happens next. */
export type Choose = (count: number) => number

/** What can go wrong with one store call. */
export type FaultKind = 'fail' | 'lose' | 'late' | 'crash' | 'cut'

export interface WorldOptions {
  readonly sync: boolean
  readonly faults: number
  readonly kinds: readonly FaultKind[]
  /** The clock may jump by so many ms: once, or twice if nothing ends by that. */
  readonly jump: number
  /** What runs here goes on in turns of the event loop too, as code with callbacks does. */
  readonly turns?: boolean
}

/** Something that waits until it is let go on. */
interface Waiting {
  readonly process: number
  readonly what: string
  readonly go: () => void
  /** A store call can fail. */
  readonly call?: Call
}

interface Call {
  readonly effect: () => unknown
  readonly fail: (error: Error) => void
  /** To the cache: its process may be cut off from it. */
  readonly toCache: boolean
}

/** What is tested: core, and the store that its managers get. */
export interface Tested {
  readonly core: Core
  /** Default: the world's own store. */
  readonly storeOf?: (world: World, process: number) => SessionStore
  /** How long a process may be shown what was before another's change, where the cache did not hear of it, in ms. */
  readonly freshFor?: number
}

/** By a jump that is shorter than this, in ms, nothing ends. */
const SHORT_JUMP = 1000

/** So many turns of the microtask queue bring everything to where it waits. */
const TICKS = 40

/** And so many of the event loop, where callbacks are called in turns of their own. */
const TURNS = 4

/** No script needs more: a loop without end does. */
const MOST_STEPS = 400

export class World {
  readonly core: Core
  readonly records = new Map<string, SessionRecord>()
  /** What the cache in front of them has, where there is one. */
  readonly cached = new Map<string, SessionRecord>()
  now = Date.UTC(2026, 0, 1)
  /** Whether anything went wrong by itself: a fault, a crash, a jump of the clock. */
  faults = 0
  jumped = false
  readonly crashed = new Set<number>()
  /** Processes that cannot reach the cache. */
  readonly cutOff = new Set<number>()
  readonly trace: string[] = []
  /** Called after every step: what must hold at all times. */
  watch = () => {}

  readonly #options: WorldOptions
  readonly #choose: Choose
  #waiting: Waiting[] = []
  #late: { what: string; effect: () => unknown }[] = []
  #jumps = 0

  constructor(core: Core, options: WorldOptions, choose: Choose) {
    this.core = core
    this.#options = options
    this.#choose = choose
  }

  /** The record under a key, if it is live. */
  live(key: string, records = this.records): SessionRecord | undefined {
    const record = records.get(key)
    return record && record.expiresAt > this.now ? record : undefined
  }

  /** A handler's pause: others may go first. */
  pause(process: number, what: string): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ process, what, go: resolve })
    })
  }

  /** Some time goes by for a process: for others it does too. */
  wait(process: number, ms: number): Promise<void> {
    const until = this.now + ms
    return new Promise((resolve) => {
      const go = () => {
        this.now = Math.max(this.now, until)
        resolve()
      }
      this.#waiting.push({ process, what: `${ms} ms go by`, go })
    })
  }

  /** The store as one process reaches it. */
  store(process: number): SessionStore {
    return this.#reached(process, this.records, this.#options.sync, false)
  }

  /** Anything else that a process asks of something outside. */
  call(process: number, what: string, effect: () => unknown): Promise<any> {
    return this.#later(process, what, effect, false)
  }

  /** The cache as one process reaches it. */
  cache(process: number): SessionStore {
    return this.#reached(process, this.cached, false, true)
  }

  #reached(
    process: number,
    records: Map<string, SessionRecord>,
    sync: boolean,
    toCache: boolean,
  ): SessionStore {
    const methods = this.#methods(records)
    const call =
      (name: keyof typeof methods) =>
      (...args: any[]): any => {
        const effect = () => (methods[name] as (...all: any[]) => unknown)(...args)
        const what = `${toCache ? `process ${process}, cache: ` : ''}${name} ${args[0]}`
        return sync ? this.#now(what, effect) : this.#later(process, what, effect, toCache)
      }
    return {
      traits: { sync },
      load: call('load'),
      create: call('create'),
      save: call('save'),
      touch: call('touch'),
      delete: call('delete'),
    }
  }

  /** Lets one thing after the other happen until nothing waits any more. */
  async run(): Promise<void> {
    for (let step = 0; ; step++) {
      for (let turn = 0; turn < (this.#options.turns ? TURNS : 1); turn++) {
        if (turn > 0) await setImmediate()
        for (let tick = 0; tick < TICKS; tick++) await undefined
      }
      this.watch()
      this.#waiting = this.#waiting.filter(({ process }) => !this.crashed.has(process))
      const choices = this.#choices()
      if (choices.length === 0) return
      if (step > MOST_STEPS) throw new Error('It does not end')
      const [what, happen] = choices[choices.length === 1 ? 0 : this.#choose(choices.length)]!
      this.trace.push(what)
      // As long as anything takes, time goes on.
      this.now++
      happen()
    }
  }

  #choices(): [string, () => void][] {
    const choices: [string, () => void][] = []
    for (const one of this.#waiting) choices.push([one.what, () => this.#let(one).go()])
    const { faults, kinds, jump } = this.#options
    if (choices.length === 0 && this.#late.length === 0) return choices
    for (const late of this.#late) {
      choices.push([
        `${late.what} lands late`,
        () => {
          this.#late = this.#late.filter((other) => other !== late)
          attempt(late.effect)
        },
      ])
    }
    if (this.faults < faults) {
      for (const one of this.#waiting) {
        if (!one.call) continue
        for (const kind of kinds) {
          if (kind === 'cut' && !one.call.toCache) continue
          choices.push([`${one.what}: ${kind}`, () => this.#fault(this.#let(one), kind)])
        }
      }
    }
    for (const process of this.cutOff) {
      choices.push([
        `process ${process} reaches the cache again`,
        () => this.cutOff.delete(process),
      ])
    }
    if (jump > 0 && this.#jumps < (jump < SHORT_JUMP ? 2 : 1) && choices.length > 0) {
      choices.push([`the clock jumps`, () => this.#jump()])
    }
    return choices
  }

  #let(one: Waiting): Waiting {
    this.#waiting = this.#waiting.filter((other) => other !== one)
    return one
  }

  #jump(): void {
    this.#jumps++
    this.jumped = this.#options.jump >= SHORT_JUMP
    this.now += this.#options.jump
  }

  #fault({ process, what, call }: Waiting, kind: FaultKind): void {
    this.faults++
    if (kind === 'crash') {
      this.crashed.add(process)
      return
    }
    if (kind === 'cut') this.cutOff.add(process)
    if (kind === 'lose') attempt(call!.effect)
    if (kind === 'late') this.#late.push({ what, effect: call!.effect })
    call!.fail(this.#away())
  }

  #away(): Error {
    return new this.core.SessionStoreError('The store is away.', new Error('on purpose'))
  }

  #later(process: number, what: string, effect: () => unknown, toCache: boolean): Promise<unknown> {
    if (toCache && this.cutOff.has(process)) return Promise.reject(this.#away())
    return new Promise((resolve, reject) => {
      const go = () => {
        const { value, error } = attempt(effect)
        if (error) reject(error)
        else resolve(value)
      }
      this.#waiting.push({ process, what, go, call: { effect, fail: reject, toCache } })
    })
  }

  /** A synchronous store: a call happens at once, or fails at once. */
  #now(what: string, effect: () => unknown): unknown {
    const kinds = this.#options.kinds.filter((kind) => kind === 'fail' || kind === 'lose')
    if (this.faults < this.#options.faults && kinds.length > 0) {
      const chosen = this.#choose(kinds.length + 1)
      if (chosen > 0) {
        this.faults++
        this.trace.push(`${what}: ${kinds[chosen - 1]}`)
        if (kinds[chosen - 1] === 'lose') attempt(effect)
        throw this.#away()
      }
    }
    this.trace.push(what)
    return effect()
  }

  #methods(records: Map<string, SessionRecord>) {
    const { SessionGoneError, SessionConflictError, KeyExistsError } = this.core
    const load = (key: string) => {
      const record = this.live(key, records)
      return record && { ...record }
    }
    const open = (key: string) => {
      const record = this.live(key, records)
      if (!record || record.data === '') throw new SessionGoneError()
      return record
    }
    return {
      load,
      create(key: string, record: SessionRecord) {
        if (load(key)) throw new KeyExistsError()
        records.set(key, { ...record })
        return key
      },
      save(key: string, record: SessionRecord, expected?: string) {
        const { data } = open(key)
        if (expected !== undefined && data !== expected) throw new SessionConflictError()
        records.set(key, { ...record })
        return key
      },
      touch(key: string, expiresAt: number, from?: number) {
        const record = open(key)
        if (from !== undefined && record.expiresAt !== from) throw new SessionConflictError()
        records.set(key, { ...record, expiresAt })
        return key
      },
      delete: (key: string) => void records.delete(key),
    }
  }
}

function attempt(effect: () => unknown): { value?: unknown; error?: unknown } {
  try {
    return { value: effect() }
  } catch (error) {
    return { error }
  }
}

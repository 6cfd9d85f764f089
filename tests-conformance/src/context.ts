// What a case has in its hands: the store, a clock that it moves, and browsers that keep a cookie.
import { strict as assert } from 'node:assert'
import { createSessions, type Session, type Sessions, type SessionsOptions } from '@coatcheck/core'
import { createKey, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import { createClock, grainOf, type Clock } from './clock.ts'
import type { Operation } from './operation.ts'
import { inProcesses, type Job, type Outcome } from './processes.ts'
import { needed, openBy } from './given-subject.ts'
import type { OpenOptions, Subject } from './subject.ts'
import { PROCESSES, takeAwayAndGiveBack, workOn } from './turmoil.ts'

/** A session without declared fields. */
export type AnySession = Session<Record<string, any>>

/** One visitor's browser: it keeps the session cookie, and nothing more. */
export interface Browser {
  /** The cookie it holds; undefined if none. */
  cookie: string | undefined
  /** The last response's Set-Cookie line; undefined if there was none. */
  setCookie: string | undefined
  /** A request: opens the session, runs the handler, commits, keeps the cookie. Returns what the handler returned. */
  visit<T>(handler: (session: AnySession) => T | Promise<T>): Promise<T>
  /** A request whose end is left to the case: it has opened its session and has not committed yet. */
  begin(): Promise<{ session: AnySession; finish(): Promise<void> }>
}

/** Given to each case. */
export interface Context {
  readonly store: SessionStore
  /** The name that the store was opened by. */
  readonly name: string
  /** Opens another store; one of the same name is to find the same sessions, one of another name none of them. */
  open(name: string): Promise<SessionStore>
  readonly clock: Clock
  /** A record that lives for `ms` from now (default: an hour). */
  record(data: string, ms?: number): { data: string; expiresAt: number }
  /** A key that no record has. */
  key(): string
  /** A manager over the store, on the case's clock. */
  sessions(options?: Partial<SessionsOptions>): Sessions<Record<string, any>>
  /** A browser without a cookie, talking to `sessions` (default: a manager with default options). */
  browser(sessions?: Sessions<Record<string, any>>): Browser
  /**
   * Runs jobs at the same time, each in a process of its own with a store of its own of the case's name; resolves to what
   * they return, in order.
   */
  processes(...jobs: Job[]): Promise<Outcome[]>
  /**
   * Four processes, each with a store of its own of the case's name on the system's clock, work on groups of keys, one after the other
   * for `ms` each, while the backend goes and comes back in all the subject's ways; resolves to their calls. Of an `exclusive` store
   * it is four at once in this process, over the case's store.
   */
  history(keys: readonly (readonly string[])[], ms: number): Promise<Operation[]>
  /** The subject's; see {@link Subject.freshFor}. */
  readonly freshFor: number | undefined
  /** Runs `task` while the store's backend is gone; when this resolves it is there again. */
  outage<T>(task: () => Promise<T>): Promise<T>
  /** Fails unless a store answered with this record; its expiry may be off by the clock's grain. */
  same(answer: SessionRecord | undefined, record: SessionRecord): void
  /** Fails unless `run` throws, now or later, an error with this code; returns the error. */
  throws(code: string, run: () => unknown): Promise<any>
}

const HOUR = 3_600_000

/** Opens the subject's store under a new name; `dispose` closes and removes all that the case has opened. */
export async function createContext(
  subject: Subject,
): Promise<{ context: Context; dispose(): Promise<void> }> {
  const clock = createClock(subject)
  const name = `case_${createKey().slice(0, 12)}`
  const opened: SessionStore[] = []
  const open = async (which: string) => {
    // Names other than the case's own are made its own too, so that no other case shares them.
    const full = which === name ? name : `${name}_${which.replaceAll(/\W/g, '_')}`
    const store = await openBy(subject, { now: clock.now, name: full })
    opened.push(store)
    return store
  }
  const store = await open(name)
  const opening: OpenOptions = { now: clock.now, name }
  const context: Context = {
    store,
    name,
    open,
    clock,
    record: (data, ms = HOUR) => ({ data, expiresAt: clock.now() + ms }),
    key: createKey,
    sessions: (options) => createSessions({ store, now: clock.now, ...options }),
    browser: (sessions = context.sessions()) => browser(sessions),
    processes(...jobs) {
      const time = subject.realTime ? undefined : clock.now()
      return inProcesses(needed(subject, 'module'), { name, time }, jobs)
    },
    async history(keys, ms) {
      const outages = [needed(subject, 'outage'), ...Object.values(subject.outages ?? {})]
      const turmoil = () => takeAwayAndGiveBack(outages, opening, keys.length * ms)
      const works = Array.from({ length: PROCESSES }, (_, process) => ({ keys, ms, process }))
      if (subject.traits?.exclusive) {
        const operations: Operation[] = []
        const note = (operation: Operation) => operations.push(operation)
        await Promise.all([...works.map((work) => workOn(store, work, note)), turmoil()])
        return operations
      }
      const jobs = works.map((work) => ({ do: 'work', ...work }) as const)
      const module = needed(subject, 'module')
      const setting = { name, time: undefined }
      return (await inProcesses(module, setting, jobs, turmoil)).flat()
    },
    freshFor: subject.freshFor,
    async outage(task) {
      const outage = needed(subject, 'outage')
      await outage.begin(opening)
      try {
        return await task()
      } finally {
        await outage.end(opening)
      }
    },
    same(answer, { data, expiresAt }) {
      const off = (answer?.expiresAt ?? Number.NaN) - expiresAt
      const expected = Math.abs(off) <= grainOf(subject) ? answer!.expiresAt : expiresAt
      assert.deepEqual({ ...answer }, { data, expiresAt: expected })
    },
    async throws(code, run) {
      let error: any
      try {
        await run()
      } catch (thrown) {
        error = thrown
      }
      assert.ok(error !== undefined, `expected an error with code ${code}, and nothing was thrown`)
      expectCode(error, code)
      return error
    },
  }
  return {
    context,
    async dispose() {
      for (const one of opened) await one.close?.()
      for (const one of opened) await subject.cleanUp?.(one)
    },
  }
}

/** Fails unless an error has this code; it is the failure's cause. */
export function expectCode(error: unknown, code: string): void {
  if ((error as { code?: unknown } | undefined)?.code !== code)
    throw new Error(`expected ${code}, got another error`, { cause: error })
}

function browser(sessions: Sessions<Record<string, any>>): Browser {
  const self: Browser = {
    cookie: undefined,
    setCookie: undefined,
    async begin() {
      const header = self.cookie === undefined ? undefined : `sessionid=${self.cookie}`
      const session = await sessions.open(header)
      return {
        session,
        async finish() {
          self.setCookie = (await sessions.commit(session)).setCookie
          if (self.setCookie === undefined) return
          const value = /^sessionid=([^;]*)/.exec(self.setCookie)![1]!
          self.cookie = value === '' || /max-age=0/i.test(self.setCookie) ? undefined : value
        },
      }
    },
    async visit(handler) {
      const { session, finish } = await self.begin()
      const result = await handler(session)
      await finish()
      return result
    },
  }
  return self
}

// Browsers and the application they visit, without HTTP: what a test of a promise is told in.
import {
  createSessions,
  type ResponseInfo,
  type Session,
  type Sessions,
  type SessionsOptions,
} from '@coatcheck/core'
import type { SessionRecord, SessionStore } from '@coatcheck/core/store'
import { setTimeout } from 'node:timers/promises'
import { test } from 'vitest'
import { controlled, type Calls } from './controlled-store.ts'
import { mapStore } from './map-store.ts'
import { slow } from './wrappers.ts'

/** Data of any kind. */
export type Any = Record<string, any>

/** What a request was answered with. */
export interface Answer {
  /** The response's own, or that of the error that the commit failed with. */
  readonly status: number
  readonly setCookie: string | undefined
  readonly error: unknown
}

/** One request: its session, and the end of it. */
export interface Request {
  readonly session: Session<Any>
  /** Commits as an adapter does, and hands the answer to the browser. */
  answer(response?: ResponseInfo): Promise<Answer>
}

/** Somebody with a cookie jar, which has room for the session's cookie. */
export interface Browser {
  /** The Cookie header that it sends. */
  readonly cookie: string | undefined
  /** Sends a request: its session, as the handler gets it. */
  open(process?: Process): Promise<Request>
  /** A whole request. */
  visit(
    handle: (session: Session<Any>) => unknown,
    response?: ResponseInfo,
    process?: Process,
  ): Promise<Answer>
  /** What its cookie opens by now; empty for nothing. */
  data(): Promise<Any>
}

/** One process of the application: its manager, and its calls to the store. */
export interface Process {
  readonly sessions: Sessions<Any>
  readonly calls: Calls
}

/** An application, in one process or two over the same store. */
export interface Site {
  readonly one: Process
  /** The second process; the same as the first where there is but one. */
  readonly other: Process
  /** What the store holds, whatever the processes can reach of it. */
  readonly records: Map<string, SessionRecord>
  /** Moves everybody's clock. */
  pass(seconds: number): void
  /** A browser, with a cookie that it brings along or none. */
  browser(cookie?: string): Browser
  /** A browser that has a session with this data. */
  visitor(data: Any): Promise<Browser>
}

/** How a site's store answers, and in how many processes it is used. */
export interface SiteOptions extends Partial<SessionsOptions> {
  /** Answers without promises. Default false. */
  readonly sync?: boolean
  /** Default 1. */
  readonly processes?: 1 | 2
  /** Puts something between each process and the store. */
  readonly wrap?: (store: SessionStore) => SessionStore
}

/** Opens an application. */
export function openSite(options: SiteOptions = {}): Site {
  const { sync = false, processes = 1, wrap = (store) => store, ...own } = options
  const records = new Map<string, SessionRecord>()
  let time = Date.now()
  const now = () => time
  const store = mapStore({ now, records })
  const open = (): Process => {
    const calls = controlled(wrap(sync ? store : slow(store)))
    return { calls, sessions: createSessions<Any>({ now, ...own, store: calls.store }) }
  }
  const one = open()
  const site: Site = {
    one,
    other: processes === 2 ? open() : one,
    records,
    pass: (seconds) => void (time += seconds * 1000),
    browser: (cookie) => openBrowser(one, cookie),
    async visitor(data) {
      const browser = site.browser()
      await browser.visit((session) => session.update(data))
      one.calls.made.length = 0
      return browser
    },
  }
  return site
}

/** A browser that visits a process of an application where it is told no other. */
export function openBrowser(home: Process, given?: string): Browser {
  let cookie = given
  const self: Browser = {
    get cookie() {
      return cookie
    },
    async open({ sessions } = home) {
      const session = await sessions.open(cookie)
      return {
        session,
        async answer(response = {}) {
          const { headers, ...answer } = await commitOrFail(sessions, session, response)
          const { setCookie } = headers
          if (setCookie !== undefined) cookie = afterwards(setCookie)
          return { ...answer, setCookie }
        },
      }
    },
    async visit(handle, response, process) {
      const request = await self.open(process)
      await handle(request.session)
      return request.answer(response)
    },
    data: () => opens(home.sessions, cookie),
  }
  return self
}

/** Commits as an adapter does: a commit that fails is answered by its error, with what was stored before. */
async function commitOrFail(sessions: Sessions<Any>, session: Session<Any>, info: ResponseInfo) {
  try {
    const headers = await sessions.commit(session, info)
    return { status: info.status ?? 200, headers, error: undefined }
  } catch (error) {
    const { status = 500 } = error as { status?: number }
    return { status, headers: sessions.headers(session), error }
  }
}

/** The Cookie header of a browser that was sent this line. */
function afterwards(setCookie: string): string | undefined {
  return setCookie.includes('Max-Age=0;') ? undefined : setCookie.split(';', 1)[0]
}

/** What a cookie opens; empty for nothing. */
export async function opens(sessions: Sessions<Any>, cookie: string | undefined): Promise<Any> {
  return Object.fromEntries(await sessions.load(await sessions.open(cookie)))
}

/** Registers a test for each way that a store answers and an application runs. */
export function everywhere(
  title: string,
  run: (site: Site) => Promise<void>,
  options: SiteOptions = {},
): void {
  test(`${title} › one process, a synchronous store`, () =>
    run(openSite({ ...options, sync: true })))
  asynchronously(title, run, options)
}

/** The same where it takes a store that answers later. */
export function asynchronously(
  title: string,
  run: (site: Site) => Promise<void>,
  options: SiteOptions = {},
): void {
  test(`${title} › one process`, () => run(openSite(options)))
  test(`${title} › two processes`, () => run(openSite({ ...options, processes: 2 })))
}

/**
 * Tries a scene again and again, each time with something else happening to it: at its first call to the store, at its
 * second, and so on, until it says that there was no such call; and then all of it after the call took effect.
 */
export async function atEachCall(
  scene: (call: number, effect: boolean) => Promise<boolean>,
): Promise<void> {
  for (const effect of [false, true]) {
    let call = 1
    while (await scene(call, effect)) call++
    if (call === 1) throw new Error('The scene never called the store')
  }
}

/** Gives a request time to go as far as it can, where another one may stand in its way. */
export async function asFarAsItGets(request: Promise<unknown>): Promise<void> {
  await Promise.race([request.catch(() => {}), setTimeout(20)])
}

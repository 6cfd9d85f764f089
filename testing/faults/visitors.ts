// A steady load of visitors who change their sessions, log in and log out; each knows what was acknowledged, and misses it.
import { Agent, request as send } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/** One answered request. Times are those of `performance.now()`, in ms. */
export interface Asked {
  readonly begun: number
  readonly ended: number
  readonly status: number
  /** What an error's answer says: its code. */
  readonly code: string
}

export interface Load {
  readonly asked: readonly Asked[]
  /** Acknowledged changes that were not found again, and logouts and logins whose old key opened something after all. */
  readonly lost: { changes: number; ends: number }
  /** What no fault excuses, in words. */
  readonly wrong: readonly string[]
  /** Lets everybody finish what they do, and looks for all that was acknowledged. */
  finish(): Promise<void>
  /** Ends it, without a look. */
  [Symbol.dispose](): void
}

/** What may be lost: what was acknowledged since then. */
export type Forgiven = () => number

const VISITORS = 8
/** Between two requests of a visitor, in ms: eight of them ask some 100 times a second, which leaves most of the processor to others. */
const PAUSE = 60
/** A request that has no answer by then hangs, in ms. */
const HANGS = 60_000

type Act = 'look' | 'change' | 'login' | 'logout'
interface Answer extends Asked {
  /** What the session holds. */
  readonly n: number
  /** The cookie that the client is told; undefined if none, empty if it is deleted. */
  readonly told: string | undefined
}

/** A client of the application that listens on a Unix socket. */
export function clientOf(socketPath: string): {
  ask(act: Act, cookie: string): Promise<Answer>
  close(): void
} {
  const agent = new Agent({ keepAlive: true })
  return {
    ask: (act, cookie) =>
      new Promise((resolve) => {
        const begun = performance.now()
        const done = (status: number, body: string, told?: string) =>
          resolve({
            begun,
            ended: performance.now(),
            status,
            told,
            n: Number(body),
            code: status === 200 ? '' : body,
          })
        const failed = (error: Error) => done(0, `no answer: ${error.message}`)
        const request = send({
          agent,
          socketPath,
          path: `/${act}`,
          method: 'POST',
          ...(cookie && { headers: { cookie } }),
        })
        request.setTimeout(HANGS, () => request.destroy(new Error(`none within ${HANGS} ms`)))
        request.on('error', failed).on('response', async (response) => {
          try {
            let body = ''
            for await (const chunk of response.setEncoding('utf8')) body += chunk
            const [line] = response.headers['set-cookie'] ?? []
            const value = line && /^sessionid=([^;]*)/.exec(line)![1]!
            done(response.statusCode!, body, value && `sessionid=${value}`)
          } catch (error) {
            failed(error as Error)
          }
        })
        request.end()
      }),
    close: () => agent.destroy(),
  }
}

/** Begins a load on the application at a Unix socket. */
export function startLoad(socketPath: string, forgiven: Forgiven = () => Infinity): Load {
  const client = clientOf(socketPath)
  const asked: Asked[] = []
  const wrong: string[] = []
  const lost = { changes: 0, ends: 0 }
  /** Cookies that must open nothing, and since when that is acknowledged. */
  const ended: { cookie: string; at: number }[] = []
  const load = { isOver: false }

  async function ask(act: Act, cookie: string): Promise<Answer> {
    const answer = await client.ask(act, cookie)
    asked.push(answer)
    return answer
  }

  function startVisitor() {
    let cookie = ''
    /** Since when it has this key. */
    let since = 0
    /** What was acknowledged of this session: its number, and when. */
    let acknowledged: { n: number; at: number }[] = []
    /** What was asked last had an unknown outcome, and whether it gives the session another key or ends it. */
    let doubt: 'login' | 'logout' | undefined

    /** The session was found to hold `n`. */
    function find(n: number): void {
      const missing = acknowledged.filter((one) => one.n > n)
      if (missing.length === 0) return
      lost.changes += missing.length
      const isForgiven = since >= forgiven() || missing.every(({ at }) => at >= forgiven())
      if (!isForgiven) wrong.push(`${missing.length} acknowledged changes are lost`)
      acknowledged = acknowledged.filter((one) => one.n <= n)
    }
    function beginAnew(): void {
      cookie = ''
      acknowledged = []
      doubt = undefined
    }

    async function act(): Promise<void> {
      const dice = Math.random()
      const what = doubt ?? (dice < 0.03 ? 'logout' : dice < 0.1 ? 'login' : 'change')
      const { n, told, status, code, ended: at } = await ask(what, cookie)
      if (code === 'ERR_SESSION_GONE') {
        // After a login or logout of unknown outcome it may be gone; otherwise it was taken away.
        if (!doubt) find(0)
        return beginAnew()
      }
      if (status !== 200) {
        if (what !== 'change') doubt = what
        return
      }
      if (what === 'logout') {
        if (cookie) ended.push({ cookie, at })
        return beginAnew()
      }
      // A login that is asked for again, as its first outcome was unknown, may have begun a session of its own.
      if (doubt) acknowledged = acknowledged.filter((one) => one.n < n)
      doubt = undefined
      find(n - 1)
      if (told && told !== cookie) {
        if (what === 'login' && cookie) ended.push({ cookie, at })
        cookie = told
        since = at
      }
      acknowledged.push({ n, at })
    }
    return {
      async run() {
        while (!load.isOver) {
          await act()
          await sleep(PAUSE * (0.5 + Math.random()))
        }
      },
      async look() {
        const { status, n } = await client.ask('look', cookie)
        if (status !== 200) wrong.push(`a last look was answered ${status}`)
        // A login of unknown outcome may have taken the session with it.
        else if (!doubt) find(n)
      },
    }
  }

  const visitors = Array.from({ length: VISITORS }, startVisitor)
  const running = Promise.all(visitors.map((visitor) => visitor.run()))
  return {
    asked,
    lost,
    wrong,
    async finish() {
      load.isOver = true
      await running
      await Promise.all(visitors.map((visitor) => visitor.look()))
      const all = ended.values()
      await Promise.all(
        visitors.map(async () => {
          for (const { cookie, at } of all) {
            const { n, status } = await client.ask('look', cookie)
            if (status !== 200) wrong.push(`a look with an old key was answered ${status}`)
            if (!(n > 0)) continue
            lost.ends++
            if (at < forgiven())
              wrong.push('a key that was acknowledged to be dead opens a session')
          }
        }),
      )
      client.close()
    },
    [Symbol.dispose]() {
      load.isOver = true
      client.close()
    },
  }
}

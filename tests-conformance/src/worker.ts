// One of the processes of a case: opens the store by the subject's module, does one job, closes it.
import { setImmediate as turn, setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import { createSessions } from '@coatcheck/core'
import { RETIRED, type SessionStore } from '@coatcheck/core/store'
import type { Operation } from './operation.ts'
import type { Job, Outcome, Setting } from './processes.ts'
import { catchStrays } from './strays.ts'
import type { Subject } from './subject.ts'
import { workOn } from './turmoil.ts'

const HOUR = 3_600_000

/** In the worst case a hammering process gives up after this time, in ms. */
const PATIENCE = 20_000

const openStore: Promise<Subject['open']> = import(process.argv[2]!).then(({ default: subject }) =>
  typeof subject === 'function' ? subject : subject.open,
)
/** The store that the next job works on: a job that looks whether it can be opened is told if not. */
let opened: { store: Promise<SessionStore>; now: () => number } | undefined

/** What nobody caught since the last answer: the case is told, and the process goes on. */
const strays: unknown[] = []
catchStrays((error) => strays.push(error))

process.on('message', async (question: { setting?: Setting; job?: Job }) => {
  try {
    if (question.setting) await open(question.setting)
    const result = question.job && (await work(question.job))
    await turn()
    if (strays.length > 0) throw new Error('an error that nobody caught', { cause: strays.shift() })
    process.send!({ result })
  } catch (error) {
    process.send!({ error: inspect(error) })
  }
})
process.once('disconnect', () => process.exit())

async function open({ name, time }: Setting): Promise<void> {
  const now = time === undefined ? Date.now : () => time
  const openIt = await openStore
  const store = (async () => openIt({ name, now }))()
  opened = { now, store }
  await Promise.allSettled([store])
}

async function work(job: Job): Promise<Outcome> {
  const { store: opening, now } = opened!
  opened = undefined
  let store: SessionStore | undefined
  try {
    store = await opening
    return await run(job, store, now)
  } catch (error) {
    if (job.do === 'look') return codeOf(error)
    throw error
  } finally {
    await store?.close?.()
  }
}

async function run(job: Job, store: SessionStore, now: () => number): Promise<Outcome> {
  const record = (data: string) => ({ data, expiresAt: now() + HOUR })
  switch (job.do) {
    case 'look':
      return (await store.load(job.key))?.data
    case 'increment':
      for (let n = 0; n < job.times;) {
        const { data } = (await store.load(job.key))!
        const saving = attempt(() => store.save(job.key, record(String(Number(data) + 1)), data))
        if ((await saving) !== 'ERR_SESSION_CONFLICT') n++
      }
      return job.times
    case 'create': {
      const won: string[] = []
      for (const key of job.keys) {
        const creating = attempt(() => store.create(key, record(String(process.pid))))
        if ((await creating) !== 'ERR_SESSION_KEY_EXISTS') won.push(key)
      }
      return won
    }
    case 'hammer': {
      const end = performance.now() + PATIENCE
      for (let times = 0; performance.now() < end; times++) {
        const saved = await attempt(() => store.save(job.key, record(`${times}`)))
        const touched = await attempt(() => store.touch(job.key, now() + HOUR + times))
        if (saved && touched) return times
        // A breath, as between requests: a lock that is never free lets nobody in.
        await setTimeout(1)
      }
      throw new Error('the session never went')
    }
    case 'delete':
      return store.delete(job.key)
    case 'retire':
      return store.save(job.key, record(RETIRED))
    case 'end':
      return store.save(job.key, { data: RETIRED, expiresAt: 0 })
    case 'renew': {
      const won: string[] = []
      for (const key of job.keys) {
        const renewing = attempt(() => store.touch(key, job.from + 10_000, job.from))
        if ((await renewing) !== 'ERR_SESSION_CONFLICT') won.push(key)
      }
      return won
    }
    case 'touch':
      for (let n = 0; n < job.times; n++) await store.touch(job.key, now() + HOUR + n)
      return job.times
    case 'append': {
      const sessions = createSessions<{ cart: number[] }>({ store, now })
      const acknowledged: number[] = []
      for (const value of job.values) {
        const session = await sessions.open(`sessionid=${job.cookie}`)
        session.update('cart', (cart = []) => [...cart, value])
        const committed = await attempt(() => sessions.commit(session))
        if (committed === undefined) acknowledged.push(value)
      }
      return acknowledged
    }
    case 'login': {
      const sessions = createSessions({ store, now })
      const session = await sessions.open(`sessionid=${job.cookie}`)
      session.cycleKey()
      const { setCookie } = await sessions.commit(session)
      return /^sessionid=([^;]*)/.exec(setCookie!)![1]
    }
    case 'work': {
      const operations: Operation[] = []
      await workOn(store, job, (operation) => operations.push(operation))
      return operations
    }
    default:
      return store.clearExpired?.()
  }
}

/** The code of the error that the contract provides for; undefined where there was none. Any other error is thrown. */
async function attempt(call: () => unknown): Promise<string | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    const code = codeOf(error)
    if (!code || !/^ERR_SESSION_(GONE|CONFLICT|KEY_EXISTS)$/.test(code)) throw error
    return code
  }
}

const codeOf = (error: unknown) => (error as { code?: string } | undefined)?.code

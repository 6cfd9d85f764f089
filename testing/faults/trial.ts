// One trial: an application under load, its server struck; what requests got, when all was well again, and what was lost.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Site } from './application.ts'
import type { Network } from './network.ts'
import type { Running } from './servers.ts'
import type { Fault } from './strikes.ts'
import { clientOf, startLoad } from './visitors.ts'

/** What came of a fault. Times in ms. */
export interface Row {
  readonly fault: string
  /** Why it was not tried; the rest is then nothing. */
  readonly impossible?: string
  /** How often each answer was given, from the fault's begin on: `200`, or a status and a code. */
  readonly answers: ReadonlyMap<string, number>
  readonly longest: number
  /** After the server was back, until nobody felt the fault any more; undefined if requests went on failing. */
  readonly recovered: number | undefined
  readonly lost: { readonly changes: number; readonly ends: number }
  /** How long closing the store took during the fault; undefined if it had to be killed. */
  readonly closed: number | undefined
  /** What must not be, in words. */
  readonly wrong: readonly string[]
}

/** How long a trial's parts last, in ms. */
export interface Pace {
  /** The fault, unless it is brief. */
  readonly fault: number
  /** All is well once no request has failed for so long. */
  readonly quiet: number
  /** How much later than on an idle machine a replica may hear of a change. */
  readonly lag: number
}

/** For the table: longer than any call waits, so that what bounds a request is the library and not the fault's end. */
export const WHOLE: Pace = { fault: 18_000, quiet: 4000, lag: 0 }

/** All is well within this time after the server is back. */
export const RECOVERED_WITHIN = 5000
/** A request makes one to four calls, each with a bound; the first one that fails ends it. */
export const ANSWERED_WITHIN = 15_000
/** Closing waits for what is under way. */
export const CLOSED_WITHIN = 15_000
/** A process that has closed its store ends by itself within this time. */
const ENDED_WITHIN = 4000
/** Before a fault, and before somebody closes during it. */
const WARM = 700
const AMID = 300
/** So long it is waited for all to be well, and for a store to close. */
const PATIENCE = 30_000

/** Answers that a fault may bring: the store's failure, and what follows from a login or logout of unknown outcome. */
const EXPECTED = new Set(['200', '503 ERR_SESSION_STORE', '400 ERR_SESSION_GONE'])

/** The row of a fault that was not tried, or not to its end. */
export const untried = (fault: string, why: Partial<Row>): Row => ({
  fault,
  answers: new Map(),
  longest: 0,
  recovered: 0,
  closed: 0,
  lost: { changes: 0, ends: 0 },
  wrong: [],
  ...why,
})

/** Tries a fault on a server that is up and well. */
export async function tryFault(
  { site }: Running,
  fault: Fault,
  network: Network,
  pace: Pace = WHOLE,
): Promise<Row> {
  if (fault.impossible) return untried(fault.name, { impossible: fault.impossible })
  const wrong: string[] = []
  await using staying = await startApplication(site, network)
  await using leaving = await startApplication(site, network)
  let begun = Infinity
  const forgiven = fault.loses === undefined ? -Infinity : fault.loses + pace.lag
  using load = startLoad(staying.socket, () => begun - forgiven)
  const leaver = clientOf(leaving.socket)
  const isWarm = async () => {
    const since = load.asked.length
    await sleep(WARM)
    return load.asked.slice(since).every(({ status }) => status === 200)
  }
  // The first requests of a busy machine may wait for a connection longer than they are allowed to.
  const isUp = (await isWarm()) || (await isWarm())
  const welcome = await leaver.ask('change', '')
  if (!isUp || welcome.status !== 200) {
    leaver.close()
    await Promise.all([load.finish(), leaving.close(), staying.close()])
    return untried(fault.name, { wrong: ['requests fail without any fault'] })
  }

  begun = performance.now()
  const closing = sleep(AMID).then(async () => {
    void leaver.ask('change', welcome.told ?? '')
    // So that it is under way.
    await sleep(50)
    return leaving.close()
  })
  await fault.begin()
  if (!fault.isBrief) await sleep(pace.fault)
  await fault.end()
  const back = performance.now()

  /** The last moment at which somebody waited for what the fault had held up, or was refused, or waited too long. */
  const lastFelt = () =>
    load.asked.reduce((last, { status, ...one }) => {
      const isWell = status === 200 && one.begun > back && one.ended < one.begun + RECOVERED_WITHIN
      return isWell ? last : Math.max(last, one.ended)
    }, back)
  while (performance.now() < Math.min(lastFelt() + pace.quiet, back + PATIENCE)) await sleep(50)
  const isWell = performance.now() >= lastFelt() + pace.quiet
  const closed = await closing
  leaver.close()
  await load.finish()
  await fault.settle?.()
  const after = await staying.close()

  const answers = new Map<string, number>()
  const during = load.asked.filter(({ ended }) => ended >= begun)
  for (const { status, code } of during) {
    const answer = code ? `${status} ${code}` : `${status}`
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
  }
  for (const answer of answers.keys()) {
    if (!EXPECTED.has(answer)) wrong.push(`requests get ${answer}`)
  }
  const longest = Math.max(...during.map((one) => one.ended - one.begun))
  if (longest > ANSWERED_WITHIN) wrong.push('a request takes too long')
  const recovered = isWell ? lastFelt() - back : undefined
  if (recovered === undefined) wrong.push('requests go on failing')
  else if (recovered > RECOVERED_WITHIN) wrong.push('requests fail for too long')
  wrong.push(...new Set(load.wrong))
  wrong.push(...closed.wrong, ...after.wrong.map((what) => `afterwards ${what}`))
  return {
    fault: fault.name,
    answers,
    longest,
    recovered,
    lost: load.lost,
    wrong,
    closed: closed.ms,
  }
}

interface Closed {
  /** How long the store took to close; undefined if it did not. */
  readonly ms: number | undefined
  readonly wrong: readonly string[]
}

interface Application {
  readonly socket: string
  /** Closes the store, and sees that the process ends by itself. */
  close(): Promise<Closed>
  /** Kills it, if it is still there. */
  [Symbol.asyncDispose](): Promise<void>
}

let applications = 0

/** On a busy machine an application may find its backend too slow as it starts; it is started again then, as its supervisor would. */
async function startApplication(site: Site, network: Network): Promise<Application> {
  const end = performance.now() + PATIENCE
  for (;;) {
    try {
      return await startOnce(site, network)
    } catch (error) {
      if (performance.now() > end) throw error
    }
  }
}

async function startOnce(site: Site, network: Network): Promise<Application> {
  const socket = join(tmpdir(), `coatcheck-faults-${process.pid}-${++applications}.socket`)
  const [program, ...args] = [
    ...network.prefix,
    process.execPath,
    `${import.meta.dirname}/application.ts`,
    JSON.stringify({ site, socket }),
  ]
  const child = spawn(program!, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // Two start for each trial.
    env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'coatcheck-compile-cache') },
  })
  let output = ''
  child
    .stderr!.setEncoding('utf8')
    .on('data', (chunk) => (output = `${output}${chunk}`.slice(-2000)))
  const exit = once(child, 'exit').then(() => 'exit')
  if ((await Promise.race([once(child, 'message'), exit])) === 'exit') {
    throw new Error(`The application did not start:\n${output}`)
  }
  const inTime = <T>(what: Promise<T>, ms: number) =>
    Promise.race([what, exit, sleep(ms, undefined, { ref: false })])

  return {
    socket,
    async close() {
      const wrong: string[] = []
      let ms: number | undefined
      if (child.exitCode !== null || child.signalCode !== null) {
        wrong.push(`the process has ended: ${output}`)
      } else {
        child.send('close')
        const told = once(child, 'message').then(([message]) => {
          ms = (message as { closed: number }).closed
        })
        await inTime(told, PATIENCE)
        const isOver = (await inTime(exit, ENDED_WITHIN)) === 'exit'
        // What a process has sent may be read after its end.
        if (isOver) await Promise.race([told, sleep(200)])
        if (ms === undefined)
          wrong.push(isOver ? `the process ended: ${output}` : 'close() does not return')
        else if (ms > CLOSED_WITHIN) wrong.push('close() takes too long')
        if (!isOver) wrong.push('the process does not end')
        child.kill('SIGKILL')
        await exit
      }
      rmSync(socket, { force: true })
      return { ms, wrong }
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exit
    },
  }
}

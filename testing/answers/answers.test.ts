// A held response is a sent one: every way of answering, on every framework, as without a session and over three stores.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { servers } from './servers.ts'
import { STORMED } from './storm.ts'
import { waysOn } from './ways.ts'

/** As many as there are cores on the smallest machine that this runs on. */
const PROCESSES = 2
/** So many at once: most of a judgement is waiting for the store and for clients that wait. */
vi.setConfig({ maxConcurrency: 24, testTimeout: 600_000 })

/** A process whose uncaught errors are its own. What frameworks write to the terminal is of no interest. */
const start = (file: string, ...args: string[]) =>
  fork(`${import.meta.dirname}/${file}`, args, {
    env: { ...process.env, NODE_ENV: 'test' },
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })

const processes: ChildProcess[] = []
const waiting = new Map<string, (faults: string[]) => void>()
let turn = 0

beforeAll(async () => {
  for (let i = 0; i < PROCESSES; i++) {
    const child = start('judge-process.ts')
    processes.push(child)
    await once(child, 'message')
    child.on('message', ({ framework, name, faults }: Record<string, any>) =>
      waiting.get(`${framework} ${name}`)!(faults),
    )
  }
})
afterAll(() => processes.forEach((child) => child.disconnect()))

/** What is wrong with a way on a framework, by one of the processes. */
function judged(framework: string, name: string): Promise<string[]> {
  return new Promise((resolve) => {
    waiting.set(`${framework} ${name}`, resolve)
    processes[turn++ % PROCESSES]!.send({ framework, name })
  })
}

describe.concurrent.each(Object.keys(servers))('a held response is a sent one: %s', (framework) => {
  test.each([...waysOn(framework).keys()])('%s', async (name) => {
    expect(await judged(framework, name)).toEqual([])
  })
})

describe('a storm of requests, of failing saves and of clients that hang up leaves nothing behind', () => {
  test.each(STORMED)(
    '%s',
    async (framework) => {
      const [told] = await once(start('storm.ts', '1000', framework), 'message')
      expect((told as { faults: string[] }).faults).toEqual([])
    },
    600_000,
  )
})

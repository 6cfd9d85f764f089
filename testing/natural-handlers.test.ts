// Lost updates: 200 requests at once on one session, over four server processes that share its store, by handlers written in
// the ways that applications write them. All are kept, whatever the engine, and under express-session too.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createKey } from '@coatcheck/core/store'
import { afterAll, beforeAll, describe, expect, test as plainTest } from 'vitest'
import { onExpressSession, onSession, type Visit } from './natural-handlers.ts'
import { openPlaces } from './places.ts'
import { needsOf, subjectAt } from './subjects.ts'

const REQUESTS = 200
const PROCESSES = 4
const engines = [
  'sqlite',
  'file',
  'lru',
  'redis',
  'postgres',
  'mysql',
  'cached-db (redis over postgres)',
]

const { places, servers } = await openPlaces('natural', engines)

interface ServerProcess extends AsyncDisposable {
  readonly url: string
}

async function startServer(engine: string, name: string): Promise<ServerProcess> {
  const child = fork(`${import.meta.dirname}/natural-server.ts`, [
    engine,
    name,
    JSON.stringify(places),
  ])
  const gone = once(child, 'exit')
  const died = gone.then(() => Promise.reject(new Error('A server process died at its start')))
  const [port] = await Promise.race([once(child, 'message'), died])
  died.catch(() => {})
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect()
      await gone
    },
  }
}

/** What became of a visitor's requests. */
interface Result {
  /** The statuses of the answers. */
  statuses: number[]
  faults: string[]
  kept: number
  twice: number
}
const ALL_KEPT: Result = { statuses: [200], faults: [], kept: REQUESTS, twice: 0 }
const SOME_LOST: Result = { ...ALL_KEPT, kept: expect.toSatisfy((n) => n > 0 && n < REQUESTS) }

/** A new visitor sends all requests at once, in turn to each process. */
async function addAll(processes: ServerProcess[], path: string, handler: string): Promise<Result> {
  const urls = processes.map(({ url }) => url)
  const first = await fetch(`${urls[0]}${path}/begin`, { method: 'POST' })
  const headers = { cookie: first.headers.getSetCookie()[0]!.split(';')[0]! }
  const add = async (x: number) => {
    const query = new URLSearchParams({ handler, x: `${x}` })
    const url = `${urls[x % urls.length]}${path}/add?${query}`
    const response = await fetch(url, { method: 'POST', headers })
    await response.arrayBuffer()
    return response.status
  }
  const statuses = await Promise.all(Array.from({ length: REQUESTS }, (_, x) => add(x)))
  const get = async (url: string) => (await fetch(url, { headers })).json() as unknown
  const { cart, prefs, visits } = (await get(`${urls[0]}${path}/kept`)) as Visit
  const faults = (await Promise.all(urls.map((url) => get(`${url}/faults`)))) as string[][]
  const products = new Set(cart)
  return {
    statuses: [...new Set(statuses)],
    faults: faults.flat(),
    // The handler has added to one of the three.
    kept: products.size + Object.keys(prefs).length + visits,
    twice: cart.length - products.size,
  }
}

for (const engine of engines) {
  const { traits } = subjectAt(engine, places)
  const count = traits?.unshared ? 1 : PROCESSES
  const missing = needsOf(engine).find((name) => !servers[name]!.url)
  const test = missing === undefined ? plainTest : servers[missing]!.test
  const title = traits?.unshared
    ? `${engine}, in one process as its memory cannot be shared`
    : `${engine}, in ${count} processes`
  describe(title, () => {
    const processes: ServerProcess[] = []
    beforeAll(async () => {
      if (missing !== undefined) return
      const name = `natural_${createKey().slice(0, 8)}`
      const starting = Array.from({ length: count }, () => startServer(engine, name))
      processes.push(...(await Promise.all(starting)))
    })
    afterAll(async () => {
      await Promise.all(processes.map((server) => server[Symbol.asyncDispose]()))
    })
    const keeps = (path: string, handler: string, result: Result) => async () => {
      expect(await addAll(processes, path, handler)).toEqual(result)
    }

    for (const handler of Object.keys(onSession)) {
      test(`all are kept: ${handler}`, keeps('/merge', handler, ALL_KEPT))
    }
    for (const handler of Object.keys(onExpressSession)) {
      test(
        `express-session: all are kept: ${handler}`,
        keeps('/express-session', handler, ALL_KEPT),
      )
    }

    // So the tests above can fail.
    const update = Object.keys(onSession)[0]!
    test("concurrency 'overwrite' loses some", keeps('/overwrite', update, SOME_LOST))
    const counter = Object.keys(onSession).at(-1)!
    test(
      "a counter without merge: { visits: 'sum' } loses some, and every request is answered",
      keeps('/merge without sum', counter, SOME_LOST),
    )
    const expressCounter = Object.keys(onExpressSession).at(-1)!
    test(
      "express-session: a counter without merge: { visits: 'sum' } loses some, and every request is answered",
      keeps('/express-session without sum', expressCounter, SOME_LOST),
    )
  })
}

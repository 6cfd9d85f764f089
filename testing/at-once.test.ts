// A hundred requests at once on one session, over every engine that answers by promises: all are kept, in a few writes, and
// no later than one after the other.
import { createSessions, type Sessions } from '@coatcheck/core'
import { createKey } from '@coatcheck/core/store'
import { visitor } from '@coatcheck/testing'
import { expect, vi } from 'vitest'
import { openPlaces } from './places.ts'
import { engineNames, needsOf, subjectAt } from './subjects.ts'
import { counting } from './wrappers.ts'

const REQUESTS = 100
const ROUNDS = 9
vi.setConfig({ testTimeout: 600_000 })

type Cart = { cart: number[] }

/** Those that have a server, and so answer by promises. */
const engines = engineNames.filter(
  (engine) => needsOf(engine).length > 0 && !engine.startsWith('hashKeys'),
)
const { places, servers } = await openPlaces('at-once', engines)

async function add(sessions: Sessions<Cart>, cookie: string, product: number): Promise<void> {
  const session = await sessions.open(cookie)
  session.update('cart', (cart = []) => [...cart, product])
  await sessions.commit(session)
}

/** How long, in ms, a visitor's hundred requests took, and what was kept. */
async function measure(
  sessions: Sessions<Cart>,
  send: (cookie: string) => Promise<unknown>,
): Promise<{ ms: number; cart: number[] }> {
  const ann = await visitor(sessions, { cart: [] })
  const start = performance.now()
  await send(ann.cookie)
  const ms = performance.now() - start
  return { ms, cart: (await ann.session()).get('cart', []) }
}

const products = Array.from({ length: REQUESTS }, (_, n) => n)
const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!
const inOrder = (cart: number[]) => cart.toSorted((a, b) => a - b)

for (const engine of engines) {
  const missing = needsOf(engine).find((name) => !servers[name]!.url) ?? needsOf(engine)[0]!
  servers[missing]!.test(
    `${engine}: ${REQUESTS} requests at once lose nothing, share their writes, and take no longer than one after the other`,
    async () => {
      const calls: string[] = []
      const name = `at_once_${createKey().slice(0, 8)}`
      const store = counting(await subjectAt(engine, places).open({ name, now: Date.now }), calls)
      const sessions = createSessions<Cart>({ store })
      const atOnce = (cookie: string) =>
        Promise.all(products.map((product) => add(sessions, cookie, product)))
      const inTurn = async (cookie: string) => {
        for (const product of products) await add(sessions, cookie, product)
      }
      const times: { together: number[]; inTurn: number[] } = { together: [], inTurn: [] }
      let saves = 0
      for (let round = 0; round < ROUNDS; round++) {
        calls.length = 0
        const together = await measure(sessions, atOnce)
        expect(inOrder(together.cart)).toEqual(products)
        saves = calls.filter((call) => call === 'save').length
        expect(saves, 'saves at the store').toBeLessThanOrEqual(10)
        const apart = await measure(sessions, inTurn)
        expect(apart.cart).toEqual(products)
        times.together.push(together.ms)
        times.inTurn.push(apart.ms)
      }
      await store.close?.()
      const ratio = median(times.together) / median(times.inTurn)
      console.log(`${engine}: at once / in turn ${ratio.toFixed(2)}, ${saves} saves at once`)
      expect(ratio).toBeLessThanOrEqual(1)
    },
  )
}

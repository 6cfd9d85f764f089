// Lost updates: 200 requests at once on one session, over four server processes on one SQLite file.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const PRODUCTS = Array.from({ length: 200 }, (_, n) => n)

/** What is in the cart after every product was added by a request of its own, all at once. */
async function addAll(concurrency: 'merge' | 'overwrite') {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-processes-'))
  const servers = Array.from({ length: 4 }, () =>
    fork(`${import.meta.dirname}/fixtures/cart-server.ts`, [
      join(folder, 'sessions.sqlite'),
      concurrency,
    ]),
  )
  try {
    const ports = await Promise.all(
      servers.map(async (server) => {
        const died = once(server, 'exit').then(() => Promise.reject(new Error('A server died.')))
        return (await Promise.race([once(server, 'message'), died]))[0]
      }),
    )
    const add = (product: number, headers: Record<string, string>) =>
      fetch(`http://127.0.0.1:${ports[product % 4]}/add?product=${product}`, {
        method: 'POST',
        headers,
      })
    const first = await add(-4, {})
    const cookie = first.headers.getSetCookie()[0]!.split(';')[0]!
    const responses = await Promise.all(PRODUCTS.map((product) => add(product, { cookie })))
    const cart = await fetch(`http://127.0.0.1:${ports[0]}/cart`, { headers: { cookie } })
    return {
      statuses: new Set(responses.map((response) => response.status)),
      cart: ((await cart.json()) as number[]).filter((product) => product >= 0),
    }
  } finally {
    await Promise.all(
      servers
        .filter((server) => server.exitCode === null)
        .map((server) => (server.kill(), once(server, 'exit'))),
    )
    rmSync(folder, { recursive: true })
  }
}

test('merge: 200 products, none lost, none twice', async () => {
  const { statuses, cart } = await addAll('merge')
  expect(statuses).toEqual(new Set([200]))
  expect(cart.toSorted((a, b) => a - b)).toEqual(PRODUCTS)
})

test('overwrite loses some, so the test above can fail', async () => {
  const { statuses, cart } = await addAll('overwrite')
  expect(statuses).toEqual(new Set([200]))
  expect(cart.length).toBeLessThan(200)
})

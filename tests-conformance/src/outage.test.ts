// The backend is killed and started again under load: requests in between get an answer, and afterwards all is well.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { redisStore } from '@coatcheck/cache/redis'
import type { SessionStore } from '@coatcheck/core/store'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { getSession, session } from '@coatcheck/express'
import { expect, test } from 'vitest'
import { need } from '../../testing/needs.ts'
import { mariadb, postgres, redis, type Kind } from '../../testing/services.ts'

const backends: [string, Kind, (url: string) => SessionStore & { migrate?(): Promise<void> }][] = [
  ['redis', redis, (url) => redisStore(url)],
  ['postgres', postgres, (url) => postgresStore(url)],
  ['mysql', mariadb, (url) => mysqlStore(url)],
]

/** A request may wait for one reconnection and one time-out of the driver, in ms, and no longer. */
const LONGEST = 15_000
const CLIENTS = 8

for (const [name, kind, open] of backends) {
  test(`${name}: killed and started again under load, nothing acknowledged is lost, and no restart of ours is needed`, async (context) => {
    const launch = need(context, kind.launch, kind.name, kind.how)
    await using service = await launch()
    const store = open(service.url)
    await store.migrate?.()
    const withSession = session({ store })
    const server = createServer((request, response) => {
      withSession(request, response, async (error) => {
        if (error) {
          response.statusCode = (error as { status?: number }).status ?? 500
          return response.end((error as { code?: string }).code)
        }
        const visitor = await getSession<{ n: number }>(request)
        if (request.method === 'POST') visitor.update('n', (n = 0) => n + 1)
        response.end(String(visitor.get('n', 0)))
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

    const statuses = new Map<number, number>()
    let longest = 0
    const until = { done: false }
    async function client() {
      let cookie = ''
      let acknowledged = 0
      const post = async () => {
        const start = performance.now()
        const response = await fetch(url, { method: 'POST', headers: { cookie } })
        const body = await response.text()
        longest = Math.max(longest, performance.now() - start)
        statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1)
        if (response.status !== 200) {
          expect(body).toBe('ERR_SESSION_STORE')
          return
        }
        expect(Number(body)).toBeGreaterThan(acknowledged)
        acknowledged = Number(body)
        cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? cookie
      }
      while (!until.done) {
        await post()
        await setTimeout(5)
      }
      const response = await fetch(url, { headers: { cookie } })
      return { acknowledged, found: Number(await response.text()), status: response.status }
    }
    const clients = Promise.all(Array.from({ length: CLIENTS }, client))
    await setTimeout(500)
    await service.stop('SIGKILL')
    await setTimeout(1500)
    await service.start()
    // Once a request succeeds again, those that follow do.
    await expect
      .poll(async () => (await fetch(url, { method: 'POST' })).status, { timeout: LONGEST })
      .toBe(200)
    await setTimeout(1500)
    until.done = true
    for (const { acknowledged, found, status } of await clients) {
      expect(status).toBe(200)
      expect(acknowledged).toBeGreaterThan(10)
      // A save whose answer was lost with the connection may have been made; one that was answered was made.
      expect(found).toBeGreaterThanOrEqual(acknowledged)
    }
    expect([...statuses.keys()].toSorted()).toEqual([200, 503])
    expect(longest).toBeLessThan(LONGEST)
    server.close()
    server.closeAllConnections()
    await store.close?.()
  }, 120_000)
}

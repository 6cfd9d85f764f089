// A TCP relay in front of a server that counts round trips: how often the client speaks after the server has answered.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { SessionStore } from '@coatcheck/core/store'

/** A relay that counts. */
export interface RoundTrips {
  /** The server's URL, by way of the relay. */
  readonly url: string
  /** How many round trips `run` took. */
  during(run: () => unknown): Promise<number>
  /** How many each call of a store behind the relay took, on a session of its own. */
  duringEach(store: SessionStore, key: string): Promise<Record<string, number>>
  close(): void
}

/** Opens a relay in front of the server at `url`. */
export async function countRoundTrips(url: string): Promise<RoundTrips> {
  const target = new URL(url)
  let trips = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname)
    let answered = true
    client.on('data', (chunk) => {
      if (answered) trips++
      answered = false
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      answered = true
      client.write(chunk)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const during = async (run: () => unknown): Promise<number> => {
    const before = trips
    await run()
    return trips - before
  }
  const relayed = new URL(url)
  relayed.hostname = '127.0.0.1'
  relayed.port = String((server.address() as AddressInfo).port)
  return {
    url: relayed.href,
    during,
    async duringEach(store, key) {
      const expiresAt = Date.now() + 60_000
      return {
        create: await during(() => store.create(key, { data: '1', expiresAt })),
        load: await during(() => store.load(key)),
        save: await during(() => store.save(key, { data: '2', expiresAt }, '1')),
        touch: await during(() => store.touch(key, expiresAt + 1, expiresAt)),
        end: await during(() => store.save(key, { data: '', expiresAt: 0 }, '2')),
        delete: await during(() => store.delete(key)),
      }
    },
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

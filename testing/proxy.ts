// A TCP proxy that tests put between a store and its server, to take the server away and give it back.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout } from 'node:timers'

/** What stands between a store and its server. */
export interface Proxy {
  readonly host: string
  readonly port: number
  /** The server is gone: connections break, and new ones are refused. */
  cut(): void
  /** It is back. */
  restore(): Promise<void>
  /** Nothing goes through, and nobody hangs up; or what has waited goes on. */
  freeze(frozen: boolean): void
  /** The connections that are open now are dead, and nobody hangs up; new ones go through. */
  abandon(): void
  /** What the server answers on the connections that are open now is lost; what it is asked reaches it. */
  loseAnswers(): void
  /** What the server answers comes so many ms late, on connections that are made from now on. */
  delayAnswers(ms: number): void
  /** New connections go to another server, as after a change of a name's address; those that are open stay. */
  pointTo(port: number): void
}

/** Opens a proxy to the server of a URL; resolves to the URL that goes through it, too. */
export async function proxyTo(direct: string): Promise<{ url: string; proxy: Proxy }> {
  const url = new URL(direct)
  const proxy = await openProxy(url.hostname, Number(url.port))
  url.port = `${proxy.port}`
  return { url: url.href, proxy }
}

/** Opens a proxy to a server. It keeps no process running. */
export async function openProxy(host: string, port: number): Promise<Proxy> {
  const sockets = new Set<Socket>()
  const answering = new Map<Socket, Socket>()
  let server: Server | undefined
  let own = 0
  let isFrozen = false
  let delay = 0
  const self: Proxy = {
    host: '127.0.0.1',
    get port() {
      return own
    },
    cut() {
      server?.close()
      server = undefined
      for (const socket of sockets) socket.destroy()
    },
    async restore() {
      server = createServer((client) => {
        const upstream = connect(port, host)
        answering.set(upstream, client)
        for (const [from, to] of [
          [client, upstream],
          [upstream, client],
        ] as const) {
          sockets.add(from)
          from.setNoDelay(true)
          if (from === client || delay === 0) from.pipe(to)
          else from.on('data', (chunk) => void setTimeout(() => to.write(chunk), delay))
          if (isFrozen) from.pause()
          from.on('error', () => to.destroy())
          from.once('close', () => {
            sockets.delete(from)
            answering.delete(from)
            to.destroy()
          })
        }
      }).listen(own, self.host)
      server.unref()
      await once(server, 'listening')
      own = (server.address() as AddressInfo).port
    },
    freeze(frozen) {
      isFrozen = frozen
      for (const socket of sockets) {
        if (frozen) socket.pause()
        else socket.resume()
      }
    },
    abandon() {
      for (const socket of sockets) socket.unpipe().pause().removeAllListeners('end')
    },
    loseAnswers() {
      for (const [upstream, client] of answering) upstream.unpipe(client).resume()
    },
    delayAnswers(ms) {
      delay = ms
    },
    pointTo(other) {
      port = other
    },
  }
  await self.restore()
  return self
}

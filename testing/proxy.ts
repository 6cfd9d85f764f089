// A TCP proxy that tests put between a store and its server, to take the server away and give it back.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { setTimeout } from 'node:timers'

/** What stands between a store and its server. */
export interface Proxy {
  readonly host: string
  readonly port: number
  /** The server is gone: connections are reset, and new ones refused. */
  cut(): void
  /** It is back. */
  restore(): Promise<void>
  /** Nothing goes through, and nobody hangs up; or what has waited goes on. */
  freeze(frozen: boolean): void
  /** The connections that are open now are dead, and nobody hangs up; new ones go through. */
  abandon(): void
  /** What the server answers on the connections that are open now is lost; what it is asked reaches it. */
  loseAnswers(): void
  /** New connections lead to another port of the server's host; those that are there stay. */
  pointTo(port: number): void
  /** What the server says from now on comes so many ms late. */
  delay(ms: number): void
}

/** The proxies in front of servers that have some of their own, by the servers' URLs. */
export const proxiesByUrl = new Map<string, readonly Proxy[]>()

/** Opens a proxy to the server of a URL; resolves to the URL that goes through it, too. */
export async function proxyTo(direct: string): Promise<{ url: string; proxy: Proxy }> {
  const url = new URL(direct)
  const proxy = await openProxy(url.hostname, Number(url.port))
  url.port = `${proxy.port}`
  return { url: url.href, proxy }
}

/**
 * Opens a proxy to a server. It keeps no process running.
 * @param at Where it listens. Default: any free port of this machine alone.
 */
export async function openProxy(
  host: string,
  port: number,
  at: { readonly host?: string; readonly own?: number } = {},
): Promise<Proxy> {
  const sockets = new Set<Socket>()
  /** What each client is answered by. */
  const answering = new Map<Socket, Transform>()
  let server: Server | undefined
  let own = at.own ?? 0
  let isFrozen = false
  let lateness = 0

  /** Passes on what the server says, in order, and late while it is slow. */
  function late(): Transform {
    const waiting: Buffer[] = []
    let end: (() => void) | undefined
    return new Transform({
      transform(chunk: Buffer, _encoding, done) {
        if (lateness === 0 && waiting.length === 0) return done(null, chunk)
        waiting.push(chunk)
        // Whichever timer it is, what has waited longest goes.
        const pass = () => {
          this.push(waiting.shift())
          if (waiting.length === 0) end?.()
        }
        setTimeout(pass, lateness).unref()
        done()
      },
      flush(done) {
        if (waiting.length === 0) done()
        else end = done
      },
    })
  }

  const self: Proxy = {
    host: at.host ?? '127.0.0.1',
    get port() {
      return own
    },
    cut() {
      server?.close()
      server = undefined
      for (const socket of sockets) socket.resetAndDestroy()
    },
    async restore() {
      // Who has said goodbye still gets the answers to what was asked before.
      server = createServer({ allowHalfOpen: true }, (client) => {
        const upstream = connect({ port, host, allowHalfOpen: true })
        const answers = late()
        answering.set(client, answers)
        for (const [from, to] of [
          [client, upstream],
          [upstream, client],
        ] as const) {
          sockets.add(from)
          from.setNoDelay(true)
          if (from === upstream) from.pipe(answers).pipe(to)
          else from.pipe(to)
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
      for (const [client, answers] of answering) answers.unpipe(client).resume()
    },
    pointTo(other) {
      port = other
    },
    delay(ms) {
      lateness = ms
    },
  }
  await self.restore()
  return self
}

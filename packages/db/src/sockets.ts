// The sockets of a pool that an engine makes: known to it, so that closing ends them all, whatever the server does.
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** How long a connection is idle before the system looks whether the other side is still there, in ms. */
const KEEP_ALIVE_DELAY = 10_000

/** The sockets of one pool. */
export interface Sockets {
  /** Makes one, which the driver connects. */
  open(): Socket
  /** Ends all that are open, without a goodbye. */
  destroy(): void
}

/**
 * What a driver throws as it reads, of what it does not understand, ends its connection: pg does so of a method of authentication that it
 * does not know, and nobody else could catch it.
 */
export function guardReading(stream: Duplex): void {
  const emit = stream.emit.bind(stream)
  stream.emit = (event: string | symbol, ...args: any[]) => {
    if (event !== 'data') return emit(event, ...args)
    try {
      return emit(event, ...args)
    } catch (error) {
      stream.destroy(error as Error)
      return true
    }
  }
}

export function createSockets(): Sockets {
  const sockets = new Set<Socket>()
  return {
    open() {
      const socket = new Socket()
      guardReading(socket)
      socket.setNoDelay(true)
      socket.setKeepAlive(true, KEEP_ALIVE_DELAY)
      socket.once('close', () => sockets.delete(socket))
      sockets.add(socket)
      return socket
    },
    destroy() {
      for (const socket of sockets) socket.destroy()
    },
  }
}

// The sockets of a pool that an engine makes: known to it, so that closing ends them all, whatever the server does.
import { Socket } from 'node:net'

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
class DriverSocket extends Socket {
  override emit(event: string | symbol, ...args: any[]): boolean {
    if (event !== 'data') return super.emit(event, ...args)
    try {
      return super.emit(event, ...args)
    } catch (error) {
      this.destroy(error as Error)
      return true
    }
  }
}

export function createSockets(): Sockets {
  const sockets = new Set<Socket>()
  return {
    open() {
      const socket = new DriverSocket()
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

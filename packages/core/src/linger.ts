// Keeps a connection open until the answer that was ended on it has gone out, whoever wants to close it before.
import type { Socket } from 'node:net'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { clearTimeout, setTimeout } from 'node:timers'

/** A socket that several responses may wait for: requests can be pipelined. */
interface Lingering {
  waiting: number
  isAsked: boolean
  timer: NodeJS.Timeout | undefined
}

/** Nobody's answer keeps a connection for longer, in ms: past any time-out of a store. */
const LONGEST = 30_000

const lingering = new WeakMap<Socket, Lingering>()

/**
 * Puts off `socket.destroy()` (without an error: the connection itself has none) until the function that is returned is called,
 * which says whether somebody has asked for it. Node has handed an answer to the network when `end()` returns, so that
 * a framework may destroy the socket right after it; one that waits for its session is not there yet.
 */
export function linger(socket: Socket): () => boolean {
  const known = lingering.get(socket)
  const state = known ?? { waiting: 0, isAsked: false, timer: undefined }
  state.waiting++
  if (!known) {
    lingering.set(socket, state)
    socket.destroy = (error) => {
      if (error) {
        stop(socket, state)
        return socket.destroy(error)
      }
      state.isAsked = true
      state.timer ??= setTimeout(() => {
        stop(socket, state)
        socket.destroy()
      }, LONGEST).unref()
      return socket
    }
  }
  return () => {
    if (--state.waiting === 0) stop(socket, state)
    return state.isAsked
  }
}

function stop(socket: Socket, state: Lingering): void {
  clearTimeout(state.timer)
  lingering.delete(socket)
  delete (socket as Partial<Socket>).destroy
}

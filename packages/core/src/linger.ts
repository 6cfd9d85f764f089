// Keeps a connection open until the answer that was ended on it has gone out, whoever wants to close it before.
import type { Socket } from 'node:net'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { clearTimeout, setTimeout } from 'node:timers'

/** A socket that several responses may wait for: requests can be pipelined. */
interface Lingering {
  waiting: number
  /** What somebody wanted to do to close it. */
  close: (() => void) | undefined
  timer: NodeJS.Timeout | undefined
}

/** Nobody's answer keeps a connection for longer, in ms: past any time-out of a store. */
export const LONGEST = 30_000

const CLOSERS = ['end', 'destroy', 'destroySoon'] as const

const lingering = new WeakMap<Socket, Lingering>()

/**
 * Puts off whatever closes a socket until the function that is returned is called. Node has handed an answer to the network when `end()`
 * returns, so that a framework, a client that says no more or a server that shuts down may close the socket right after it; one
 * that waits for its session is not there yet.
 * @returns Lets the socket go, and says whether somebody wanted to close it; with `close` it is closed then, once what was written is out.
 */
export function linger(socket: Socket): (close: boolean) => boolean {
  const state = lingering.get(socket) ?? takeOver(socket)
  state.waiting++
  return (close) => {
    const isAsked = state.close !== undefined
    if (--state.waiting === 0) letGo(socket, state, close)
    return isAsked
  }
}

/** The methods of a socket are taken once: with keep-alive it serves many requests. */
function takeOver(socket: Socket): Lingering {
  const state: Lingering = { waiting: 0, close: undefined, timer: undefined }
  lingering.set(socket, state)
  for (const name of CLOSERS) {
    const native = socket[name] as Function
    ;(socket as unknown as Record<string, Function>)[name] = (...args: unknown[]) => {
      if (state.waiting === 0) return native.apply(socket, args)
      // An error of the connection would cut what is on its way; and who wants it gone wants more than who ends it.
      if (name === 'destroy') state.close = () => native.call(socket)
      else state.close ??= () => native.apply(socket, args)
      state.timer ??= setTimeout(() => {
        state.waiting = 0
        letGo(socket, state, true)
      }, LONGEST).unref()
      return socket
    }
  }
  return state
}

function letGo(socket: Socket, state: Lingering, isClosing: boolean): void {
  const { close, timer } = state
  clearTimeout(timer)
  state.close = state.timer = undefined
  if (!close || !isClosing) return
  if (socket.writable && socket.writableLength === 0) close()
  else closeSoon(socket)
}

/** Closes a socket when what was written is out; at once if it takes no more, as Node would then wait for ever. */
export function closeSoon(socket: Socket): void {
  if (socket.writable) socket.destroySoon()
  else socket.destroy()
}

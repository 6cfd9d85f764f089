// Keeps a connection open until the answer that was ended on it has gone out, whoever wants to close it before.
import type { Socket } from 'node:net'
// Not the globals, which an application's tests may have replaced by timers that stand still.
import { clearTimeout, setTimeout } from 'node:timers'

/** A socket that several responses may wait for: requests can be pipelined. */
interface Lingering {
  waiting: number
  /** The first of those who wanted to close it. */
  close: (() => void) | undefined
  timer: NodeJS.Timeout | undefined
}

/** Nobody's answer keeps a connection for longer, in ms: past any time-out of a store. */
const LONGEST = 30_000

const CLOSERS = ['end', 'destroy', 'destroySoon'] as const

const lingering = new WeakMap<Socket, Lingering>()

/**
 * Puts off whatever closes a socket until the function that is returned is called; that closes it where somebody has asked for it, once
 * what was written is out. Node has handed an answer to the network when `end()` returns, so that a framework, a client that says no
 * more or a server that shuts down may close the socket right after it; one that waits for its session is not there yet.
 */
export function linger(socket: Socket): (close?: boolean) => boolean {
  const state = lingering.get(socket) ?? takeOver(socket)
  state.waiting++
  return (close = true) => {
    const isAsked = state.close !== undefined
    if (--state.waiting === 0 && close) letGo(socket, state)
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
      // Whoever sends something by hand knows what it does.
      if (state.waiting === 0 || (name === 'end' && args.length > 0 && args[0] != null)) {
        return native.apply(socket, args)
      }
      state.close ??= () => native.apply(socket, name === 'destroy' ? [] : args)
      state.timer ??= setTimeout(() => {
        state.waiting = 0
        letGo(socket, state)
      }, LONGEST).unref()
      return socket
    }
  }
  return state
}

function letGo(socket: Socket, state: Lingering): void {
  const { close, timer } = state
  clearTimeout(timer)
  state.close = state.timer = undefined
  if (!close) return
  if (socket.writableLength > 0 && !socket.destroyed) socket.destroySoon()
  else close()
}

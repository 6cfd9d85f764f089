// What the pages' readers have themselves: who logs in.
import type { IncomingMessage } from 'node:http'

/** An account. */
export interface User {
  readonly id: number
  /** Another number whenever all its sessions are to end. */
  readonly epoch: number
}

/** The user whose name and password a request brings. */
export async function authenticate(_request: IncomingMessage): Promise<User> {
  return { id: 1, epoch: 1 }
}

/** The account as it is now; undefined if it is closed. */
export async function accountOf(id: number): Promise<User | undefined> {
  return { id, epoch: 1 }
}

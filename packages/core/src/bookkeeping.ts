// The names under which a session keeps what is its own and not the application's.

/** How they all begin. */
export const BOOKKEEPING = '_session_'

/** Whether a name is one of them, or could be. */
export function isBookkeeping(name: unknown): boolean {
  return typeof name === 'string' && name.startsWith(BOOKKEEPING)
}

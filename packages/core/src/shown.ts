// What a session shows of itself where it is printed: to who looks at it alone its data, in the midst of other things the names.
import { createHash } from 'node:crypto'
import { isBookkeeping } from './bookkeeping.ts'
import type { Dictionary } from './codec.ts'
import type { SessionState } from './standing.ts'

/** A session in print. */
export interface ShownSession {
  /** The first 12 hex digits of the key's SHA-256, by which logs can tell sessions apart; none for a session that has no key yet. */
  readonly keyHash?: string
  /** Where it stands: `ended` for one that `flush()` has ended, else as ARCHITECTURE.md has it. */
  readonly state: string
  readonly data?: Dictionary
  /** The names alone, where what is printed may be a log. */
  readonly keys?: readonly string[]
}

/** Where test runners find the data, which print symbols, and no serializer does. */
const DATA = Symbol('data')

/** What `console.log` prints. Node, Deno and Bun tell by the depth whether the session stands alone. */
export function inspected(
  state: SessionState,
  depth: number,
  options: { readonly depth?: number | null },
  inspect?: (value: unknown, options: object) => string,
): unknown {
  // Without an end each depth is the same.
  const isAlone = Number.isFinite(options.depth) && depth === options.depth
  const shown = isAlone ? withData(state) : withKeys(state)
  if (!inspect) return shown
  return `Session ${inspect(shown, { ...options, depth: isAlone ? depth : 1 })}`
}

/** What `JSON.stringify` writes. @param name That of the property which holds the session; empty for one that stands alone. */
export function serialized(state: SessionState, name: string | undefined): ShownSession {
  if (name === '') return withData(state)
  return Object.assign(withKeys(state), { [DATA]: dataOf(state) })
}

const withData = (state: SessionState) => ({ ...headOf(state), data: dataOf(state) })
const withKeys = (state: SessionState) => ({ ...headOf(state), keys: Object.keys(dataOf(state)) })

function headOf({ standing, draft, flushed, condemned }: SessionState): ShownSession {
  const hasEnded = flushed || condemned.length > 0
  if (standing.is === 'new') return { state: hasEnded && draft.isEmpty ? 'ended' : 'new' }
  if (standing.is === 'unloaded') return { state: 'not loaded' }
  return { keyHash: hashOf(standing.key), state: standing.is }
}

function dataOf({ draft, manager }: SessionState): Dictionary {
  const shows = (name: string) => !isBookkeeping(name) || manager.shown.includes(name)
  return Object.fromEntries(Object.entries(draft.data).filter(([name]) => shows(name)))
}

const hashOf = (key: string) => createHash('sha256').update(key).digest('hex').slice(0, 12)

// Creates a record under a new key: the client is sure to get the key, or nothing is stored.
import { wait, type Steps } from './awaitable.ts'
import type { Content } from './content.ts'
import type { EndOptions } from './end.ts'
import { headersSent, isRefusal, KeyExistsError } from './errors.ts'
import { createKey } from './key.ts'
import { condemnKey, type SessionState, type Told } from './standing.ts'
import type { SessionRecord } from './store.ts'
import { isFlushed, type Turn } from './turn.ts'

/** What creating needs of the manager's options. */
export interface CreateOptions extends EndOptions {
  /** Throws if the client could not be given this cookie. */
  readonly assertSendable: (state: SessionState, told: Told | 'delete') => void
}

/** How often a key is drawn that somebody has: once in 10^49 times. */
const TRIES = 3

/** Creates a record and resolves to its key. */
export function* createRecord(
  options: CreateOptions,
  turn: Turn,
  record: SessionRecord,
  content: Content,
): Steps<string> {
  const { store, assertSendable } = options
  const { stateless = false } = store.traits ?? {}
  if (turn.state.sent) throw headersSent()
  for (let tries = 1; ; tries++) {
    const key = createKey()
    if (!stateless) assertSendable(turn.state, { ...content, key })
    try {
      const given = yield* wait(store.create(key, record))
      if (stateless) assertSendable(turn.state, { ...content, key: given })
      return given
    } catch (error) {
      if (error instanceof KeyExistsError && tries < TRIES) continue
      if (!isRefusal(error) && !stateless) inDoubt(turn, key, record, content)
      throw error
    }
  }
}

/** The record may be there: it is looked for before the session is written again, or must die if it was flushed. */
function inDoubt(
  { state, draft, snapshot }: Turn,
  key: string,
  { data: stored, expiresAt }: SessionRecord,
  { browserLength }: Content,
): void {
  if (isFlushed(state, draft)) condemnKey(state, key, stored)
  else if (state.standing.is !== 'stored') {
    state.doubt = { key, stored, expiresAt, endStays: false, snapshot, browserLength }
  }
}

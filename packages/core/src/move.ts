// Gives a session a new key: the new record first, so that a crash in between loses nothing, then the old key is retired.
import { wait, type Steps } from './awaitable.ts'
import type { Kept } from './draft.ts'
import { SessionConflictError, SessionGoneError } from './errors.ts'
import { reportConflict } from './events.ts'
import type { Lane } from './lanes.ts'
import { condemnKey, isRetired } from './standing.ts'
import type { SessionRecord } from './store.ts'
import { isRefusal, MAX_CONFLICTS, type Content, type Pen, type Turn } from './writer.ts'

/** How the attempt to retire a key ended. */
type Retired =
  /** It is retired, by this request. */
  | 'done'
  /** Another request has retired it: the session lives on under a key that this one does not know. */
  | 'elsewhere'
  /** The session has ended. */
  | 'missing'
  /** Another request has changed it. */
  | { readonly changed: SessionRecord }

/** How often a retirement is sent whose answers are lost. */
const MAX_LOST = 2

/** Makes the function that moves a session from the key `from` to a new one. */
export function createMover(pen: Pen): (turn: Turn, from: string, lane: Lane) => Steps<void> {
  const { store, concurrency } = pen.options
  const { removesRetired = false } = store.traits ?? {}

  return function* move(turn, from, lane) {
    const { state } = turn
    lane.newest = undefined
    let sure = !state.moving?.doubt
    try {
      const moved = yield* moveTo(turn, from, (isSure) => (sure = isSure))
      const { to } = state.moving!
      state.moving = undefined
      pen.adopt(turn, to, moved.kept, moved.content)
    } catch (error) {
      if (sure) yield* abandon(turn)
      else standInDoubt(turn, from)
      throw error
    }
  }

  /** Moves what the newest data is with this request's changes, until nobody else comes in between. */
  function* moveTo(
    turn: Turn,
    from: string,
    tell: (isSure: boolean) => void,
  ): Steps<{ kept: Kept; content: Content }> {
    let newest = turn.snapshot.base!
    for (let conflicts = 0; ;) {
      const content = pen.contentOnto([turn], newest)
      const kept = yield* putAside(turn, content, newest)
      const outcome = yield* retire(turn, from, newest.stored, tell)
      if (outcome === 'done') return { kept, content }
      if (outcome === 'missing') throw new SessionGoneError()
      if (outcome === 'elsewhere') {
        // A login beside another one: a session of its own, with what this request itself has set.
        const own = pen.contentOnto([turn], undefined)
        if (own.over) throw new SessionGoneError()
        return { kept: yield* putAside(turn, own, undefined), content: own }
      }
      if (concurrency === 'reject' || ++conflicts > MAX_CONFLICTS) throw new SessionConflictError()
      reportConflict(conflicts)
      newest = pen.keep(outcome.changed)
    }
  }

  /** Puts the session under its new key, which nobody has yet. */
  function* putAside(turn: Turn, content: Content, newest: Kept | undefined): Steps<Kept> {
    const { state } = turn
    const record = pen.record(content, newest)
    const kept = { stored: record.data, text: content.text, expiresAt: record.expiresAt }
    if (state.moving) {
      const { to, doubt } = state.moving
      try {
        yield* wait(store.save(to, record))
        state.moving = { to, stored: kept.stored, doubt }
        return kept
      } catch (error) {
        if (!(error instanceof SessionGoneError)) throw error
      }
    }
    const to = yield* pen.create(state, record, content.browserLength, (doubted) => {
      if (state.draft !== turn.draft) condemnKey(state, doubted, record.data)
    })
    state.moving = { to, stored: kept.stored, doubt: false }
    return kept
  }

  /** Retires the old key while it has what is expected. An answer that is lost is looked for: it may have been done. */
  function* retire(
    { state }: Turn,
    from: string,
    expected: string,
    tell: (isSure: boolean) => void,
  ): Steps<Retired> {
    for (let lost = 0; ;) {
      let failure: unknown
      try {
        yield* wait(store.save(from, pen.retired(), expected))
        return 'done'
      } catch (error) {
        failure = error
      }
      const conflict = failure instanceof SessionConflictError
      if (conflict && concurrency === 'reject' && lost === 0) throw failure
      if (!isRefusal(failure)) {
        lost++
        tell(false)
      }
      const mayBeOurs = lost > 0 || state.moving!.doubt
      const found = yield* wait(store.load(from))
      if (!found) {
        if (mayBeOurs && removesRetired) return 'done'
        tell(true)
        return 'missing'
      }
      if (isRetired(found)) return mayBeOurs ? 'done' : 'elsewhere'
      if (found.data !== expected) {
        // Whatever was sent expected other data, so it can take no effect any more.
        tell(true)
        return { changed: found }
      }
      if (lost >= MAX_LOST || isRefusal(failure)) throw failure
    }
  }

  /** The old key has the session, so the new one, which nobody has, is of no use. */
  function* abandon({ state, draft }: Turn): Steps<void> {
    const { moving } = state
    if (!moving) return
    state.moving = undefined
    if (state.draft !== draft) return condemnKey(state, moving.to, moving.stored)
    try {
      yield* wait(store.delete(moving.to))
    } catch {
      // The backend is failing, which the caller is about to hear; the record expires by itself.
    }
  }

  /**
   * The old key may be retired or not. The session is whole under the new one, so that is what the client is told; and what
   * the next write of this request finds retired, this one may have retired.
   */
  function standInDoubt({ state, draft, content, standing }: Turn, from: string): void {
    const { to, stored } = state.moving!
    state.moving = { to, stored, doubt: true }
    state.untold = { key: to, expiresAt: content.expiresAt, browserLength: content.browserLength }
    if (state.draft === draft) return
    state.moving = undefined
    condemnKey(state, to, stored)
    state.condemned = state.condemned.map((one) =>
      one.key === from && standing.is === 'stored' ? { ...one, mayBeRetired: true } : one,
    )
  }
}

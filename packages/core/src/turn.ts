// One write of one session: what it was asked to do, when it was asked, and what the session is afterwards.
import { contentOf, type Content, type ContentOptions } from './content.ts'
import type { Draft } from './draft.ts'
import { headersSent } from './errors.ts'
import type { Kept, Snapshot } from './snapshot.ts'
import { plan, type Plan, type PlanOptions } from './plan.ts'
import { condemnKey, NEW, type Condemned, type SessionState, type Standing } from './standing.ts'

/** What this write is asked to do. What the handler does from here on belongs to the next one. */
export interface Turn {
  readonly state: SessionState
  readonly draft: Draft
  readonly snapshot: Snapshot
  readonly standing: Standing
  readonly plan: Plan
  readonly condemned: readonly Condemned[]
  readonly cycled: boolean
  readonly modified: boolean | undefined
  readonly content: Content
}

/** Takes what a session needs now. It is to be carried out, or given back. */
export function take(options: ContentOptions & PlanOptions, state: SessionState): Turn {
  const { draft, standing, cycled, modified, condemned, tookUnknown, isShared } = state
  const { settings, now } = options
  const time = now()
  const createdAt = settings.absoluteMaxAge === undefined ? undefined : time
  const snapshot = draft.take(state.accessed, createdAt, cycled)
  const empty = draft.isEmpty
  const { data, created } = draft
  const content = contentOf(options, snapshot.text, data, created, empty, time, snapshot.clashes)
  const situation = {
    standing,
    empty,
    modified: modified ?? (snapshot.isChanged || cycled),
    cycled,
    tookUnknown,
    condemned,
    isShared,
    expiresAt: content.expiresAt,
  }
  const planned = plan(situation, options, time)
  if (planned.to === 'create' && cycled && standing.is === 'unreadable') {
    condemnKey(state, standing.key, standing.stored, standing.since)
  }
  state.cycled = false
  state.modified = undefined
  return {
    state,
    draft,
    snapshot,
    standing,
    plan: planned,
    condemned: state.condemned,
    cycled,
    modified,
    content,
  }
}

/** What was asked is not done: the next write is asked for it again. */
export function giveBack({ state, draft, snapshot, cycled, modified }: Turn): void {
  if (isFlushed(state, draft)) return
  if (state.doubt?.snapshot !== snapshot) draft.restore(snapshot)
  state.cycled ||= cycled
  state.modified ??= modified
}

/** The store has the session: or, if it was flushed meanwhile, one more key that must die. */
export function adopt(
  { state, draft, standing, snapshot }: Pick<Turn, 'state' | 'draft' | 'standing' | 'snapshot'>,
  key: string,
  kept: Kept,
  { browserLength }: Pick<Content, 'browserLength'>,
): void {
  const { expiresAt } = kept
  if (isFlushed(state, draft)) {
    const before = 'key' in standing ? standing.key : undefined
    state.condemned = state.condemned.filter((one) => one.key !== before)
    condemnKey(state, key, kept.stored)
  } else {
    draft.saved(snapshot, kept)
    state.unsure = false
    state.standing = { is: 'stored', key, expiresAt, since: state.manager.now() }
  }
  state.owed = { key, expiresAt, browserLength }
}

/** The store has the session as it was, with a later end. What the request has changed, and said not to save, stays a change. */
export function renewed(turn: Turn, key: string, kept: Kept, content: Content): void {
  const { state, draft, snapshot } = turn
  if (isFlushed(state, draft) || !snapshot.isChanged) return adopt(turn, key, kept, content)
  draft.base = kept
  giveBack(turn)
  const { expiresAt } = kept
  state.standing = { is: 'stored', key, expiresAt, since: state.manager.now() }
  state.owed = { key, expiresAt, browserLength: content.browserLength }
}

/** The store has the session no more. */
export function dismiss({ state, draft, snapshot }: Turn): void {
  if (isFlushed(state, draft)) return
  draft.saved(snapshot, undefined)
  state.standing = NEW
  state.owed = 'delete'
}

/** Whether the handler has flushed the session since: then it is another one by now. */
export function isFlushed(state: SessionState, draft: Draft): boolean {
  return state.draft !== draft
}

/**
 * The client is told only now: nothing is acknowledged while a key that must die is alive.
 * @throws SessionUsageError if the client would need a cookie that can no longer be sent.
 */
export function acknowledge(state: SessionState): void {
  const { owed, sent, clientKey } = state
  if (sent && typeof owed === 'object' && owed.key !== clientKey) throw headersSent()
  state.untold = owed ?? state.untold
  state.owed = undefined
}

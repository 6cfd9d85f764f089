// Carries plans out: the only part that calls the store to write. Every write is conditional on what it started from.
import { after, isPromise, run, conclude, wait, type Awaitable, type Steps } from './awaitable.ts'
import { found, kept, recordOf, type ContentOptions } from './content.ts'
import { createRecord, type CreateOptions } from './create.ts'
import { endKey } from './end.ts'
import { headersSent, isRefusal, SessionConflictError, SessionGoneError } from './errors.ts'
import { Lanes } from './lanes.ts'
import { move } from './move.ts'
import type { PlanOptions } from './plan.ts'
import { cannotBeTold, NotTogether, saveTogether, type Outcome } from './save.ts'
import { isRetired, NO_KEYS, NONE, type Doubt, type SessionState } from './standing.ts'
import type { SessionRecord, SessionStore } from './store.ts'
import {
  acknowledge,
  adopt,
  dismiss,
  giveBack,
  isFlushed,
  renewed,
  take,
  type Turn,
} from './turn.ts'

/** The manager's options, as far as writing needs them. */
export type WriterOptions = ContentOptions & CreateOptions & PlanOptions

/** What a write is carried out with. */
interface Writer {
  readonly options: WriterOptions
  readonly lanes: Lanes<Turn, Outcome>
}

/** Makes the function that writes a session as it is now. */
export function createWriter(options: WriterOptions): (state: SessionState) => Awaitable<void> {
  const lanes = new Lanes<Turn, Outcome>(
    (key, turns, lane) => saveTogether(options, key, turns, lane),
    isOwnFault,
  )
  const writer = { options, lanes }
  return (state) => {
    const { saveEveryRequest } = options
    if (!state.accessed && !(saveEveryRequest && state.standing.is === 'stored')) return
    if (state.doubt) return run(writeAfterDoubt(writer, state))
    if (saveEveryRequest || !isUntouched(state)) return write(writer, state)
  }
}

/** Whether there is nothing to plan: the request only looked. */
function isUntouched(state: SessionState): boolean {
  const { draft, cycled, modified, condemned, tookUnknown, owed } = state
  const isIdle = !cycled && !tookUnknown && modified === undefined && owed === undefined
  return isIdle && condemned === NONE && draft.isUntouched
}

function write(writer: Writer, state: SessionState): Awaitable<void> {
  const turn = take(writer.options, state)
  const { plan, condemned } = turn
  if (plan.to !== 'leave' && plan.to !== 'refuse') return carryOut(writer, turn)
  giveBack(turn)
  if (plan.to === 'refuse') throw plan.error
  if (condemned === NONE) return acknowledge(state)
  assertSendable(writer.options, turn)
  return run(endCondemned(writer, turn))
}

/** Throws if the client could not be told of this write, so that nothing is stored that it cannot find. */
function assertSendable({ assertSendable: assert, store }: WriterOptions, turn: Turn): void {
  const { state, standing, plan, content } = turn
  if (state.sent) return
  const keepsKey = plan.to === 'save' || plan.to === 'renew'
  const { key } = 'key' in standing ? standing : { key: '' }
  const { expiresAt, browserLength } = content
  const keeps = keepsKey && !store.traits?.stateless
  assert(state, keeps ? { key, expiresAt, browserLength } : 'delete')
}

/** A write whose answer was lost is looked for first. */
function* writeAfterDoubt(writer: Writer, state: SessionState): Steps<void> {
  const { options } = writer
  const doubt = state.doubt!
  const { key, snapshot, browserLength } = doubt
  const { draft, standing } = state
  const record = yield* wait(options.store.load(key, true))
  if (!isFlushed(state, draft)) {
    const isThere = hasArrived(options, doubt, record)
    state.doubt = undefined
    if (record && isThere) {
      adopt({ state, draft, standing, snapshot }, key, found(options, record), {
        browserLength,
      })
    } else {
      draft.restore(snapshot)
      state.unsure = !snapshot.isRepeatable
    }
  }
  const written = write(writer, state)
  if (isPromise(written)) yield written
}

/**
 * Whether a write in doubt has been made, by what is there now. Another request may have stored the same text, or renewed this
 * one's, or gone on from it: where that makes a difference, as an `update` must not run twice and not be dropped, only an end of its own
 * tells.
 * @throws SessionStoreError if it cannot be told.
 */
function hasArrived(
  options: WriterOptions,
  { snapshot, stored, expiresAt, endStays }: Doubt,
  record: SessionRecord | undefined,
): boolean {
  if (!record || isRetired(record)) return false
  const { base, isRepeatable } = snapshot
  const isSame = record.data === stored
  // Under a key that is this request's own nothing can be mistaken.
  if (!base) return isSame
  const grain = options.store.traits?.wholeSeconds ? 1000 : 1
  const endsAt = (end: number) => Math.abs(record.expiresAt - end) < grain
  if (isSame && (isRepeatable || (endsAt(expiresAt) && !endStays))) return true
  // Others may have made it what it was before, after it had arrived.
  if (record.data === base.stored && (isRepeatable || endsAt(base.expiresAt))) return false
  const newest = () => options.codec.decode(found(options, record).text)
  const shown = isRepeatable ? snapshot.isShownIn(newest()) : undefined
  if (shown === undefined) throw cannotBeTold()
  return shown
}

function carryOut(writer: Writer, turn: Turn): Awaitable<void> {
  return conclude(
    () => {
      assertSendable(writer.options, turn)
      return perform(writer, turn)
    },
    () => (turn.condemned === NONE ? acknowledge(turn.state) : run(endCondemned(writer, turn))),
    (error) => {
      giveBack(turn)
      throw error
    },
  )
}

function* endCondemned({ options, lanes }: Writer, { state, condemned }: Turn): Steps<void> {
  const failures: unknown[] = []
  for (const one of condemned) {
    try {
      // As it stands when its turn has come.
      const end = () => run(endKey(options, one, state.standing.is === 'stored'))
      yield* wait(lanes.alone(one.key, end))
      const others = state.condemned.filter((other) => other !== one)
      state.condemned = others.length > 0 ? others : NONE
      if (state.standing.is === 'new') state.owed ??= 'delete'
    } catch (error) {
      // The others must die all the same.
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
  acknowledge(state)
}

/** Does what the plan says. */
function perform(writer: Writer, turn: Turn): Awaitable<void> {
  const { options, lanes } = writer
  const { plan, standing } = turn
  if (plan.to === 'create' || standing.is !== 'stored') return run(create(options, turn))
  const { key } = standing
  if (options.store.traits?.stateless) return issue(options, turn, key)
  if (plan.to === 'renew') return run(renew(options, turn, key))
  if (plan.to === 'move' || (plan.to === 'end' && turn.cycled)) {
    return lanes.alone(key, (lane) => run(move(options, turn, key, lane)))
  }
  return conclude(
    () => save(writer, turn, key),
    ({ kept: stored, content }) => (stored ? adopt(turn, key, stored, content) : dismiss(turn)),
    (error) => {
      // Of a request that only looked nothing is lost: what was flashed to it has gone with the session.
      const isGone = error instanceof SessionGoneError && turn.modified === undefined
      if (!isGone || !turn.snapshot.isIncidental) throw error
    },
  )
}

/**
 * In its lane too, a synchronous store is written in this very turn, unless it has to wait for a lock: then those that come meanwhile go
 * together, and do not refuse each other one by one. Who rejects conflicts must not be merged with others, and what is emptied must be
 * gone before others come.
 */
function save({ options, lanes }: Writer, turn: Turn, key: string): Awaitable<Outcome> {
  const isRejecting = options.concurrency === 'reject'
  if (!isRejecting && turn.plan.to !== 'end' && !turn.state.unsure) return lanes.together(key, turn)
  const alone = () => saveTogether(options, key, [turn], { newest: undefined })
  return isRejecting && options.store.traits?.sync ? alone() : lanes.alone(key, alone)
}

function* create(options: WriterOptions, turn: Turn): Steps<void> {
  const { state, snapshot, content } = turn
  const record = recordOf(options, content, snapshot.base)
  // The keys that a login replaces have ended already, or been retired: nobody may believe a copy of them.
  if (turn.cycled) {
    for (const key of state.goneKeys) yield* wait(options.store.load(key, true))
    state.goneKeys = NO_KEYS
  }
  const key = yield* createRecord(options, turn, record, content)
  adopt(turn, key, kept(record, content), content)
}

/** Of a stateless store each record is a new one, that the client must be given. */
function issue(options: WriterOptions, turn: Turn, token: string): Awaitable<void> {
  const { state, snapshot, content, plan } = turn
  if (plan.to === 'end') return dismiss(turn)
  if (plan.to === 'renew' && state.sent) return
  if (state.sent) throw headersSent()
  const record = recordOf(options, content, snapshot.base)
  const { store } = options
  return after(
    plan.to === 'renew' ? store.touch(token, record.expiresAt) : store.save(token, record),
    (key) => {
      options.assertSendable(state, { ...content, key })
      adopt(turn, key, kept(record, content), content)
    },
  )
}

/**
 * Renews an unchanged session. Where another request has renewed it for less long, this one goes on from there; where it has
 * changed it or given it another end, or ended it, that stands, and nothing of this request's is lost.
 */
function* renew({ store }: WriterOptions, turn: Turn, key: string): Steps<void> {
  const { snapshot, content } = turn
  const base = snapshot.base!
  let { expiresAt: from } = base
  for (let tries = 1; ; tries++) {
    try {
      yield* wait(store.touch(key, content.expiresAt, from))
      return renewed(turn, key, { ...base, expiresAt: content.expiresAt }, content)
    } catch (error) {
      if (error instanceof SessionGoneError) return giveBack(turn)
      if (!(error instanceof SessionConflictError)) throw error
      const newest = tries < MOST_RENEWALS ? yield* loadIfThere(store, key) : undefined
      if (newest?.data !== base.stored) return giveBack(turn)
      const isRenewed = newest.expiresAt > from && newest.expiresAt < content.expiresAt
      if (!isRenewed) return giveBack(turn)
      from = newest.expiresAt
    }
  }
}

/** A renewal that was refused is worth no error. */
function* loadIfThere(store: SessionStore, key: string): Steps<SessionRecord | undefined> {
  try {
    return yield* wait(store.load(key))
  } catch {
    return undefined
  }
}

/** So often a renewal is tried: it meets others of the same kind, and each is nearly as good. */
const MOST_RENEWALS = 3

/** Whether an error is that of what one request wanted to store, and not of the store or of others. */
function isOwnFault(error: unknown): boolean {
  if (error instanceof SessionGoneError || error instanceof SessionConflictError) return false
  return error instanceof NotTogether || isRefusal(error)
}

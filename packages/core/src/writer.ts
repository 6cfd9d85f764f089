// Carries plans out: the only part that calls the store to write. Every write is conditional on what it started from.
import { isPromise, run, wait, type Awaitable, type Steps } from './awaitable.ts'
import { found, kept, recordOf, type ContentOptions } from './content.ts'
import { createRecord, type CreateOptions } from './create.ts'
import { endKey } from './end.ts'
import { headersSent, SessionConflictError, SessionGoneError, SessionStoreError } from './errors.ts'
import { Lanes } from './lanes.ts'
import { isRepeatable } from './merge.ts'
import { move } from './move.ts'
import type { PlanOptions } from './plan.ts'
import { saveTogether, type Outcome } from './save.ts'
import { NONE, type Doubt, type SessionState } from './standing.ts'
import type { SessionRecord } from './store.ts'
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
  if (plan.to !== 'leave' && plan.to !== 'refuse') return run(carryOut(writer, turn))
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
  const record = yield* wait(options.store.load(key))
  if (!isFlushed(state, draft)) {
    state.doubt = undefined
    if (record && isOurs(options, doubt, record)) {
      adopt({ state, draft, standing, snapshot }, key, found(options, record), {
        browserLength,
      })
    } else draft.restore(snapshot)
  }
  const written = write(writer, state)
  if (isPromise(written)) yield written
}

/**
 * Whether a record is what a write in doubt wanted to store. Another request may have stored the same text; where that makes
 * a difference, its end tells.
 */
function isOurs({ store }: WriterOptions, doubt: Doubt, record: SessionRecord): boolean {
  if (record.data !== doubt.stored) return false
  const grain = store.traits?.wholeSeconds ? 1000 : 1
  return (
    isRepeatable(doubt.snapshot.changes) || Math.abs(record.expiresAt - doubt.expiresAt) < grain
  )
}

function* carryOut(writer: Writer, turn: Turn): Steps<void> {
  try {
    assertSendable(writer.options, turn)
    yield* stepsOf(writer, turn)
  } catch (error) {
    giveBack(turn)
    throw error
  }
  if (turn.condemned !== NONE) yield* endCondemned(writer, turn)
  else acknowledge(turn.state)
}

function* endCondemned({ options, lanes }: Writer, { state, condemned }: Turn): Steps<void> {
  for (const one of condemned) {
    yield* lanes.alone(one.key, () => endKey(options, one, state.standing.is === 'stored'))
    const others = state.condemned.filter((other) => other !== one)
    state.condemned = others.length > 0 ? others : NONE
    if (state.standing.is === 'new') state.owed ??= 'delete'
  }
  acknowledge(state)
}

/** What the plan says, as steps to carry out. */
function stepsOf(writer: Writer, turn: Turn): Steps<void> {
  const { options, lanes } = writer
  const { plan, standing } = turn
  if (plan.to === 'create' || standing.is !== 'stored') return create(options, turn)
  if (options.store.traits?.stateless) return issue(options, turn, standing.key)
  const { key } = standing
  if (plan.to === 'renew') return renew(options, turn, key)
  if (plan.to === 'move') return lanes.alone(key, (lane) => move(options, turn, key, lane))
  return save(writer, turn, key)
}

function* save({ options, lanes }: Writer, turn: Turn, key: string): Steps<void> {
  // A synchronous store is written in this very turn. Who rejects conflicts must not be merged with others, and what is
  // emptied must be gone before others come.
  const alone = () => saveTogether(options, key, [turn], { newest: undefined })
  const outcome = options.store.traits?.sync
    ? yield* alone()
    : options.concurrency === 'reject' || turn.plan.to === 'end'
      ? yield* lanes.alone(key, alone)
      : yield* lanes.together(key, turn)
  if (outcome.kept) adopt(turn, key, outcome.kept, outcome.content)
  else dismiss(turn)
}

function* create(options: WriterOptions, turn: Turn): Steps<void> {
  const { snapshot, content } = turn
  const record = recordOf(options, content, snapshot.base)
  const key = yield* createRecord(options, turn, record, content)
  adopt(turn, key, kept(record, content), content)
}

/** Of a stateless store each record is a new one, that the client must be given. */
function* issue(options: WriterOptions, turn: Turn, token: string): Steps<void> {
  const { state, snapshot, content, plan } = turn
  if (plan.to === 'end') return dismiss(turn)
  if (plan.to === 'renew' && state.sent) return
  if (state.sent) throw headersSent()
  const record = recordOf(options, content, snapshot.base)
  const { store } = options
  const key = yield* wait(
    plan.to === 'renew' ? store.touch(token, record.expiresAt) : store.save(token, record),
  )
  options.assertSendable(state, { ...content, key })
  adopt(turn, key, kept(record, content), content)
}

/** Renews an unchanged session. Nothing of the request's is lost where another one was faster, or has ended it. */
function* renew({ store }: WriterOptions, turn: Turn, key: string): Steps<void> {
  const { snapshot, content } = turn
  const base = snapshot.base!
  try {
    yield* wait(store.touch(key, content.expiresAt, base.expiresAt))
  } catch (error) {
    if (error instanceof SessionGoneError || error instanceof SessionConflictError) return
    throw error
  }
  renewed(turn, key, { ...base, expiresAt: content.expiresAt }, content)
}

/** Whether an error is that of what one request wanted to store, and not of the store or of others. */
function isOwnFault(error: unknown): boolean {
  return !(
    error instanceof SessionGoneError ||
    error instanceof SessionConflictError ||
    error instanceof SessionStoreError
  )
}

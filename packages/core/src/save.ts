// Saves a session, alone or together with others of its key: compare-and-swap, and on a conflict a merge and another try.
import { run, conclude, wait, type Awaitable, type Steps } from './awaitable.ts'
import { contentOnto, found, kept, recordOf, type Content, type ContentOptions } from './content.ts'
import type { Kept } from './snapshot.ts'
import { ENDED, MAX_CONFLICTS, removeEmptied, type EndOptions } from './end.ts'
import { isRefusal, SessionConflictError, SessionGoneError, SessionStoreError } from './errors.ts'
import { byUpdate, reportClash, reportConflict } from './events.ts'
import type { Lane } from './lanes.ts'
import { isRetired } from './standing.ts'
import type { SessionRecord } from './store.ts'
import { isFlushed, type Turn } from './turn.ts'

/** What is stored now; no `kept` for a session that was removed. */
export interface Outcome {
  readonly kept: Kept | undefined
  readonly content: Content
}

/** What several requests of one key store together. */
interface Saving {
  readonly options: ContentOptions & EndOptions
  readonly key: string
  readonly turns: readonly Turn[]
  readonly lane: Lane
}

/** What was made for the store, and of what. */
interface Made {
  readonly newest: Kept
  readonly content: Content
  readonly record: SessionRecord
}

/** Brings what the store has under a key to what these requests made of it: one write for all. */
export function saveTogether(
  options: ContentOptions & EndOptions,
  key: string,
  turns: readonly Turn[],
  lane: Lane,
): Awaitable<Outcome> {
  const saving = { options, key, turns, lane }
  const made = make(saving, lane.newest ?? turns[0]!.snapshot.base!)
  return conclude(
    () => write(saving, made),
    () => outcomeOf(saving, made),
    (error) => run(tryAgain(saving, made, error)),
  )
}

function write({ options, key, turns }: Saving, { newest, content, record }: Made) {
  const { store } = options
  if (content.over) return run(removeEmptied(options, key, newest.stored, turns[0]!.standing))
  const isOnlyRenewed = turns.every(({ snapshot }) => !snapshot.isChanged)
  return isOnlyRenewed
    ? store.touch(key, record.expiresAt, newest.expiresAt)
    : store.save(key, record, newest.stored)
}

function outcomeOf({ lane }: Saving, { content, record }: Made): Outcome {
  lane.newest = content.over ? undefined : kept(record, content)
  for (const clash of content.clashes) reportClash(clash, byUpdate)
  return { kept: lane.newest, content }
}

/** On a conflict the same is done to what is there now. */
function* tryAgain(saving: Saving, failed: Made, failure: unknown): Steps<Outcome> {
  const { options, key, turns, lane } = saving
  let [made, error] = [failed, failure]
  for (let conflicts = 0; ;) {
    lane.newest = undefined
    const { newest: before, record } = made
    // What leaves the data as it is can be done again without a look.
    const unsure = record.data === before.stored ? [] : turns
    if (!isRefusal(error)) inDoubt(key, unsure, record)
    if (!(error instanceof SessionConflictError) || ++conflicts > MAX_CONFLICTS) throw error
    if (turns.some(({ state }) => state.unsure)) throw cannotBeTold()
    const newest = yield* reload(options, key)
    if (options.concurrency === 'reject' && newest.stored !== before.stored) throw error
    reportConflict(conflicts)
    made = make(saving, newest)
    try {
      yield* wait(write(saving, made))
      return outcomeOf(saving, made)
    } catch (again) {
      error = again
    }
  }
}

/** What several requests want to store cannot be stored together: one of them may be the reason. */
export class NotTogether extends Error {}

/** @throws What encoding, a limit, a strategy or an `update` function throws; of several requests NotTogether. */
function make({ options, turns }: Saving, newest: Kept): Made {
  try {
    const content = contentOnto(options, turns, newest)
    const record = content.over ? ENDED : recordOf(options, content, newest)
    return { newest, content, record }
  } catch (error) {
    throw turns.length > 1 ? new NotTogether('', { cause: error }) : error
  }
}

/** The write may have been made, or may yet be: it is looked for before these sessions are written again. */
function inDoubt(
  key: string,
  turns: readonly Turn[],
  { data: stored, expiresAt }: SessionRecord,
): void {
  for (const { state, draft, snapshot, standing, content } of turns) {
    if (isFlushed(state, draft) || stored === ENDED.data) continue
    const { browserLength } = content
    const hasPassed = standing.is === 'stored' && state.manager.now() > standing.since
    const endStays = hasPassed && snapshot.base?.expiresAt === expiresAt
    state.doubt = { key, stored, expiresAt, endStays, snapshot, browserLength }
  }
}

function* reload(options: ContentOptions & EndOptions, key: string): Steps<Kept> {
  const record = yield* wait(options.store.load(key, true))
  if (!record || isRetired(record)) throw new SessionGoneError()
  return found(options, record)
}

/** What must not be made twice must not be dropped either: where it cannot be told, it is left as it is. */
export function cannotBeTold(): SessionStoreError {
  return new SessionStoreError(
    "A save's answer was lost, and another request has saved since: whether this request's changes are in that cannot be told, so they are not made again.",
  )
}

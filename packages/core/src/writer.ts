// Carries plans out: the only part that calls the store to write. Every write is conditional on what it started from.
import { Buffer } from 'node:buffer'
import { isPromise, run, wait, type Awaitable, type Steps } from './awaitable.ts'
import type { Codec, Dictionary } from './codec.ts'
import { createdIn, isEmptyData, type Draft, type Kept, type Snapshot } from './draft.ts'
import {
  KeyExistsError,
  SessionConflictError,
  SessionEncodeError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionTooLargeError,
  SessionUsageError,
} from './errors.ts'
import { reportConflict } from './events.ts'
import { endsWithBrowser, expiresAt, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import { createKey } from './key.ts'
import { createLanes, type Lane } from './lanes.ts'
import { createMover } from './move.ts'
import { plan, unreadable, type Plan, type PlanOptions } from './plan.ts'
import {
  condemnKey,
  isRetired,
  NEW,
  NONE,
  type Condemned,
  type SessionState,
  type Standing,
  type Told,
} from './standing.ts'
import { RETIRED, type SessionRecord, type SessionStore } from './store.ts'

/** The manager's options, as far as writing needs them. */
export interface WriterOptions extends PlanOptions {
  readonly store: SessionStore
  readonly codec: Codec
  readonly settings: ExpirySettings
  readonly concurrency: 'merge' | 'overwrite' | 'reject'
  readonly maxBytes: number
  readonly now: () => number
  /** Throws if the client could not be given this key in a cookie. */
  readonly assertSendable: (state: SessionState, told: Told) => void
}

/** A request that the browser sent before it had the new cookie arrives within this time, in ms. */
const RETIRED_FOR = 60_000

/** A record that ends at once: to save it is to delete, but only while the data is what is expected. */
const ENDED: SessionRecord = { data: RETIRED, expiresAt: 0 }

/**
 * A conflict means that another process was faster, and each has one write of a key under way: to lose so often in a row
 * means that the store's comparison never holds.
 */
export const MAX_CONFLICTS = 1000

/** One write of one session: what it was asked to do, when it was asked. */
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

/** What is to be stored. */
export interface Content {
  readonly text: string
  /** When it ends, in ms since the epoch. */
  readonly expiresAt: number
  readonly browserLength: boolean
  /** Whether there is nothing to keep: it is empty, or ends at once. */
  readonly over: boolean
}

/** What is stored now, and what of it; no `kept` for a session that was removed. */
interface Outcome {
  readonly kept: Kept | undefined
  readonly content: Content
}

/** What the writer and the mover share. */
export interface Pen {
  readonly options: WriterOptions
  /** The newest data with a request's changes. */
  contentOnto(turns: readonly Turn[], newest: Kept | undefined): Content
  record(content: Content, base: Kept | undefined): SessionRecord
  /** Creates a record under a new key, and resolves to that. */
  create(
    state: SessionState,
    record: SessionRecord,
    browserLength: boolean,
    onDoubt: (key: string) => void,
  ): Steps<string>
  keep(record: SessionRecord): Kept
  retired(): SessionRecord
  /** The session has this record: or, if it was flushed meanwhile, one more key must die. */
  adopt(turn: Turn, key: string, kept: Kept, content: Content): void
}

/** Makes the function that writes a session as it is now. */
export function createWriter(options: WriterOptions): (state: SessionState) => Awaitable<void> {
  const { store, codec, settings, concurrency, maxBytes, saveEveryRequest, now } = options
  const { stateless = false, sync = false } = store.traits ?? {}
  const lanes = createLanes(saveTogether, isOwnFault)
  const move = createMover({ options, contentOnto, record, create, keep, retired, adopt })

  return (state) => {
    if (!state.accessed && !(saveEveryRequest && state.standing.is === 'stored')) return
    if (state.doubt) return run(writeAfterDoubt(state))
    if (saveEveryRequest || !isUntouched(state)) return writeNow(state)
  }

  function writeNow(state: SessionState): Awaitable<void> {
    const turn = take(state)
    const { plan, condemned } = turn
    if (plan.to !== 'leave' && plan.to !== 'refuse') return run(carryOut(turn))
    giveBack(turn)
    if (plan.to === 'refuse') throw plan.error
    if (condemned !== NONE) return run(endCondemned(turn))
  }

  /** Whether there is nothing to plan: the request only looked. */
  function isUntouched(state: SessionState): boolean {
    const { draft, cycled, modified, condemned, tookUnknown } = state
    return (
      draft.isUntouched && !cycled && !tookUnknown && modified === undefined && condemned === NONE
    )
  }

  /** A write whose answer was lost is looked for first. */
  function* writeAfterDoubt(state: SessionState): Steps<void> {
    const { key, stored, snapshot } = state.doubt!
    const { draft } = state
    const found = yield* wait(store.load(key))
    if (state.draft === draft) {
      state.doubt = undefined
      if (found?.data === stored) {
        draft.saved(snapshot, keep(found))
        stand(state, key, found.expiresAt, endsWithBrowser(draft.get(EXPIRY_KEY), settings))
      } else draft.restore(snapshot)
    }
    const written = writeNow(state)
    if (isPromise(written)) yield written
  }

  /** What this write is asked to do. What the handler does from here on belongs to the next one. */
  function take(state: SessionState): Turn {
    const { draft, standing, cycled, modified, condemned, tookUnknown } = state
    const time = now()
    const snapshot = draft.take(
      state.accessed,
      settings.absoluteMaxAge === undefined ? undefined : time,
    )
    const expiry = draft.get(EXPIRY_KEY)
    const end = expiresAt(expiry, settings, draft.created, time)
    const empty = draft.isEmpty
    const situation = {
      standing,
      empty,
      modified: modified ?? (snapshot.isChanged || cycled),
      cycled,
      tookUnknown,
      condemned,
      expiresAt: end,
    }
    state.cycled = false
    state.modified = undefined
    return {
      state,
      draft,
      snapshot,
      standing,
      plan: plan(situation, options, time),
      condemned,
      cycled,
      modified,
      content: {
        text: snapshot.text,
        expiresAt: end,
        browserLength: endsWithBrowser(expiry, settings),
        over: empty || end <= time,
      },
    }
  }

  /** What was asked is not done: the next write is asked for it again. */
  function giveBack({ state, draft, snapshot, cycled, modified }: Turn): void {
    if (state.draft !== draft) return
    if (state.doubt?.snapshot !== snapshot) draft.restore(snapshot)
    state.cycled ||= cycled
    state.modified ??= modified
  }

  function* carryOut(turn: Turn): Steps<void> {
    try {
      yield* write(turn)
    } catch (error) {
      giveBack(turn)
      throw error
    }
    if (turn.condemned !== NONE) yield* endCondemned(turn)
    else acknowledge(turn.state)
  }

  function* endCondemned({ state, condemned }: Turn): Steps<void> {
    for (const one of condemned) {
      yield* lanes.alone(one.key, () => end(one, state.standing.is === 'stored'))
      const others = state.condemned.filter((other) => other !== one)
      state.condemned = others.length > 0 ? others : NONE
      if (state.standing.is === 'new') state.owed ??= 'delete'
    }
    acknowledge(state)
  }

  /** The client is told only now: nothing is acknowledged while a key that must die is alive. */
  function acknowledge(state: SessionState): void {
    state.untold = state.owed ?? state.untold
    state.owed = undefined
  }

  /** What the plan says, as steps to carry out. */
  function write(turn: Turn): Steps<void> {
    const { plan, standing } = turn
    if (plan.to === 'create' || standing.is !== 'stored') return issue(turn)
    if (stateless) return issue(turn)
    const { key } = standing
    if (plan.to === 'renew') return renew(turn, key)
    if (plan.to === 'move') return lanes.alone(key, (lane) => move(turn, key, lane))
    return save(turn, key)
  }

  function* save(turn: Turn, key: string): Steps<void> {
    const { state, snapshot } = turn
    const { kept, content } = sync
      ? yield* saveTogether(key, [turn], { newest: undefined })
      : concurrency === 'reject'
        ? yield* lanes.alone(key, () => saveTogether(key, [turn], { newest: undefined }))
        : yield* lanes.together(key, turn)
    if (kept) return adopt(turn, key, kept, content)
    if (state.draft !== turn.draft) return
    turn.draft.saved(snapshot, undefined)
    state.standing = NEW
    state.owed = 'delete'
  }

  /** A new record; of a stateless store, whatever the session needs: each of its records is a new one. */
  function* issue(turn: Turn): Steps<void> {
    const { state, standing, snapshot, content, plan } = turn
    if (plan.to === 'renew' && state.sent) return
    if (plan.to === 'end') {
      turn.draft.saved(snapshot, undefined)
      state.standing = NEW
      state.owed = 'delete'
      return
    }
    if (state.sent) throw headersSent()
    const made = record(content, snapshot.base)
    let key
    if (standing.is === 'stored') {
      key = yield* wait(
        plan.to === 'renew'
          ? store.touch(standing.key, content.expiresAt)
          : store.save(standing.key, made),
      )
      options.assertSendable(state, { ...content, key })
    } else {
      key = yield* create(state, made, content.browserLength, (doubted) => {
        if (state.draft === turn.draft) state.doubt = { key: doubted, stored: made.data, snapshot }
        else condemnKey(state, doubted, made.data)
      })
    }
    adopt(turn, key, kept(made, content), content)
  }

  /** Creates under a new key; in the one case of 10^49 that it is taken, under another. */
  function* create(
    state: SessionState,
    made: SessionRecord,
    browserLength: boolean,
    onDoubt: (key: string) => void,
  ): Steps<string> {
    if (state.sent) throw headersSent()
    const { expiresAt } = made
    for (let tries = 3; ; tries--) {
      const key = createKey()
      if (!stateless) options.assertSendable(state, { key, expiresAt, browserLength })
      try {
        const given = yield* wait(store.create(key, made))
        if (stateless) options.assertSendable(state, { key: given, expiresAt, browserLength })
        return given
      } catch (error) {
        if (error instanceof KeyExistsError && tries > 1) continue
        if (!isRefusal(error) && !stateless) onDoubt(key)
        throw error
      }
    }
  }

  /** Brings what the store has under a key to what these requests made of it: one write for all. */
  function* saveTogether(key: string, turns: readonly Turn[], lane: Lane): Steps<Outcome> {
    let newest = lane.newest ?? turns[0]!.snapshot.base!
    for (let conflicts = 0; ;) {
      const content = contentOnto(turns, newest)
      const made = content.over ? ENDED : record(content, newest)
      try {
        const answer = content.over
          ? run(remove(key, newest.stored, turns[0]!.standing))
          : made.data === newest.stored
            ? store.touch(key, made.expiresAt, newest.expiresAt)
            : store.save(key, made, newest.stored)
        if (isPromise(answer)) yield answer
        lane.newest = content.over ? undefined : kept(made, content)
        return { kept: lane.newest, content }
      } catch (error) {
        lane.newest = undefined
        if (!isRefusal(error)) throw inDoubt(key, turns, made, error)
        if (!(error instanceof SessionConflictError) || ++conflicts > MAX_CONFLICTS) throw error
        const before = newest
        newest = yield* reload(key)
        if (concurrency === 'reject' && newest.stored !== before.stored) throw error
        reportConflict(conflicts)
      }
    }
  }

  /** The write may have been made, or may yet be: it is looked for before these sessions are written again. */
  function inDoubt(
    key: string,
    turns: readonly Turn[],
    { data }: SessionRecord,
    error: unknown,
  ): SessionError {
    for (const { state, draft, snapshot } of turns) {
      if (state.draft === draft && data !== RETIRED) state.doubt = { key, stored: data, snapshot }
    }
    if (error instanceof SessionError) return error
    return new SessionStoreError('The store failed to save a session.', error)
  }

  /** Removes a session that was emptied, while nobody else has put something into it. */
  function* remove(key: string, stored: string, standing: Standing): Steps<void> {
    try {
      yield* wait(store.save(key, ENDED, stored))
    } catch (error) {
      if (!(error instanceof SessionGoneError)) throw error
      const found = yield* wait(store.load(key))
      if (found && !isRetired(found)) throw new SessionConflictError()
      if (found || !isRecent('since' in standing ? standing.since : 0)) throw error
    }
  }

  /** A retired key stands for a minute: what is missing after that may live on under another. */
  function isRecent(since: number): boolean {
    return now() - since < RETIRED_FOR
  }

  function* reload(key: string): Steps<Kept> {
    const found = yield* wait(store.load(key))
    if (!found || isRetired(found)) throw new SessionGoneError()
    return keep(found)
  }

  /** Renews an unchanged session. Nothing of the request's is lost where another one was faster, or has ended it. */
  function* renew(turn: Turn, key: string): Steps<void> {
    const { snapshot, content } = turn
    const base = snapshot.base!
    try {
      yield* wait(store.touch(key, content.expiresAt, base.expiresAt))
    } catch (error) {
      if (error instanceof SessionGoneError || error instanceof SessionConflictError) return
      throw error
    }
    adopt(turn, key, { ...base, expiresAt: content.expiresAt }, content)
  }

  /**
   * Ends a session, whatever others have made of it: the key is dead when this returns. Where another session takes its
   * place the key is retired, so that a late request with it is told from a stranger's.
   */
  function* end(one: Condemned, replaced: boolean): Steps<void> {
    const { key, refusal, since, mayBeRetired } = one
    if (refusal || stateless) return
    let expected = one.stored
    for (let conflicts = 0; ;) {
      try {
        yield* wait(store.save(key, replaced ? retired() : ENDED, expected))
        return
      } catch (error) {
        const known = error instanceof SessionGoneError || error instanceof SessionConflictError
        if (!known || ++conflicts > MAX_CONFLICTS) throw error
      }
      const found = yield* wait(store.load(key))
      if (!found || isRetired(found)) {
        if (found ? replaced || mayBeRetired : isRecent(since)) return
        throw new SessionGoneError()
      }
      expected = found.data
    }
  }

  /** What is to be stored if several requests' changes are put, one after the other, onto the newest data. */
  function contentOnto(turns: readonly Turn[], newest: Kept | undefined): Content {
    const last = turns.at(-1)!
    const isFirst = turns.length === 1 && last.snapshot.base?.stored === newest?.stored
    if (isFirst || (concurrency === 'overwrite' && newest)) return last.content
    let data: Dictionary = newest ? decode(newest.text) : {}
    for (const { snapshot } of turns) data = snapshot.onto(data)
    const expiry = Object.hasOwn(data, EXPIRY_KEY) ? data[EXPIRY_KEY] : undefined
    const time = now()
    const end = expiresAt(expiry, settings, createdIn(data), time)
    return {
      text: codec.encode(data, Object.keys(data)),
      expiresAt: end,
      browserLength: endsWithBrowser(expiry, settings),
      over: isEmptyData(data) || end <= time,
    }
  }

  function record({ text, expiresAt }: Content, base: Kept | undefined): SessionRecord {
    if (text === base?.text) return { data: base.stored, expiresAt }
    const data = codec.seal ? codec.seal(text) : text
    if (data.length * 3 > maxBytes) {
      const bytes = Buffer.byteLength(data)
      const advice = 'Keep less in the session, or raise maxBytes.'
      if (bytes > maxBytes)
        throw new SessionTooLargeError("The session's data", bytes, maxBytes, advice)
    }
    return { data, expiresAt }
  }

  function decode(text: string): Dictionary {
    try {
      return codec.decode(text)
    } catch (error) {
      throw unreadable(error)
    }
  }

  function keep({ data, expiresAt }: SessionRecord): Kept {
    try {
      return { stored: data, text: codec.open ? codec.open(data) : data, expiresAt }
    } catch (error) {
      throw unreadable(error)
    }
  }

  function retired(): SessionRecord {
    return { data: RETIRED, expiresAt: now() + RETIRED_FOR }
  }

  function adopt(turn: Turn, key: string, kept: Kept, content: Content): void {
    const { state, draft, standing } = turn
    if (state.draft === draft) draft.saved(turn.snapshot, kept)
    else {
      // Flushed meanwhile: what has just been stored must die instead of what it was before.
      const before = 'key' in standing ? standing.key : undefined
      state.condemned = state.condemned.filter((one) => one.key !== before)
      condemnKey(state, key, kept.stored)
    }
    stand(state, key, kept.expiresAt, content.browserLength, state.draft === draft)
  }

  function stand(
    state: SessionState,
    key: string,
    end: number,
    browserLength: boolean,
    isHere = true,
  ): void {
    if (isHere) state.standing = { is: 'stored', key, expiresAt: end, since: now() }
    state.owed = { key, expiresAt: end, browserLength }
  }
}

/** Whether a store says that it has not done what it was asked. Any other error leaves open whether it has. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof SessionGoneError ||
    error instanceof SessionConflictError ||
    error instanceof KeyExistsError ||
    error instanceof SessionTooLargeError ||
    error instanceof SessionEncodeError ||
    error instanceof SessionUsageError
  )
}

/** Whether an error is that of what one request wanted to store, and not of the store or of others. */
function isOwnFault(error: unknown): boolean {
  return !(
    error instanceof SessionGoneError ||
    error instanceof SessionConflictError ||
    error instanceof SessionStoreError
  )
}

/** What was just stored. */
function kept({ data, expiresAt }: SessionRecord, { text }: Content): Kept {
  return { stored: data, text, expiresAt }
}

export function headersSent(): SessionUsageError {
  return new SessionUsageError(
    "The response's headers are out, so the client cannot be given the cookie that this save needs. Save a new session, or a new key, before the response starts.",
    'ERR_SESSION_HEADERS_SENT',
  )
}

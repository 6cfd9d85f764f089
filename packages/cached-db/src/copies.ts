// What becomes of the copy of a record that stands in the cache, as the record is read, changed and ended in the database.
import {
  createKey,
  isSessionKey,
  RETIRED,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import type { Ask } from './cache.ts'

/** What the protocol of the copies needs. */
export interface CopiesOptions {
  readonly cache: SessionStore
  readonly ask: Ask
  readonly db: SessionStore
  /** How long a copy is believed after the database has confirmed it, in ms. */
  readonly freshFor: number
  /** The clock, in ms since the Unix epoch. */
  readonly now: () => number
  /** Resolves after so many ms. */
  readonly wait: (ms: number) => Promise<unknown>
  /** What goes on when a call has been answered. */
  readonly goesOn: (work: Promise<unknown>) => void
}

/** A record as the database had it, and when the call began that told it, in ms since the epoch. */
interface Copy {
  readonly record: SessionRecord
  readonly confirmed: number
}

/** A copy that is to stand in the place of a reservation. */
interface Reserved extends Copy {
  readonly reservation: string
}

const RESERVATION = 'reserved:'

/** While an end waits for the cache, it tries it so often, in ms. */
const TRY_EVERY = 250

/** That an end had to wait is remembered for so long, in ms: those who ask for the same end come soon after it. */
const REMEMBER_FOR = 60_000

/**
 * For a key the cache has nothing, a copy or a reservation. A copy gets there in one way: it takes the place of the reservation
 * that was put there before the database was asked. So what was asked before another's change or end, and arrives after it,
 * finds its reservation gone.
 *
 * | In the cache | A load | A change | An end |
 * | --- | --- | --- | --- |
 * | nothing, or a copy that is not fresh | asks the database, and puts a copy there | puts a copy there | |
 * | a fresh copy | is answered by it | puts another one there | removes it |
 * | another's reservation | asks the database | takes its place | removes it |
 * | (it is away) | asks the database | is done, and seen by others within `freshFor` | waits until no copy is fresh |
 */
export function createCopies({ cache, ask, db, freshFor, now, wait, goesOn }: CopiesOptions) {
  /** The cache was not told of a change at this moment: what was confirmed before is not believed by this process. */
  let untold = -Infinity
  /** Keys that are dead, and when no copy of them is fresh any more: they stay dead, so whoever finds that waits for no more. */
  const dead = new Map<string, { readonly since: number; readonly outlasted: Promise<void> }>()

  /** A clock that is far from another's makes copies that are not fresh. */
  const isFresh = ({ record, confirmed }: Copy, time = now()) =>
    confirmed > untold && Math.abs(time - confirmed) < freshFor && record.expiresAt > time

  /** What no copy may outlive: where a fresh one may be older than that. */
  const isEnd = (expiresAt: number, data?: string) =>
    data === RETIRED || expiresAt <= now() + freshFor

  const reservationOf = () => ({
    data: RESERVATION + createKey(),
    expiresAt: Math.floor(now()) + freshFor,
  })

  /** Puts a reservation there, in the place of whatever there is, or of nothing only. */
  async function reserve(key: string, place: 'any' | 'empty'): Promise<string | undefined> {
    const reservation = reservationOf()
    const placed =
      (place === 'any' && (await ask(() => cache.save(key, reservation)))) ||
      (await ask(() => cache.create(key, reservation)))
    return placed && reservation.data
  }

  const fill = (key: string, { reservation, ...copy }: Reserved) =>
    ask(() => cache.save(key, toEntry(copy, freshFor), reservation))

  /** Takes an own reservation away, if it is still there: a save of what has ended. */
  const giveUp = (key: string, reservation: string) =>
    ask(() => cache.save(key, { data: reservation, expiresAt: 0 }, reservation))

  const remove = (key: string, insist: 'if quick' | 'always') =>
    ask(() => cache.delete(key), insist)

  /** Takes the copy away of what was changed, if the cache can be reached. */
  async function forget(key: string): Promise<void> {
    if (!(await remove(key, 'if quick'))) untold = now()
  }

  /** Takes the copy away of what ends, or waits until no copy is fresh any more: then nobody believes one. */
  async function settle(key: string, isDead: boolean): Promise<void> {
    if (await remove(key, 'always')) return
    untold = now()
    const outlasted = outlast(key)
    if (isDead) noteDead(key, outlasted)
    await outlasted
  }

  async function outlast(key: string): Promise<void> {
    const copy = { isRemoved: false }
    const tryAgain = async () => {
      if (await remove(key, 'always')) copy.isRemoved = true
    }
    // Once more than `freshFor` takes, as timers may be early.
    for (let waited = 0; waited <= freshFor && !copy.isRemoved; waited += TRY_EVERY) {
      await wait(TRY_EVERY)
      goesOn(tryAgain())
    }
  }

  function noteDead(key: string, outlasted: Promise<void>): void {
    const since = now()
    for (const [old, one] of dead) {
      if (since - one.since < REMEMBER_FOR) break
      dead.delete(old)
    }
    dead.set(key, { since, outlasted })
  }

  /** Writes to the database, and then to the cache, `reserved` or nothing. */
  async function write<T>(
    key: string,
    inDb: () => Awaitable<T>,
    {
      reserved,
      // Asked afterwards: a call that takes long brings the end nearer.
      ends = () => false,
      isDead = false,
    }: { reserved?: Reserved | undefined; ends?: () => boolean; isDead?: boolean },
  ): Promise<T> {
    try {
      const answer = await inDb()
      if (reserved && (await fill(key, reserved))) return answer
      if (ends()) await settle(key, isDead)
      else await forget(key)
      return answer
    } catch (error) {
      // What this request knew is out of date, or nobody knows: it will look.
      await forget(key)
      throw error
    }
  }

  /** What the database says to have ended is acknowledged for that, so nobody may believe a copy of it. */
  async function loadLatest(key: string): Promise<SessionRecord | undefined> {
    const record = await db.load(key, true)
    const isDead = !record || record.data === RETIRED
    if (isDead) await (dead.get(key)?.outlasted ?? settle(key, true))
    else if (isEnd(record.expiresAt)) await settle(key, false)
    return record
  }

  /** A record that is about to be stored, with its place reserved. */
  async function reserveFor(key: string, record: SessionRecord, place: 'any' | 'empty') {
    const reservation = await reserve(key, place)
    return reservation === undefined ? undefined : { reservation, record, confirmed: now() }
  }

  /**
   * The copy with another end, in its place a reservation: if it is the one that the touch starts from. The database does not
   * confirm its data, so it stays as old as it is.
   */
  async function reserveTouched(
    key: string,
    expiresAt: number,
    from: number | undefined,
  ): Promise<Reserved | undefined> {
    const seen = await ask(() => cache.load(key))
    const copy = seen?.answer && toCopy(seen.answer)
    if (!copy || !isFresh(copy) || copy.record.expiresAt !== from) return undefined
    const reservation = reservationOf()
    const placed = await ask(() => cache.save(key, reservation, seen!.answer!.data))
    const record = { data: copy.record.data, expiresAt }
    return placed && { reservation: reservation.data, record, confirmed: copy.confirmed }
  }

  return {
    async load(key: string, latest = false): Promise<SessionRecord | undefined> {
      if (latest) return loadLatest(key)
      const seen = await ask(() => cache.load(key))
      const entry = seen?.answer
      const copy = entry && toCopy(entry)
      if (copy && isFresh(copy)) return copy.record
      const mayFill = seen && !(entry && isReservation(entry))
      const reservation = mayFill ? await reserve(key, entry ? 'any' : 'empty') : undefined
      const confirmed = now()
      const record = await db.load(key)
      if (reservation !== undefined) {
        // Nobody has to wait for that.
        goesOn(record ? fill(key, { reservation, record, confirmed }) : giveUp(key, reservation))
      }
      return record
    },

    async create(key: string, record: SessionRecord): Promise<string> {
      const reserved = await reserveFor(key, record, 'empty')
      dead.delete(key)
      return write(key, () => db.create(key, record), { reserved })
    },

    async save(key: string, record: SessionRecord, expected?: string): Promise<string> {
      const ends = () => isEnd(record.expiresAt, record.data)
      const isDead = record.data === RETIRED || record.expiresAt <= now()
      const reserved = await reserveFor(key, record, 'any')
      return write(key, () => db.save(key, record, expected), { reserved, ends, isDead })
    },

    async touch(key: string, expiresAt: number, from?: number): Promise<string> {
      const ends = () => isEnd(expiresAt)
      const reserved = await reserveTouched(key, expiresAt, from)
      if (!reserved) await reserve(key, 'any')
      return write(key, () => db.touch(key, expiresAt, from), { reserved, ends })
    },

    async delete(key: string): Promise<void> {
      if (!isSessionKey(key)) return
      await reserve(key, 'any')
      await write(key, () => db.delete(key), { ends: () => true, isDead: true })
    },
  }
}

/** A copy as the cache keeps it: `<confirmed>:<expiresAt>:<data>`, gone by itself when it is not fresh any more. */
function toEntry({ record: { data, expiresAt }, confirmed }: Copy, freshFor: number) {
  const since = Math.floor(confirmed)
  return {
    data: `${since}:${expiresAt}:${data}`,
    expiresAt: Math.min(expiresAt, since + freshFor),
  }
}

/** A cache may answer with anything. */
function isReservation({ data }: SessionRecord): boolean {
  return typeof data === 'string' && data.startsWith(RESERVATION)
}

/** The copy that an entry is; undefined if it is something else. */
function toCopy({ data: text }: SessionRecord): Copy | undefined {
  if (typeof text !== 'string') return undefined
  const [head, confirmed, expiresAt] = /^(\d+):(\d+):/.exec(text) ?? []
  if (head === undefined) return undefined
  const record = { data: text.slice(head.length), expiresAt: Number(expiresAt) }
  return { record, confirmed: Number(confirmed) }
}

// The making of a history: processes that work on a few keys, while the backend goes and comes back.
import { setTimeout } from 'node:timers/promises'
import { RETIRED, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import { inTime } from './in-time.ts'
import { recorded, type Operation } from './operation.ts'
import type { OpenOptions, Outage } from './subject.ts'

/** What one process is to do. */
export interface Work {
  /** The keys, in groups: one group after the other is worked on. */
  readonly keys: readonly (readonly string[])[]
  /** How long each group is worked on, in ms. */
  readonly ms: number
  /** The number of this process, from 0; below {@link NUMBERS}. */
  readonly process: number
}

/** How many processes work at once. */
export const PROCESSES = 4

/** So many numbers there are for processes: one that takes another's place has a number of its own. */
const NUMBERS = 64

/** How long a store may take to find its backend again, in ms. */
export const RECOVERY = 15_000

/** Farther than any history takes; and so far apart that whole seconds tell them apart, in ms. */
const DAY = 86_400_000
const APART = 10_000

const between = (from: number, to: number) => from + Math.random() * (to - from)

/** Works as {@link Work} says, one call at a time, and looks at each key in the end; every call is noted. */
export async function workOn(
  store: SessionStore,
  { keys, ms, process }: Work,
  onCall: (operation: Operation) => unknown,
  onAnswer?: (operation: Operation) => unknown,
): Promise<void> {
  const noted = recorded(store, process, onCall, onAnswer)
  /** What this process has last seen under a key; undefined if it does not know. */
  const seen = new Map<string, SessionRecord | 'none' | undefined>()
  const day = Math.ceil(Date.now() / 1000) * 1000 + DAY
  let writes = 0
  /** An end that no other write has; and data. */
  const nextEnd = () => day + (NUMBERS * ++writes + process) * APART
  const nextRecord = () => {
    const expiresAt = nextEnd()
    return { data: JSON.stringify(`${process}/${writes}`), expiresAt }
  }

  const look = async (key: string, latest: boolean) => {
    // Noted as not answered until it is.
    const found = await inTime(() => noted.load(key, latest))
    seen.set(key, found ?? 'none')
  }
  const write = async (key: string, record: SessionRecord, call: () => unknown) => {
    await inTime(call)
    seen.set(key, record.expiresAt === 0 ? 'none' : record)
  }
  const save = (key: string, record: SessionRecord, expected?: string) =>
    write(key, record, () => noted.save(key, record, expected))
  const create = (key: string, record = nextRecord()) =>
    write(key, record, () => noted.create(key, record))
  const touch = (key: string, { data }: SessionRecord, from?: number) => {
    const expiresAt = nextEnd()
    return write(key, { data, expiresAt }, () => noted.touch(key, expiresAt, from))
  }
  const remove = async (key: string) => {
    await inTime(() => noted.delete(key))
    seen.set(key, 'none')
  }

  /** One call, of those that make sense after what was seen more often than of the others. */
  function act(key: string): Promise<unknown> {
    const last = seen.get(key)
    let left = Math.random() * 100
    const chance = (share: number) => (left -= share) < 0
    // After a call of which nobody knows what it did, so that these do not pile up.
    if (last === undefined || chance(30)) return look(key, Math.random() < 0.5)
    if (last === 'none') return chance(60) ? create(key) : save(key, nextRecord())
    if (last.data === RETIRED && chance(30)) return remove(key)
    if (chance(15)) return save(key, nextRecord(), last.data)
    if (chance(8)) return save(key, nextRecord())
    if (chance(10)) return touch(key, last, last.expiresAt)
    if (chance(5)) return touch(key, last)
    if (chance(8)) return create(key)
    const expected = Math.random() < 0.5 ? last.data : undefined
    if (chance(6)) return save(key, { data: RETIRED, expiresAt: nextEnd() }, expected)
    if (chance(5)) return save(key, { ...nextRecord(), expiresAt: 0 }, expected)
    return remove(key)
  }

  for (const group of keys) {
    for (const end = performance.now() + ms; performance.now() < end;) {
      const key = group[Math.floor(Math.random() * group.length)]!
      try {
        await act(key)
        await setTimeout(between(0, 2))
      } catch {
        // What it was is noted.
        seen.set(key, undefined)
        await setTimeout(between(0, 20))
      }
    }
  }
  for (const key of keys.flat()) {
    for (const end = performance.now() + RECOVERY; ;) {
      try {
        await look(key, true)
        break
      } catch (error) {
        if (performance.now() > end) throw error
        await setTimeout(50)
      }
    }
  }
}

/** Takes the backend away and gives it back for `ms`, in each way in turn; when this resolves it is there. */
export async function takeAwayAndGiveBack(
  outages: readonly Outage[],
  opening: OpenOptions,
  ms: number,
): Promise<void> {
  const end = performance.now() + ms
  for (let n = 0; ; n++) {
    await setTimeout(between(50, 250))
    if (performance.now() > end) return
    const outage = outages[n % outages.length]!
    await outage.begin(opening)
    try {
      await setTimeout(between(10, 120))
    } finally {
      await outage.end(opening)
    }
  }
}

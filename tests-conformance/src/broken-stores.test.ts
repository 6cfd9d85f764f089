// The suite can fail: stores that are broken on purpose, each in one way, and the case that must catch each.
import { Buffer } from 'node:buffer'
import { rmSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  KeyExistsError,
  MAX_EXPIRES_AT,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionStoreError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { afterAll, describe, expect, test } from 'vitest'
import { mapStore } from '../../testing/map-store.ts'
import { answersLost, folder } from './fixtures/answers-lost.ts'
import { cases, runCase, runConformance, type Subject } from './index.ts'

/** A right store in memory that stays open to whoever breaks it. */
interface Insides {
  store: SessionStore
  records: Map<string, SessionRecord>
  now: () => number
}
type Break = (insides: Insides) => Partial<SessionStore>

const kept = (insides: Insides, key: string) => insides.records.get(key)
const put = (insides: Insides, key: string, record: SessionRecord) => {
  insides.records.set(key, { ...record })
  return key
}
/** Saves without a look at what is expected. */
const saveAnyhow =
  (change: (record: SessionRecord) => SessionRecord): Break =>
  (insides) => ({
    save(key, record, expected) {
      insides.store.save(key, record, expected)
      return put(insides, key, change(record))
    },
    create(key, record) {
      insides.store.create(key, record)
      return put(insides, key, change(record))
    },
  })
/** Compares what is expected by another measure. */
const comparesBy =
  (measure: (text: string) => string | number): Break =>
  (insides) => ({
    save(key, record, expected) {
      const stored = insides.store.load(key) as SessionRecord | undefined
      if (!stored) throw new SessionGoneError()
      if (expected !== undefined && measure(stored.data) !== measure(expected)) {
        throw new SessionConflictError()
      }
      return put(insides, key, record)
    },
  })
const loadsAs =
  (change: (record: SessionRecord) => SessionRecord | undefined): Break =>
  ({ store }) => ({
    load(key) {
      const record = store.load(key) as SessionRecord | undefined
      return record && change(record)
    },
  })

/** The live record that there is, as the right store loads it. */
const found = ({ store }: Insides, key: string) => store.load(key) as SessionRecord | undefined
/** A call that has to do with a record that is there, or is not. */
interface Save {
  readonly key: string
  readonly record: SessionRecord
  readonly expected: string | undefined
  readonly stored: SessionRecord | undefined
}
interface Touch {
  readonly key: string
  readonly expiresAt: number
  readonly from: number | undefined
  readonly stored: SessionRecord | undefined
}
/** Saves in a way of its own where `when` says so, and as the right store otherwise. */
const savesBy =
  (
    when: (save: Save, now: number) => boolean,
    how: (save: Save, insides: Insides) => unknown,
  ): Break =>
  (insides) => ({
    save(key, record, expected) {
      const save = { key, record, expected, stored: found(insides, key) }
      if (!when(save, insides.now())) return insides.store.save(key, record, expected)
      how(save, insides)
      return key
    },
  })
const touchesBy =
  (
    when: (touch: Touch, now: number) => boolean,
    how: (touch: Touch, insides: Insides) => unknown,
  ): Break =>
  (insides) => ({
    touch(key, expiresAt, from) {
      const touch = { key, expiresAt, from, stored: found(insides, key) }
      if (!when(touch, insides.now())) return insides.store.touch(key, expiresAt, from)
      how(touch, insides)
      return key
    },
  })
const anyhow = ({ key, record }: Save, insides: Insides) => put(insides, key, record)
const moves = ({ key, expiresAt, stored }: Touch, insides: Insides) =>
  put(insides, key, { data: stored!.data, expiresAt })
const conflicts = () => {
  throw new SessionConflictError()
}
const isRetired = ({ stored }: { stored: SessionRecord | undefined }) => stored?.data === RETIRED
const retires = ({ record }: Save) => record.data === RETIRED && record.expiresAt > 0
const ends = ({ record }: Save) => record.expiresAt === 0
const isElsewhere = ({ from, stored }: Touch) =>
  from !== undefined && stored !== undefined && stored.data !== RETIRED && stored.expiresAt !== from
/** Compares in one step and saves in the next. */
const savesInSteps =
  (when: (save: Save) => boolean): Break =>
  (insides) => ({
    async save(key, record, expected) {
      const save = { key, record, expected, stored: found(insides, key) }
      if (!when(save)) return insides.store.save(key, record, expected)
      if (!save.stored || isRetired(save)) throw new SessionGoneError()
      if (expected !== undefined && save.stored.data !== expected) throw new SessionConflictError()
      await nextTurn()
      return put(insides, key, record)
    },
  })

/** One method keeps its key in a variable that all calls share, and looks at it a turn later. */
const mixesUp =
  (method: 'load' | 'create' | 'save' | 'touch' | 'delete'): Break =>
  ({ store }) => {
    let current: string
    /** What all methods wait for, as on a server. */
    const later = (name: typeof method) => [
      name,
      async (key: string, ...rest: unknown[]) => {
        if (name === method) current = key
        await nextTurn()
        const call = store[name] as (...all: unknown[]) => unknown
        return call(name === method ? current : key, ...rest)
      },
    ]
    const methods = ['load', 'create', 'save', 'touch', 'delete'] as const
    return {
      traits: { ephemeral: true, unshared: true },
      ...Object.fromEntries(methods.map(later)),
    }
  }

const broken: [what: string, caughtBy: string, breakIt: Break][] = [
  ['saves over a retired key', 'contract/retired-save', savesBy(isRetired, anyhow)],
  [
    'saves over a retired key if nothing is expected',
    'contract/retired-save',
    savesBy((save) => isRetired(save) && save.expected === undefined, anyhow),
  ],
  [
    'saves over a retired key if empty data is expected',
    'contract/retired-save',
    savesBy((save) => isRetired(save) && save.expected === RETIRED, anyhow),
  ],
  [
    'takes a save onto a retired key for a conflict',
    'contract/retired-save',
    savesBy((save) => isRetired(save) && save.expected !== undefined, conflicts),
  ],
  [
    'moves the end of a retired key that is retired again',
    'contract/retired-retire',
    savesBy((save) => isRetired(save) && retires(save), anyhow),
  ],
  [
    'ends a retired key by a save',
    'contract/retired-retire',
    savesBy(
      (save) => isRetired(save) && ends(save),
      ({ key }, { records }) => records.delete(key),
    ),
  ],
  ['touches a retired key', 'contract/retired-touch', touchesBy(isRetired, moves)],
  [
    'touches a retired key from its own end',
    'contract/retired-touch',
    touchesBy((touch) => isRetired(touch) && touch.from === touch.stored!.expiresAt, moves),
  ],
  [
    'takes a touch of a retired key from another end for a conflict',
    'contract/retired-touch',
    touchesBy((touch) => isRetired(touch) && touch.from !== undefined, conflicts),
  ],
  [
    'creates over a retired key',
    'contract/retired-create',
    (insides) => ({
      create(key, record) {
        return found(insides, key)?.data === RETIRED
          ? put(insides, key, record)
          : insides.store.create(key, record)
      },
    }),
  ],
  [
    'hides a retired key',
    'contract/retire',
    loadsAs((record) => (record.data === RETIRED ? undefined : record)),
  ],
  [
    'removes a retired key without declaring it',
    'contract/retire',
    savesBy(retires, ({ key, record, expected }, { store, records }) => {
      store.save(key, record, expected)
      records.delete(key)
    }),
  ],
  [
    'keeps the data of a retired key',
    'contract/retire',
    savesBy(retires, ({ key, record, expected, stored }, insides) => {
      insides.store.save(key, record, expected)
      put(insides, key, { ...record, data: stored!.data })
    }),
  ],
  [
    'keeps a retired key for as long as its session',
    'contract/retire',
    savesBy(retires, ({ key, record, expected, stored }, insides) => {
      insides.store.save(key, record, expected)
      put(insides, key, { ...record, expiresAt: stored!.expiresAt })
    }),
  ],
  [
    'retires a key only if something is expected',
    'contract/retire',
    savesBy(
      (save) => retires(save) && save.expected === undefined,
      () => {},
    ),
  ],
  [
    'retires a key whatever is expected',
    'contract/retire-expected',
    savesBy((save) => retires(save) && !!save.stored && !isRetired(save), anyhow),
  ],
  [
    'retires keys that nobody has',
    'contract/retire-missing',
    savesBy((save) => retires(save) && !save.stored, anyhow),
  ],
  [
    'retires every key with one',
    'contract/retired-alone',
    savesBy(retires, ({ key, record, expected }, insides) => {
      insides.store.save(key, record, expected)
      for (const other of insides.records.keys()) put(insides, other, record)
    }),
  ],
  [
    'takes blank data for that of a retired key',
    'contract/retired-only-empty',
    touchesBy(
      ({ stored }) => stored?.data.trim() === '',
      () => {
        throw new SessionGoneError()
      },
    ),
  ],
  [
    'does not delete a retired key',
    'contract/retired-delete',
    (insides) => ({
      delete: (key) =>
        found(insides, key)?.data === RETIRED ? undefined : insides.store.delete(key),
    }),
  ],
  [
    'never ends a retired key',
    'expiry/retired',
    (insides) => ({
      load: (key) => {
        const record = kept(insides, key)
        return record?.data === RETIRED ? { ...record } : found(insides, key)
      },
    }),
  ],
  [
    'sweeps a retired key before its time',
    'sweep/retired',
    (insides) => ({
      async clearExpired(options) {
        for (const [key, { data }] of insides.records) {
          if (data === RETIRED) insides.records.delete(key)
        }
        return insides.store.clearExpired!(options)
      },
    }),
  ],
  [
    'never sweeps retired keys',
    'sweep/retired',
    (insides) => ({
      async clearExpired() {
        let removed = 0
        for (const [key, { data, expiresAt }] of insides.records) {
          const over = data !== RETIRED && expiresAt <= insides.now()
          if (over && insides.records.delete(key)) removed++
        }
        return removed
      },
    }),
  ],
  [
    'lets a save through that has looked before the key was retired',
    'concurrency/retire-against-anything',
    savesInSteps((save) => !retires(save)),
  ],
  ['compares and retires in two steps', 'concurrency/retire-race', savesInSteps(retires)],
  [
    'retires what was saved between its two steps',
    'concurrency/retire-against-save',
    savesInSteps(retires),
  ],
  ['compares and ends in two steps', 'concurrency/end-race', savesInSteps(ends)],
  ['ends what was saved between its two steps', 'concurrency/end-against-save', savesInSteps(ends)],
  [
    'lets a save through that has looked before the session was ended',
    'concurrency/end-against-anything',
    savesInSteps((save) => !ends(save)),
  ],
  [
    'ends a session whatever is expected',
    'contract/end-expected',
    savesBy(
      (save) => ends(save) && !!save.stored,
      ({ key }, { records }) => records.delete(key),
    ),
  ],
  [
    'ends a session only if its data is left as it is',
    'contract/end-expected',
    savesBy(
      (save) => ends(save) && !!save.stored && save.record.data !== save.stored.data,
      () => {},
    ),
  ],
  [
    'acknowledges the end of a session that is not there',
    'contract/end-missing',
    savesBy(
      (save) => ends(save) && !save.stored,
      () => {},
    ),
  ],
  [
    'takes the end of a session that is not there for a conflict',
    'contract/end-missing',
    savesBy((save) => ends(save) && !save.stored && save.expected !== undefined, conflicts),
  ],
  [
    'retires a key instead of ending its session',
    'contract/end-for-good',
    savesBy(ends, ({ key, expected }, { store, now }) =>
      store.save(key, { data: RETIRED, expiresAt: now() + 60_000 }, expected),
    ),
  ],
  [
    'takes an end of 0 for none',
    'contract/end-for-good',
    savesBy(ends, ({ key, record, expected }, { store }) =>
      store.save(key, { ...record, expiresAt: MAX_EXPIRES_AT }, expected),
    ),
  ],
  [
    'lets a session that has ended be saved by who expects what it was ended with',
    'contract/end-for-good',
    savesBy(
      ({ stored, expected }) => !stored && expected === RETIRED,
      (save, insides) => {
        if (kept(insides, save.key)?.data !== RETIRED) throw new SessionGoneError()
        anyhow(save, insides)
      },
    ),
  ],
  [
    'keeps the key of a session that has ended from being created',
    'contract/end-for-good',
    (insides) => ({
      create(key, record) {
        if (kept(insides, key)?.expiresAt === 0) throw new KeyExistsError()
        return insides.store.create(key, record)
      },
    }),
  ],
  [
    'ends every session with one',
    'contract/end-alone',
    savesBy(ends, (_save, { records }) => records.clear()),
  ],
  [
    'counts a session that was ended in every sweep',
    'sweep/ended',
    (insides) => {
      let ended = 0
      return {
        save(key, record, expected) {
          insides.store.save(key, record, expected)
          if (record.expiresAt === 0) ended++
          return key
        },
        clearExpired: async (options) => (await insides.store.clearExpired!(options)) + ended,
      }
    },
  ],
  [
    'sweeps a session that was begun under the key of one that was ended',
    'sweep/ended',
    (insides) => {
      const ended = new Set<string>()
      return {
        save(key, record, expected) {
          insides.store.save(key, record, expected)
          if (record.expiresAt === 0) ended.add(key)
          return key
        },
        async clearExpired() {
          let removed = 0
          for (const key of ended) if (insides.records.delete(key)) removed++
          ended.clear()
          return removed
        },
      }
    },
  ],
  [
    'touches whatever end it is moved from',
    'contract/touch-from-conflict',
    touchesBy(isElsewhere, moves),
  ],
  [
    'takes 0 to move from for nothing',
    'contract/touch-from-conflict',
    touchesBy((touch) => isElsewhere(touch) && touch.from === 0, moves),
  ],
  [
    'takes a touch to the end that it is moved from for done',
    'contract/touch-from-conflict',
    touchesBy(
      (touch) => isElsewhere(touch) && touch.from === touch.expiresAt,
      () => {},
    ),
  ],
  [
    'moves the end of a record that it reports a conflict for',
    'contract/touch-from-conflict',
    touchesBy(isElsewhere, (touch, insides) => {
      moves(touch, insides)
      throw new SessionConflictError()
    }),
  ],
  [
    'takes another end for a session that has gone',
    'contract/touch-from-conflict',
    touchesBy(isElsewhere, () => {
      throw new SessionGoneError()
    }),
  ],
  [
    'compares ends by the second',
    'contract/touch-from-exact',
    touchesBy(
      (touch) =>
        isElsewhere(touch) &&
        Math.floor(touch.from! / 1000) === Math.floor(touch.stored!.expiresAt / 1000),
      moves,
    ),
  ],
  [
    'compares ends as numbers of 32 bits',
    'contract/touch-from-exact',
    touchesBy(
      (touch) =>
        isElsewhere(touch) && Math.fround(touch.from!) === Math.fround(touch.stored!.expiresAt),
      moves,
    ),
  ],
  [
    'takes nothing to move from for another end',
    'contract/touch',
    touchesBy(({ from }) => from === undefined, conflicts),
  ],
  [
    'compares with the end that a record was created with',
    'contract/touch-from',
    (insides) => {
      const first = new Map<string, number>()
      return {
        create(key, record) {
          first.set(key, record.expiresAt)
          return insides.store.create(key, record)
        },
        touch(key, expiresAt, from) {
          if (from !== undefined && first.get(key) !== from) throw new SessionConflictError()
          return insides.store.touch(key, expiresAt)
        },
      }
    },
  ],
  [
    'compares with the last end that a touch has set',
    'contract/touch-from-moved',
    (insides) => {
      const last = new Map<string, number>()
      return {
        touch(key, expiresAt, from) {
          const isLast = from === undefined || (last.get(key) ?? from) === from
          if (!isLast) throw new SessionConflictError()
          last.set(key, expiresAt)
          return insides.store.touch(key, expiresAt)
        },
      }
    },
  ],
  [
    'touches only while the data is as it was loaded',
    'contract/touch-from-other-data',
    (insides) => {
      const loaded = new Map<string, string | undefined>()
      return {
        load(key) {
          const record = found(insides, key)
          loaded.set(key, record?.data)
          return record
        },
        touch(key, expiresAt, from) {
          const same = loaded.get(key) === found(insides, key)?.data
          if (from !== undefined && !same) throw new SessionConflictError()
          return insides.store.touch(key, expiresAt, from)
        },
      }
    },
  ],
  [
    'puts back the data that was loaded with the end that it moves',
    'contract/touch-from-other-data',
    (insides) => {
      const loaded = new Map<string, SessionRecord>()
      return {
        load(key) {
          const record = found(insides, key)
          if (record) loaded.set(key, record)
          return record
        },
        touch(key, expiresAt, from) {
          insides.store.touch(key, expiresAt, from)
          const before = loaded.get(key)
          return before && from !== undefined ? put(insides, key, { ...before, expiresAt }) : key
        },
      }
    },
  ],
  [
    'takes a touch of a lost session from a known end for a conflict',
    'contract/touch-from-gone',
    touchesBy(({ from, stored }) => from !== undefined && !stored, conflicts),
  ],
  [
    'revives the expired by a touch from the end that it had',
    'contract/touch-from-gone',
    touchesBy(
      ({ from, stored }) => from !== undefined && !stored,
      ({ key, expiresAt, from }, insides) => {
        const record = kept(insides, key)
        if (!record || record.expiresAt !== from) throw new SessionGoneError()
        put(insides, key, { data: record.data, expiresAt })
      },
    ),
  ],
  [
    'cannot move from the last moment of all',
    'contract/touch-from-far',
    touchesBy(({ from }) => from === MAX_EXPIRES_AT, conflicts),
  ],
  [
    'ends by a touch whatever end it is moved from',
    'contract/touch-from-ends',
    touchesBy((touch, now) => isElsewhere(touch) && touch.expiresAt <= now, moves),
  ],
  [
    'compares the end in one step and moves it in the next',
    'concurrency/touch-from-race',
    (insides) => ({
      async touch(key, expiresAt, from) {
        const record = found(insides, key)
        if (from !== undefined && record?.expiresAt !== from) throw new SessionConflictError()
        await nextTurn()
        return insides.store.touch(key, expiresAt)
      },
    }),
  ],
  [
    'moves the end that a save has set between its two steps',
    'concurrency/touch-from-against-save',
    (insides) => ({
      async touch(key, expiresAt, from) {
        const record = found(insides, key)
        if (from !== undefined && record?.expiresAt !== from) throw new SessionConflictError()
        await nextTurn()
        return insides.store.touch(key, expiresAt)
      },
    }),
  ],
  [
    'forgets expiry',
    'expiry/to-the-millisecond',
    (insides) => ({ load: (key) => kept(insides, key) }),
  ],
  [
    'expires a millisecond late',
    'expiry/to-the-millisecond',
    (insides) => ({
      load(key) {
        const record = kept(insides, key)
        return record && record.expiresAt >= insides.now() ? { ...record } : undefined
      },
    }),
  ],
  [
    'expires by the second',
    'expiry/to-the-millisecond',
    (insides) => ({
      load(key) {
        const record = kept(insides, key)
        const seconds = (ms: number) => Math.floor(ms / 1000)
        return record && seconds(record.expiresAt) > seconds(insides.now())
          ? { ...record }
          : undefined
      },
    }),
  ],
  [
    'keeps expiry to the second',
    'expiry/kept-exactly',
    saveAnyhow(({ data, expiresAt }) => ({
      data,
      expiresAt: Math.floor(expiresAt / 1000) * 1000,
    })),
  ],
  [
    'overflows at 2^31 seconds',
    'expiry/far-future',
    saveAnyhow(({ data, expiresAt }) => ({
      data,
      expiresAt: Math.min(expiresAt, 2_147_483_647_000),
    })),
  ],
  [
    'counts the age from the last load',
    'expiry/to-the-millisecond',
    (insides) => ({
      load(key) {
        const record = insides.store.load(key) as SessionRecord | undefined
        if (record) put(insides, key, { ...record, expiresAt: record.expiresAt + 1000 })
        return record
      },
    }),
  ],
  [
    'revives the expired by save',
    'expiry/no-revival',
    (insides) => ({
      save(key, record, expected) {
        const stored = kept(insides, key)
        if (!stored) throw new SessionGoneError()
        if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
        return put(insides, key, record)
      },
    }),
  ],
  [
    'revives the expired by touch',
    'expiry/no-revival',
    (insides) => ({
      touch(key, expiresAt) {
        const stored = kept(insides, key)
        if (!stored) throw new SessionGoneError()
        return put(insides, key, { ...stored, expiresAt })
      },
    }),
  ],
  [
    'deletes what a clock set forth has ended',
    'expiry/clock-back',
    (insides) => ({
      load(key) {
        const record = insides.store.load(key) as SessionRecord | undefined
        return record && record.expiresAt - insides.now() > 3_000_000 ? undefined : record
      },
    }),
  ],
  [
    'ignores an expiry in the past',
    'expiry/born-dead',
    saveAnyhow(({ data, expiresAt }) => ({
      data,
      expiresAt: expiresAt > 1_700_000_000_000 ? expiresAt : 4_000_000_000_000,
    })),
  ],
  [
    'overwrites on create',
    'contract/create-exists',
    (insides) => ({
      create: (key, record) => put(insides, key, record),
    }),
  ],
  [
    'refuses to create over the expired',
    'contract/create-over-expired',
    (insides) => ({
      create(key, record) {
        if (kept(insides, key))
          throw Object.assign(new Error('exists'), { code: 'ERR_SESSION_KEY_EXISTS' })
        return put(insides, key, record)
      },
    }),
  ],
  [
    'creates on save',
    'contract/save-unknown',
    (insides) => ({
      save(key, record, expected) {
        const stored = insides.store.load(key) as SessionRecord | undefined
        if (stored && expected !== undefined && stored.data !== expected)
          throw new SessionConflictError()
        return put(insides, key, record)
      },
    }),
  ],
  [
    'creates on touch',
    'contract/touch-unknown',
    (insides) => ({
      touch: (key, expiresAt) =>
        put(insides, key, { data: kept(insides, key)?.data ?? '{}', expiresAt }),
    }),
  ],
  [
    'resurrects what was deleted meanwhile',
    'contract/save-deleted',
    (insides) => {
      const once = new Map<string, boolean>()
      return {
        create(key, record) {
          once.set(key, true)
          return insides.store.create(key, record)
        },
        save(key, record, expected) {
          if (once.has(key) && !kept(insides, key)) return put(insides, key, record)
          return insides.store.save(key, record, expected)
        },
      }
    },
  ],
  [
    'ignores what is expected',
    'contract/save-conflict',
    (insides) => ({
      save: (key, record) => insides.store.save(key, record),
    }),
  ],
  [
    'takes an empty expectation for none',
    'contract/save-expected-empty',
    (insides) => ({
      save: (key, record, expected) => insides.store.save(key, record, expected || undefined),
    }),
  ],
  [
    'loses updates: compares and saves in two steps',
    'concurrency/save-race',
    (insides) => ({
      traits: { ephemeral: true, unshared: true },
      load: async (key) => insides.store.load(key),
      async save(key, record, expected) {
        const stored = insides.store.load(key) as SessionRecord | undefined
        if (!stored) throw new SessionGoneError()
        if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
        await new Promise((resolve) => setImmediate(resolve))
        return put(insides, key, record)
      },
    }),
  ],
  [
    'checks and creates in two steps',
    'concurrency/create-race',
    (insides) => ({
      traits: { ephemeral: true, unshared: true },
      load: async (key) => insides.store.load(key),
      async create(key, record) {
        if (insides.store.load(key))
          throw Object.assign(new Error('exists'), { code: 'ERR_SESSION_KEY_EXISTS' })
        await new Promise((resolve) => setImmediate(resolve))
        return put(insides, key, record)
      },
    }),
  ],
  [
    'touches by reading and writing back',
    'concurrency/touch-against-save',
    (insides) => ({
      traits: { ephemeral: true, unshared: true },
      load: async (key) => insides.store.load(key),
      async touch(key, expiresAt) {
        const stored = insides.store.load(key) as SessionRecord | undefined
        if (!stored) throw new SessionGoneError()
        await new Promise((resolve) => setImmediate(resolve))
        return put(insides, key, { ...stored, expiresAt })
      },
    }),
  ],
  [
    'touch undoes a delete',
    'concurrency/delete-against-touch',
    (insides) => ({
      traits: { ephemeral: true, unshared: true },
      load: async (key) => insides.store.load(key),
      async touch(key, expiresAt) {
        const stored = insides.store.load(key) as SessionRecord | undefined
        if (!stored) throw new SessionGoneError()
        await new Promise((resolve) => setImmediate(resolve))
        return put(insides, key, { ...stored, expiresAt })
      },
    }),
  ],
  [
    'folds case when it compares',
    'contract/expected-case',
    comparesBy((text) => text.toLowerCase()),
  ],
  [
    'ignores trailing blanks when it compares',
    'contract/expected-trailing-blank',
    comparesBy((text) => text.trimEnd()),
  ],
  [
    'normalises when it compares',
    'contract/expected-normal-form',
    comparesBy((text) => text.normalize()),
  ],
  [
    'folds accents when it compares',
    'contract/expected-accent',
    comparesBy((text) => text.normalize('NFD').replaceAll(/\p{M}/gu, '')),
  ],
  ['compares lengths alone', 'contract/expected-case', comparesBy((text) => text.length)],
  [
    'compares the first 64 KB alone',
    'contract/expected-end',
    comparesBy((text) => text.slice(0, 65_536)),
  ],
  [
    'folds the case of keys',
    'keys/case',
    (insides) => ({
      load: (key) => insides.store.load(key.toLowerCase()),
      create: (key, record) => insides.store.create(key.toLowerCase(), record),
    }),
  ],
  [
    'throws for a malformed key',
    'keys/path',
    (insides) => ({
      load(key) {
        if (!/^[\w-]+$/.test(key)) throw new Error('ENOENT')
        return insides.store.load(key)
      },
    }),
  ],
  [
    'takes any key',
    'keys/path',
    (insides) => ({ create: (key, record) => put(insides, key, record) }),
  ],
  [
    'finds keys in the prototype',
    'keys/prototype-names',
    (insides) => ({
      load: (key) =>
        insides.store.load(key) ??
        (({} as Record<string, SessionRecord>)[key] as SessionRecord | undefined),
    }),
  ],
  [
    'opens by the beginning of a key',
    'keys/no-prefix-match',
    (insides) => ({
      load: (key) =>
        insides.store.load(key) ??
        [...insides.records].find(([name]) => key.length >= 8 && name.startsWith(key))?.[1],
    }),
  ],
  [
    'cuts keys at 32 characters',
    'keys/forms',
    (insides) => ({
      create(key, record) {
        insides.store.create(key.slice(0, 32), record)
        return key
      },
    }),
  ],
  [
    'trims a trailing newline',
    'encoding/record-trailing-newline',
    saveAnyhow(({ data, expiresAt }) => ({
      data: data.replace(/\n$/, ''),
      expiresAt,
    })),
  ],
  [
    'trims blanks',
    'encoding/record-blank',
    saveAnyhow(({ data, expiresAt }) => ({ data: data.trim(), expiresAt })),
  ],
  [
    'writes Latin-1',
    'encoding/emoji-with-modifiers-and-joiners',
    saveAnyhow(({ data, expiresAt }) => ({
      data: Buffer.from(data, 'latin1').toString('latin1'),
      expiresAt,
    })),
  ],
  [
    'takes three bytes of UTF-8 at the most',
    'encoding/emoji-with-modifiers-and-joiners',
    saveAnyhow(({ data, expiresAt }) => ({
      data: data.replaceAll(/[\u{10000}-\u{10ffff}]/gu, '?'),
      expiresAt,
    })),
  ],
  [
    'parses the data and writes it anew',
    'encoding/record-surrounding-space',
    saveAnyhow(({ data, expiresAt }) => {
      try {
        return { data: JSON.stringify(JSON.parse(data)), expiresAt }
      } catch {
        return { data, expiresAt }
      }
    }),
  ],
  [
    'takes digits for a number',
    'encoding/record-digits',
    loadsAs(({ data, expiresAt }) => ({
      data: /^\d+$/.test(data) ? String(Number(data)) : data,
      expiresAt,
    })),
  ],
  [
    'truncates at 64 KB',
    'size/64-kb',
    saveAnyhow(({ data, expiresAt }) => ({ data: data.slice(0, 65_535), expiresAt })),
  ],
  [
    'drops what is larger than 64 KB',
    'size/64-kb',
    loadsAs((record) => (record.data.length > 65_535 ? undefined : record)),
  ],
  [
    'shares objects by reference',
    'contract/by-value',
    (insides) => ({
      create(key, record) {
        insides.store.create(key, record)
        insides.records.set(key, record)
        return key
      },
      load: (key) => (insides.store.load(key) ? kept(insides, key) : undefined),
    }),
  ],
  [
    'returns expiresAt as text',
    'contract/plain-record',
    loadsAs(({ data, expiresAt }) => ({
      data,
      expiresAt: String(expiresAt) as unknown as number,
    })),
  ],
  [
    'answers by a promise although it says it is sync',
    'contract/sync-trait',
    (insides) => ({
      load: async (key) => insides.store.load(key),
    }),
  ],
  [
    'returns another key from save',
    'contract/save-returns-key',
    (insides) => ({
      save(key, record, expected) {
        insides.store.save(key, record, expected)
        return `${key.slice(0, -1)}-`
      },
    }),
  ],
  [
    'loses the data on touch',
    'contract/touch',
    (insides) => ({
      touch(key, expiresAt) {
        insides.store.touch(key, expiresAt)
        return put(insides, key, { data: '{}', expiresAt })
      },
    }),
  ],
  [
    'touches later only',
    'contract/touch',
    (insides) => ({
      touch(key, expiresAt) {
        const stored = kept(insides, key)
        return insides.store.touch(key, Math.max(expiresAt, stored?.expiresAt ?? 0))
      },
    }),
  ],
  ['does not delete', 'contract/delete', () => ({ delete() {} })],
  [
    'deletes everything',
    'contract/delete-one',
    (insides) => ({ delete: () => insides.records.clear() }),
  ],
  [
    'throws for a second delete',
    'contract/delete-again',
    (insides) => ({
      delete(key) {
        if (!insides.records.delete(key)) throw new Error('not found')
      },
    }),
  ],
  [
    'closes once',
    'closing/twice',
    () => {
      let closed = false
      return {
        close() {
          if (closed) throw new Error('already closed')
          closed = true
        },
      }
    },
  ],
  [
    'sweeps a live one',
    'sweep/expired',
    (insides) => ({
      async clearExpired() {
        const removed = await insides.store.clearExpired!()
        if (removed > 0) insides.records.delete([...insides.records.keys()][0]!)
        return removed
      },
    }),
  ],
  [
    'sweeps one batch alone',
    'sweep/batch-2',
    (insides) => ({
      async clearExpired({ batchSize = Infinity } = {}) {
        let removed = 0
        for (const [key, { expiresAt }] of insides.records) {
          if (removed < batchSize && expiresAt <= insides.now() && insides.records.delete(key))
            removed++
        }
        return removed
      },
    }),
  ],
  [
    'sweeps by the time it started to look',
    'sweep/renewed',
    (insides) => {
      const firstExpiry = new Map<string, number>()
      return {
        create(key, record) {
          firstExpiry.set(key, record.expiresAt)
          return insides.store.create(key, record)
        },
        async clearExpired() {
          let removed = 0
          for (const [key, end] of firstExpiry) {
            if (end <= insides.now() && insides.records.delete(key)) removed++
          }
          return removed
        },
      }
    },
  ],
  [
    'puts back what it read before it swept',
    'sweep/while-writing',
    (insides) => ({
      async clearExpired(options) {
        const before = [...insides.records]
        await nextTurn()
        for (const [key, record] of before)
          if (insides.records.has(key)) insides.records.set(key, record)
        return insides.store.clearExpired!(options)
      },
    }),
  ],
  [
    'brings back what is deleted while it sweeps',
    'sweep/while-writing',
    (insides) => ({
      async clearExpired(options) {
        const before = [...insides.records]
        await nextTurn()
        for (const [key, record] of before)
          if (!insides.records.has(key)) insides.records.set(key, record)
        return insides.store.clearExpired!(options)
      },
    }),
  ],
  [
    'does not hear the signal',
    'sweep/abort',
    (insides) => ({
      clearExpired: () => insides.store.clearExpired!(),
    }),
  ],
  [
    'is aborted before its sweep alone, which is one batch',
    'sweep/abort-meanwhile',
    (insides) => ({
      clearExpired({ signal } = {}) {
        if (signal?.aborted) return 0
        let removed = 0
        for (const key of insides.records.keys()) {
          if (!found(insides, key) && insides.records.delete(key)) removed++
        }
        return removed
      },
    }),
  ],
  [
    'looks for what has expired first and removes it later',
    'sweep/over-expired',
    (insides) => ({
      async clearExpired() {
        const expired = [...insides.records.keys()].filter((key) => !found(insides, key))
        await nextTurn()
        for (const key of expired) insides.records.delete(key)
        return expired.length
      },
    }),
  ],
  [
    'has a sweep that does nothing',
    'sweep/expired',
    () => ({ clearExpired: () => undefined as unknown as number }),
  ],
  ...(['load', 'save', 'touch', 'delete', 'create'] as const).map(
    (method): (typeof broken)[number] => [
      `keeps the key of a ${method} where every call has it`,
      'isolation/calls-at-once',
      mixesUp(method),
    ],
  ),
  [
    'answers with nothing after its close',
    'closing/after',
    ({ store }) => {
      let isClosed = false
      return {
        load: (key) => (isClosed ? undefined : store.load(key)),
        close: () => void (isClosed = true),
      }
    },
  ],
  ...(['save', 'touch', 'create'] as const).map((method): (typeof broken)[number] => [
    `acknowledges a ${method} after its close, and does nothing`,
    'closing/after',
    ({ store }) => {
      let isClosed = false
      return {
        [method]: (key: string, ...rest: unknown[]) =>
          isClosed ? key : (store[method] as (...all: unknown[]) => unknown)(key, ...rest),
        close: () => void (isClosed = true),
      }
    },
  ]),
  [
    'acknowledges a delete after its close, and does nothing',
    'closing/after',
    ({ store }) => {
      let isClosed = false
      return {
        delete: (key) => (isClosed ? undefined : store.delete(key)),
        close: () => void (isClosed = true),
      }
    },
  ],
  [
    'counts what it looked at',
    'sweep/expired',
    (insides) => ({
      async clearExpired() {
        const looked = insides.records.size
        await insides.store.clearExpired!()
        return looked
      },
    }),
  ],
  [
    'keeps the last thousand sessions',
    'durability/keeps-all',
    (insides) => ({
      create(key, record) {
        insides.store.create(key, record)
        if (insides.records.size > 1000) insides.records.delete([...insides.records.keys()][0]!)
        return key
      },
    }),
  ],
  [
    'forgets every third save',
    'random/calls',
    (insides) => {
      let saves = 0
      return {
        save(key, record, expected) {
          if (++saves % 3 === 0 && kept(insides, key)) return key
          return insides.store.save(key, record, expected)
        },
      }
    },
  ],
]

function subjectOf(breakIt: Break): Subject {
  return {
    name: 'broken',
    traits: { ephemeral: true, unshared: true },
    open({ now }) {
      const records = new Map<string, SessionRecord>()
      const store = mapStore({ now, records })
      return { ...store, ...breakIt({ store, records, now }) }
    },
  }
}

describe(`${broken.length} stores that are broken on purpose`, () => {
  test.each(broken)('a store that %s is caught by %s', async (_what, caughtBy, breakIt) => {
    const one = cases.find(({ id }) => id === caughtBy)
    expect(one, `there is a case ${caughtBy}`).toBeDefined()
    await runCase(
      subjectOf(() => ({})),
      one!,
    )
    await expect(runCase(subjectOf(breakIt), one!)).rejects.toThrow()
  })
})

/** A store whose records live outside it, as on a server that can be taken away. */
interface Remote extends Insides {
  /** Whether the server is there. */
  backend: { down: boolean }
}

/** A right store of that kind: every call fails while the server is down. */
function remoteStore({ store, backend }: Remote): SessionStore {
  const reach = <T>(call: () => T): T => {
    if (backend.down) throw new SessionStoreError('The server is gone.', new Error('ECONNREFUSED'))
    return call()
  }
  return {
    traits: { sync: true, unshared: true },
    load: (key) => reach(() => store.load(key)),
    create: (key, record) => reach(() => store.create(key, record)),
    save: (key, record, expected) => reach(() => store.save(key, record, expected)),
    touch: (key, expiresAt, from) => reach(() => store.touch(key, expiresAt, from)),
    delete: (key) => reach(() => store.delete(key)),
    clearExpired: async (options) => reach(() => store.clearExpired!(options)),
  }
}

function remoteSubject(
  breakIt: (remote: Remote, right: SessionStore) => Partial<SessionStore>,
): Subject {
  const servers = new Map<string, { records: Map<string, SessionRecord>; down: boolean }>()
  const server = (name: string) => {
    if (!servers.has(name)) servers.set(name, { records: new Map(), down: false })
    return servers.get(name)!
  }
  return {
    name: 'broken',
    traits: { unshared: true },
    open({ now, name }) {
      const backend = server(name)
      const remote = {
        store: mapStore({ now, records: backend.records }),
        records: backend.records,
        now,
        backend,
      }
      const right = remoteStore(remote)
      return { ...right, ...breakIt(remote, right) }
    },
    outage: {
      begin: ({ name }) => void (server(name).down = true),
      end: ({ name }) => void (server(name).down = false),
    },
  }
}

const brokenRemotes: [
  what: string,
  caughtBy: string,
  breakIt: (remote: Remote, right: SessionStore) => Partial<SessionStore>,
][] = [
  [
    'answers a load with nothing while its server is down',
    'failure/never-empty',
    ({ backend }, { load }) => ({ load: (key) => (backend.down ? undefined : load(key)) }),
  ],
  [
    "throws the driver's own error",
    'failure/typed',
    ({ backend }, { create }) => ({
      create(key, record) {
        if (backend.down) throw new Error('connect ECONNREFUSED')
        return create(key, record)
      },
    }),
  ],
  [
    'acknowledges saves that it cannot make',
    'failure/typed',
    ({ backend }, { save }) => ({
      save: (key, record, expected) => (backend.down ? key : save(key, record, expected)),
    }),
  ],
  [
    'waits for its server for ever',
    'failure/many-at-once',
    ({ backend }, { load }) => ({
      traits: { unshared: true },
      async load(key) {
        if (backend.down) await new Promise(() => {})
        return load(key)
      },
    }),
  ],
  [
    'puts the key into the message',
    'failure/cause',
    ({ backend }, { save }) => ({
      save(key, record, expected) {
        if (backend.down) throw new SessionStoreError(`No server for ${key}`, new Error('gone'))
        return save(key, record, expected)
      },
    }),
  ],
  ...(['load', 'create', 'touch', 'delete'] as const).map(
    (method): (typeof brokenRemotes)[number] => [
      `puts what a ${method} was given into the message`,
      'failure/cause',
      ({ backend }, right) => ({
        [method](...given: unknown[]) {
          if (backend.down)
            throw new SessionStoreError(`No server for ${JSON.stringify(given)}`, new Error('gone'))
          return (right[method] as (...all: unknown[]) => unknown)(...given)
        },
      }),
    ],
  ),
  [
    'acknowledges after its close what it does not keep',
    'closing/after',
    (_remote, { save }) => {
      let isClosed = false
      return {
        save: (key, record, expected) => (isClosed ? key : save(key, record, expected)),
        load(key) {
          if (isClosed) throw new SessionStoreError('The store is closed.')
          return _remote.store.load(key)
        },
        close: () => void (isClosed = true),
      }
    },
  ],
  [
    'keeps the cause to itself',
    'failure/cause',
    ({ backend }, { save }) => ({
      save(key, record, expected) {
        if (backend.down) throw new SessionStoreError('No server')
        return save(key, record, expected)
      },
    }),
  ],
  [
    'starts empty when its server is back',
    'failure/recovers',
    ({ backend, records }, { save }) => ({
      save(key, record, expected) {
        if (backend.down) records.clear()
        return save(key, record, expected)
      },
    }),
  ],
  [
    'sweeps nothing, without a word, while its server is down',
    'failure/sweep',
    ({ backend }, { clearExpired }) => ({
      clearExpired: (options) => (backend.down ? 0 : clearExpired!(options)),
    }),
  ],
  [
    'crashes when it is called after its close',
    'closing/after',
    (_remote, { load }) => {
      let closed = false
      return {
        load(key) {
          if (closed) throw new TypeError('connection is null')
          return load(key)
        },
        close: () => void (closed = true),
      }
    },
  ],
  [
    'closes the connection of everybody',
    'closing/another',
    ({ backend }) => ({ close: () => void (backend.down = true) }),
  ],
  [
    'forgets retired keys when it is opened again',
    'durability/reopen-retired',
    ({ records }) => {
      for (const [key, { data }] of records) if (data === RETIRED) records.delete(key)
      return {}
    },
  ],
  [
    'opens retired keys again with what they held before',
    'durability/reopen-retired',
    ({ records }, { save }) => {
      for (const [key, { data, expiresAt }] of records) {
        if (data === RETIRED) records.set(key, { data: '1', expiresAt })
      }
      return { save }
    },
  ],
  [
    'forgets what it was told when it closes',
    'closing/under-way',
    ({ records }) => ({
      close: () => records.forEach((record, key) => records.set(key, { ...record, data: '0' })),
    }),
  ],
]

describe(`${brokenRemotes.length} stores that are broken where their backend is concerned`, () => {
  test.each(brokenRemotes)('a store that %s is caught by %s', async (_what, caughtBy, breakIt) => {
    const one = cases.find(({ id }) => id === caughtBy)!
    await runCase(
      remoteSubject(() => ({})),
      one,
    )
    await expect(runCase(remoteSubject(breakIt), one)).rejects.toThrow()
  })
})

test('a store on files that reads, compares and writes in steps is caught by concurrency/processes-counter', async () => {
  const module = new URL('./fixtures/careless-file-store.ts', import.meta.url)
  const { default: open } = await import(module.href)
  const one = cases.find(({ id }) => id === 'concurrency/processes-counter')!
  await expect(runCase({ name: 'careless', module, open }, one)).rejects.toThrow()
})

/** An outage has to come at the right moment: of so many histories one must show the fault. */
const HISTORIES = 8

describe('stores that are broken while their backend goes and comes back', () => {
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const history = cases.find(({ id }) => id === 'history/outages')!
  /** What is wrong with one of so many histories; undefined if nothing is. */
  async function wrongWith(subject: Subject): Promise<string | undefined> {
    for (let n = 0; n < HISTORIES; n++) {
      const error = await runCase(subject, history).catch((thrown: unknown) => thrown)
      if (error) return String(error)
    }
    return undefined
  }
  const declaring = (subject: Subject, traits: NonNullable<Subject['traits']>): Subject => ({
    ...subject,
    traits,
    open: async (options) => ({ ...(await subject.open(options)), traits }),
  })

  test('a store that is right passes', () => runCase(answersLost('right'), history))

  test.each([
    ['sends a save again when its answer was lost', 'retries'],
    ['answers by what it has seen last', 'replica'],
    ['acknowledges before it has written', 'early'],
    ['takes a lost answer for an empty one', 'empty'],
  ])(
    'a store that %s is caught by history/outages, and by no other case of an outage or a close',
    async (_what, way) => {
      const subject = answersLost(way)
      for (const one of cases) {
        if (['failure', 'closing'].includes(one.section)) await runCase(subject, one)
      }
      expect(await wrongWith(subject)).toContain('contradict each other')
    },
    120_000,
  )

  test('a store that declares its copies is proven by what holds instead', async () => {
    await runCase(declaring(answersLost('replica'), { unshared: true }), history)
    await runCase(declaring(answersLost('early'), { nonAtomic: true }), history)
  })

  test('a store whose copies outlast an end is caught, though it declares how old they may be', async () => {
    const subject = { ...answersLost('replica'), freshFor: 60_000 }
    expect(await wrongWith(subject)).toContain('A load tells a copy that is too old')
  }, 120_000)
})

test('a subject that does not say how to reach its store from outside is told what is missing', async () => {
  const subject = { ...remoteSubject(() => ({})), outage: undefined } as unknown as Subject
  for (const [id, property] of [
    ['failure/typed', 'outage'],
    ['concurrency/processes-counter', 'module'],
  ] as const) {
    const one = cases.find((candidate) => candidate.id === id)!
    await expect(runCase(subject, one)).rejects.toThrow(`The subject has no \`${property}\``)
  }
})

test('a store that keeps no retired keys is proven by what holds instead', async () => {
  const traits = { ephemeral: true, unshared: true, removesRetired: true }
  const subject: Subject = {
    name: 'forgetful',
    traits,
    open({ now }) {
      const store = mapStore({ now })
      return {
        ...store,
        traits: { sync: true, ...traits },
        save: (key, record, expected) =>
          store.save(key, record.data === RETIRED ? { ...record, expiresAt: 0 } : record, expected),
      }
    },
  }
  const report = await runConformance(subject)
  expect(
    report.results.filter(({ error }) => error).map(({ case: one, error }) => [one.id, error]),
  ).toEqual([])
  expect(report.unneeded).toEqual([])
})

test("a store without a `now` option, that keeps whole seconds, is proven on the system's clock", async () => {
  const inSeconds = (ms: number) => Math.floor(ms / 1000) * 1000
  const subject: Subject = {
    name: 'real time',
    traits: { ephemeral: true, unshared: true, wholeSeconds: true },
    realTime: true,
    open() {
      const store = mapStore()
      const cut = (record: SessionRecord) => ({ ...record, expiresAt: inSeconds(record.expiresAt) })
      return {
        ...store,
        traits: { ...store.traits, wholeSeconds: true },
        create: (key, record) => store.create(key, cut(record)),
        save: (key, record, expected) => store.save(key, cut(record), expected),
        touch: (key, expiresAt, from) => store.touch(key, inSeconds(expiresAt), from),
      }
    },
  }
  const { results, unneeded } = await runConformance(subject)
  // The time that passes is what such a case is about: one that was late on a busy machine has two more tries, alone.
  for (const { case: one } of results.filter(({ error }) => error)) {
    await runCase(subject, one).catch(() => runCase(subject, one))
  }
  expect(unneeded).toEqual([])
}, 240_000)

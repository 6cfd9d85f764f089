// What is measured side by side: a store's calls by its driver alone, by ours and by somebody else's.
import { createKey, type SessionRecord, type SessionStore } from '@coatcheck/core/store'
import type { Places } from '../testing/subjects.ts'
import { HERE } from './checkout.ts'
import { peers } from './peers.ts'

/** What is asked of a store: a request that reads a session, changes it, or only renews it. */
export const OPERATIONS = ['read', 'write', 'touch'] as const
export type Operation = (typeof OPERATIONS)[number]

/** One way to keep sessions. */
export interface Side extends Partial<Record<Operation, (n: number) => unknown>> {
  readonly name: string
  readonly role: 'raw' | 'ours' | 'peer'
  /** Which raw side is the limit below this one, by its driver; without it there is none. */
  readonly driver?: string
  /** The other checkout that it is of; undefined for this one. */
  readonly other?: string | undefined
}

/** What an engine is opened with. */
export interface Place {
  readonly payload: object
  /** A folder of its own. */
  readonly folder: string
  /** The checkouts whose stores are measured; the first one is this. */
  readonly roots: readonly string[]
  /** Lets go of something at the end; the last one first. */
  atEnd(close: () => unknown): void
  /** Says that something is not measured, and why. */
  leaveOut(what: string, why: string): void
}

/** One engine beside its driver and its peers. */
export interface Engine {
  readonly title: string
  /** How many calls are under way at the same time, for each of its tables. */
  readonly atOnce: readonly number[]
  open(place: Place): Promise<Side[]>
}

export const SESSIONS = 2000
/** When the sessions end, in ms since the epoch. */
export const EXPIRES = Date.now() + 86_400_000

/** Keys of one side; each has its turn. */
export function createKeys(): { all: string[]; of(n: number): string } {
  const all = Array.from({ length: SESSIONS }, createKey)
  return { all, of: (n) => all[n % SESSIONS]! }
}

/** What a request wants to store: each time another text. */
export function changesOf(payload: object): () => string {
  let visits = 0
  return () => JSON.stringify({ ...payload, visits: visits++ })
}

/** Makes sessions, many at once where the store is asynchronous. */
async function fill(keys: readonly string[], create: (key: string) => unknown): Promise<void> {
  for (let at = 0; at < keys.length; at += 100) {
    await Promise.all(keys.slice(at, at + 100).map(create))
  }
}

/** What a side does by hand, given what the record is compared with. */
interface Statements {
  create(key: string, data: string, expiresAt: number): unknown
  read(key: string): unknown
  /** Compares the data and swaps it; the end stays. */
  write(key: string, data: string, expected: string, expiresAt: number): unknown
  /** Compares the end and swaps it, both in ms since the epoch. */
  touch(key: string, expiresAt: number, from: number): unknown
}

/** A side that remembers for each session what a request would know of it, so that each change is a compare-and-swap. */
async function comparing(
  side: Omit<Side, Operation>,
  payload: object,
  { create, read, write, touch }: Statements,
): Promise<Side> {
  const keys = createKeys()
  const first = JSON.stringify(payload)
  const texts = new Map(keys.all.map((key) => [key, first]))
  const ends = new Map(keys.all.map((key) => [key, EXPIRES]))
  const next = changesOf(payload)
  await fill(keys.all, (key) => create(key, first, EXPIRES))
  return {
    ...side,
    read: (n) => read(keys.of(n)),
    write(n) {
      const key = keys.of(n)
      const expected = texts.get(key)!
      const data = next()
      texts.set(key, data)
      return write(key, data, expected, ends.get(key)!)
    },
    touch(n) {
      const key = keys.of(n)
      const from = ends.get(key)!
      ends.set(key, from + 1)
      return touch(key, from + 1, from)
    },
  }
}

/** The driver alone: the statements that nobody can do without. */
export const raw = (name: string, driver: string, payload: object, statements: Statements) =>
  comparing({ name, role: 'raw', driver }, payload, statements)

const parse = (record: SessionRecord | undefined) => JSON.parse(record!.data)

/** A store of ours, from the checkout at `root`. */
export function ours(
  name: string,
  driver: string,
  root: string,
  payload: object,
  store: SessionStore,
): Promise<Side> {
  const other = root === HERE ? undefined : root
  return comparing({ name, role: 'ours', driver, other }, payload, {
    create: (key, data, expiresAt) => store.create(key, { data, expiresAt }),
    read: store.traits?.sync
      ? (key) => parse(store.load(key) as SessionRecord)
      : async (key) => parse(await store.load(key)),
    write: (key, data, expected, expiresAt) => store.save(key, { data, expiresAt }, expected),
    touch: (key, expiresAt, from) => store.touch(key, expiresAt, from),
  })
}

type Done = (error?: unknown, found?: unknown) => void

/** What a function finds that tells of it by a callback. */
function called(run: (done: Done) => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    run((error, found) => (error ? reject(error as Error) : resolve(found)))
  })
}

const sessionOf = (values: object) => ({
  cookie: {
    originalMaxAge: 86_400_000,
    expires: new Date(EXPIRES),
    httpOnly: true,
    path: '/',
  },
  ...values,
})

/** A store of express-session, called as that calls it. */
export async function peer(name: string, place: Place, places: Places): Promise<Side> {
  const table = `bench_${createKey().slice(0, 8)}`
  const { store, close } = await peers[name]!.open(table, places)
  place.atEnd(close)
  const keys = createKeys()
  const set = (key: string, values: object) =>
    called((done) => store.set(key, sessionOf(values), done))
  await fill(keys.all, (key) => set(key, place.payload))
  const { touch } = store as { touch?: (sid: string, session: unknown, done: Done) => unknown }
  let visits = 0
  return {
    name,
    role: 'peer',
    async read(n) {
      if (!(await called((done) => store.get(keys.of(n), done)))) throw new Error(`${name}: gone`)
    },
    write: (n) => set(keys.of(n), { ...place.payload, visits: visits++ }),
    ...(touch && {
      touch: (n: number) =>
        called((done) => touch.call(store, keys.of(n), sessionOf(place.payload), done)),
    }),
  }
}

/** Throws unless a statement by hand has changed one row: what changes nothing is no measure. */
export function assertChanged(rows: unknown): void {
  if (rows !== 1) throw new Error(`A statement by hand has changed ${String(rows)} rows`)
}

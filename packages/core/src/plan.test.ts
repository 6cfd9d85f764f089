// The plan as a table: what a write must do, by where the session stands and what the request did.
import { expect, test } from 'vitest'
import { SessionGoneError, SessionStoreError } from './errors.ts'
import { plan, type Situation } from './plan.ts'
import { NONE, type Condemned, type Standing } from './standing.ts'

const NOW = 1_000_000
const down = new SessionStoreError('The backend is down.')
const standings = {
  new: { is: 'new' },
  unloaded: { is: 'unloaded', candidates: [{ key: 'k' }] },
  stored: { is: 'stored', key: 'k', expiresAt: NOW + 50_000, since: NOW },
  retired: { is: 'retired', key: 'k' },
  unreadable: { is: 'unreadable', key: 'k', stored: '?', since: NOW },
  unavailable: { is: 'unavailable', key: 'k', error: down },
} satisfies Record<string, Standing>

/** What the request did, and what the data is then. */
const deeds = {
  'only looked': {},
  'only looked, and it is empty': { empty: true },
  'changed it': { modified: true },
  'emptied it': { modified: true, empty: true },
  'gave it an end in the past': { modified: true, expiresAt: NOW },
  cycled: { modified: true, cycled: true },
  'cycled and emptied it': { modified: true, cycled: true, empty: true },
  'took out what is not there': { tookUnknown: true, empty: true },
} satisfies Record<string, Partial<Situation>>

const situation = (standing: keyof typeof standings, more: Partial<Situation> = {}): Situation => ({
  standing: standings[standing],
  empty: false,
  modified: false,
  cycled: false,
  tookUnknown: false,
  condemned: NONE,
  isShared: false,
  expiresAt: NOW + 60_000,
  ...more,
})

const decide = (one: Situation, options = {}): string => {
  const decided = plan(one, { saveEveryRequest: false, touchAfter: 0, ...options }, NOW)
  return decided.to === 'refuse' ? `refuse (${decided.error.code})` : decided.to
}

const GONE = 'refuse (ERR_SESSION_GONE)'
const DOWN = 'refuse (ERR_SESSION_STORE)'
type Row = Record<keyof typeof standings, string>
const table: Record<keyof typeof deeds, Row> = {
  'only looked': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'leave',
    retired: 'leave',
    unreadable: 'leave',
    unavailable: 'leave',
  },
  'only looked, and it is empty': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'leave',
    retired: 'leave',
    unreadable: 'leave',
    unavailable: 'leave',
  },
  'changed it': {
    new: 'create',
    unloaded: 'leave',
    stored: 'save',
    retired: GONE,
    unreadable: 'create',
    unavailable: DOWN,
  },
  'emptied it': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'end',
    retired: GONE,
    unreadable: 'leave',
    unavailable: DOWN,
  },
  'gave it an end in the past': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'end',
    retired: GONE,
    unreadable: 'leave',
    unavailable: DOWN,
  },
  cycled: {
    new: 'create',
    unloaded: 'leave',
    stored: 'move',
    retired: 'create',
    unreadable: 'create',
    unavailable: DOWN,
  },
  'cycled and emptied it': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'end',
    retired: GONE,
    unreadable: 'leave',
    unavailable: DOWN,
  },
  'took out what is not there': {
    new: 'leave',
    unloaded: 'leave',
    stored: 'leave',
    retired: GONE,
    unreadable: DOWN,
    unavailable: DOWN,
  },
}

const rows = Object.entries(table).flatMap(([deed, row]) =>
  Object.entries(row).map(([standing, expected]) => [deed, standing, expected] as const),
)

test.each(rows)('a request that %s, where the session is %s: %s', (deed, standing, expected) => {
  const one = situation(
    standing as keyof typeof standings,
    deeds[deed as keyof typeof deeds] as Partial<Situation>,
  )
  expect(decide(one)).toBe(expected)
})

test.each([
  ['an unchanged session', {}, {}, 'renew'],
  ['an unchanged session within touchAfter', {}, { touchAfter: 11 }, 'leave'],
  ['an unchanged session after touchAfter', {}, { touchAfter: 10 }, 'renew'],
  ['a session that would end earlier', { expiresAt: NOW + 30_000 }, { touchAfter: 20 }, 'renew'],
  ['a session whose own end has come', { expiresAt: NOW - 1 }, {}, 'leave'],
  ['an empty session', { empty: true }, {}, 'leave'],
  ['a session that nobody looked at, and a response for all', { isShared: true }, {}, 'leave'],
  ['a changed session', { modified: true }, { touchAfter: 3600 }, 'save'],
] as const)('saveEveryRequest: %s', (_what, more, options, expected) => {
  expect(decide(situation('stored', more), { saveEveryRequest: true, ...options })).toBe(expected)
})

test('saveEveryRequest renews nothing but a stored session', () => {
  for (const standing of ['new', 'unloaded', 'retired', 'unreadable', 'unavailable'] as const) {
    expect(decide(situation(standing), { saveEveryRequest: true })).toBe('leave')
  }
})

const condemned = (refusal?: SessionGoneError | SessionStoreError): Condemned[] => [
  { key: 'old', stored: '{}', since: NOW, retirements: [], isAsked: true, isGone: false, refusal },
]

test.each([
  ['flush of a stored session', { empty: true, condemned: condemned() }, 'leave'],
  ['flush, then a value', { modified: true, condemned: condemned() }, 'create'],
  ['flush of a retired key', { empty: true, condemned: condemned(new SessionGoneError()) }, GONE],
  [
    'flush of a retired key, then a value: a login',
    { modified: true, condemned: condemned(new SessionGoneError()) },
    'create',
  ],
  ['flush while the store is away', { empty: true, condemned: condemned(down) }, DOWN],
  [
    'flush while the store is away, then a value',
    { modified: true, condemned: condemned(down) },
    DOWN,
  ],
] as const)('%s', (_what, more, expected) => {
  expect(decide(situation('new', more))).toBe(expected)
})

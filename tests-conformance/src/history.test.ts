// The checker of histories: known bad ones and good ones, a search of all permutations that it must agree with, and its speed.
import { describe, expect, test } from 'vitest'
import { mapStore } from '../../testing/map-store.ts'
import { randomOf } from '../../testing/interleavings/explore.ts'
import { checkHistory, type HistoryOptions } from './history.ts'
import { isRefused, isUnknown, recorded, type Operation, type Question } from './operation.ts'

const KEY = 'key-of-a-history'
const NOW = Date.UTC(2026, 0, 1)
const END = NOW + 86_400_000
const LATER = END + 10_000

type Answer = Pick<Operation, 'error' | 'found'>

/** One call, from a moment to a moment; without the second it was never answered. */
const at = (start: number, end: number | undefined, question: Question, answer: Answer = {}) =>
  ({ key: KEY, process: 1, start, end, ...question, ...answer }) as Operation
const record = (data: string, expiresAt = END) => ({ data, expiresAt })
const create = (data: string): Question => ({ call: 'create', record: record(data) })
const save = (data: string, expected?: string): Question => ({
  call: 'save',
  record: record(data),
  expected,
})
const end: Question = { call: 'save', record: { data: 'over', expiresAt: 0 } }
const retire = save('')
const touch = (expiresAt: number, from?: number): Question => ({ call: 'touch', expiresAt, from })
const remove: Question = { call: 'delete' }
const load: Question = { call: 'load' }
const told = (data: string, expiresAt = END): Answer => ({ found: record(data, expiresAt) })
const GONE = { error: 'ERR_SESSION_GONE' }
const CONFLICT = { error: 'ERR_SESSION_CONFLICT' }
const EXISTS = { error: 'ERR_SESSION_KEY_EXISTS' }
const FAILED = { error: 'ERR_SESSION_STORE' }

const check = (history: readonly Operation[], options: HistoryOptions = {}) =>
  checkHistory(history, { now: NOW, ...options })

const created = at(0, 1, create('a'))

const bad: [what: string, history: Operation[], options?: HistoryOptions][] = [
  ['an empty store that tells a record', [at(0, 1, load, told('a'))]],
  ['a record that nobody wrote', [created, at(2, 3, load, told('b'))]],
  [
    'a record that is only written later',
    [created, at(2, 3, load, told('b')), at(4, 5, save('b'))],
  ],
  ['a lost update', [created, at(2, 3, save('b', 'a')), at(2, 3, save('c', 'a'))]],
  [
    'a stale read after an acknowledged write',
    [created, at(2, 3, save('b')), at(4, 5, load, told('a'))],
  ],
  [
    'an acknowledged write that nobody sees',
    [created, at(2, 3, save('b', 'a')), at(4, 5, load, told('a'))],
  ],
  [
    'a record that is back after its delete',
    [created, at(2, 3, remove), at(4, 5, load, told('a'))],
  ],
  ['a record that is back after its end', [created, at(2, 3, end), at(4, 5, load, told('a'))]],
  ['an end that leaves a record', [created, at(2, 3, end), at(4, 5, load, told('over', 0))]],
  ['a delete that a save undoes', [created, at(2, 3, remove), at(4, 5, save('b'))]],
  [
    'a save that is acknowledged over a retired key',
    [created, at(2, 3, retire), at(4, 5, save('b'))],
  ],
  ['a touch of a retired key', [created, at(2, 3, retire), at(4, 5, touch(LATER))]],
  ['a retired key that is created', [created, at(2, 3, retire), at(4, 5, create('b'))]],
  ['a retired key that is gone', [created, at(2, 3, retire), at(4, 5, load)]],
  [
    'a key that should be removed and is retired',
    [created, at(2, 3, retire), at(4, 5, load, told(''))],
    { removesRetired: true },
  ],
  ['a live record that is not told', [created, at(2, 3, load)]],
  ['two creates that both succeed', [at(0, 3, create('a')), at(1, 2, create('b'))]],
  ['a create that is refused without a record', [at(0, 1, create('a'), EXISTS)]],
  [
    'a create that is refused after a delete',
    [created, at(2, 3, remove), at(4, 5, create('b'), EXISTS)],
  ],
  ['a conflict without a cause', [created, at(2, 3, save('b', 'a'), CONFLICT)]],
  ['a conflict of a save that expects nothing', [created, at(2, 3, save('b'), CONFLICT)]],
  [
    'a conflict that is caused later',
    [created, at(2, 3, save('b', 'a'), CONFLICT), at(4, 5, save('c'))],
  ],
  ['a save that is gone without a cause', [created, at(2, 3, save('b'), GONE)]],
  [
    'a conflict where the record is gone',
    [created, at(2, 3, remove), at(4, 5, save('b', 'a'), CONFLICT)],
  ],
  [
    'a refused save that is made',
    [created, at(2, 3, save('c')), at(4, 5, save('b', 'a'), CONFLICT), at(6, 7, load, told('b'))],
  ],
  [
    'a save that conflicts with itself',
    [created, at(2, 5, save('b', 'a'), CONFLICT), at(3, 4, load, told('b'))],
  ],
  [
    'a touch that changes data',
    [created, at(2, 3, touch(LATER)), at(4, 5, load, told('b', LATER))],
  ],
  ['a touch that is not made', [created, at(2, 3, touch(LATER)), at(4, 5, load, told('a'))]],
  [
    'a touch that brings old data back',
    [created, at(2, 5, touch(LATER)), at(3, 4, save('b')), at(6, 7, load, told('a', LATER))],
  ],
  [
    'two touches from one end',
    [created, at(2, 3, touch(LATER, END)), at(2, 3, touch(LATER + 10_000, END))],
  ],
  [
    'a failed write that is seen, then unseen, then seen again',
    [
      created,
      at(2, 3, save('b'), FAILED),
      at(4, 5, load, told('b')),
      at(6, 7, load, told('a')),
      at(8, 9, load, told('b')),
    ],
  ],
  [
    'a failed write that is made twice',
    [
      created,
      at(2, 3, save('b'), FAILED),
      at(4, 5, load, told('b')),
      at(6, 7, save('c')),
      at(8, 9, load, told('b')),
    ],
  ],
  [
    'an acknowledged write that is made twice',
    [
      created,
      at(2, 9, save('b')),
      at(3, 4, load, told('b')),
      at(5, 6, save('c')),
      at(7, 8, load, told('c')),
      at(10, 11, load, told('b')),
    ],
  ],
  [
    'a failed write that takes effect against its condition',
    [created, at(2, 3, save('b', 'a'), FAILED), at(4, 5, save('c')), at(6, 7, load, told('b'))],
  ],
  [
    'a failed write that takes effect before it began',
    [created, at(2, 3, load, told('b')), at(4, 5, save('b'), FAILED)],
  ],
  [
    'an unanswered delete that a later load undoes',
    [created, at(2, undefined, remove), at(4, 5, load), at(6, 7, load, told('a'))],
  ],
  [
    'loads at once that go back in time',
    [created, at(2, 9, save('b')), at(3, 4, load, told('b')), at(5, 6, load, told('a'))],
  ],
  [
    'a copy of what has ended',
    [created, at(2, 3, remove), at(4, 5, load, told('a'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
  [
    'a copy that is too old',
    [created, at(2, 3, save('b')), at(1004, 1005, load, told('a'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
  [
    'a copy that nobody wrote',
    [created, at(2, 3, load, told('b'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
  ['a copy of nothing', [created, at(2, 3, load)], { copies: { ofChanged: 1000, ofEnded: 0 } }],
  [
    'a latest load of a copy',
    [created, at(2, 3, save('b')), at(4, 5, { call: 'load', latest: true }, told('a'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
]

const good: [what: string, history: Operation[], options?: HistoryOptions][] = [
  ['no call', []],
  [
    'one after the other',
    [
      created,
      at(2, 3, load, told('a')),
      at(4, 5, save('b', 'a')),
      at(6, 7, load, told('b')),
      at(8, 9, remove),
      at(10, 11, load),
    ],
  ],
  [
    'a save that is seen before it is answered',
    [created, at(2, 9, save('b')), at(3, 4, load, told('a')), at(5, 6, load, told('b'))],
  ],
  [
    'two creates at once of which one succeeds',
    [at(0, 3, create('a'), EXISTS), at(1, 2, create('b'))],
  ],
  [
    'a conflict with a save that is under way',
    [created, at(2, 9, save('b')), at(3, 4, save('c', 'a'), CONFLICT)],
  ],
  ['calls of one moment', [created, at(1, 2, load), at(1, 2, load, told('a')), at(1, 2, remove)]],
  [
    'a failed write that is never made',
    [created, at(2, 3, save('b'), FAILED), at(4, 5, load, told('a'))],
  ],
  [
    'a failed write that is made late',
    [created, at(2, 3, save('b'), FAILED), at(4, 5, load, told('a')), at(6, 7, load, told('b'))],
  ],
  [
    'a write without an answer that causes a conflict',
    [created, at(2, undefined, save('b')), at(4, 5, save('c', 'a'), CONFLICT)],
  ],
  ['failed loads', [created, at(2, 3, load, FAILED), at(2, undefined, load)]],
  [
    'a chain of failed writes',
    [
      created,
      at(2, 3, remove, FAILED),
      at(2, 3, create('b'), FAILED),
      at(2, 3, touch(LATER), FAILED),
      at(4, 5, load, told('b', LATER)),
    ],
  ],
  [
    'a retired key',
    [
      created,
      at(2, 3, retire),
      at(4, 5, load, told('')),
      at(6, 7, save('b'), GONE),
      at(8, 9, remove),
      at(10, 11, create('c')),
    ],
  ],
  [
    'a retired key that is removed',
    [created, at(2, 3, retire), at(4, 5, load), at(6, 7, create('b'))],
    { removesRetired: true },
  ],
  ['an evicted record', [created, at(2, 3, load), at(4, 5, create('b'))], { evicts: true }],
  [
    'an end within the grain',
    [created, at(2, 3, load, told('a', END - 900)), at(4, 5, touch(LATER, END - 900))],
    { grain: 1000 },
  ],
  [
    'an old copy',
    [created, at(2, 3, save('b')), at(4, 5, load, told('a'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
  [
    'a copy of what may have been written after the end',
    [created, at(2, 3, remove), at(4, 5, create('b'), FAILED), at(6, 7, load, told('b'))],
    { copies: { ofChanged: 1000, ofEnded: 0 } },
  ],
]

describe(`${bad.length} histories that no store may have`, () => {
  test.each(bad)('%s', (_what, history, options) => {
    expect(check(history, options)).toMatchObject({ is: 'not linearizable' })
  })
})

describe(`${good.length} histories that any store may have`, () => {
  test.each(good)('%s', (_what, history, options) => {
    expect(check(history, options)).toMatchObject({ is: 'linearizable' })
  })
})

test('keys have nothing to do with each other', () => {
  const other = { ...at(2, 3, save('b')), key: 'other' }
  expect(check([created, { ...created, key: 'other' }, other, at(4, 5, load, told('a'))]).is).toBe(
    'linearizable',
  )
})

test('a contradiction is told by the calls that it needs, with their times and answers', () => {
  const noise = Array.from({ length: 50 }, (_, n) => at(2 + n, 2.5 + n, load, told('a')))
  const { explanation, calls } = check([
    created,
    ...noise,
    { ...at(60, 61.5, save('b', 'a')), process: 2 },
    { ...at(62, 63, load, told('a')), process: 3 },
    at(64, 65, load, told('b')),
  ])
  expect(calls.map(({ start }) => start)).toEqual([0, 60, 62])
  expect(explanation).toBe(
    `The calls of the key '${KEY}' contradict each other. No order of them explains what the last answer says, load: "a" until 2026-01-02T00:00:00.000Z.
process   start     end  call                                            answer
1         0.000   1.000  create "a" until 2026-01-02T00:00:00.000Z       done
2        60.000  61.500  save "b" until 2026-01-02T00:00:00.000Z if "a"  done
3        62.000  63.000  load                                            "a" until 2026-01-02T00:00:00.000Z`,
  )
})

test('what takes too many orders to try is undecided, and says so', () => {
  const many = Array.from({ length: 40 }, (_, n) =>
    at(2, 3, touch(LATER + n, LATER + n - 1), FAILED),
  )
  const { is, explanation } = check(
    [created, at(2, 3, touch(LATER - 1), FAILED), ...many, at(4, 5, load)],
    { bound: 10 },
  )
  expect(is).toBe('undecided')
  expect(explanation).toContain('43 calls of the key')
  expect(explanation).toContain('41 of them have an unknown outcome')
})

/** One of every choice, at random. */
const chooser = (seed: number) => {
  const random = randomOf(seed)
  return { random, of: <T>(...some: T[]) => some[random(some.length)]! }
}

/** What a call is answered by this right store; and what it leaves there. */
function ask(store: ReturnType<typeof mapStore>, { key, ...question }: Operation): Answer {
  try {
    if (question.call === 'load') return { found: store.load(key) as Answer['found'] }
    if (question.call === 'create') store.create(key, question.record)
    else if (question.call === 'save') store.save(key, question.record, question.expected)
    else if (question.call === 'touch') store.touch(key, question.expiresAt, question.from)
    else store.delete(key)
    return {}
  } catch (error) {
    return { error: (error as { code: string }).code }
  }
}

/** Every order of the calls that keeps to their times, tried on the store of the contract's comment. */
function isLinearizableByForce(operations: readonly Operation[]): boolean {
  const must = operations.filter((one) => !isUnknown(one))
  const may = operations.filter((one) => isUnknown(one) && one.call !== 'load')
  function goOn(done: readonly Operation[]): boolean {
    if (must.every((one) => done.includes(one))) return true
    for (const next of [...must, ...may]) {
      if (done.includes(next)) continue
      // Something that was answered before this began has not happened yet.
      if (must.some((one) => !done.includes(one) && one.end! < next.start)) continue
      const store = mapStore({ now: () => NOW })
      for (const one of done) ask(store, one)
      const { found, error } = ask(store, next)
      const isSame = isUnknown(next)
        ? error === undefined
        : error === next.error &&
          found?.data === next.found?.data &&
          found?.expiresAt === next.found?.expiresAt
      if (isSame && goOn([...done, next])) return true
    }
    return false
  }
  return goOn([])
}

/** A small history: calls at random times on a right store in some order, some of whose answers are lost or changed. */
function randomHistory(seed: number): Operation[] {
  const { random, of } = chooser(seed)
  const store = mapStore({ now: () => NOW })
  const data = of(['a', 'b', 'c', 'd'], ['a', 'b'])
  const calls = Array.from({ length: 2 + random(5) }, (_, n) => {
    const ends = [END, LATER]
    const question = of<Question>(
      load,
      load,
      create(of(...data)),
      save(of(...data), of(undefined, ...data)),
      { call: 'save', record: record(of(...data), of(...ends)), expected: of(...data) },
      retire,
      end,
      touch(of(...ends), of(undefined, ...ends)),
      remove,
    )
    const start = n * 2 + random(3)
    return at(start, start + 1 + random(6), question)
  })
  if (random(3)) calls[0] = at(0, 1 + random(4), create(data[0]!))
  // Each takes effect at a random moment of its own.
  const byMoment = calls
    .map((call) => ({ call, moment: call.start + random((call.end! - call.start) * 100) / 100 }))
    .toSorted((a, b) => a.moment - b.moment)
  for (const { call } of byMoment) {
    const isLost = random(6) === 0
    if (isLost && random(2)) Object.assign(call, FAILED)
    else Object.assign(call, ask(store, call))
    if (isLost) Object.assign(call, { found: undefined, ...FAILED })
    if (isLost && random(3) === 0) call.end = undefined
    else if (random(12) === 0) {
      Object.assign(call, { found: undefined, error: undefined })
      if (call.call === 'load') Object.assign(call, of({}, told(of(...data), of(END, LATER))))
      else Object.assign(call, of<Answer>({}, GONE, CONFLICT, EXISTS))
    }
  }
  return calls
}

test('the search agrees with a try of all orders, in thousands of small histories', () => {
  const counts = { true: 0, false: 0 }
  for (let seed = 0; seed < 6000; seed++) {
    const history = randomHistory(seed)
    const expected = isLinearizableByForce(history)
    counts[`${expected}`]++
    const { is } = check(history)
    if (is !== (expected ? 'linearizable' : 'not linearizable')) {
      throw new Error(`seed ${seed} is ${expected} by force: ${JSON.stringify(history, null, 1)}`)
    }
  }
  expect(counts.true).toBeGreaterThan(1000)
  expect(counts.false).toBeGreaterThan(1000)
})

/** Calls of four processes on one key, as a right store answers them, one in fifty of which fails. */
function longHistory(length: number): Operation[] {
  const { random, of } = chooser(7)
  const store = mapStore({ now: () => NOW })
  const free = [0, 0, 0, 0]
  const all: Operation[] = []
  let last = told('0').found!
  for (let n = 0; n < length; n++) {
    const caller = random(4)
    const fresh = { data: `${n}`, expiresAt: END + n * 10_000 }
    const question = of<Question>(
      load,
      load,
      { call: 'create', record: fresh },
      { call: 'save', record: fresh },
      { call: 'save', record: fresh, expected: last.data },
      touch(fresh.expiresAt, of(undefined, last.expiresAt)),
      of<Question>(remove, load, load, load),
    )
    // In the order of the moments at which they take effect.
    const moment = Math.max(n, free[caller]! + 0.5)
    const call = { ...at(moment - 0.4, moment + random(4), question), process: caller }
    free[caller] = call.end!
    all.push(call)
  }
  for (const call of all.toSorted((a, b) => a.start - b.start)) {
    const isLost = random(50) === 0
    if (isLost && random(2)) Object.assign(call, FAILED)
    else Object.assign(call, ask(store, call))
    if (isLost) Object.assign(call, { found: undefined, ...FAILED })
    last = call.found ?? last
  }
  return all
}

test('four thousand calls of four processes on one key are judged within a second or so', () => {
  const history = longHistory(4000)
  expect(history.filter(isUnknown).length).toBeGreaterThan(40)
  const start = performance.now()
  expect(check(history).is).toBe('linearizable')
  const took = performance.now() - start
  console.log(`4000 calls in ${took.toFixed(0)} ms`)
  // A search of all orders never ends.
  expect(took).toBeLessThan(30_000)
})

test('a recorded store answers as it did, and notes each call before and after', async () => {
  const began: Operation[] = []
  const ended: Operation[] = []
  const store = recorded(
    mapStore({ now: () => NOW }),
    3,
    (one) => began.push({ ...one }),
    (one) => ended.push(one),
  )
  expect(await store.create(KEY, record('a'))).toBe(KEY)
  expect(await store.load(KEY, true)).toEqual(record('a'))
  await expect(store.save(KEY, record('b'), 'x')).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_CONFLICT' }),
  )
  expect(await store.touch(KEY, LATER, END)).toBe(KEY)
  await store.delete(KEY)
  await expect(store.save(KEY, record('b'))).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_SESSION_GONE' }),
  )
  expect(began.every((one) => one.end === undefined)).toBe(true)
  expect(ended.map(({ call }) => call)).toEqual([
    'create',
    'load',
    'save',
    'touch',
    'delete',
    'save',
  ])
  expect(ended.filter(isRefused)).toHaveLength(2)
  expect(ended.every((one) => one.process === 3 && one.end! >= one.start)).toBe(true)
  expect(check(ended).is).toBe('linearizable')
})

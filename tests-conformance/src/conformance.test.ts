// The suite itself: a right store passes it, and every broken one fails the case that should catch it.
import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import * as contract from '@coatcheck/core/store'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { mapStore } from '../../testing/map-store.ts'
import {
  cases,
  checkHistory,
  conformance,
  recorded,
  runCase,
  runConformance,
  type Subject,
} from './index.ts'

const traits = { ephemeral: true, unshared: true }
const subject = { name: 'a map', traits, open: mapStore }

/** The store of the contract's doc comment, run as it stands there. */
function storeOfTheComment(): typeof mapStore {
  const source = readFileSync(new URL('../../packages/core/src/store.ts', import.meta.url), 'utf8')
  const exported = new Map<string, unknown>(Object.entries(contract))
  const [, lines = ''] = / \* ```ts\n([^]*?) \* ```/.exec(source)!
  const typescript = lines.replaceAll(/^ \* ?/gm, '')
  const [imports, ...rest] = typescript.split("} from '@coatcheck/core/store'\n")
  const names = imports!.match(/\w+(?=,)/g)!.filter((name) => exported.has(name))
  const code = stripTypeScriptTypes(rest.join('')).replace('export ', 'return ')
  const values = names.map((name) => exported.get(name))
  // oxlint-disable-next-line no-new-func -- it is our own comment
  return new Function(...names, code)(...values)
}

conformance(
  { name: "the store in the contract's doc comment", traits, open: storeOfTheComment() },
  test,
)

test('every case has its own id', () => {
  const ids = cases.map((one) => one.id)
  expect(ids).toEqual([...new Set(ids)])
})

test('runConformance needs no test runner and reports each case', async () => {
  const seen: string[] = []
  const report = await runConformance({ ...subject, name: 'map' }, (result) => {
    seen.push(result.case.id)
  })
  expect(report).toMatchObject({ subject: 'map', passed: cases.length, failed: 0 })
  expect(seen).toEqual(cases.map((one) => one.id))
})

test('what is no subject, no test function, no case, no selection and no history is refused by name', async () => {
  const anything = (value: unknown) => value as any
  const refused: [run: () => unknown, words: string][] = [
    [() => runConformance(anything(undefined)), 'the subject: the options must be an object'],
    [() => runConformance(anything(mapStore())), 'the subject: `load` is no option'],
    [() => runConformance(subject, anything({ sections: [] })), '`onResult` must be a function'],
    [
      () => runConformance(subject, undefined, anything({ section: 'keys' })),
      '`section` is no option',
    ],
    [() => runConformance(subject, undefined, anything({ sections: 'keys' })), 'must be a list'],
    [() => runConformance(subject, undefined, { cases: ['x'] }), "there is no case 'x'"],
    [() => conformance(subject, anything(undefined)), 'what registers a test must be a function'],
    [() => conformance(anything({}), anything(test)), 'the subject has no `name`'],
    [() => runCase(subject, anything(undefined)), 'the case must be one of `cases`'],
    [() => recorded(anything({}), 1, () => {}), 'recorded: what it is given must be a store'],
    [() => recorded(mapStore(), 1, anything(1)), '`onCall` must be a function'],
    [() => checkHistory(anything([{}])), 'checkHistory: the operation 0 has no `call`'],
    [() => checkHistory(anything([null])), 'checkHistory: the operation 0 is null'],
    [() => checkHistory(anything(undefined)), 'checkHistory: the operations must be a list'],
    [() => checkHistory([], anything({ graim: 1 })), '`graim` is no option: did you mean `grain`?'],
    [
      () => checkHistory(anything([{ call: 'load', key: 'a', process: 1, start: 2, end: 1 }])),
      'the operation 0 has an `end`',
    ],
  ]
  for (const [run, words] of refused) {
    const thrown = await (async () => run())().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(thrown, words).toMatchObject({ code: 'ERR_SESSION_OPTIONS' })
    expect((thrown as Error).message).toContain(words)
  }
})

test('runConformance runs a section or a case alone', async () => {
  const { results } = await runConformance(subject, undefined, {
    sections: ['closing'],
    cases: ['expiry/rolling'],
  })
  expect(results.map((result) => result.case.section)).toEqual([
    'expiry',
    ...Array(5).fill('closing'),
  ])
})

test("on the system's clock a store that holds up the process is judged by each case alone", async () => {
  const held = new Int32Array(new SharedArrayBuffer(4))
  /** As long as a slow disk takes, in ms: sixteen cases at once hold up each other for more than a moment may be off. */
  const hold = <T>(answer: T): T => {
    Atomics.wait(held, 0, 0, 60)
    return answer
  }
  const slow: Subject = {
    name: 'slow',
    traits,
    realTime: true,
    open() {
      const right = mapStore()
      return {
        ...right,
        load: (key) => hold(right.load(key)),
        create: (key, record) => hold(right.create(key, record)),
      }
    },
  }
  const report = await runConformance(slow, undefined, { sections: ['expiry'] })
  expect(report.results.flatMap(({ case: one, error }) => (error ? [one.id, error] : []))).toEqual(
    [],
  )
})

test("on the system's clock only what may have come too late is forgiven in the company of other cases", async () => {
  // Of whatever calls: the key of the one that came last is every call's.
  let current = ''
  const mixedUp: Subject = {
    name: 'mixed up',
    traits,
    realTime: true,
    open() {
      const right = mapStore()
      return {
        ...right,
        traits,
        async load(key) {
          current = key
          await turn()
          return right.load(current)
        },
      }
    },
  }
  const ids = cases.filter(({ section }) => section === 'contract').map(({ id }) => id)
  for (const id of ids) await runConformance(mixedUp, undefined, { cases: [id] })
  const { failed } = await runConformance(mixedUp, undefined, { cases: ids })
  expect(failed).toBeGreaterThan(0)
})

test('a case that fails and whose store cannot be closed after it is told by both', async () => {
  const store = () => ({
    ...mapStore(),
    load() {
      // oxlint-disable-next-line no-throw-literal -- as a store might
      throw undefined
    },
    close() {
      throw new Error('not closed')
    },
  })
  const failure = runCase(
    { ...subject, open: store },
    cases.find(({ id }) => id === 'contract/load-unknown')!,
  )
  await expect(failure).rejects.toMatchObject({
    errors: [
      { message: 'The store threw undefined where it must throw an error' },
      { message: 'not closed' },
    ],
  })
})

test('a store that never answers is given up after five cases, and the others have failed', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const open = () => ({ ...mapStore(), traits, save: () => new Promise<string>(() => {}) })
    const running = runConformance({ ...subject, open }, undefined, { sections: ['contract'] })
    const run = { isOver: false }
    void running.finally(() => (run.isOver = true))
    while (!run.isOver) await vi.advanceTimersByTimeAsync(1000).then(() => turn())
    const told = (await running).results.map(({ error }) => error && (error as Error).message)
    expect(told.filter((words) => words === 'no answer after 120 seconds')).toHaveLength(5)
    expect(told.at(-1)).toBe('not run: 5 cases before it have never ended')
  } finally {
    vi.useRealTimers()
  }
})

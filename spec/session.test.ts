// Checks Session.tla: that its promises hold in every order of events, and that none of its rules can be left out.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { check_spec_with_cfg as checkSpec, initSync } from 'tla-checker'
import { beforeAll, expect, test } from 'vitest'
import { isWhole } from '../testing/share.ts'

const here = import.meta.dirname
const read = (file: string) => readFileSync(join(here, file), 'utf8')
const spec = read('Session.tla')
const common = read('Session.cfg')

/** No model is near it: the checker gives up there rather than run for hours. */
const MAX_STATES = 100_000
const MAX_DEPTH = 200
const TIMEOUT = 1_200_000

/** What there is, and how much may go wrong: constants of the specification. */
interface Model {
  readonly Cached: boolean
  readonly FreshFor: number
  readonly MaxLost: number
}

const DATABASE: Model = { Cached: false, FreshFor: 1, MaxLost: 1 }
const COPIES: Model = { Cached: true, FreshFor: 1, MaxLost: 1 }
const UNHURT: Model = { Cached: true, FreshFor: 1, MaxLost: 0 }

interface Result {
  readonly states: number
  readonly seconds: number
  /** The promise that is broken, and after how many steps; undefined if none is. */
  readonly violated: { readonly invariant: string; readonly steps: number } | undefined
}

/**
 * Checks one model.
 * @param cast What each request does: two or three words.
 * @param without A rule that does not apply.
 * @param promises What is checked, if not all.
 */
function check(cast: string, model: Model, without?: string, promises?: readonly string[]): Result {
  const [First, Second, Third = 'nothing'] = cast.split(' ')
  const Requests = Third === 'nothing' ? [1, 2] : [1, 2, 3]
  let cfg = common
  for (const [name, value] of Object.entries({ Requests, First, Second, Third, ...model }))
    cfg += `  ${name} = ${tla(value)}\n`
  if (without) {
    expect(cfg).toContain(`  ${without} = TRUE\n`)
    cfg = cfg.replace(`  ${without} = TRUE\n`, `  ${without} = FALSE\n`)
  }
  const checked = promises ?? /INVARIANTS\n(.*)CONSTANTS/s.exec(common)![1]!.trim().split(/\s+/)
  cfg = cfg.replace(/(?<=INVARIANTS\n).*(?=CONSTANTS)/s, `  ${checked.join('\n  ')}\n`)
  const begun = performance.now()
  const result = JSON.parse(checkSpec(spec, cfg, '{}', MAX_STATES, MAX_DEPTH, true, false))
  const seconds = (performance.now() - begun) / 1000
  const states: number = result.states_explored
  if (result.success) return { states, seconds, violated: undefined }
  const [, index] = /^Invariant (\d+) violated$/.exec(result.error_message) ?? []
  if (index === undefined) throw new Error(`${result.error_type}: ${result.error_message}`)
  const steps = result.trace.join('\n').match(/^State \d+$/gm)!.length - 1
  return { states, seconds, violated: { invariant: checked[Number(index)]!, steps } }
}

/** A constant as a cfg file has it. */
function tla(value: unknown): string {
  if (Array.isArray(value)) return `{${value.join(', ')}}`
  return typeof value === 'boolean' ? String(value).toUpperCase() : JSON.stringify(value)
}

function report(name: string, { states, seconds, violated }: Result): void {
  const found = violated ? `${violated.invariant} in ${violated.steps} steps` : 'holds'
  console.log(`${name}: ${found} (${states} states, ${seconds.toFixed(1)} s)`)
}

beforeAll(() => {
  const wasm = join(fileURLToPath(import.meta.resolve('tla-checker')), '../tla_checker_bg.wasm')
  initSync({ module: readFileSync(wasm) })
})

/** Those that take longest: `pnpm whole` checks them. */
const ofWhole = (...casts: string[]): string[] => (isWhole ? casts : [])

const MODELS: readonly [string, Model, readonly string[]][] = [
  [
    'database',
    DATABASE,
    ['save login flush', ...ofWhole('save save login', 'save login login', 'save login resume')],
  ],
  [
    'database, two answers lost',
    { ...DATABASE, MaxLost: 2 },
    ['save save', 'save login', 'login login', 'login flush', 'flush flush', 'renew shorten'],
  ],
  ['copies', COPIES, ['save flush', ...ofWhole('save login', 'login resume')]],
  ['copies, believed for two ticks', { ...COPIES, FreshFor: 2 }, ['flush read', 'login read']],
  ['copies, no answer lost', UNHURT, ['flush flush', 'save renew', ...ofWhole('flush login read')]],
]

test.each(MODELS)(
  '%s: every promise is kept, whatever happens when',
  (name, model, casts) => {
    const results = casts.map((cast) => ({ cast, ...check(cast, model) }))
    const sum = (of: 'states' | 'seconds') =>
      results.reduce((total, result) => total + result[of], 0)
    report(name, { states: sum('states'), seconds: sum('seconds'), violated: undefined })
    expect(results.filter(({ violated }) => violated)).toEqual([])
  },
  TIMEOUT,
)

test.each([
  ['SavesOnCondition', 'NoLostUpdate', 'save save', DATABASE],
  ['RenewsOnCondition', 'NoLongerLife', 'renew shorten', DATABASE],
  ['EndsOnCondition', 'NoLogoutThatOpens', 'flush login', DATABASE],
  ['LooksBeforeRepeating', 'NothingTwice', 'save save', DATABASE],
  ['LooksBeforeRepeating', 'NoLostUpdate', 'save login', DATABASE],
  ['FillsByReservation', 'NoLogoutThatOpens', 'flush read', COPIES],
  ['CountsFromTheCall', 'NoLogoutThatOpens', 'flush read', COPIES],
  ['BeliefEnds', 'NoLogoutThatOpens', 'flush read', COPIES],
  ['WaitsUntilStale', 'NoLogoutThatOpens', 'flush read', COPIES],
  ['TellsWhatItFinds', 'NoLogoutThatOpens', 'flush flush', UNHURT],
  ['TellsWhatItFinds', 'NoLogoutThatOpens', 'login read', COPIES],
  ['EndsTheMissing', 'NoLogoutThatOpens', 'flush flush', UNHURT],
  ['CopiesTheConfirmed', 'NoStaleCopy', 'save renew', UNHURT],
  ...(isWhole ? ([['LooksInTheDatabase', 'NoLostUpdate', 'save login', COPIES]] as const) : []),
] as const)(
  'without the rule %s the promise %s is broken: %s',
  (rule, invariant, cast, model) => {
    // Two promises of one rule are looked for one by one, or only the nearer would be found.
    const promises = rule === 'LooksBeforeRepeating' ? [invariant] : undefined
    const result = check(cast, model, rule, promises)
    report(`without ${rule}, ${cast}`, result)
    expect(result.violated).toMatchObject({ invariant })
  },
  TIMEOUT,
)

test.each([
  ['NeverAllDone', 'save login', DATABASE],
  ['NeverMoved', 'save login', DATABASE],
  ['NeverMovedElsewhere', 'login login', DATABASE],
  ['NeverAbandoned', 'login flush', DATABASE],
  ['NeverFoundAfterDoubt', 'save login', DATABASE],
  ['NeverTooLate', 'save save', DATABASE],
  ['NeverResumed', 'login resume', DATABASE],
  ['NeverCopied', 'save read', COPIES],
  ['NeverBelievedAfterwards', 'flush read', COPIES],
  ['NeverWaited', 'flush read', COPIES],
] as const)(
  'the models do something, so %s is false: %s',
  (never, cast, model) => {
    const result = check(cast, model, undefined, [never])
    report(never, result)
    expect(result.violated).toMatchObject({ invariant: never })
  },
  TIMEOUT,
)

test('what the specification says it stands for is in the source', () => {
  const source = (folder: string) => join(here, '../packages', folder, 'src')
  const named = [...spec.matchAll(/([\w-]+\.ts|cached-db): (\w+(?:, \w+)*)/g)].flatMap(
    ([, place, names]) => names!.split(', ').map((name) => ({ place: place!, name })),
  )
  expect(named.length).toBeGreaterThan(20)
  const cachedDb = readdirSync(source('cached-db')).filter((file) => /(?<!\.test)\.ts$/.test(file))
  const missing = named.filter(({ place, name }) => {
    if (place === 'cached-db')
      return !cachedDb.some((file) =>
        new RegExp(`\\b${name}\\b`).test(readFileSync(join(source(place), file), 'utf8')),
      )
    const text = readFileSync(join(source('core'), place), 'utf8')
    return !new RegExp(`^(?:export )?(?:async )?function\\*? ${name}\\b`, 'm').test(text)
  })
  expect(missing).toEqual([])
})

// Goes through interleavings: every one of a small script, or those of a seed; and makes a failure as small as it can.
import { subscribe } from 'node:diagnostics_channel'
import { setImmediate } from 'node:timers/promises'
import { brokenPromise } from './promises.ts'
import { runScript } from './run.ts'
import {
  cachedScripts,
  randomCachedScript,
  randomScript,
  smallScripts,
  type Script,
} from './scripts.ts'
import type { Choose, Tested } from './world.ts'

/** A promise that was broken, and how to see it again. */
export interface Found {
  readonly broken: string
  readonly script: Script
  /** What happened, in order. */
  readonly trace: readonly string[]
  /** Of a script by chance. */
  readonly seed?: number
}

/** How far an exploration came. */
export interface Explored {
  interleavings: number
  readonly found: Found[]
}

// Scripts do what an application is warned of: nobody needs to read that.
subscribe('coatcheck:warning', () => {})

async function runOnce(tested: Tested, script: Script, choose: Choose): Promise<Found | undefined> {
  try {
    const run = await runScript(tested, script, choose)
    const broken = brokenPromise(script, run)
    return broken === undefined ? undefined : { broken, script, trace: run.world.trace }
  } catch (error) {
    return { broken: (error as Error).stack ?? String(error), script, trace: [] }
  }
}

/** How many interleavings of a script are gone through: so many in order and, where it has more, so many by chance. */
export interface Amount {
  readonly inOrder: number
  readonly byChance: number
}

/** Runs something under every schedule, up to an amount; ends with what the first run found. */
export async function inEveryOrder<T>(
  run: (choose: Choose) => Promise<T | undefined>,
  { inOrder, byChance }: Amount,
): Promise<{ runs: number; found: T | undefined }> {
  // Node tidies up what it notes of promises between two turns of its event loop only; so here as for seeds.
  await setImmediate()
  let path: number[] = []
  let runs = 0
  while (runs < inOrder) {
    const counts: number[] = []
    const taken: number[] = []
    const found = await run((count) => {
      // What runs by the real clock, as express-session does, may have fewer choices the second time.
      const choice = Math.min(path[counts.length] ?? 0, count - 1)
      counts.push(count)
      taken.push(choice)
      return choice
    })
    runs++
    if (found !== undefined) return { runs, found }
    let at = counts.length - 1
    while (at >= 0 && taken[at]! + 1 >= counts[at]!) at--
    if (at < 0) return { runs, found }
    path = [...taken.slice(0, at), taken[at]! + 1]
  }
  const random = randomOf(1)
  for (let n = 0; n < byChance; n++) {
    const found = await run(random)
    runs++
    if (found !== undefined) return { runs, found }
  }
  return { runs, found: undefined }
}

/** Every interleaving of a script, up to an amount; ends at the first fault. */
export async function everyInterleaving(
  tested: Tested,
  script: Script,
  explored: Explored,
  amount: Amount,
): Promise<void> {
  const run = (choose: Choose) => runOnce(tested, script, choose)
  const { runs, found } = await inEveryOrder(run, amount)
  explored.interleavings += runs
  if (found) explored.found.push(found)
}

/** A small generator of numbers: the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761) >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** How many schedules one script by chance is run under. */
const SCHEDULES = 20

/** The script of a seed, and some of its interleavings. */
export async function interleavingsOfSeed(
  tested: Tested,
  seed: number,
  explored: Explored,
): Promise<void> {
  await setImmediate()
  const random = randomOf(seed)
  const script = (tested.storeOf ? randomCachedScript : randomScript)(random)
  for (let n = 0; n < SCHEDULES; n++) {
    const found = await runOnce(tested, script, random)
    explored.interleavings++
    if (!found) continue
    explored.found.push({ ...(await smallest(tested, found)), seed })
    return
  }
}

/** The script without whatever it can spare and still fail, with the shortest trace that was found. */
async function smallest(tested: Tested, found: Found): Promise<Found> {
  for (const script of smallerThan(found.script)) {
    for (let seed = 0; seed < 300; seed++) {
      const again = await runOnce(tested, script, randomOf(seed))
      if (again) return smallest(tested, again)
    }
  }
  return found
}

/** Each script with one thing less. */
function* smallerThan(script: Script): Iterable<Script> {
  const { requests } = script
  for (let n = 0; n < requests.length && requests.length > 1; n++) {
    yield { ...script, requests: requests.filter((_, at) => at !== n) }
  }
  if (script.faults > 0) yield { ...script, faults: script.faults - 1 }
  if (script.jump > 0) yield { ...script, jump: 0 }
  if (script.saveEveryRequest) yield { ...script, saveEveryRequest: false }
  if (script.flashed) yield { ...script, flashed: false }
  if (script.lazy) yield { ...script, lazy: false }
  for (const [n, one] of requests.entries()) {
    const replace = (request: typeof one): Script => ({
      ...script,
      requests: requests.map((other, at) => (at === n ? request : other)),
    })
    if (one.after) {
      const { after: _, ...rest } = one
      yield replace(rest)
    }
    for (let at = 0; at < one.steps.length; at++) {
      yield replace({ ...one, steps: one.steps.filter((_, other) => other !== at) })
    }
  }
}

/** Of each small script so many schedules come first: most faults show in one of the first of some script. */
const FIRST = 5

/** Of a script that has more than are gone through in order, so many follow by chance. */
const BY_CHANCE = 100

/** All small scripts, then seeds from `seed` on, until `goOn` says no or a fault is found. */
export async function explore(
  tested: Tested,
  explored: Explored,
  goOn: () => boolean,
  { seed = 1, mostOfEach = 2000, small = true } = {},
): Promise<void> {
  const scripts = tested.storeOf ? cachedScripts : smallScripts
  for (const most of small ? [FIRST, mostOfEach] : []) {
    for (const script of scripts()) {
      if (!goOn()) return
      await everyInterleaving(tested, script, explored, {
        inOrder: most,
        byChance: Math.min(most, BY_CHANCE),
      })
    }
  }
  for (let next = seed; goOn(); next++) await interleavingsOfSeed(tested, next, explored)
}

/** A fault in words. */
export function describe({ broken, script, trace, seed }: Found): string {
  const { requests, ...options } = script
  const set = Object.entries(options).filter(
    ([, value]) => value && !(Array.isArray(value) && value.length === 0),
  )
  return [
    broken,
    ...(seed === undefined ? [] : [`seed ${seed}`]),
    `options ${JSON.stringify(Object.fromEntries(set))}`,
    ...requests.map((request, n) => `request ${n} ${JSON.stringify(request)}`),
    ...trace.map((what) => `  ${what}`),
  ].join('\n')
}

// Measures contenders in turn, several rounds, so that a noisy machine is noisy to all of them alike.
import { writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

/** Shows what is running on the last line of a terminal; without a text, takes it away again. Elsewhere it is silent. */
export function progress(text = ''): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text}`)
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!
}

/** Between which two of the values the middle half of them lies. */
export function quartiles(values: readonly number[]): [low: number, high: number] {
  const sorted = values.toSorted((a, b) => a - b)
  const last = sorted.length - 1
  return [sorted[Math.floor(last / 4)]!, sorted[Math.ceil((last * 3) / 4)]!]
}

/** A table in Markdown, with figures in every column but the first. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  return [
    `| ${head.join(' | ')} |`,
    `| --- |${' --: |'.repeat(head.length - 1)}`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
  ].join('\n')
}

/** Writes what a whole run of a benchmark found to bench/results, for the report. */
export function saveResults(name: string, results: object): void {
  const whole = { date: new Date().toISOString(), node: process.version, ...results }
  writeFileSync(`bench/results/${name}.json`, `${JSON.stringify(whole, null, 2)}\n`)
}

/** One way to do an operation. */
export interface Contender {
  readonly name: string
  /** Does it once, for the n-th time. */
  run(n: number): unknown
}

/** How a contender did: operations per second, the median of the rounds and the whole range. */
export interface Result {
  readonly name: string
  readonly median: number
  readonly low: number
  readonly high: number
}

/** How often each contender has its turn, and how long one is, in ms. */
export interface Pace {
  readonly rounds: number
  readonly slice: number
}

export const THOROUGH: Pace = { rounds: 5, slice: 100 }
export const QUICK: Pace = { rounds: 3, slice: 80 }

/** Measures contenders for one operation; `atOnce` of them are under way at the same time. */
export async function measure(
  title: string,
  contenders: readonly Contender[],
  { rounds, slice }: Pace,
  atOnce = 1,
): Promise<Result[]> {
  const seen = contenders.map((): number[] => [])
  const counters = contenders.map(() => 0)
  // The first round only warms up.
  for (let round = 0; round <= rounds; round++) {
    for (let step = 0; step < contenders.length; step++) {
      // Another one begins each round, so that none is always behind the same neighbour.
      const at = (step + round) % contenders.length
      const { name, run } = contenders[at]!
      progress(`${title}: ${name}, round ${round} of ${rounds}`)
      const start = performance.now()
      const end = start + slice
      let done = 0
      const lane = async () => {
        for (;;) {
          const answer = run(counters[at]!++)
          const waits = answer instanceof Promise
          if (waits) await answer
          done++
          // Looking at the clock is not free: beside a call that does not wait, every 16th time is often enough.
          if ((waits || done % 16 === 0) && performance.now() >= end) return
        }
      }
      await Promise.all(Array.from({ length: atOnce }, lane))
      if (round > 0) seen[at]!.push((done / (performance.now() - start)) * 1000)
    }
  }
  progress()
  return contenders.map(({ name }, at) => {
    const all = seen[at]!
    return { name, median: median(all), low: Math.min(...all), high: Math.max(...all) }
  })
}

export const count = (value: number) => Math.round(value).toLocaleString('en')

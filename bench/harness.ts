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
  /** What it is measured as: the limit, ours, or somebody else's. */
  readonly role: 'raw' | 'ours' | 'peer'
  /** Does it once, for the n-th time. */
  run(n: number): unknown
}

/** How a contender did: operations per second, the median of the rounds and the whole range. */
export interface Result {
  readonly name: string
  readonly role: Contender['role']
  readonly median: number
  readonly low: number
  readonly high: number
}

const ROUNDS = 7

/** How long one contender runs in one round, in ms. */
const SLICE = 250

/** Measures contenders for one operation; `atOnce` of them are under way at the same time. */
export async function measure(
  title: string,
  contenders: readonly Contender[],
  atOnce = 1,
): Promise<Result[]> {
  const seen = contenders.map((): number[] => [])
  const counters = contenders.map(() => 0)
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [at, { name, run }] of contenders.entries()) {
      progress(`${title}: ${name}, round ${round} of ${ROUNDS}`)
      const start = performance.now()
      const end = start + SLICE
      let done = 0
      const lane = async () => {
        for (;;) {
          const answer = run(counters[at]!++)
          if (answer instanceof Promise) await answer
          done++
          // Looking at the clock is not free: every 16th time is often enough.
          if (done % 16 === 0 && performance.now() >= end) return
        }
      }
      await Promise.all(Array.from({ length: atOnce }, lane))
      // The first round only warms up.
      if (round > 0) seen[at]!.push((done / (performance.now() - start)) * 1000)
    }
  }
  progress()
  return contenders.map(({ name, role }, at) => {
    const all = seen[at]!
    return { name, role, median: median(all), low: Math.min(...all), high: Math.max(...all) }
  })
}

export const count = (value: number) => Math.round(value).toLocaleString('en')

/** A table row for each contender: its speed, its range, and what it is of the raw driver's. */
export function toMarkdown(title: string, results: readonly Result[]): string {
  const raw = results.find(({ role }) => role === 'raw')?.median
  const rows = results.map(({ name, role, median: own, low, high }) => [
    role === 'ours' ? `**${name}**` : name,
    count(own),
    `${count(low)}–${count(high)}`,
    raw && role !== 'raw' ? (own / raw).toFixed(2) : '',
  ])
  return `### ${title}\n\n${markdownTable(['', 'operations/s', 'range', 'of raw'], rows)}`
}

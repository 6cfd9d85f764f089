// How what has ended is removed: so much at a time that nobody waits long for it.
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Awaitable } from '@coatcheck/core/store'
import {
  CHUNK_SIZE,
  type Answer,
  type Dialect,
  type Parameter,
  type Row,
  type Statement,
  type Statements,
} from './dialect.ts'

/** What a sweep is made of. */
export interface SweepParts {
  readonly dialect: Dialect
  readonly statements: Statements
  /** What has ended by then goes, as the database writes dates. */
  readonly time: string
  readonly batchSize: number
  /** Whether no further batch is to begin. */
  isOver(): boolean
  /** What is done before each further batch. */
  betweenBatches?(): Awaitable<void>
  run(statement: Statement, parameters: readonly Parameter[]): Awaitable<Answer>
}

/** Removes rows as the index over their ends has them. Returns how many. */
export async function sweepBatches({
  dialect,
  statements,
  time,
  batchSize,
  isOver,
  betweenBatches,
  run,
}: SweepParts): Promise<number> {
  const { rest, isFull } = dialect
  let size = batchSize
  let removed = 0
  while (!isOver()) {
    const start = performance.now()
    let changes = size
    try {
      changes = Number((await run(statements.sweep(size), [time, size])).changes)
      removed += changes
    } catch (error) {
      if (size === 1 || !isFull?.((error as Error).cause)) throw error
      // A full disk may have room for less.
      size = Math.ceil(size / 10)
    }
    if (changes < size) return removed
    await betweenBatches?.()
    await (rest ? setTimeout((performance.now() - start) * rest) : othersTurn())
  }
  return removed
}

/** A database within the process answers before anything else has its turn. */
const othersTurn = () => setImmediate()

/** A statement has 65,535 places at the most. */
const MOST_KEYS = 10_000

/** Removes rows in the order of their keys, so that each page is changed by one batch or two. Returns how many. */
export async function sweepInOrder({
  statements,
  time,
  batchSize,
  isOver,
  run,
}: SweepParts): Promise<number> {
  const size = Math.min(batchSize, MOST_KEYS)
  const sweep = statements.sweep(size)
  let removed = 0
  while (!isOver()) {
    const { rows } = await run(statements.expired!, [time])
    const keys = rows!.map(keyIn).toSorted()
    for (let at = 0; at < keys.length; at += size) {
      if (isOver()) return removed
      const batch = keys.slice(at, at + size)
      const last = batch.at(-1)!
      while (batch.length < size) batch.push(last)
      removed += Number((await run(sweep, [time, ...batch])).changes)
      await othersTurn()
    }
    if (keys.length < CHUNK_SIZE) return removed
  }
  return removed
}

function keyIn(row: Row): string {
  return String('key' in row ? row['key'] : (row as readonly unknown[])[0])
}

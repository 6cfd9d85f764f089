// The tables of the benchmark of stores: operations a second, and how they stand to the driver's, to the peer's and to the goal.
import { count, markdownTable, type Result } from './harness.ts'
import { OPERATIONS, type Operation, type Side } from './sides.ts'

/** Each store is to be at least so fast, measured by the driver below it. */
export const GOAL = 0.9

/** One side's speeds. */
export interface Row extends Pick<Side, 'name' | 'role' | 'driver' | 'other'> {
  readonly speeds: Partial<Record<Operation, Result>>
}

/** An engine's sides with sessions of one size, so many calls of each at once. */
export interface StoreTable {
  readonly title: string
  readonly rows: readonly Row[]
}

/** How a side stands to another one. */
function ratio(one: Row, other: Row | undefined, operation: Operation): number | undefined {
  const [own, its] = [one.speeds[operation], other?.speeds[operation]]
  return own && its && own.median / its.median
}

const inWords = (value: number | undefined, least = 0) => {
  if (value === undefined) return ''
  const text = value.toFixed(2)
  return Number(text) < least ? `**${text}**` : text
}

/** The ratios of one table's sides of ours: to the driver, to the first peer, and to the same one of another checkout. */
function ratioRow(title: string, one: Row, rows: readonly Row[]): string[] {
  const driver = rows.find(({ role, driver: its }) => role === 'raw' && its === one.driver)
  const peer = rows.find(({ role }) => role === 'peer')
  const before = rows.find(({ name, other }) => name === one.name && other)
  return [
    `**${one.name}**: ${title}`,
    ...OPERATIONS.map((operation) => inWords(ratio(one, driver, operation), GOAL)),
    ...OPERATIONS.map((operation) => inWords(ratio(one, peer, operation))),
    ...(before ? OPERATIONS.map((operation) => inWords(ratio(one, before, operation))) : []),
  ]
}

/** The ratios of all of ours; a ratio to the driver below the goal stands out. */
export function ratiosTable(tables: readonly StoreTable[]): string {
  const isBeside = tables.some(({ rows }) => rows.some(({ other }) => other))
  const besides = ['of the driver', 'of the peer', ...(isBeside ? ['of the other checkout'] : [])]
  const head = besides.flatMap((beside) => OPERATIONS.map((what) => `${what}, ${beside}`))
  const rows = tables.flatMap(({ title, rows: all }) =>
    all
      .filter(({ role, other }) => role === 'ours' && !other)
      .map((one) => ratioRow(title, one, all)),
  )
  return markdownTable(['', ...head], rows)
}

/** How many of the ratios to the driver reach the goal. */
export function reached(tables: readonly StoreTable[]): { reached: number; of: number } {
  const all = tables.flatMap(({ rows }) =>
    rows
      .filter(({ role, other }) => role === 'ours' && !other)
      .flatMap((one) => {
        const driver = rows.find(({ role, driver: its }) => role === 'raw' && its === one.driver)
        return OPERATIONS.map((operation) => ratio(one, driver, operation)).filter(
          (value) => value !== undefined,
        )
      }),
  )
  return { reached: all.filter((value) => Number(value.toFixed(2)) >= GOAL).length, of: all.length }
}

/** The speeds of one table. */
export function speedsTable({ title, rows }: StoreTable): string {
  const cells = rows.map(({ name, role, other, speeds }) => [
    `${role === 'ours' ? `**${name}**` : name}${other ? ` of ${other}` : ''}`,
    ...OPERATIONS.flatMap((operation) => {
      const speed = speeds[operation]
      return speed ? [count(speed.median), `${count(speed.low)}–${count(speed.high)}`] : ['', '']
    }),
  ])
  const head = OPERATIONS.flatMap((operation) => [`${operation}/s`, 'range'])
  return `#### ${title}\n\n${markdownTable(['', ...head], cells)}`
}

// The tables of the benchmark of requests: what each adds to a request, and how that stands to the goals.
import { count, markdownTable, median, quartiles } from './harness.ts'
import { goals, type Mode, type RequestContender } from './request-contenders.ts'

/** One round of one server: its processor time for a request, in microseconds, and its requests a second. */
export interface Round {
  readonly user: number
  readonly system: number
  readonly rate: number
}

/** A server, and what was seen of it. */
export interface Measured extends RequestContender {
  readonly name: string
  /** The other checkout that it is of; undefined for this one. */
  readonly other?: string | undefined
  readonly seen: Readonly<Record<Mode, Round[]>>
}

/** What a server adds to the framework alone, round by round, in microseconds a request. */
function added(one: Measured, all: readonly Measured[], mode: Mode, what: 'user' | 'system') {
  const alone = all.find(({ role }) => role === 'alone')!.seen[mode]
  return one.seen[mode].map((round, at) => round[what] - alone[at]![what])
}

/** The user time that a server adds to a request, in microseconds. */
export const userAdded = (one: Measured, all: readonly Measured[], mode: Mode): number =>
  median(added(one, all, mode, 'user'))

const rateOf = ({ seen }: Measured, mode: Mode) => median(seen[mode].map(({ rate }) => rate))
const labelOf = ({ label, role, other }: Measured) =>
  `${role === 'ours' ? `**${label}**` : label}${other ? ` of ${other}` : ''}`

/** The median, and between which two values the middle half of them lies. */
function withSpread(values: readonly number[]): string {
  const [low, high] = quartiles(values)
  return `${median(values).toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`
}

/** What each server adds to a request in one mode. */
export function costTable(framework: string, mode: Mode, all: readonly Measured[]): string {
  const alone = all.find(({ role }) => role === 'alone')!
  const [user, system] = (['user', 'system'] as const).map((what) =>
    withSpread(alone.seen[mode].map((round) => round[what])),
  )
  const rows = all
    .filter((one) => one !== alone)
    .map((one) => [
      labelOf(one),
      withSpread(added(one, all, mode, 'user')),
      withSpread(added(one, all, mode, 'system')),
      count(rateOf(one, mode)),
      (rateOf(one, mode) / rateOf(alone, mode)).toFixed(2),
    ])
  const head = ['user µs added', 'system µs added', 'requests/s', 'of alone']
  return `#### ${framework}, ${mode}

${framework} alone: ${user} µs user, ${system} µs system, ${count(rateOf(alone, mode))} requests/s.

${markdownTable(['', ...head], rows)}`
}

/** How what was measured stands to the goals; empty where none is about it. */
export function goalsTable(
  framework: string,
  modes: readonly Mode[],
  all: readonly Measured[],
): string {
  const find = (name: string) => all.find((one) => one.name === name && !one.other)
  const rows = goals
    .filter((goal) => goal.framework === framework)
    .flatMap(({ ours, beside, atMost }) => {
      const [one, other] = [find(ours), find(beside)]
      if (!one || !other) return []
      return modes
        .filter((mode) => atMost[mode] !== undefined)
        .map((mode) => {
          const [own, its] = [userAdded(one, all, mode), userAdded(other, all, mode)]
          return [
            `${labelOf(one)} : ${labelOf(other)}, ${mode}`,
            (own / its).toFixed(2),
            `≤ ${atMost[mode]}`,
            own <= its * atMost[mode]! ? 'yes' : '**no**',
          ]
        })
    })
  if (rows.length === 0) return ''
  return markdownTable([`${framework}: user µs added`, 'ratio', 'goal', 'reached'], rows)
}

/** How ours of this checkout stands to ours of the other one. */
export function againstTable(
  framework: string,
  modes: readonly Mode[],
  all: readonly Measured[],
): string {
  const rows = all
    .filter(({ other }) => other)
    .map((other) => {
      const one = all.find(({ name, other: of }) => name === other.name && !of)!
      return [
        labelOf(one),
        ...modes.map((mode) =>
          (userAdded(one, all, mode) / userAdded(other, all, mode)).toFixed(2),
        ),
        ...modes.map((mode) => (rateOf(one, mode) / rateOf(other, mode)).toFixed(2)),
      ]
    })
  const head = modes.map((mode) => `${mode}, user µs added`)
  const rates = modes.map((mode) => `${mode}, requests/s`)
  return markdownTable([`${framework}: this checkout : the other`, ...head, ...rates], rows)
}

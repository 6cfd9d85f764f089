// The verdict in words: by section, as Markdown, as a badge.
import { AssertionError } from 'node:assert'
import { inspect } from 'node:util'
import { sections, type Section } from './case.ts'
import type { CaseResult, Report } from './index.ts'
import { cases } from './selection.ts'

/** How one section ended. */
export interface SectionVerdict {
  readonly section: Section
  readonly passed: number
  readonly failed: number
  /** How many of the passed were counterparts, since the store declares a trait. */
  readonly declared: number
}

/** The report, section by section, in the suite's order. */
export function bySection({ results }: Report): SectionVerdict[] {
  return sections.map((section) => {
    const own = results.filter((result) => result.case.section === section)
    const passed = own.filter(({ error }) => error === undefined)
    return {
      section,
      passed: passed.length,
      failed: own.length - passed.length,
      declared: passed.filter(({ counterpart }) => counterpart).length,
    }
  })
}

/** Whether all cases were run: some of them say nothing of the others. */
export const isWhole = ({ results }: Report): boolean => results.length === cases.length

/** Whether the store passed what was run, declares nothing that it does not need, and threw nothing past its callers. */
export function isPassed(report: Report): boolean {
  return report.failed === 0 && report.unneeded.length === 0 && report.strays.length === 0
}

/** How many passed and failed, and of how many where only some were run. */
export function countsOf(report: Report): string {
  const some = isWhole(report) ? '' : `, of ${cases.length} cases ${report.results.length} were run`
  return `${report.passed} passed, ${report.failed} failed${some}`
}

/** So many errors are told of a chain of causes, with those that an AggregateError holds. */
const MOST_CAUSES = 8

/** What went wrong and what was behind it, without stacks. */
export function messageOf(error: unknown): string {
  const lines: string[] = []
  const told = new Set<unknown>()
  const tell = (one: unknown, lead: string) => {
    if (told.has(one) || told.size >= MOST_CAUSES) return
    told.add(one)
    lines.push(`${lead}${wordsOf(one, lead !== '')}`)
    if (!(one instanceof Error)) return
    if (one instanceof AggregateError) for (const inner of one.errors) tell(inner, 'one: ')
    if (one.cause !== undefined) tell(one.cause, 'caused by: ')
  }
  tell(error, '')
  return lines.join('\n')
}

/** An error of somebody else's is told with its name and code, as they are what one looks for. */
function wordsOf(error: unknown, isCause: boolean): string {
  if (!(error instanceof Error)) return typeof error === 'object' ? inspect(error) : String(error)
  const { code } = error as { code?: unknown }
  const words = String(error.message || error.name)
  if (!isCause) return words
  const isSaid = code === undefined || words.includes(String(code))
  return `${error.name}: ${words}${isSaid ? '' : ` (${String(code)})`}`
}

/** Failures of one error, told once. */
export interface Fault {
  readonly error: unknown
  /** All that failed by it, in the suite's order. */
  readonly results: readonly CaseResult[]
}

/** The failures in the suite's order, those of the same error together. */
export function faultsOf({ results }: Report): Fault[] {
  const faults = new Map<unknown, CaseResult[]>()
  for (const result of results) {
    if (result.error === undefined) continue
    const same = faultOf(result.error)
    faults.set(same, [...(faults.get(same) ?? []), result])
  }
  return [...faults.values()].map((alike) => ({ error: alike[0]!.error, results: alike }))
}

/**
 * What two failures have in common if they are the same but for their keys. Where the words only show two values that differ, they say nothing
 * of which: each such failure is one of its own.
 */
export const faultOf = (error: unknown): unknown =>
  error instanceof AssertionError && error.generatedMessage
    ? error
    : messageOf(error).replaceAll(/\w{12,}/g, (word) => (/\d/.test(word) ? '#' : word))

/** Nobody reads more lines of one error; `report.json` has them all. */
const MOST_LINES = 20

/** What went wrong, line by line, as far as somebody reads. */
export function linesOf(error: unknown): string[] {
  const lines = messageOf(error).trimEnd().split('\n')
  return lines.length > MOST_LINES ? [...lines.slice(0, MOST_LINES - 1), '…'] : lines
}

const titleOf = ({ case: one, counterpart }: CaseResult) => counterpart?.title ?? one.title

/** The verdict as a Markdown page. */
export function toMarkdown(report: Report): string {
  const lines = [
    `# Conformance of ${report.subject}`,
    '',
    `${countsOf(report)}.`,
    '',
    '| Section | Passed | Failed | By declaration |',
    '| --- | --- | --- | --- |',
    ...bySection(report).map(
      ({ section, passed, failed, declared }) =>
        `| ${section} | ${passed} | ${failed || ''} | ${declared || ''} |`,
    ),
  ]
  const faults = faultsOf(report)
  if (faults.length > 0) lines.push('', '## Failed', '')
  for (const { error, results } of faults) {
    const [failure, ...alike] = results as [CaseResult, ...CaseResult[]]
    const [first, ...others] = linesOf(error)
    lines.push(
      `- **${failure.case.id}**: ${titleOf(failure)}. ${failure.case.why} _${first}_`,
      // Indented by as much, it is code within the list.
      ...(others.length > 0 ? ['', ...others.map((line) => `      ${line}`.trimEnd()), ''] : []),
    )
    if (alike.length > 0)
      lines.push(`  - The same error: ${alike.map((one) => `**${one.case.id}**`).join(', ')}`)
  }
  for (const stray of report.strays) {
    const [first, ...others] = linesOf(stray)
    lines.push('', `An error that nobody caught: _${first}_`)
    lines.push(...(others.length > 0 ? ['', ...others.map((line) => `    ${line}`)] : []))
  }
  const exceptions = report.results.filter(({ counterpart, error }) => counterpart && !error)
  if (exceptions.length > 0) lines.push('', '## Declared exceptions', '')
  for (const { case: one, counterpart } of exceptions) {
    lines.push(`- **${one.id}** (${counterpart!.trait}): ${counterpart!.title}`)
  }
  for (const trait of report.unneeded) {
    lines.push(
      '',
      `The store declares \`${trait}\` and does not need it: it keeps every promise without.`,
    )
  }
  return `${lines.join('\n')}\n`
}

/** The report as data, for machines: ids, outcomes and messages. */
export function toJson(report: Report): object {
  return {
    subject: report.subject,
    conformant: isWhole(report) && isPassed(report),
    of: cases.length,
    passed: report.passed,
    failed: report.failed,
    unneeded: report.unneeded,
    strays: report.strays.map((stray) => messageOf(stray)),
    sections: bySection(report),
    cases: report.results.map(({ case: one, counterpart, error }) => ({
      id: one.id,
      passed: error === undefined,
      ...(counterpart && { declared: counterpart.trait, title: counterpart.title }),
      ...(error !== undefined && { error: messageOf(error) }),
    })),
  }
}

/** A badge for a README, as SVG; of all cases alone. */
export function toBadge(report: Report): string {
  const right = isPassed(report)
    ? `${report.passed} passed`
    : report.failed > 0
      ? `${report.failed} failed`
      : 'not conformant'
  const colour = isPassed(report) ? '#2e7d32' : '#b71c1c'
  const left = 'coatcheck'
  const [a, b] = [badgeWidth(left), badgeWidth(right)]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${a + b}" height="20" role="img" aria-label="${left}: ${right}">
<title>${left}: ${right}</title>
<rect width="${a}" height="20" fill="#444"/><rect x="${a}" width="${b}" height="20" fill="${colour}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,sans-serif" font-size="11"><text x="${a / 2}" y="14">${left}</text><text x="${a + b / 2}" y="14">${right}</text></g>
</svg>
`
}

/** In px: 11 px Verdana is some 6.5 px a letter, with 10 px of air at both ends. */
function badgeWidth(words: string): number {
  return Math.round(words.length * 6.5 + 20)
}

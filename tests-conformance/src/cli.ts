#!/usr/bin/env node
// The suite on the command line: npx @coatcheck/conformance ./my-store.js
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers'
import { parseArgs } from 'node:util'
import { probablyMeant } from '@coatcheck/core/store'
import {
  cases,
  runConformance,
  sections,
  selectCases,
  type CaseResult,
  type Report,
  type Section,
  type Selection,
  type Subject,
} from './index.ts'
import { inTime } from './in-time.ts'
import { urlOf } from './processes.ts'
import {
  bySection,
  faultOf,
  faultsOf,
  countsOf,
  isPassed,
  isWhole,
  linesOf,
  toBadge,
  toJson,
  toMarkdown,
} from './report.ts'
import { catchStrays } from './strays.ts'

/** How long the process may take to end by itself once the verdict is told, in ms: a pool that is closing needs a moment. */
const GRACE = 5000

const USAGE = `Usage: npx @coatcheck/conformance <module> [options]

Runs the conformance suite over a session store and prints a verdict.

  <module>           a file whose default export is the subject, { name, open({ now, name }), traits?, … },
                     or a function ({ now, name }) => store
  --section <name>   run this section alone; may be given several times, and together with --case
  --case <id>        run this case alone; may be given several times
  --list             print the sections and their cases, and run nothing
  --out <folder>     where report.json, report.md and badge.svg go (default: conformance-report);
                     of some cases alone part.json and part.md
  --help             print this

Exit codes:
  0  every case passed
  1  a case failed, a trait is declared without need, or the store threw an error that nobody caught
  2  the command was not understood, or the module cannot be loaded
  3  the subject is broken, so that no case was run
  4  every case passed, but the store keeps the process from ending: it was ended after ${GRACE / 1000} seconds`

const options = {
  section: { type: 'string', multiple: true },
  case: { type: 'string', multiple: true },
  list: { type: 'boolean' },
  out: { type: 'string', default: 'conformance-report' },
  help: { type: 'boolean', short: 'h' },
} as const

/** The exit codes, as the usage has them. */
const exits = { passed: 0, failed: 1, misused: 2, broken: 3, stays: 4 }

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options })
  if (values.help || values.list) {
    console.log(values.help ? USAGE : listed())
    return exits.passed
  }
  const selection: Selection = {
    cases: values.case ?? [],
    sections: (values.section ?? []) as Section[],
  }
  const chosen = selectCases(selection)
  const [file] = positionals
  if (positionals.length !== 1 || file === undefined) {
    console.error(positionals.length > 1 ? `One module, and not ${positionals.length}.\n` : USAGE)
    return exits.misused
  }
  const exported = await exportOf(file)
  const teller = createTeller(chosen.length)
  let report: Report
  try {
    report = await runConformance(await subjectOf(file, exported), teller.tell, selection)
  } catch (error) {
    if (teller.hasBegun()) throw error
    console.error(['The subject is broken, so no case was run:', ...linesOf(error)].join('\n  '))
    return exits.broken
  } finally {
    teller.end()
  }
  tellVerdict(report)
  writeReport(report, values.out)
  console.log(`\n${countsOf(report)}. The report is in ${values.out}/.`)
  catchStrays((error) => {
    console.error(
      ['After the last case an error came that nobody caught:', ...linesOf(error)].join('\n  '),
    )
    report = { ...report, strays: [...report.strays, error] }
    writeReport(report, values.out)
    process.exitCode ||= exits.failed
  })
  return isPassed(report) ? exits.passed : exits.failed
}

/** What says nothing of the other cases neither replaces a report of all of them nor has a badge. */
function writeReport(report: Report, folder: string): void {
  const name = isWhole(report) ? 'report' : 'part'
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(toJson(report), null, 2)}\n`)
  writeFileSync(join(folder, `${name}.md`), toMarkdown(report))
  if (isWhole(report)) writeFileSync(join(folder, 'badge.svg'), toBadge(report))
}

const listed = () =>
  sections
    .map((name) => {
      const own = cases.filter(({ section }) => section === name)
      return [name, ...own.map(({ id, title }) => `  ${id}: ${title}`)].join('\n')
    })
    .join('\n\n')

/** Tells of each case that failed, as it comes; of errors that are the same the first alone. */
function createTeller(total: number) {
  const live = process.stdout.isTTY
  const told = new Set<unknown>()
  let done = 0
  let failed = 0
  const clearLine = () => void (live && process.stdout.write('\r\u001b[K'))
  // A store may end the process itself: then there is no verdict, and that is said.
  const onExit = () => {
    console.error(
      `The process was ended after ${done} of ${total} cases, by process.exit() or for want of anything to wait for: there is no verdict.`,
    )
    process.exitCode = exits.failed
  }
  process.once('exit', onExit)
  return {
    tell({ case: one, error }: CaseResult): void {
      done++
      if (error !== undefined) {
        failed++
        const fault = faultOf(error)
        if (!told.has(fault)) {
          clearLine()
          console.log([`FAILED ${one.id}: ${one.title}`, ...linesOf(error)].join('\n       '))
        }
        told.add(fault)
      }
      if (live) process.stdout.write(`\r\u001b[K${done} of ${total}, ${failed} failed`)
    },
    hasBegun: () => done > 0,
    end(): void {
      process.off('exit', onExit)
      clearLine()
    },
  }
}

function tellVerdict(report: Report): void {
  console.log(`\n${report.subject}\n`)
  for (const { section, passed, failed: wrong, declared } of bySection(report)) {
    if (passed + wrong === 0) continue
    const words = [
      `${passed} passed`,
      wrong && `${wrong} FAILED`,
      declared && `${declared} by declaration`,
    ]
    console.log(`  ${section.padEnd(12)} ${words.filter(Boolean).join(', ')}`)
  }
  const exceptions = report.results.filter(({ counterpart }) => counterpart)
  if (exceptions.length > 0) console.log('\nDeclared exceptions:')
  for (const { case: one, counterpart } of exceptions) {
    console.log(`  ${one.id} (${counterpart!.trait}): ${counterpart!.title}`)
  }
  for (const { results } of faultsOf(report)) {
    const [first, ...others] = results.map(({ case: one }) => one.id)
    if (others.length === 0) continue
    console.log(`\n${others.length} more failed with the same error as ${first}:`)
    console.log(`  ${others.join(', ')}`)
  }
  for (const stray of report.strays) {
    console.log(['\nThe store threw an error that nobody caught:', ...linesOf(stray)].join('\n  '))
  }
  for (const trait of report.unneeded) {
    console.log(`\nThe store declares '${trait}' and does not need it. Take it out of its traits.`)
  }
}

/** A module may start a server before it exports its subject, in ms. */
const LONGEST_IMPORT = 120_000

/** The default export of a module. @throws Error if it cannot be loaded, or never ends what it awaits. */
async function exportOf(file: string): Promise<unknown> {
  try {
    const loading = import(urlOf(file)) as Promise<{ default?: unknown }>
    return (await inTime(() => loading, LONGEST_IMPORT)).default
  } catch (cause) {
    throw new Error(`${file} cannot be loaded`, { cause })
  }
}

/** The subject that a module exports; a function that opens the store becomes one, with the traits of the store. */
async function subjectOf(file: string, exported: unknown): Promise<Subject> {
  if (typeof exported === 'function') {
    const open = exported as Subject['open']
    const store = await inTime(() => open({ now: Date.now, name: 'traits' }))
    await inTime(() => store?.close?.())
    return { name: file, module: file, traits: store?.traits ?? {}, open }
  }
  if (typeof exported !== 'object' || exported === null) {
    throw new Error(`${file} has no default export with open({ now, name }). See --help.`)
  }
  return { module: file, ...(exported as Subject) }
}

/** What `parseArgs` says of an option that nobody knows, with the one that was meant. */
function misuse(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error
  const { code, message } = error
  if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return error
  const [, given = ''] = /'(--?[^' ]+)/.exec(message) ?? []
  const meant = probablyMeant(given.replaceAll('-', ''), Object.keys(options))
  return `${given} is no option${meant ? `: did you mean --${meant}?` : '. See --help.'}`
}

/** The process's own, as its output: what was there before the store. */
const ownResources = process.getActiveResourcesInfo()

/** What still keeps the process from ending, by kinds. */
function whatIsOpen(): string {
  const kinds = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) {
    // The pipes to the suite's other processes let this one end.
    if (!ownResources.includes(kind) && kind !== 'PipeWrap')
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return [...kinds].map(([kind, times]) => `${times} × ${kind}`).join(', ')
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(linesOf(misuse(error)).join('\n  '))
  process.exitCode = exits.misused
}
// It does not keep the process alive: it fires only where something else does.
setTimeout(() => {
  console.error(
    `The process does not end by itself, and was ended after ${GRACE / 1000} seconds. Still open: ${whatIsOpen()}. ` +
      'close() has to let go of what the store has opened (connections, pools, timers, watchers), and the subject of what it shares.',
  )
  process.exit(process.exitCode || exits.stays)
}, GRACE).unref()

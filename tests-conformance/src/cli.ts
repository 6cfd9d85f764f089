#!/usr/bin/env node
// The suite on the command line: npx @coatcheck/conformance ./my-store.js
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cases, runConformance, type Subject } from './index.ts'
import { urlOf } from './processes.ts'
import { bySection, linesOf, isConformant, toBadge, toJson, toMarkdown } from './report.ts'

const USAGE = `Usage: npx @coatcheck/conformance <module> [--out <folder>]

Runs the conformance suite over a session store and prints a verdict.

  <module>         a file whose default export is the subject, { name, open({ now, name }), traits?, … },
                   or a function ({ now, name }) => store
  --out <folder>   where report.json, report.md and badge.svg go (default: conformance-report)

Exit code: 0 if every case passed, 1 if one failed, 2 if the suite could not run.`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { out: { type: 'string', default: 'conformance-report' }, help: { type: 'boolean' } },
  })
  const [file] = positionals
  if (values.help || positionals.length !== 1 || file === undefined) {
    console.log(USAGE)
    return values.help ? 0 : 2
  }
  const subject = await loadSubject(file)
  const live = process.stdout.isTTY
  let done = 0
  let failed = 0
  const report = await runConformance(subject, ({ case: one, error }) => {
    done++
    if (error !== undefined) {
      if (live) process.stdout.write('\r\u001b[K')
      console.log([`FAILED ${one.id}: ${one.title}`, ...linesOf(error)].join('\n       '))
      failed++
    }
    if (live) process.stdout.write(`\r\u001b[K${done} of ${cases.length}, ${failed} failed`)
  })
  if (live) process.stdout.write('\r\u001b[K')

  console.log(`\n${report.subject}\n`)
  for (const { section, passed, failed: wrong, declared } of bySection(report)) {
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
  for (const trait of report.unneeded) {
    console.log(`\nThe store declares '${trait}' and does not need it. Take it out of its traits.`)
  }
  mkdirSync(values.out, { recursive: true })
  writeFileSync(join(values.out, 'report.json'), `${JSON.stringify(toJson(report), null, 2)}\n`)
  writeFileSync(join(values.out, 'report.md'), toMarkdown(report))
  writeFileSync(join(values.out, 'badge.svg'), toBadge(report))
  console.log(
    `\n${report.passed} passed, ${report.failed} failed. The report is in ${values.out}/.`,
  )
  return isConformant(report) ? 0 : 1
}

async function loadSubject(file: string): Promise<Subject> {
  const module = (await import(urlOf(file))) as { default?: unknown }
  const exported = module.default
  if (typeof exported === 'function') {
    const open = exported as Subject['open']
    const store = await open({ now: Date.now, name: 'traits' })
    const { sync: _, ...traits } = store.traits ?? {}
    await store.close?.()
    return { name: file, module: file, traits, open }
  }
  if (typeof (exported as Subject | undefined)?.open !== 'function') {
    throw new Error(`${file} has no default export with open({ now, name }). See --help.`)
  }
  return { module: file, ...(exported as Subject) }
}

try {
  // Not left to process.exit: what is still open in the store shows as a process that does not end.
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}

// Runs the conformance suite over every engine, and writes docs/conformance.md: engine × section.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cases, counterpartOf, runConformance, sections } from '@coatcheck/conformance'
import { bySection, linesOf } from '../tests-conformance/src/report.ts'
import { kinds } from '../testing/services.ts'
import { engineNames, engineSubject, type Places } from '../testing/subjects.ts'

const launched = await Promise.all(
  Object.entries(kinds).map(async ([name, kind]) => {
    if (!kind.launch) throw new Error(`${kind.name} is missing: ${kind.how}`)
    return [name, await kind.launch()] as const
  }),
)
const places: Places = {
  folder: mkdtempSync(join(tmpdir(), 'coatcheck-table-')),
  ...Object.fromEntries(launched.map(([name, service]) => [name, service.url])),
}
let failed = 0
try {
  const rows: string[] = []
  const exceptions: string[] = []
  for (const name of engineNames) {
    using engine = await engineSubject(name, places)
    const start = performance.now()
    const report = await runConformance(engine)
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    failed += report.failed + report.unneeded.length
    console.log(`${engine.name}: ${report.passed} passed, ${report.failed} failed, ${seconds} s`)
    for (const { case: one, error } of report.results) {
      if (error !== undefined) console.log(`  ${one.id}: ${linesOf(error).join('\n    ')}`)
    }
    const cells = bySection(report).map(({ passed, failed: wrong, declared }) =>
      wrong ? `**${wrong} failed**` : declared ? `${passed} (${declared} declared)` : `${passed}`,
    )
    rows.push(`| ${engine.name} | ${cells.join(' | ')} | ${report.passed}/${cases.length} |`)
    const declared = cases.filter((one) => counterpartOf(engine, one))
    if (declared.length > 0 && !engine.name.startsWith('hashKeys')) {
      exceptions.push(`### ${engine.name}`, '')
      for (const one of declared) {
        const { trait, title } = counterpartOf(engine, one)!
        exceptions.push(`- \`${one.id}\` (${trait}): ${title}`)
      }
      exceptions.push('')
    }
  }
  writeFileSync(
    'docs/conformance.md',
    `# Every engine, one behaviour

The conformance suite, ${cases.length} cases, over every engine: real servers, one run. Written by \`pnpm conformance-table\`.
"Declared" means that the engine says what it cannot promise, and the suite has proven what holds instead; each is listed below.

| Engine | ${sections.join(' | ')} | passed |
| --- |${sections.map(() => ' --- |').join('')} --- |
${rows.join('\n')}

## Declared exceptions

${exceptions.join('\n')}`,
  )
} finally {
  for (const [, service] of launched) await service[Symbol.asyncDispose]()
  rmSync(places.folder, { recursive: true, force: true })
}
process.exitCode = failed > 0 ? 1 : 0

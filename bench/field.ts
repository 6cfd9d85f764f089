// The state of the field: the conformance suite over the popular stores as they are published, written to docs/field.md.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cases, runConformance, sections } from '@coatcheck/conformance'
import { bySection, linesOf } from '../tests-conformance/src/report.ts'
import { catchStrays } from '../tests-conformance/src/strays.ts'
import { postgres, redis } from '../testing/services.ts'
import type { Places } from '../testing/subjects.ts'
import { peerSubject } from './peer-subject.ts'
import { peers, versionOf } from './peers.ts'

if (!redis.launch || !postgres.launch) throw new Error(`${redis.how}; ${postgres.how}`)
const servers = { redis: await redis.launch(), postgres: await postgres.launch() }
const places: Places = {
  folder: mkdtempSync(join(tmpdir(), 'coatcheck-field-')),
  redis: servers.redis.url,
  postgres: servers.postgres.url,
}
// What a store throws once its cases are over must not end the run; before, the suite hears of it.
catchStrays(() => {})

/** The first words of an error, and of what was behind it. */
function inShort(error: unknown): string {
  const [first, ...others] = linesOf(error)
  const cause = others.find((line) => line.startsWith('caused by: '))
  return [first, cause]
    .flatMap((line) => (line ? [line.replaceAll(/[*`|]/g, '').replaceAll('_', '\\_')] : []))
    .join(', ')
}

const rows: string[] = []
const failures: string[] = []
try {
  for (const [name, peer] of Object.entries(peers)) {
    using subject = await peerSubject(name, places)
    const report = await runConformance(subject)
    const inexpressible = report.results.filter(
      ({ counterpart, error }) => counterpart?.trait === 'nonAtomic' && error === undefined,
    )
    console.log(`${name}: ${report.passed} of ${cases.length}`)
    const cells = bySection(report).map(({ section, passed, failed }) => {
      const marked = inexpressible.filter((result) => result.case.section === section).length
      return `${failed ? `**${failed} failed**, ` : ''}${passed - marked}${marked ? `, ${marked} n/e` : ''}`
    })
    const version = versionOf(peer.package)
    rows.push(`| ${name} ${version} | ${cells.join(' | ')} | ${report.failed} |`)
    const failed = report.results.filter(({ error }) => error !== undefined)
    failures.push(`### ${name} ${version}`, '')
    if (failed.length + report.strays.length === 0) failures.push('Nothing failed.')
    for (const { case: one, counterpart, error } of failed) {
      failures.push(`- \`${one.id}\`: ${counterpart?.title ?? one.title}. _${inShort(error)}_`)
    }
    for (const stray of report.strays)
      failures.push(`- An error that nobody caught: _${inShort(stray)}_`)
    failures.push('')
  }
} finally {
  for (const server of Object.values(servers)) await server[Symbol.asyncDispose]()
  rmSync(places.folder, { recursive: true, force: true })
}
writeFileSync(
  'docs/field.md',
  `# The state of the field

The conformance suite, ${cases.length} cases, over popular stores of express-session as they are published, each set up as its README
says. Measured on ${new Date().toISOString().slice(0, 10)}; written by \`pnpm field\`.

Each store runs under [\`fromExpressStore\`](../packages/express-session), which keeps expiry to the millisecond and makes up for what
the interface lacks with a lock within the process. So this table is kind: what fails here fails in spite of that. What
express-session's interface cannot express, compare-and-swap between processes, is marked "n/e" and is not counted as a failure;
what it costs an application is in [a page of its own](hurts.md).

The stores read the system's clock, so several cases run at once; one that may have come too late so, as it waits for its time or for an
answer, was run again alone, and counts as it ended then. Until November 2026 this page told of six failed cases of better-sqlite3-session-store
that were of this kind: a synchronous store held up its neighbours.

| Store | ${sections.join(' | ')} | failed |
| --- |${sections.map(() => ' --- |').join('')} --- |
${rows.join('\n')}

## What failed

${failures.join('\n')}`,
)
process.exit(0)

// docs/guarantees.md and docs/security.md name the tests that prove them: each of them exists.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const docs = join(import.meta.dirname, '../docs')

/** A link to a file, and the titles in it that are meant. */
const EVIDENCE = /\[[^\]]+\]\(([^)#]+\.ts)\)((?:,?\s+“[^”]+”)*)/g

function read(name: string) {
  const text = readFileSync(join(docs, name), 'utf8')
  const evidence = Array.from(text.matchAll(EVIDENCE), ([, path, titles]) => ({
    path: path!,
    titles: Array.from(titles!.matchAll(/“([^”]+)”/g), ([, title]) => title!.replace(/\s+/g, ' ')),
  }))
  return { name, text, evidence }
}

const guarantees = read('guarantees.md')
const security = read('security.md')

describe.each([guarantees, security])('$name', ({ evidence }) => {
  test.each(evidence)('$path has $titles', ({ path, titles }) => {
    const source = readFileSync(join(docs, path), 'utf8').replaceAll('’', "'")
    for (const title of titles) expect(source).toContain(title.replaceAll('’', "'"))
  })
})

test('every promise names its evidence, and its exceptions', () => {
  const promises = guarantees.text.split(/^## \d+\. /m).slice(1)
  expect(promises).toHaveLength(12)
  for (const promise of promises) {
    expect(promise).toContain('- Proven by [')
    expect(promise).toContain('- Except')
  }
  expect(guarantees.evidence.length).toBeGreaterThan(30)
})

test('every requirement says how it is met, and what is met by the library names its evidence', () => {
  const rows = Array.from(security.text.matchAll(/^\| (.+) \|$/gm), ([, row]) =>
    row!.split(' | ').map((cell) => cell.trim()),
  ).filter(([first]) => !/^(?:#|Heading|-+)$/.test(first!))
  expect(rows.length).toBeGreaterThan(100)
  for (const [number, , how, shown] of rows) {
    expect(how, number).toMatch(
      /^\*\*(?:Always\.|By option:|By the application:|Not met\.|Not ours\.)\*\*/,
    )
    if (/^\*\*(?:Always|By option)/.test(how!)) expect(shown, number).toMatch(/“[^”]+”/)
  }
})

// docs/guarantees.md names the tests that prove it: each of them exists.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const docs = join(import.meta.dirname, '../docs')
const page = readFileSync(join(docs, 'guarantees.md'), 'utf8')

/** A link to a file, and the titles in it that are meant. */
const EVIDENCE = /\[[^\]]+\]\(([^)#]+\.ts)\)((?:,?\s+“[^”]+”)*)/g

const evidence = Array.from(page.matchAll(EVIDENCE), ([, path, titles]) => ({
  path: path!,
  titles: Array.from(titles!.matchAll(/“([^”]+)”/g), ([, title]) => title!.replace(/\s+/g, ' ')),
}))

test.each(evidence)('$path has $titles', ({ path, titles }) => {
  const source = readFileSync(join(docs, path), 'utf8').replaceAll('’', "'")
  for (const title of titles) expect(source).toContain(title.replaceAll('’', "'"))
})

test('every promise names its evidence, and its exceptions', () => {
  const promises = page.split(/^## \d+\. /m).slice(1)
  expect(promises).toHaveLength(12)
  for (const promise of promises) {
    expect(promise).toContain('- Proven by [')
    expect(promise).toContain('- Except')
  }
  expect(evidence.length).toBeGreaterThan(30)
})

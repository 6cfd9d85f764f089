// The command line: a verdict, a report, and an exit code that says the truth.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import rightStore from './fixtures/right-store.ts'
import { cases, runCase } from './index.ts'
import { linesOf } from './report.ts'

const out = mkdtempSync(join(tmpdir(), 'coatcheck-cli-'))
afterAll(() => rmSync(out, { recursive: true }))
const run = (...args: string[]) =>
  spawnSync(process.execPath, [`${import.meta.dirname}/cli.ts`, ...args, '--out', out], {
    encoding: 'utf8',
  })
const fixture = (name: string) => `${import.meta.dirname}/fixtures/${name}.ts`
const written = (name: string) => readFileSync(join(out, name), 'utf8')

test('a right store: a verdict by section, exit code 0, and a report', () => {
  const { status, stdout, stderr } = run(fixture('right-store'))
  expect(stderr).toBe('')
  expect(stdout).toMatch(/contract +\d+ passed/)
  expect(stdout).toContain(`${cases.length} passed, 0 failed`)
  expect(stdout).toContain('isolation/shared (ephemeral)')
  expect(status).toBe(0)
  expect(JSON.parse(written('report.json'))).toMatchObject({ conformant: true, failed: 0 })
  expect(written('report.md')).toContain('| contract |')
  expect(written('badge.svg')).toContain(`${cases.length} passed`)
})

test('a broken store: the failing cases by name, and exit code 1', () => {
  const { status, stdout } = run(fixture('forgetful-store'))
  expect(stdout).toContain('FAILED expiry/to-the-millisecond')
  expect(status).toBe(1)
  expect(JSON.parse(written('report.json'))).toMatchObject({ conformant: false })
  expect(written('badge.svg')).toMatch(/\d+ failed/)
})

test('an error of many lines is told by all of them, as far as somebody reads', () => {
  const { stdout } = run(fixture('wordy-store'))
  const last = 'save of "a" was refused'
  expect(stdout).toContain(`       The calls contradict each other.\n       ${last}\n`)
  expect(written('report.md')).toContain(`\n      ${last}\n`)
  const { cases: told } = JSON.parse(written('report.json')) as { cases: { error?: string }[] }
  expect(told.some(({ error }) => error?.endsWith(last))).toBe(true)
  const lines = linesOf(new Error(Array.from({ length: 99 }, (_, n) => n).join('\n')))
  expect(lines).toHaveLength(20)
})

test('which traits of a store and of its subject differ is said', async () => {
  const subject = { name: 'x', traits: { evicts: true }, open: rightStore }
  await expect(runCase(subject, cases[0]!)).rejects.toThrow(
    'the traits of the store and of the subject differ: {"ephemeral":true',
  )
})

test('a trait that is declared and not needed is reported, and is no pass', () => {
  const { status, stdout } = run(fixture('modest-store'))
  expect(stdout).toContain("declares 'evicts' and does not need it")
  expect(status).toBe(1)
})

test('a module that is no subject, or not there, is one clear line and exit code 2', () => {
  for (const file of [`${import.meta.dirname}/case.ts`, './nowhere.js']) {
    const { status, stderr } = run(file)
    expect(status).toBe(2)
    expect(stderr.trim().split('\n').length).toBeLessThan(4)
  }
  expect(run().status).toBe(2)
})

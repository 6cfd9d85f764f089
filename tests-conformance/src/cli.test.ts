// The command line: a verdict, a report, and an exit code that says the truth.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import rightStore from './fixtures/right-store.ts'
import { cases, runCase } from './index.ts'
import { linesOf } from './report.ts'

const out = mkdtempSync(join(tmpdir(), 'coatcheck-cli-'))
afterAll(() => rmSync(out, { recursive: true }))
const run = (...args: string[]) => runWith({}, ...args)
const runWith = (env: NodeJS.ProcessEnv, ...args: string[]) =>
  spawnSync(process.execPath, [`${import.meta.dirname}/cli.ts`, ...args, '--out', out], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
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
  expect(told.some(({ error }) => error?.includes(last))).toBe(true)
  const numbered = Object.assign(new Error(), { message: 5, code: 'X' })
  expect(linesOf(new Error('a', { cause: numbered }))).toEqual(['a', 'caused by: Error: 5 (X)'])
  const lines = linesOf(new Error(Array.from({ length: 99 }, (_, n) => n).join('\n')))
  expect(lines).toHaveLength(20)
})

test('which traits of a store and of its subject differ is said', async () => {
  const subject = { name: 'x', traits: { evicts: true }, open: rightStore }
  await expect(runCase(subject, cases[0]!)).rejects.toThrow(
    'differ: the store alone declares `ephemeral`, `unshared`, and the subject alone declares `evicts`.',
  )
  // The trait `sync` is none that a store could not promise: it makes no difference.
  const traits = { sync: true, ephemeral: true, unshared: true, evicts: false }
  await runCase({ name: 'x', traits, open: rightStore }, cases[0]!)
})

test.each([
  ['field', '`cleanup` is no option: did you mean `cleanUp`?'],
  ['trait', "the subject's traits: `ephemral` is no option: did you mean `ephemeral`?"],
  ['differs', 'the store alone declares `unshared`, and the subject alone declares `evicts`'],
  ['storeTrait', "the store's traits: `evict` is no option: did you mean `evicts`?"],
  ['name', 'the subject has no `name`'],
  ['noOpen', 'the subject has no `open`: it must be a function'],
  ['nothing', "what the subject's open() returns must be a store"],
  ['promise', "what the subject's open() returns must be a store, and has no method load"],
  ['throws', "the subject's open() failed.\n"],
  ['throws', 'caused by: Error: no such server\n'],
  ['outage', 'The subject has no `outage`'],
  ['halfOutage', "the subject's outage 'outage' has no end()"],
])('a broken subject (%s) is told once, before any case, by exit code 3', (way, words) => {
  const { status, stdout, stderr } = runWith({ BROKEN: way }, fixture('broken-subject'))
  expect(stderr).toContain(words)
  expect(stderr.split('\n').length).toBeLessThan(8)
  expect(stdout).toBe('')
  expect(status).toBe(3)
})

test('of cases that fail by the same error one is told with it, the others by their names', () => {
  const { stdout } = run(fixture('wordy-store'), '--section', 'keys', '--section', 'contract')
  expect(stdout.match(/The calls contradict each other/g)).toHaveLength(1)
  expect(stdout).toMatch(/\d+ more failed with the same error as contract\/[\w-]+:\n {2}contract\//)
  expect(written('part.md')).toMatch(/ {2}- The same error: \*\*contract\//)
})

test("the README's two subjects run as they stand there, and pass", () => {
  const readme = readFileSync(`${import.meta.dirname}/../README.md`, 'utf8')
  const subjects = [...readme.matchAll(/```[jt]s\n(\/\/ [\w-]*subject\.[jt]s\n[^]*?)```/g)]
  expect(subjects).toHaveLength(2)
  // Beside the packages that it imports.
  const folder = mkdtempSync(join(import.meta.dirname, 'readme-'))
  const store = new URL('../../examples/custom-store/store.ts', import.meta.url).href
  try {
    for (const [at, [, code]] of subjects.entries()) {
      const file = join(folder, `subject-${at}.ts`)
      writeFileSync(file, code!.replace('./store.js', store))
      const sections = at === 0 ? [] : ['durability', 'failure', 'history']
      const { status, stderr } = runWith(
        { MY_STORE_FOLDER: folder },
        file,
        ...sections.flatMap((name) => ['--section', name]),
      )
      expect(stderr).toBe('')
      expect(status).toBe(0)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

const STRAY = fixture('stray-store')

test('an error that nobody caught belongs to the case that was running, and the others go on to a verdict', () => {
  for (const [way, words] of [
    ['rejection', 'a stray rejection'],
    ['exception', 'a stray exception'],
  ]) {
    const { status, stdout } = runWith({ STRAY: way }, STRAY, '--section', 'contract')
    expect(stdout).toContain(`caused by: Error: ${words}`)
    expect(stdout).toMatch(/\d+ passed, \d+ failed, of \d+ cases \d+ were run/)
    expect(status).toBe(1)
  }
})

test('what was behind an error is told with it, on the console and in both reports', () => {
  const { stdout } = runWith({ STRAY: 'rejection' }, STRAY, '--case', 'contract/touch')
  const chain = ['caused by: Error: ECONNRESET', 'caused by: a cable']
  for (const words of chain) {
    expect(stdout).toContain(words)
    expect(written('part.md')).toContain(words)
    expect(written('part.json')).toContain(words)
  }
  const hidden = runWith({ STRAY: 'hidden' }, STRAY, '--case', 'contract/touch')
  expect(hidden.stdout).toContain('caused by: Error: getaddrinfo ENOTFOUND')
  const circle = new Error('a', { cause: new Error('b') })
  ;(circle.cause as Error).cause = circle
  expect(linesOf(circle)).toEqual(['a', 'caused by: Error: b'])
})

test('a store that keeps the process from ending is told what is open, and ends by exit code 4', () => {
  const { status, stdout, stderr } = runWith({ STRAY: 'timer' }, STRAY, '--section', 'keys')
  expect(stdout).toContain(' passed, 0 failed')
  expect(stderr).toMatch(/ended after 5 seconds\. Still open: \d+ × Timeout/)
  expect(status).toBe(4)
})

test('a store that ends the process itself leaves no verdict, and that is said', () => {
  const { status, stderr } = runWith({ STRAY: 'exit' }, STRAY, '--section', 'contract')
  expect(stderr).toMatch(/The process was ended after \d+ of \d+ cases/)
  expect(status).toBe(1)
})

test('one case or one section is run alone, and what is no option, case or section is told with what was meant', () => {
  const one = run(fixture('right-store'), '--case', 'expiry/rolling', '--section', 'closing')
  expect(one.stdout).toContain('6 passed, 0 failed')
  expect(one.status).toBe(0)
  for (const [args, words] of [
    [
      ['--case', 'expiry/roling'],
      "there is no case 'expiry/roling': did you mean 'expiry/rolling'?",
    ],
    [['--case', 'rolling'], "did you mean 'expiry/rolling'?"],
    [['--section', 'expirey'], "there is no section 'expirey': did you mean 'expiry'?"],
    [['--section', 'speed'], '--list shows every section'],
    [['--sections', 'expiry'], '--sections is no option: did you mean --section?'],
    [['--verbose'], '--verbose is no option. See --help.'],
    [['another.js'], 'One module, and not 2.'],
  ] as const) {
    const { status, stderr } = run(fixture('right-store'), ...args)
    expect(stderr).toContain(words)
    expect(status).toBe(2)
  }
  const { stdout } = run('--list')
  for (const { id } of cases) expect(stdout).toContain(`  ${id}: `)
  expect(run('--help').stdout).toContain('Exit codes:')
})

test('a run of some cases says so, and leaves the report and the badge of all of them alone', () => {
  for (const name of ['report.json', 'report.md', 'badge.svg'])
    writeFileSync(join(out, name), 'all')
  const { stdout } = run(fixture('right-store'), '--case', 'expiry/rolling')
  const words = `1 passed, 0 failed, of ${cases.length} cases 1 were run`
  expect(stdout).toContain(words)
  expect(written('part.md')).toContain(words)
  expect(JSON.parse(written('part.json'))).toMatchObject({ conformant: false, of: cases.length })
  for (const name of ['report.json', 'report.md', 'badge.svg']) expect(written(name)).toBe('all')
})

test('an error that comes after the last case is in the report too', () => {
  const { status, stderr } = runWith({ STRAY: 'late' }, STRAY, '--section', 'keys')
  expect(stderr).toContain('After the last case an error came that nobody caught')
  expect(status).toBe(1)
  expect(JSON.parse(written('part.json'))).toMatchObject({ strays: ['a late exception'] })
})

test('a module that cannot be loaded is told with what was behind it', () => {
  for (const [way, ...words] of [
    ['null', 'cannot be loaded', 'caused by: null'],
    ['caused', 'caused by: Error: could not set up', 'caused by: Error: no such server'],
  ]) {
    const { status, stderr } = runWith({ BROKEN: `load ${way}` }, fixture('broken-subject'))
    for (const one of words) expect(stderr).toContain(one)
    expect(status).toBe(2)
  }
})

test('a function whose open or close is never answered is told, by exit code 3', () => {
  for (const way of ['open', 'close']) {
    const { status, stderr } = runWith({ NEVER: way }, fixture('silent-store'))
    expect(stderr).toContain('no answer after 15 seconds')
    expect(status).toBe(3)
  }
}, 60_000)

test('a trait that is declared and not needed is reported, and is no pass', () => {
  const { status, stdout } = run(fixture('modest-store'))
  expect(stdout).toContain("declares 'evicts' and does not need it")
  expect(status).toBe(1)
})

test('a module that is no subject, or not there, is one clear line and exit code 3 or 2', () => {
  for (const [file, code] of [
    [`${import.meta.dirname}/case.ts`, 3],
    ['./nowhere.js', 2],
  ] as const) {
    const { status, stderr } = run(file)
    expect(status).toBe(code)
    expect(stderr.trim().split('\n').length).toBeLessThan(4)
  }
  expect(run().status).toBe(2)
})

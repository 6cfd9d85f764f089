// docs/errors.md explains every code: each that the source throws, warns of or publishes has its heading, and each message leads there.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { channel } from 'node:diagnostics_channel'
import {
  createSessions,
  KeyExistsError,
  SessionConflictError,
  SessionEncodeError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionTooLargeError,
  SessionUsageError,
} from '@coatcheck/core'
import { plainAnswer } from '@coatcheck/core/adapter'
import { warnDeveloper } from '@coatcheck/core/store'
import { expect, onTestFinished, test, vi } from 'vitest'

const root = join(import.meta.dirname, '..')
const page = readFileSync(join(root, 'docs/errors.md'), 'utf8')
const ADDRESS = 'https://github.com/coatcheck/coatcheck/blob/main/docs/errors.md'

/** The source that is published, without its tests and this page's own list. */
const source = globSync(
  ['packages/*/src/*.ts', 'packages/*/src/*-clients/*.ts', 'tests-conformance/src/**/*.ts'],
  { cwd: root },
)
  .filter((path) => !/\.test\.|error-page\.ts$/.test(path))
  .map((path) => readFileSync(join(root, path), 'utf8'))
  .join('\n')

const sorted = (found: Iterable<RegExpMatchArray>) =>
  [...new Set(Array.from(found, ([, name]) => name!))].toSorted()

/** The third-level headings under one of the second level. */
const headings = (under: string) =>
  sorted(
    page
      .split(`\n## ${under}\n`)[1]!
      .split('\n## ')[0]!
      .matchAll(/^### (.+)$/gm),
  )

test('every error that the source throws has its heading, and every heading its error', () => {
  expect(headings('Errors')).toEqual(sorted(source.matchAll(/'(ERR_(?:SESSION_[A-Z_]+|COOKIE))'/g)))
})

test('every warning that the source gives has its heading, and every heading its warning', () => {
  expect(headings('Warnings')).toEqual(
    sorted(source.matchAll(/\bwarn(?:Developer|OfEach)?\(\s*'([A-Z_]+)'/g)),
  )
})

test('every channel that the source publishes on has its heading, and every heading its channel', () => {
  expect(headings('Channels')).toEqual(sorted(source.matchAll(/channel\('(coatcheck:[a-z-]+)'\)/g)))
})

test.each([
  new SessionGoneError(),
  new SessionConflictError(),
  new KeyExistsError(),
  new SessionTooLargeError('The data', 5, 4, 'Keep less.'),
  new SessionEncodeError('cart', 'It cannot.'),
  new SessionStoreError('It is away.'),
  ...headings('Errors').map((code) => new SessionUsageError('Run: npm install', code)),
])('the last line of the message of $code leads to its heading', (error) => {
  const [last] = error.message.split('\n').slice(-1)
  expect(last).toBe(`See ${ADDRESS}#${error.code.toLowerCase()}`)
})

test.each(headings('Warnings'))('the last line of the warning %s leads to its heading', (code) => {
  const emitted = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  onTestFinished(() => emitted.mockRestore())
  warnDeveloper(code, 'It happened.')
  expect(emitted.mock.calls[0]![0]).toBe(`It happened.\nSee ${ADDRESS}#${code.toLowerCase()}`)
})

test('a code that an application has made up leads nowhere', () => {
  expect(new SessionError('Mine.', { code: 'ERR_MINE' }).message).toBe('Mine.')
})

test('a warning that holds an error’s message leads to one place, its own', async () => {
  const told: string[] = []
  const hear = (warning: unknown) => void told.push((warning as { message: string }).message)
  channel('coatcheck:warning').subscribe(hear)
  onTestFinished(() => void channel('coatcheck:warning').unsubscribe(hear))
  const fail = () => Promise.reject(new SessionStoreError('It is away.'))
  const store = { load: fail, create: fail, save: fail, touch: fail, delete: fail }
  await createSessions({ store, ifUnavailable: 'anonymous' }).open(`sessionid=${'a'.repeat(32)}`)
  expect(told).toEqual([
    `It is away. The request got an empty session.\nSee ${ADDRESS}#store_unavailable`,
  ])
})

test('a visitor is told no address of the documentation', () => {
  for (const error of [new SessionGoneError(), new SessionConflictError()]) {
    expect(plainAnswer(error).body).not.toContain('docs/errors.md')
  }
})

test('a link within the page leads to a heading', () => {
  const anchors = new Set(
    Array.from(page.matchAll(/^#+ (.+)$/gm), ([, text]) => text!.toLowerCase()),
  )
  const links = Array.from(page.matchAll(/\(#([\w-]+)\)/g), ([, anchor]) => anchor!)
  expect(links.length).toBeGreaterThan(1)
  for (const link of links) expect(anchors).toContain(link)
})

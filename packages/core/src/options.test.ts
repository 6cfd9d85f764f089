// What is given at the start: a name that nobody knows, a value of another kind, a driver that is not there, and what may be told of it.
import { lookup } from 'node:dns/promises'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { assertOptions, loadDriver, reasonOf, rules } from './store.ts'

const look = (options: unknown) =>
  assertOptions<{ prefix?: string; max?: number; secrets?: string[]; now?: () => number }>(
    'thingStore',
    options as object,
    {
      prefix: rules.text,
      max: rules.count,
      now: rules.clock,
      secrets: { ...rules.texts, secret: true },
    },
    { resave: 'leave it out' },
  )

test.each<[unknown, string]>([
  [{ Prefix: 'a' }, 'thingStore: `Prefix` is no option: did you mean `prefix`?'],
  [{ perfix: 'a' }, 'thingStore: `perfix` is no option: did you mean `prefix`?'],
  [
    { key_prefix: 'a' },
    'thingStore: `key_prefix` is no option: there are prefix, max, now, secrets.',
  ],
  [{ resave: false }, 'thingStore: `resave` is no option: leave it out.'],
  [
    { constructor: 1 },
    'thingStore: `constructor` is no option: there are prefix, max, now, secrets.',
  ],
  [{ prefix: 5 }, 'thingStore: `prefix` must be text, and is 5.'],
  [{ max: '5' }, "thingStore: `max` must be a whole number from 1 on, and is '5'."],
  [{ max: 1.5 }, 'thingStore: `max` must be a whole number from 1 on, and is 1.5.'],
  [
    { now: 5 },
    'thingStore: `now` must be a function that returns milliseconds since 1970, as Date.now does, and is 5.',
  ],
  [{ secrets: 'hush' }, 'thingStore: `secrets` must be a list of texts.'],
  ['redis://u:hush@h', 'thingStore: the options must be an object, and are text of 16 characters.'],
  [' "redis://h"', 'thingStore: the options must be an object, and are text of 12 characters.'],
  ['app:hush@tcp(h)', 'thingStore: the options must be an object, and are text of 15 characters.'],
  [
    'host=h PassWord=x',
    'thingStore: the options must be an object, and are text of 17 characters.',
  ],
  [null, 'thingStore: the options must be an object, and are null.'],
  [[], 'thingStore: the options must be an object, and are a list.'],
  [new Map(), 'thingStore: the options must be an object, and are an object of the class Map.'],
  [Object.create({ max: '5' }), "thingStore: `max` must be a whole number from 1 on, and is '5'."],
  [Promise.resolve(), 'thingStore: the options must be an object, and are a promise (await it).'],
])('%o is refused: %s', (options, message) => {
  expect(() => look(options)).toThrow(
    expect.objectContaining({
      message: expect.stringContaining(message),
      code: 'ERR_SESSION_OPTIONS',
    }),
  )
})

test('options that are right or unset pass', () => {
  look({})
  look({ prefix: '', max: 1, now: Date.now, secrets: [] })
  look({ prefix: undefined })
})

test('a driver that is installed is loaded, from a bundle without a place of its own too', () => {
  const request = { by: 'x', driver: 'vitest/package.json', pass: 'x(y)' }
  expect(loadDriver({ ...request, from: import.meta.url })).toHaveProperty('name', 'vitest')
  expect(loadDriver({ ...request, from: undefined })).toHaveProperty('name', 'vitest')
  for (const from of ['file:///nowhere/at/all.js', 'data:text/javascript,1', 'worker.js']) {
    expect(loadDriver({ ...request, from }), from).toHaveProperty('name', 'vitest')
  }
})

test('a driver that is nowhere is said to be, and what to pass', () => {
  const missing = () =>
    loadDriver({
      by: 'xStore',
      driver: 'no-such-driver/promise',
      from: undefined,
      pass: 'xStore(pool)',
    })
  expect(missing).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_DRIVER_MISSING',
      message: expect.stringContaining(
        'xStore does not find the package no-such-driver. Run: npm install no-such-driver. In a bundle, where nothing can be loaded by name, import it yourself and pass it: xStore(pool)',
      ),
    }),
  )
})

test('of a failure the address, the port and the system’s word are told, and no path, text or data', async () => {
  expect(reasonOf(await failureOf(once(connect(1, '127.0.0.1'), 'connect')))).toBe(
    'connect ECONNREFUSED 127.0.0.1:1',
  )
  expect(reasonOf(await failureOf(once(connect(1, '::1'), 'connect')))).toMatch(
    /^connect E\w+ \[::1\]:1$/,
  )
  // A name with several addresses.
  expect(
    reasonOf(
      await failureOf(
        once(connect({ port: 1, host: 'localhost', autoSelectFamily: true }), 'connect'),
      ),
    ),
  ).toMatch(/connect ECONNREFUSED 127\.0\.0\.1:1/)
  expect(reasonOf(await failureOf(lookup('no-such-host.invalid')))).toMatch(
    /^getaddrinfo E\w+ no-such-host\.invalid$/,
  )
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-'))
  rmSync(folder, { recursive: true })
  expect(
    reasonOf(await failureOf((async () => readFileSync(join(folder, 'a-session-key')))())),
  ).toBe('open ENOENT')
  expect(
    reasonOf(Object.assign(new Error('Duplicate entry a-key'), { code: 'ER_DUP_ENTRY' })),
  ).toBe('ER_DUP_ENTRY')
  expect(
    reasonOf(new Error('outer', { cause: Object.assign(new Error(), { code: '57P01' }) })),
  ).toBe('57P01')
  const circle: { cause?: unknown } = {}
  circle.cause = circle
  const list: { errors: unknown[] } = { errors: [] }
  list.errors.push(list, list)
  const trap = {
    get code(): never {
      throw new Error('looked at')
    },
  }
  for (const strange of [
    circle,
    list,
    trap,
    undefined,
    null,
    5,
    'a key',
    new Error('a key'),
    { code: 'a key: 5' },
    { errors: [] },
  ])
    expect(reasonOf(strange)).toBe('')
})

const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  )

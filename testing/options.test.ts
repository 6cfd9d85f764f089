// What cannot be understood is refused at the start, by every function that takes options: with its name, and what it got.
import { inspect } from 'node:util'
import { lruStore } from '@coatcheck/cache/lru'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createCookies } from '@coatcheck/cookies'
import { createJsonCodec, createSessions, getSession, hashKeys, sweep } from '@coatcheck/core'
import { createPlainSigner, createSigner } from '@coatcheck/core/signing'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { schema, sqlStore } from '@coatcheck/db/sql'
import { sqliteStore } from '@coatcheck/db/sqlite'
import {
  djangoCache,
  djangoCachedDb,
  djangoDb,
  djangoFile,
  djangoSessions,
} from '@coatcheck/django'
import { session as express } from '@coatcheck/express'
import { connectCookie, fromExpressStore, toExpressStore } from '@coatcheck/express-session'
import { session as fastifySession } from '@coatcheck/fastify'
import { withSession } from '@coatcheck/fetch'
import { fileStore } from '@coatcheck/file'
import { session as hono } from '@coatcheck/hono'
import { session as koa } from '@coatcheck/koa'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import Fastify from 'fastify'
import { createPool } from 'mysql2'
import { expect, test } from 'vitest'
import { mapStore } from './map-store.ts'

/** Any function of ours, called as JavaScript may call it. */
type Loose = (...args: any[]) => unknown
const store = mapStore()
const folder = '/nowhere/at/all'
const redis = { del() {}, defineCommand() {}, on() {}, connect() {}, disconnect() {} }
const pool = { query() {}, execute() {}, prepare() {}, exec() {} }
const handler = () => new Response()

/** Each function, by its name in messages: with what it needs, and the options left out. */
const takers: Record<string, (options: any) => unknown> = {
  createSessions: (options) => createSessions({ store, ...options }),
  'createSessions: `cookie`': (cookie) => createSessions({ store, cookie }),
  'session (express)': (options) => express({ store }, options),
  'session (koa)': (options) => koa({ store }, options),
  'session (hono)': (options) => hono({ store }, options),
  withSession: (options) => withSession({ store }, handler, options),
  lruStore: (options) => lruStore(options),
  redisStore: (options) => (redisStore as Loose)(redis, options),
  postgresStore: (options) => (postgresStore as Loose)(pool, options),
  mysqlStore: (options) => (mysqlStore as Loose)(pool, options),
  sqliteStore: (options) => (sqliteStore as Loose)(pool, options),
  sqlStore: (options) => sqlStore({ dialect: 'sqlite', run: () => ({}), ...options }),
  schema: (options) => schema('sqlite', options),
  fileStore: (options) => fileStore(folder, options),
  signedCookieStore: (options) => signedCookieStore({ secrets: ['s'.repeat(32)], ...options }),
  cachedDbStore: (options) => cachedDbStore({ cache: lruStore(), db: store, ...options }),
  toExpressStore: (options) => toExpressStore(store, options),
  fromExpressStore: (options) => fromExpressStore({ get() {}, set() {}, destroy() {} }, options),
  djangoSessions: (options) =>
    djangoSessions({ secretKey: 's'.repeat(50), engine: djangoDb(store), ...options }),
  'djangoSessions: `settings`': (settings) =>
    djangoSessions({ secretKey: 's'.repeat(50), engine: djangoDb(store), settings }),
  djangoCache: (options) => (djangoCache as Loose)(redis, options),
  djangoCachedDb: (options) => (djangoCachedDb as Loose)(store, redis, options),
  createCookies: (options) => createCookies(options),
  sweep: (options) => sweep(store, options),
}

const refused = (message: string | RegExp) =>
  expect.objectContaining({
    code: 'ERR_SESSION_OPTIONS',
    message:
      typeof message === 'string'
        ? expect.stringContaining(message)
        : expect.stringMatching(message),
  })

test.each(Object.entries(takers))('%s takes no name that it does not know', (name, take) => {
  const by = name.replace(/ \(.*/, '')
  expect(() => take({ noSuchOption: undefined })).toThrow(
    refused(`${by}: \`noSuchOption\` is no option: `),
  )
  expect(() => take({ constructor: 1 })).toThrow(refused('`constructor` is no option'))
})

const wholes = Object.entries(takers).filter(
  ([name]) =>
    /Store$|^djangoC|^session|^with|^createCookies|^sweep/.test(name) &&
    !/^(signed|cached|sql)/.test(name),
)
test.each(wholes)('%s takes no options that are no object', (_, take) => {
  for (const wrong of [null, 5, 'text', [], Promise.resolve({})]) {
    expect(() => take(wrong)).toThrow(refused('the options must be an object, and are'))
  }
})

test.each(
  Object.entries(takers).filter(([name]) => /Store$|^djangoSessions$|^create\w+$/.test(name)),
)('%s takes no clock that is none', (_, take) => {
  for (const now of [5, Date.now(), new Date(), 'now', null]) {
    expect(() => take({ now })).toThrow(refused('`now` must be a function'))
  }
})

const NO_FOLDER = /(fileStore|djangoFile) needs the path of a folder(?!.*hush)/s

test.each<[string, () => unknown, string | RegExp]>([
  [
    'maxAge as text',
    () => takers['createSessions']!({ maxAge: '3600' }),
    "`maxAge` must be a positive number of seconds, and is '3600'.",
  ],
  [
    'a flag as text',
    () => takers['createSessions']!({ saveEveryRequest: 'false' }),
    "`saveEveryRequest` must be true or false, and is 'false'.",
  ],
  [
    'a codec that cannot decode',
    () => takers['createSessions']!({ codec: {} }),
    '`codec` must be a codec',
  ],
  [
    'a codec that seals and cannot open',
    () => takers['createSessions']!({ codec: { encode() {}, decode() {}, seal() {} } }),
    '`codec` must be a codec',
  ],
  [
    'a cookie by its name',
    () => takers['createSessions']!({ cookie: 'sid' }),
    "`cookie` must be an object, and is 'sid'.",
  ],
  [
    'express-session’s maxAge',
    () => takers['createSessions']!({ cookie: { maxAge: 60_000 } }),
    '`maxAge` is no option: how long a session lives is the option `maxAge` of createSessions, in seconds',
  ],
  [
    'express-session’s secret',
    () => takers['createSessions']!({ secret: 'hush' }),
    /`secret` is no option: (?!.*hush)/,
  ],
  [
    'express-session’s rolling',
    () => takers['createSessions']!({ rolling: true }),
    '`saveEveryRequest`',
  ],
  [
    'a name in other letters',
    () => takers['createSessions']!({ maxage: 5 }),
    'did you mean `maxAge`?',
  ],
  ['no store', () => (createSessions as Loose)({}), '`store` must be a store, such as'],
  ['no options', () => (createSessions as Loose)(), '`store` must be a store, such as'],
  [
    'a store that was not awaited',
    () => createSessions({ store: Promise.resolve(store) as never }),
    'and is a promise (await it)',
  ],
  [
    'half a store',
    () => createSessions({ store: { load() {}, save() {} } as never }),
    'has no method create, touch, delete',
  ],
  [
    'a store of express-session’s',
    () => createSessions({ store: { get() {}, set() {}, destroy() {} } as never }),
    'fromExpressStore()',
  ],
  ['hashKeys of nothing', () => (hashKeys as Loose)(), 'hashKeys: `store` must be a store'],
  [
    'a store under express-session',
    () => (toExpressStore as Loose)({}),
    'toExpressStore: `store` must be a store',
  ],
  [
    'cookieFor as text',
    () => express({ store }, { cookieFor: 'x' as never }),
    "`cookieFor` must be a function, and is 'x'.",
  ],
  [
    'a manager as an adapter’s option',
    () => express({ store }, { sessions: {} } as never),
    'a manager is passed in place of its options',
  ],
  [
    'an adapter’s option among the manager’s',
    () => express({ store, property: 'x' } as never),
    'it belongs to the adapter',
  ],
  ['no handler', () => (withSession as Loose)({ store }), 'the handler must be a function'],
  [
    'no Redis',
    () => (redisStore as Loose)(),
    'redisStore needs a URL such as redis://localhost:6379',
  ],
  ['another URL for Redis', () => redisStore('http://localhost'), 'begin with redis://.'],
  ['a host for Redis', () => redisStore('localhost:6379'), 'begin with redis://.'],
  [
    'options for a client',
    () => (redisStore as Loose)({ host: 'localhost' }),
    'got an object: pass the client itself, not its options or what holds it.',
  ],
  ['a client within options', () => (redisStore as Loose)({ client: redis }), 'the client itself'],
  [
    'no PostgreSQL',
    () => (postgresStore as Loose)(undefined),
    'postgresStore needs a URL such as postgres://',
  ],
  [
    'MySQL’s URL for PostgreSQL',
    () => postgresStore('mysql://localhost/app'),
    'got text that does not begin with postgres://.',
  ],
  [
    'no MySQL',
    () => (mysqlStore as Loose)({ host: 'localhost' }),
    'mysqlStore needs a URL such as mysql://',
  ],
  [
    'a pool with callbacks',
    () => mysqlStore(createPool('mysql://127.0.0.1:1') as never),
    'pass its promise()',
  ],
  ['a path for MySQL', () => mysqlStore('sessions'), 'begin with mysql://.'],
  [
    'no file for SQLite',
    () => (sqliteStore as Loose)(undefined),
    'sqliteStore needs the name of a file',
  ],
  ['an empty name', () => sqliteStore(''), 'got empty text.'],
  ['a URL for SQLite', () => sqliteStore('postgres://localhost'), 'got a URL.'],
  ['a class for a connection', () => (sqliteStore as Loose)(Map), 'got a function'],
  ['half a connection', () => (sqliteStore as Loose)({ prepare() {} }), 'without exec'],
  [
    'no folder',
    () => (fileStore as Loose)(),
    'fileStore needs the path of a folder, and got undefined',
  ],
  ...['file:///nowhere', 'redis://user:hush@host/0', '  ', 'a\0b'].flatMap(
    (path): [string, () => unknown, RegExp][] => [
      [`no path of a folder: ${JSON.stringify(path)}`, () => fileStore(path), NO_FOLDER],
      [`no path of Django’s: ${JSON.stringify(path)}`, () => djangoFile(path), NO_FOLDER],
    ],
  ),
  ...Object.entries({
    'file:foo.db': 'a URL',
    'sqlite:foo.db?key=hush': 'a URL',
    './foo.db ': 'text that ends with a space',
    ' :memory: ': 'text that begins with a space',
    '  ': 'text that begins with a space',
    'a\0b': 'text with a NUL in it',
  }).map(([name, given]): [string, () => unknown, string] => [
    `no name of a file: ${JSON.stringify(name)}`,
    () => sqliteStore(name),
    `sqliteStore needs the name of a file, or a connection of better-sqlite3, and got ${given}.`,
  ]),
  ...[1e10, 2 ** 31, -1, NaN].map((busyTimeout): [string, () => unknown, string] => [
    `a busyTimeout of ${busyTimeout}`,
    () => sqliteStore('/nowhere/at/all.sqlite', { busyTimeout }),
    '`busyTimeout` must be a number of milliseconds from 0 to 2,147,483,647',
  ]),
  [
    'a busyTimeout that is none, on a connection',
    () => takers['sqliteStore']!({ busyTimeout: -1 }),
    '`busyTimeout` must be a number of milliseconds from 0 on, and is -1.',
  ],
  [
    'no dialect',
    () => (sqlStore as Loose)({ run() {} }),
    "sqlStore: `dialect` must be 'sqlite' or 'postgres' or 'mysql', and is undefined.",
  ],
  ...[undefined, null, 5, [], {}, { user: pool }, new Date()].map(
    (given): [string, () => unknown, string] => [
      `a client, or something else, for the options of sqlStore: ${inspect(given)}`,
      () => (sqlStore as Loose)(given),
      'sqlStore needs { dialect, run }, with a `run` from docs/clients.md, and got ',
    ],
  ),
  [
    'a URL for sqlStore',
    () => (sqlStore as Loose)('postgres://app:hush@db/app'),
    /and got text of \d+ characters\. For a URL there are postgresStore and mysqlStore, for a file sqliteStore\.$/m,
  ],
  [
    'a dialect that nobody knows',
    () => takers['sqlStore']!({ dialect: 'mariadb' }),
    "`dialect` must be 'sqlite' or 'postgres' or 'mysql', and is 'mariadb'.",
  ],
  [
    'nothing that runs statements',
    () => (sqlStore as Loose)({ dialect: 'sqlite' }),
    'sqlStore: `run` must be a function, and is undefined.',
  ],
  [
    'a client for what runs statements',
    () => takers['sqlStore']!({ run: pool }),
    '`run` must be a function, and is an object.',
  ],
  [
    'a schema in a dialect that nobody knows',
    () => (schema as Loose)('oracle'),
    "schema: `dialect` must be 'sqlite' or 'postgres' or 'mysql', and is 'oracle'.",
  ],
  [
    'no folder of Django’s',
    () => (djangoFile as Loose)(),
    'djangoFile needs the path of a folder, and got undefined',
  ],
  [
    'no engine of Django’s',
    () => takers['djangoSessions']!({ engine: store }),
    '`engine` must be an engine, such as djangoDb(store)',
  ],
  [
    'no client of Django’s cache',
    () => (djangoCache as Loose)('redis://localhost'),
    '@upstash/redis, and got text of 17 characters.',
  ],
  [
    'a table’s name with a dot',
    () => takers['postgresStore']!({ table: 'app.sessions' }),
    "`table` must be a table's name",
  ],
])('%s', (_, make, message) => {
  expect(make).toThrow(refused(message))
})

const DAYS = 14 * 86_400
const ages: Record<string, (seconds: number) => unknown> = {
  maxAge: (maxAge) => createSessions({ store, maxAge }),
  absoluteMaxAge: (absoluteMaxAge) => createSessions({ store, absoluteMaxAge }),
  touchAfter: (touchAfter) => createSessions({ store, touchAfter }),
  ttl: (ttl) => toExpressStore(store, { ttl }),
  'ttl (fromExpressStore)': (ttl) => takers['fromExpressStore']!({ ttl }),
  SESSION_COOKIE_AGE: (age) => takers['djangoSessions']!({ settings: { SESSION_COOKIE_AGE: age } }),
  'maxAge (createCookies)': (maxAge) => createCookies({ defaults: { maxAge } }),
}
test.each(Object.entries(ages))('%s of what can only be milliseconds is refused', (name, take) => {
  const option = name.replace(/ .*/, '')
  take(DAYS)
  take(10 * 365 * 86_400)
  expect(() => take(DAYS * 1000)).toThrow(
    refused(
      `\`${option}\` must be a ${/^(touch|.*Cook)/.test(name) && option !== 'SESSION_COOKIE_AGE' ? '' : 'positive '}number of seconds`,
    ),
  )
  expect(() => take(DAYS * 1000)).toThrow(
    refused('and is 1209600000, more than ten years: is it milliseconds? Then 1209600 it is.'),
  )
  expect(() => take(Infinity)).toThrow(
    refused('nothing is kept without an end, and 316224000 (ten years) is the most.'),
  )
})

test.each<[string, () => unknown, string]>([
  ['ttl', () => createSessions({ store, ttl: 60 } as never), 'it is called `maxAge` here'],
  ['rolling', () => createSessions({ store, rolling: true } as never), '`saveEveryRequest` here'],
  ['resave', () => createSessions({ store, resave: false } as never), 'leave it out'],
  ['name', () => createSessions({ store, name: 'sid' } as never), '`cookie: { name }`'],
  [
    'cookie.httponly',
    () => createSessions({ store, cookie: { httponly: true } } as never),
    'did you mean `httpOnly`?',
  ],
  [
    'cookie.maxAge',
    () => createSessions({ store, cookie: { maxAge: 60 } } as never),
    'the option `maxAge` of createSessions',
  ],
  ['maxx', () => lruStore({ maxx: 5 } as never), 'did you mean `max`?'],
  [
    'keyPrefix',
    () => (redisStore as Loose)(redis, { keyPrefix: 'a' }),
    'it is called `prefix` here',
  ],
])(
  'an option of another library’s, or misspelt, is refused with the word that was meant: %s',
  (_, make, message) => {
    expect(make).toThrow(refused(message))
  },
)

test.each<[string, () => unknown, string]>([
  ['createSessions(store)', () => (createSessions as Loose)(store), 'write `{ store }`'],
  ['sweep(manager)', () => (sweep as Loose)(createSessions({ store })), 'pass its store'],
  ['withSession(handler)', () => (withSession as Loose)(handler), 'before the handler'],
  ['signedCookieStore()', () => (signedCookieStore as Loose)(), 'signedCookieStore: '],
  ['cachedDbStore()', () => (cachedDbStore as Loose)(), 'cachedDbStore: '],
  ['createJsonCodec(null)', () => (createJsonCodec as Loose)(null), 'createJsonCodec: '],
  ['connectCookie()', () => (connectCookie as Loose)(), 'connectCookie: `secrets` must be a list'],
  ['createSigner()', () => (createSigner as Loose)(), 'createSigner needs { secrets, salt }'],
  ['createPlainSigner(5)', () => (createPlainSigner as Loose)(5), 'and got 5.'],
  ['a secret as text', () => createCookies({ secrets: 'hush' as never }), 'list of strings'],
  ['cookies()', () => (createCookies() as Loose)(), 'cookies: takes the request and the response'],
])(
  'what is called with nothing, or with the wrong thing, says what it takes: %s',
  (_, make, message) => {
    expect(make).toThrow(refused(message))
  },
)

test.each([undefined, null, 5, 'request'])('getSession(%o) says what it takes', async (request) => {
  await expect((getSession as Loose)(request)).rejects.toThrow(
    'getSession takes the request that the handler was given, and got ',
  )
})

test('Fastify’s own options of a plugin are Fastify’s, all others are looked at', async () => {
  await Fastify().register(fastifySession, { store, prefix: '/x', logLevel: 'warn' })
  for (const wrong of [
    { store, maxage: 5 },
    { store, property: '' },
    { sessions: createSessions({ store }), maxAge: 5 },
  ]) {
    const register = async () => void (await Fastify().register(fastifySession, wrong as never))
    await expect(register()).rejects.toThrow(refused(''))
  }
})

const engines = {
  redis: redisStore as Loose,
  postgres: postgresStore as Loose,
  mysql: mysqlStore as Loose,
  sqlite: sqliteStore as Loose,
}

/** Whatever the call throws: which must be a refusal that holds no password, also where a logger shows all of it. */
function refusalOf(call: () => unknown): string {
  let error: unknown
  try {
    call()
  } catch (caught) {
    error = caught
  }
  expect(error).toEqual(refused(''))
  expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/hush|h\/sh|hu=sh/i)
  return (error as Error).message
}

test.each(Object.keys(engines))(
  'a text that is no clean URL of %s is refused, says why, and is shown to nobody',
  (name) => {
    const take = engines[name as keyof typeof engines]
    const url = `${name}://app:hush@db/1`
    expect(refusalOf(() => take(`"${url}"`))).toContain('text that begins with a quote.')
    expect(refusalOf(() => take(` ${url}`))).toContain('text that begins with a space.')
    expect(refusalOf(() => take(`DB_URL=${url}`))).toContain('a name and an equals sign.')
    refusalOf(() => take(`jdbc:${url}`))
    refusalOf(() => take(`http://app:hush@db`))
    if (name === 'sqlite') return
    for (const text of ['host=db password=hush', 'app:hush@tcp(db:3306)/app', 'app:hush@db']) {
      refusalOf(() => take(text))
    }
  },
)

test.each(['redis', 'postgres', 'mysql'] as const)(
  'a URL of %s that cannot be read is refused at the start, in words without its password',
  (name) => {
    const unread = 'the URL cannot be read; is a character of the password not escaped'
    for (const rest of [
      'app:h/sh@db/1',
      'app:hush?@db/1',
      'app:hush#@db/1',
      'app:p@hush#w@db/1',
      'app:p@hush/1?db=1#w@db',
      'hush#w@db/1',
      'app:hush@db:99999/1',
      'app:12/hush@db/1',
      'app:12?hush@db/1',
      'app:12#hush@db/1',
      'app:12?Hush&k=hush@db/1',
      'app:12345/hu=sh@db',
      ':hush/hush@db/1',
      'app:[hush/hush@db/1',
    ]) {
      expect(refusalOf(() => engines[name](`${name}://${rest}`))).toContain(
        `${name}Store: ${unread}`,
      )
    }
    // Which of them is a name is not known.
    expect(refusalOf(() => engines[name](`${name}://app:12?Tropical&k=hush@db`))).not.toContain(
      'Tropical',
    )
    // Of this one pg makes something.
    if (name === 'postgres') return
    expect(refusalOf(() => engines[name](`${name}://app:hush%ZZ@db/1`))).toContain(unread)
  },
)

test.each<[string, () => unknown, string]>([
  ['a profile that is none', () => mysqlStore('mysql://app:hush@db/app?ssl=foo'), 'parameters'],
  ['TLS as a flag', () => mysqlStore('mysql://app:hush@db/app?ssl=true'), 'parameters'],
  ['code as text', () => mysqlStore('mysql://app:hush@db/app?Promise=1'), 'parameter `Promise`'],
  ...['sslcert', 'sslkey', 'sslrootcert'].map((name): [string, () => unknown, string] => [
    `a file that is not there (${name})`,
    () => postgresStore(`postgres://app:hush@db/app?${name}=/nowhere/it.pem`),
    "postgresStore: the URL's file '/nowhere/it.pem' cannot be read (open ENOENT).",
  ]),
])('what a driver does not take of a URL is refused: %s', (_, make, message) => {
  expect(refusalOf(make)).toContain(message)
})

test('URLs in every form that their drivers take pass', async () => {
  const stores = [
    ...[
      'postgres://app:p%2Fw@a:1/app',
      'postgresql://app:100%ZZ@a/app',
      'postgres://app:pw@a,b/app',
      'postgres://app:pw@/app?host=/nowhere',
      'postgres://%2Fnowhere/app',
      'postgres:///app?host=/nowhere&user=app&password=p@w',
      'postgres:///app',
      'socket:/nowhere?db=app',
      '/nowhere app',
      'postgres://a:5432/my@db',
      'postgres://a:1/app?user=a@b&password=p@w',
      'postgres://a/app?x@y',
      'postgres://[::1]:1/my@db',
    ].map((url) => postgresStore(url)),
    ...[
      'mysql://app:p%2Fw@a:1/app?ssl=%7B%7D&timezone=Z',
      'mariadb://app@[::1]/app',
      'mysql://app@localhost/app?socketPath=/nowhere',
      'mysql://localhost/my@db',
    ].map((url) => mysqlStore(url)),
    ...[
      'redis://:p%2Fw@127.0.0.1:1/3?family=4',
      'REDISS://127.0.0.1:1?db=2',
      'redis://[::1]:1/',
      '//127.0.0.1:1',
      '/nowhere/redis.sock?db=1',
    ].map((url) => redisStore(url)),
  ]
  await Promise.all(stores.map((one) => one.close?.()))
})

test.each<[string, () => unknown, string]>([
  ['redisStore', () => redisStore(undefined), 'is the environment variable set'],
  ['postgresStore', () => postgresStore(undefined), 'is the environment variable set'],
  ['mysqlStore', () => mysqlStore(undefined), 'is the environment variable set'],
  ['sqliteStore', () => sqliteStore(undefined), 'is the environment variable set'],
  ['fileStore', () => fileStore(undefined), 'is the environment variable set'],
  [
    'the middleware without a next',
    () => (express({ store }) as Loose)({ headers: {} }, {}),
    'the middleware takes a function that goes on',
  ],
])('%s: what is not given is asked for', (_, call, words) => {
  expect(call).toThrow(refused(words))
})

test('a Fastify plugin that is called in place of registered says so', async () => {
  await expect((fastifySession as Loose)({ store })).rejects.toThrow(
    'app.register(session, { store })',
  )
})

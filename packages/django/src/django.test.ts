// What a real Django 3.2.25 wrote, read and written; and Django's rules where no Django is needed to see them.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { Buffer } from 'node:buffer'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { inspect } from 'node:util'
import { deflateSync, gzipSync } from 'node:zlib'
import type { Session, Sessions, SessionsOptions } from '@coatcheck/core'
import { MAX_EXPIRES_AT, type SessionStore } from '@coatcheck/core/store'
import { cases as conformanceCases, runCase } from '@coatcheck/conformance'
import { createPlainSigner, createSigner } from '@coatcheck/core/signing'
import { createCookies } from '@coatcheck/cookies'
import { sqliteStore } from '@coatcheck/db/sqlite'
import Database from 'better-sqlite3'
import { Redis } from 'ioredis'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { testWith } from '../../../testing/needs.ts'
import { openProxy } from '../../../testing/proxy.ts'
import { kinds } from '../../../testing/services.ts'
import { smallDisk } from '../../../testing/small-disk.ts'
import {
  DJANGO_TABLE,
  djangoAuthHash,
  djangoCache,
  djangoCachedDb,
  djangoDb,
  djangoFile,
  djangoSessions,
  djangoSignedCookies,
  dumps,
  getDjangoUser,
  isDjangoUserCurrent,
  loads,
  setDjangoUser,
  updateDjangoAuthHash,
  verifyDjangoUser,
  type DjangoEngine,
  type DjangoSettings,
} from './index.ts'
import { parse, stringify } from './python-json.ts'

interface Encoded {
  data: Record<string, unknown>
  salt: string
  encoded: string
}
interface Signed {
  salt: string
  value: string
  signed: string
}
const vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, 'fixtures/vectors.json'), 'utf8'),
) as {
  secret_key: string
  timestamp: number
  session_data: Encoded[]
  file_session_data: Encoded[]
  signed_cookie_sessions: { data: Record<string, unknown>; salt: string; session_key: string }[]
  timestamp_signer: Signed[]
  signer: Signed[]
  signed_cookies: { name: string; salt: string; value: string; cookie: string }[]
  key_salts: Record<string, string>
}
const secretKey = vectors.secret_key
const now = () => vectors.timestamp * 1000
const other = 'another secret key of more than thirty-two characters'

const folders: string[] = []
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'coatcheck-django-'))
  folders.push(path)
  return path
}
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

const KEY = 'abcdefgh'.repeat(4)
const COOKIE = `sessionid=${KEY}`

/** Django's table on SQLite, as its migration makes it, and the sessions in it. */
function database(
  options: { now?: () => number; settings?: DjangoSettings; fallbackKeys?: string[] } = {},
) {
  const connection = new Database(':memory:')
  connection.exec(`
    CREATE TABLE "django_session" ("session_key" varchar(40) NOT NULL PRIMARY KEY,
      "session_data" text NOT NULL, "expire_date" datetime NOT NULL);
    CREATE INDEX "django_session_expire_date_a5c62663" ON "django_session" ("expire_date");`)
  const store = sqliteStore(connection, { table: DJANGO_TABLE, now: options.now ?? now })
  const sessions = djangoSessions({ secretKey, now, engine: djangoDb(store), ...options })
  const insert = (data: string, date = '2100-01-01 00:00:00') =>
    connection.prepare('INSERT INTO django_session VALUES (?, ?, ?)').run(KEY, data, date)
  const row = () =>
    connection.prepare('SELECT * FROM django_session').get() as
      | { session_key: string; session_data: string; expire_date: string }
      | undefined
  return { connection, sessions, insert, row }
}

async function opened(sessions: Sessions, cookie = COOKIE): Promise<Session<any>> {
  return sessions.open(cookie)
}
const contents = (session: Session<any>) => Object.fromEntries(session.entries())
const isCompressed = ({ encoded }: { encoded: string }) => encoded.startsWith('.')

describe('vectors', () => {
  for (const { salt, value, signed } of vectors.signer) {
    test(`Signer: ${JSON.stringify(value)}`, () => {
      const signer = createPlainSigner({ secrets: [secretKey], salt })
      expect(signer.sign(value)).toBe(signed)
      expect(signer.unsign(signed)).toBe(value)
    })
  }

  for (const { salt, value, signed } of vectors.timestamp_signer) {
    test(`TimestampSigner: ${JSON.stringify(value)}`, () => {
      const signer = createSigner({ secrets: [secretKey], salt, now })
      expect(signer.sign(value)).toBe(signed)
      expect(signer.read(signed)).toEqual({ value, signedAt: now() })
    })
  }

  for (const { name, salt, value, cookie } of vectors.signed_cookies) {
    test(`set_signed_cookie of this old Django, read where it is asked for: ${JSON.stringify(value)}`, () => {
      const headers = { cookie: `${name}=${encodeURIComponent(cookie)}` }
      const read = (legacySalt: boolean) =>
        createCookies({ secrets: [secretKey], now, legacySalt })(
          new Request('http://localhost/', { headers }),
          new Headers(),
        ).getSigned(name, { salt })
      expect(read(true)).toBe(value)
      expect(read(false)).toBeUndefined()
    })
  }

  for (const { data, salt, encoded } of [...vectors.session_data, ...vectors.file_session_data]) {
    test(`session data: ${encoded.slice(0, 40)}`, async () => {
      expect(loads(encoded, { secretKey, salt })).toEqual(data)
      const written = dumps(data, { secretKey, salt, compress: true, now })
      expect(loads(written, { secretKey, salt })).toEqual(data)
      // What zlib makes of a text differs from one zlib to the next; everything else is the same, byte for byte.
      if (!isCompressed({ encoded })) expect(written).toBe(encoded)
      else expect(written.length).toBeLessThanOrEqual(encoded.length + 4)

      const { sessions, insert } = database()
      insert(encoded)
      const session = await opened(sessions)
      expect(contents(session)).toEqual(data)
    })
  }

  for (const { data, session_key: token } of vectors.signed_cookie_sessions) {
    test(`signed cookie: ${token.slice(0, 40)}`, async () => {
      const sessions = djangoSessions({ secretKey, engine: djangoSignedCookies(), now })
      const session = await opened(sessions, `sessionid=${token}`)
      expect(contents(session)).toEqual(data)
      if (Object.keys(data).length === 0) return
      session.modified = true
      const { setCookie } = await sessions.commit(session)
      if (!token.startsWith('.')) expect(setCookie).toContain(`sessionid=${token};`)
      const again = await opened(sessions, setCookie!.split(';')[0])
      expect(contents(again)).toEqual(data)
    })
  }

  test('signed cookie: of several of the name the first counts that the site has signed', async () => {
    const sessions = djangoSessions({ secretKey, engine: djangoSignedCookies(), now })
    const { data, session_key: token } = vectors.signed_cookie_sessions.at(-1)!
    const header = ['', 'no', token.slice(1), token].map((value) => `sessionid=${value}`)
    const session = await opened(sessions, header.join('; '))
    expect(contents(session)).toEqual(data)
    expect((await sessions.commit(session)).setCookie).toBeUndefined()
  })

  test('the salts of the engines are those that Django signs with', () => {
    for (const salt of Object.values(vectors.key_salts)) {
      expect(salt).toBe('django.contrib.sessions.SessionStore')
    }
  })
})

describe("Python's JSON", () => {
  test('what Python writes beyond JavaScript survives both ways', () => {
    const text =
      '{"id":123456789012345678901234567890,"low":-9007199254740993,"nan":NaN,"inf":[Infinity,-Infinity],"text":"NaN \\u00e9 12345678901234567"}'
    const value = parse(text) as Record<string, unknown>
    expect(value).toEqual({
      id: 123456789012345678901234567890n,
      low: -9007199254740993n,
      nan: Number.NaN,
      inf: [Infinity, -Infinity],
      text: 'NaN é 12345678901234567',
    })
    expect(stringify(value)).toBe(text)
  })

  test('a number past 2^53 is written as a float of Python, and stays a number', () => {
    const values = [2 ** 53, 2 ** 60, -1e16, 1e21, Number.MAX_VALUE]
    const text = '[9007199254740992.0,1.152921504606847e+18,-1e+16,1e+21,1.7976931348623157e+308]'
    expect(stringify(values)).toBe(text)
    expect(parse(text)).toEqual(values)
  })

  test('a maxAge of NaN is refused', () => {
    const signed = dumps('value', { secretKey })
    expect(() => loads(signed, { secretKey, maxAge: Number.NaN })).toThrow(/`maxAge`/)
  })

  test('what would not be read again, however little it is compressed, is not signed', () => {
    const sign = (length: number) =>
      dumps('x'.repeat(length), { secretKey, salt: 'salt', compress: true })
    expect(loads(sign(16_000_000), { secretKey, salt: 'salt' })).toHaveLength(16_000_000)
    expect(() => sign(17_000_000)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_TOO_LARGE' }),
    )
  })

  test('all beyond ASCII is escaped, as json.dumps does', () => {
    expect(stringify({ a: 'é\u2028\u007F🌍\u0001"\\\uD800' })).toBe(
      '{"a":"\\u00e9\\u2028\\u007f\\ud83c\\udf0d\\u0001\\"\\\\\\ud800"}',
    )
  })

  test('a number of Django that JavaScript cannot hold is still there after Node has changed something else', async () => {
    const { sessions, insert, row } = database()
    insert(
      dumps(
        { snowflake: 1234567890123456789n, n: 1 },
        { secretKey, salt: vectors.key_salts['db']! },
      ),
    )
    const session = await opened(sessions)
    expect(session.get('snowflake')).toBe(1234567890123456789n)
    session.set('n', 2)
    session.set('more', 98765432109876543210n)
    await sessions.commit(session)
    expect(loads(row()!.session_data, { secretKey, salt: vectors.key_salts['db']! })).toEqual({
      snowflake: 1234567890123456789n,
      n: 2,
      more: 98765432109876543210n,
    })
  })

  test('what Python has no word for is refused by name', async () => {
    const { sessions } = database()
    const session = await opened(sessions, '')
    session.set('when', new Date())
    await expect(async () => sessions.commit(session)).rejects.toMatchObject({
      code: 'ERR_SESSION_ENCODE',
      key: 'when',
    })
  })
})

describe('data that is not what Django signed', () => {
  const good = vectors.session_data[1]!
  const salt = good.salt
  const cases: Record<string, string> = {
    corrupt: 'nonsense',
    empty: '',
    'not Base64': 'ä:1r31uy:x',
    forged: good.encoded.replace('eyJ0', 'eyJ1'),
    'of another secret': dumps(good.data, { secretKey: other, salt }),
    'of another salt': dumps(good.data, { secretKey, salt: 'another' }),
    'JSON without a signature': '{"_auth_user_id":"1"}',
    'not an object': dumps([1, 2], { secretKey, salt }),
    'not JSON': createSigner({ secrets: [secretKey], salt }).sign('bm90IGpzb24'),
    'compressed nonsense': createSigner({ secrets: [secretKey], salt }).sign('.bm90IGpzb24'),
  }
  for (const [what, data] of Object.entries(cases)) {
    test(`${what}: an empty session, and a change of it gets a new key`, async () => {
      const { sessions, insert } = database()
      insert(data)
      const session = await opened(sessions)
      expect(contents(session)).toEqual({})
      expect(loads(data, { secretKey, salt: 'none' })).toBeUndefined()
      session.set('a', 1)
      const { setCookie } = await sessions.commit(session)
      expect(setCookie).not.toContain(KEY)
      expect((await opened(sessions, setCookie!.split(';')[0])).get('a')).toBe(1)
    })
    test(`${what}, in a file: an empty session, whose change gets a new key, and a sweep leaves it to its age`, async () => {
      const path = folder()
      writeFileSync(join(path, `sessionid${KEY}`), data)
      const sessions = djangoSessions({ secretKey, engine: djangoFile(path) })
      const session = await opened(sessions)
      expect(contents(session)).toEqual({})
      expect(await sessions.store.clearExpired!()).toBe(0)
      session.set('a', 1)
      const { setCookie } = await sessions.commit(session)
      expect(setCookie).not.toContain(KEY)
      expect((await opened(sessions, setCookie!.split(';')[0])).get('a')).toBe(1)
    })
    test(`${what}, in a cookie: an empty session, and the cookie goes`, async () => {
      const sessions = djangoSessions({ secretKey, engine: djangoSignedCookies(), now })
      const session = await opened(sessions, `sessionid=${encodeURIComponent(data)}`)
      expect(contents(session)).toEqual({})
      expect((await sessions.commit(session)).setCookie).toMatch(/^sessionid=; Max-Age=0/)
    })
  }

  test('of an old secret: read, and signed with the current one when it is saved', async () => {
    const { sessions, insert, row } = database({ fallbackKeys: [other] })
    insert(dumps({ a: 1 }, { secretKey: other, salt }))
    const session = await opened(sessions)
    expect(session.get('a')).toBe(1)
    session.set('b', 2)
    await sessions.commit(session)
    expect(loads(row()!.session_data, { secretKey, salt })).toEqual({ a: 1, b: 2 })
    expect(loads(row()!.session_data, { secretKey: other, salt })).toBeUndefined()
  })

  test('expired, in the table: no session', async () => {
    const { sessions, insert } = database()
    insert(good.encoded, '2023-11-14 22:29:59.999999')
    expect(contents(await opened(sessions))).toEqual({})
  })

  test('loads: a signature older than maxAge is none', () => {
    const signed = dumps('x', { secretKey, now })
    const later = (seconds: number) => () => now() + seconds * 1000
    expect(loads(signed, { secretKey, maxAge: 10, now: later(10) })).toBe('x')
    expect(loads(signed, { secretKey, maxAge: 10, now: later(11) })).toBeUndefined()
  })
})

describe('expiry', () => {
  const salt = vectors.key_salts['db']!

  test('seconds, as Django keeps them', async () => {
    const { sessions, insert, row } = database()
    insert(vectors.session_data[4]!.encoded)
    const session = await opened(sessions)
    expect(session.getExpiryAge()).toBe(3600)
    session.set('user', 43)
    expect((await sessions.commit(session)).setCookie).toContain('Max-Age=3600')
    expect(row()!.expire_date).toBe('2023-11-14 23:30:00.000000')
  })

  test('a date, as Django 4.1 and newer keeps it, whichever way Python wrote it', async () => {
    for (const date of [
      '2023-11-15T00:00:00+00:00',
      '2023-11-15T01:00:00.000000+01:00',
      '2023-11-15T00:00:00.000000+00:00',
    ]) {
      const { sessions, insert } = database()
      insert(dumps({ _session_expiry: date, a: 1 }, { secretKey, salt }))
      expect((await opened(sessions)).getExpiryDate().toISOString()).toBe(
        '2023-11-15T00:00:00.000Z',
      )
    }
  })

  const dated = JSON.parse(
    readFileSync(join(import.meta.dirname, 'fixtures/vectors-4.2.json'), 'utf8'),
  ) as {
    session_expiry_dates: { expires_at: number; data: { user: number }; encoded: string }[]
  }
  for (const { expires_at: expiresAt, data, encoded } of dated.session_expiry_dates) {
    test(`a date as Django 4.2 stored it: ${new Date(expiresAt).toISOString()}`, async () => {
      const { sessions, insert, row } = database()
      insert(encoded)
      const session = await opened(sessions)
      expect(session.getExpiryDate().getTime()).toBe(expiresAt)
      session.set('user', 43)
      await sessions.commit(session)
      expect(loads(row()!.session_data, { secretKey, salt })).toEqual({ ...data, user: 43 })
    })
  }

  test('a date is written as the fromisoformat of every Python reads it', async () => {
    const { sessions, row } = database()
    const session = await opened(sessions, '')
    session.set('a', 1)
    session.setExpiry(new Date(Date.UTC(2030, 0, 2, 3, 4, 5, 678)))
    await sessions.commit(session)
    expect(loads(row()!.session_data, { secretKey, salt })).toEqual({
      a: 1,
      _session_expiry: '2030-01-02T03:04:05.678000+00:00',
    })
    expect(row()!.expire_date).toBe('2030-01-02 03:04:05.678000')
  })

  test('a signed cookie ends by its age, and by an expiry of its own', async () => {
    let time = now()
    const sessions = djangoSessions({
      secretKey,
      engine: djangoSignedCookies(),
      now: () => time,
      settings: { SESSION_COOKIE_AGE: 100 },
    })
    const tokenOf = async (seconds?: number) => {
      const session = await opened(sessions, '')
      session.set('a', 1)
      if (seconds !== undefined) session.setExpiry(seconds)
      return (await sessions.commit(session)).setCookie!.split(';')[0]!
    }
    const [plain, short, long] = [await tokenOf(), await tokenOf(10), await tokenOf(1000)]
    const live = async (token: string) => (await opened(sessions, token)).get('a') === 1
    time += 9999
    expect([await live(plain), await live(short), await live(long)]).toEqual([true, true, true])
    time += 1
    expect([await live(plain), await live(short), await live(long)]).toEqual([true, false, true])
    time += 90_000
    expect([await live(plain), await live(long)]).toEqual([false, false])
  })
})

describe('the settings', () => {
  const lineOf = async (settings: DjangoSettings, more: Partial<SessionsOptions> = {}) => {
    const { sessions } = database({ settings, ...more } as object)
    const session = await opened(sessions, '')
    session.set('a', 1)
    return (await sessions.commit(session, { secure: true })).setCookie!.replace(
      /=[a-z0-9]{32};/,
      '=KEY;',
    )
  }

  test("are Django's by default", async () => {
    expect(await lineOf({})).toBe('sessionid=KEY; Max-Age=1209600; Path=/; HttpOnly; SameSite=Lax')
  })

  test('shape the cookie', async () => {
    expect(
      await lineOf({
        SESSION_COOKIE_AGE: 60,
        SESSION_COOKIE_NAME: 'sid',
        SESSION_COOKIE_DOMAIN: 'example.com',
        SESSION_COOKIE_PATH: '/app',
        SESSION_COOKIE_SECURE: true,
        SESSION_COOKIE_HTTPONLY: false,
        SESSION_COOKIE_SAMESITE: 'Strict',
      }),
    ).toBe('sid=KEY; Max-Age=60; Domain=example.com; Path=/app; Secure; SameSite=Strict')
    expect(await lineOf({ SESSION_COOKIE_SAMESITE: false })).not.toContain('SameSite')
    expect(await lineOf({ SESSION_COOKIE_DOMAIN: null })).not.toContain('Domain')
    expect(await lineOf({ SESSION_EXPIRE_AT_BROWSER_CLOSE: true })).not.toContain('Max-Age')
  })

  test('SESSION_SAVE_EVERY_REQUEST renews what was only looked at', async () => {
    let time = now()
    const { sessions, insert, row } = database({
      settings: { SESSION_SAVE_EVERY_REQUEST: true },
      now: () => time,
    })
    insert(vectors.session_data[1]!.encoded, '2023-11-20 00:00:00')
    time += 1000
    const session = await opened(sessions)
    session.get('theme')
    expect((await sessions.commit(session)).setCookie).toContain('Max-Age=1209600')
    expect(row()).toMatchObject({
      session_data: vectors.session_data[1]!.encoded,
      expire_date: '2023-11-28 22:30:01.000000',
    })
  })

  test('that are not known, or cannot work, are refused by name', () => {
    expect(() => database({ settings: { SESSION_COOKIE_AGES: 1 } as object })).toThrow(
      /did you mean `SESSION_COOKIE_AGE`/,
    )
    expect(() => database({ settings: { SESSION_COOKIE_SAMESITE: 'Loose' as 'Lax' } })).toThrow(
      /SESSION_COOKIE_SAMESITE` must be/,
    )
    expect(() => database({ settings: { SESSION_COOKIE_AGE: -1 } })).toThrow(/SESSION_COOKIE_AGE/)
    expect(() => djangoSessions({ secretKey: 'short', engine: djangoSignedCookies() })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
    )
  })
})

describe('the user', () => {
  const user = {
    id: '7',
    backend: 'django.contrib.auth.backends.ModelBackend',
    hash: 'ab'.repeat(32),
  }

  test('of django.contrib.auth is read', async () => {
    const { sessions, insert } = database()
    insert(vectors.session_data[7]!.encoded)
    expect(getDjangoUser(await opened(sessions))).toEqual(user)
    expect(getDjangoUser(await opened(sessions, ''))).toBeUndefined()
  })

  const password = 'pbkdf2_sha256$260000$salt$hash'
  const loggedIn = { ...user, hash: djangoAuthHash(password, secretKey) }
  const fields = (from: typeof user) => ({
    _auth_user_id: from.id,
    _auth_user_backend: from.backend,
    _auth_user_hash: from.hash,
  })
  /** A session with data in Django's table, opened, and what is stored and sent once it is committed. */
  async function visit(data: object, change: (session: Session<any>) => unknown) {
    const { sessions, insert, row } = database()
    insert(dumps(data, { secretKey, salt: vectors.key_salts['db']! }))
    const session = await opened(sessions)
    const answer = change(session)
    await sessions.commit(session)
    const stored = row()
    return {
      answer,
      key: stored?.session_key,
      data: stored && loads(stored.session_data, { secretKey, salt: vectors.key_salts['db']! }),
    }
  }

  test('who logs in as a visitor gets a new key, keeps the data, and loses the CSRF token', async () => {
    const { key, data } = await visit({ cart: [7], _csrftoken: 'x'.repeat(32) }, (session) =>
      setDjangoUser(session, user),
    )
    expect(key).toMatch(/^[a-z0-9]{32}$/)
    expect(key).not.toBe(KEY)
    expect(data).toEqual({ cart: [7], ...fields(user) })
  })

  test('the same user who logs in again keeps the key and the data', async () => {
    for (const before of [fields(user), { ...fields(user), _auth_user_id: 7 }]) {
      const { key, data } = await visit({ cart: [7], ...before }, (session) =>
        setDjangoUser(session, { ...user, backend: 'another.Backend' }),
      )
      expect(key).toBe(KEY)
      expect(data).toEqual({ cart: [7], ...fields(user), _auth_user_backend: 'another.Backend' })
    }
  })

  test('the same user of a site that hashes no password keeps the key, whatever hash was there', async () => {
    const { key, data } = await visit({ cart: [7], ...fields(user) }, (session) =>
      setDjangoUser(session, { ...user, hash: '' }),
    )
    expect(key).toBe(KEY)
    expect(data).toEqual({ cart: [7], ...fields({ ...user, hash: '' }) })
  })

  test.each<[string, object, Partial<typeof user>]>([
    ['another user', fields(user), { id: '8' }],
    ['the same user under another password', fields(user), { hash: 'cd'.repeat(32) }],
    ['the same user, where no hash was kept', { _auth_user_id: '7' }, {}],
    ['another user, where nothing else is kept', { _auth_user_id: '8' }, { hash: '' }],
  ])('%s who logs in finds nothing of the session before', async (_, before, changed) => {
    const next = { ...user, ...changed }
    const { key, data } = await visit({ cart: [7], ...before }, (session) =>
      setDjangoUser(session, next),
    )
    expect(key).not.toBe(KEY)
    expect(data).toEqual(fields(next))
  })

  test('a login stands as long as the password does, and costs no write', async () => {
    const { sessions, insert, row } = database()
    insert(dumps({ ...fields(loggedIn), cart: [7] }, { secretKey, salt: vectors.key_salts['db']! }))
    const before = row()
    const session = await opened(sessions)
    expect(verifyDjangoUser(session, password, { secretKey })).toBe(true)
    expect(session.modified).toBe(false)
    await sessions.commit(session)
    expect(row()).toEqual(before)
  })

  test.each([
    ['of another password', fields(loggedIn), `${password}2`],
    ['of a site that kept no hash', fields({ ...user, hash: '' }), password],
    ['whose hash is no text', { ...fields(loggedIn), _auth_user_hash: null }, password],
  ])('a login %s is ended with all of its session', async (_, before, column) => {
    const { answer, data } = await visit({ ...before, cart: [7] }, (session) =>
      verifyDjangoUser(session, column, { secretKey }),
    )
    expect({ answer, data }).toEqual({ answer: false, data: undefined })
  })

  test('where nobody is logged in nothing is ended', async () => {
    for (const before of [{ cart: [7] }, { cart: [7], _auth_user_id: '7' }]) {
      const { answer, key, data } = await visit(before, (session) =>
        verifyDjangoUser(session, password, { secretKey }),
      )
      expect({ answer, key, data }).toEqual({ answer: false, key: KEY, data: before })
    }
  })

  test('a login under a fallback key gets a new session key and the hash of the current secret', async () => {
    const old = { ...user, hash: djangoAuthHash(password, other) }
    const keys = { secretKey, fallbackKeys: ['x'.repeat(40), other] }
    const { answer, key, data } = await visit({ ...fields(old), cart: [7] }, (session) =>
      verifyDjangoUser(session, password, keys),
    )
    expect(answer).toBe(true)
    expect(key).not.toBe(KEY)
    expect(data).toEqual({ ...fields(loggedIn), cart: [7] })
  })

  test('a changed password keeps the session of its user, under a new key', async () => {
    const changed = { id: '7', hash: djangoAuthHash(`${password}2`, secretKey) }
    const { key, data } = await visit({ ...fields(loggedIn), cart: [7] }, (session) =>
      updateDjangoAuthHash(session, changed),
    )
    expect(key).not.toBe(KEY)
    expect(data).toEqual({ ...fields({ ...user, hash: changed.hash }), cart: [7] })
  })

  test.each([7, 7n])(
    'the key %s, of a database, is kept as text, and is the same user',
    async (id) => {
      const { key, data } = await visit({ ...fields(loggedIn), cart: [7] }, (session) => {
        setDjangoUser(session, { ...loggedIn, id })
        expect(getDjangoUser(session)).toEqual(loggedIn)
      })
      expect(key).toBe(KEY)
      expect(data).toEqual({ ...fields(loggedIn), cart: [7] })
      const hash = 'cd'.repeat(32)
      const changed = await visit(fields(loggedIn), (session) =>
        updateDjangoAuthHash(session, { id, hash }),
      )
      expect(changed.data).toEqual(fields({ ...user, hash }))
    },
  )

  test('a number that a login of the site itself has kept is read as text', async () => {
    await visit({ ...fields(loggedIn), _auth_user_id: 7 }, (session) => {
      expect(getDjangoUser(session)).toEqual(loggedIn)
      expect(verifyDjangoUser(session, password, { secretKey })).toBe(true)
    })
  })

  test('a UUID is the same user with its dashes and without', async () => {
    const id = '0b8e5c1e-9f3a-4d57-8a44-6f1c2d3e4b5a'
    const { key, data } = await visit({ ...fields({ ...loggedIn, id }), cart: [7] }, (session) =>
      setDjangoUser(session, { ...loggedIn, id: id.replaceAll('-', '').toUpperCase() }),
    )
    expect(key).toBe(KEY)
    expect(data).toHaveProperty('cart', [7])
  })

  test.each([undefined, null, 1.5, {}])('the key %j is refused by name', async (id) => {
    const refused = expect.objectContaining({
      code: 'ERR_SESSION_OPTIONS',
      message: expect.stringContaining('`id`'),
    })
    await visit(fields(loggedIn), (session) => {
      const wrong = { ...loggedIn, id: id as unknown as string }
      expect(() => setDjangoUser(session, wrong)).toThrow(refused)
      expect(() => updateDjangoAuthHash(session, wrong)).toThrow(refused)
    })
  })

  test("another user's changed password leaves the session's hash alone", async () => {
    for (const before of [{ cart: [7] }, { ...fields(loggedIn), cart: [7] }]) {
      const { key, data } = await visit(before, (session) =>
        updateDjangoAuthHash(session, { id: '8', hash: 'cd'.repeat(32) }),
      )
      expect(key).not.toBe(KEY)
      expect(data).toEqual(before)
    }
  })

  test('without a password or a secret there is no hash to compare with', async () => {
    const refused = expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' })
    expect(() => djangoAuthHash(password, undefined as unknown as string)).toThrow(refused)
    expect(() => djangoAuthHash(null as unknown as string, secretKey)).toThrow(refused)
    const none = {} as { secretKey: string }
    expect(() => isDjangoUserCurrent(loggedIn, password, none)).toThrow(refused)
    const change = (session: Session<any>) => verifyDjangoUser(session, password, none)
    await expect(visit(fields(loggedIn), change)).rejects.toEqual(refused)
  })

  test('is current until the password changes, over a rotation of the secret too', () => {
    const current = loggedIn
    expect(isDjangoUserCurrent(current, password, { secretKey })).toBe(true)
    expect(isDjangoUserCurrent(current, password, { secretKey: other })).toBe(false)
    expect(
      isDjangoUserCurrent(current, password, { secretKey: other, fallbackKeys: [secretKey] }),
    ).toBe(true)
    expect(isDjangoUserCurrent(current, `${password}2`, { secretKey })).toBe(false)
    expect(isDjangoUserCurrent({ ...user, hash: '' }, password, { secretKey })).toBe(false)
  })
})

describe('what a cycled key leaves', () => {
  const engines: Record<string, (path: string) => { engine: DjangoEngine; keys: () => string[] }> =
    {
      db(path) {
        const connection = new Database(join(path, 'db.sqlite3'))
        const store = sqliteStore(connection, { table: DJANGO_TABLE, now })
        store.migrate()
        return {
          engine: djangoDb(store),
          keys: () =>
            (
              connection.prepare('SELECT session_key FROM django_session').all() as {
                session_key: string
              }[]
            ).map((row) => row.session_key),
        }
      },
      file: (path) => ({
        engine: djangoFile(path),
        keys: () =>
          readdirSync(path)
            .filter((name) => name.startsWith('sessionid'))
            .map((name) => name.slice('sessionid'.length)),
      }),
    }
  for (const [name, open] of Object.entries(engines)) {
    test(`${name}: nothing, as with Django itself`, async () => {
      const { engine, keys } = open(folder())
      const sessions = djangoSessions({ secretKey, engine, now })
      const first = await opened(sessions, '')
      first.set('a', 1)
      await sessions.commit(first)
      const [before] = keys()
      const second = await opened(sessions, `sessionid=${before}`)
      second.cycleKey()
      await sessions.commit(second)
      expect(keys()).toEqual([second.key])
      expect(second.key).not.toBe(before)
    })
  }
})

describe('files', () => {
  const at = (path: string, more: object = {}) =>
    djangoSessions({ secretKey, engine: djangoFile(path), ...more })
  const made = async (sessions: Sessions, seconds?: number | Date) => {
    const session = await opened(sessions, '')
    session.set('a', 1)
    if (seconds !== undefined) session.setExpiry(seconds)
    await sessions.commit(session)
    return session.key!
  }

  test('are named by cookie and key, for their owner alone, and hold what Django signs', async () => {
    const path = folder()
    const key = await made(at(path))
    expect(readdirSync(path).toSorted()).toEqual(['.coatcheck', `sessionid${key}`])
    const file = join(path, `sessionid${key}`)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(
      loads(readFileSync(file, 'utf8'), { secretKey, salt: vectors.key_salts['file']! }),
    ).toEqual({ a: 1 })
    expect(
      readdirSync(join(path, '.coatcheck')).filter((name) => !/^spare-|\.token$/.test(name)),
    ).toEqual([])
  })

  test('end by their age, by seconds and by a date, and a sweep removes just those', async () => {
    const path = folder()
    const sessions = at(path, { settings: { SESSION_COOKIE_AGE: 100 } })
    const [plain, short, dated] = [
      await made(sessions),
      await made(sessions, 10),
      await made(sessions, new Date(Date.now() + 60_000)),
    ]
    const back = (key: string, seconds: number) => {
      const time = Date.now() / 1000 - seconds
      utimesSync(join(path, `sessionid${key}`), time, time)
    }
    const live = async (key: string) => (await opened(sessions, `sessionid=${key}`)).get('a') === 1
    expect(await Promise.all([plain, short, dated].map(live))).toEqual([true, true, true])
    for (const key of [plain, short, dated]) back(key, 11)
    expect(await Promise.all([plain, short, dated].map(live))).toEqual([true, false, true])
    for (const key of [plain, short, dated]) back(key, 101)
    expect(await Promise.all([plain, short, dated].map(live))).toEqual([false, false, true])
    writeFileSync(join(path, 'another-file'), '')
    expect(await sessions.store.clearExpired!()).toBe(2)
    expect(readdirSync(path).toSorted()).toEqual([
      '.coatcheck',
      'another-file',
      `sessionid${dated}`,
    ])
  })

  test('close ends a sweep, and everything else is refused', async () => {
    const path = folder()
    const { store } = at(path)
    const names = () => readdirSync(path).filter((name) => name.startsWith('sessionid'))
    for (let n = 100; n < 200; n++) {
      writeFileSync(join(path, `sessionid${n}kkkkk`), 'x')
      utimesSync(join(path, `sessionid${n}kkkkk`), 1, 1)
    }
    const swept = store.clearExpired!({ batchSize: 1 })
    while (names().length === 100) await setImmediate()
    await store.close!()
    const left = names().length
    expect(await swept).toBe(100 - left)
    expect(names()).toHaveLength(left)
    expect(left).toBeGreaterThan(0)
    expect(() => store.load('100kkkkk')).toThrow('The store is closed. Make another one.')
  })

  test('on a full disk logouts and the sweep work; strangers are passed over', async (context) => {
    using disk = smallDisk(context, 'size=512k')
    const sessions = at(disk.path)
    const [one, kept, old] = [await made(sessions), await made(sessions), await made(sessions)]
    utimesSync(join(disk.path, `sessionid${old}`), 1, 1)
    mkdirSync(join(disk.path, 'sessionidfolderfolder'))
    symlinkSync(`sessionid${one}`, join(disk.path, 'sessionidlinklink'))
    symlinkSync('nowhere', join(disk.path, 'sessionidnowhere'))
    disk.fill()
    await expect(made(sessions)).rejects.toThrow(/the disk is full/)
    expect(await sessions.store.clearExpired!()).toBe(1)
    const session = await opened(sessions, `sessionid=${one}`)
    expect(session.get('a')).toBe(1)
    session.flush()
    await sessions.commit(session)
    expect(await sessions.store.load('linklink')).toBeUndefined()
    for (const key of ['linklink', 'folderfolder']) {
      await sessions.store.delete(key)
      expect(() => sessions.store.create(key, { data: '{}', expiresAt: 9e12 })).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_KEY_EXISTS' }),
      )
    }
    expect(readdirSync(disk.path).toSorted()).toEqual(
      [
        '.coatcheck',
        'ballast',
        `sessionid${kept}`,
        'sessionidfolderfolder',
        'sessionidlinklink',
        'sessionidnowhere',
      ].toSorted(),
    )
    disk.free()
    await made(sessions)
  })

  test('a folder that is not there is an error that names it, and no key leads out of it', async () => {
    expect(() => at('/nowhere/at/all')).toThrow(/\/nowhere\/at\/all/)
    const path = folder()
    writeFileSync(join(path, 'sessionidsecret'), 'x')
    const { store } = at(join(path))
    for (const key of ['../../etc/passwd', 'secret', 'UPPERCASE', 'a/../../../b', '']) {
      expect(await store.load(key)).toBeUndefined()
    }
  })
})

describe('the contract, by the cases of the conformance suite', () => {
  const traits = { removesRetired: true }
  const site = { keys: { secretKey }, keySalt: 'salt', cookieName: 'sessionid', cookieAge: 3600 }
  /** Cases that move the clock by less than the data allows, and need neither other processes nor a backend to take away. */
  const chosen = conformanceCases.filter(
    ({ id, section }) =>
      ['contract', 'expiry', 'flush', 'sweep', 'concurrency'].includes(section) &&
      !id.includes('processes'),
  )
  /** As much of a client of Redis as these engines use. */
  const clientOf = (run: (key: string) => Promise<unknown>) => ({
    status: 'ready',
    defineCommand(name: string) {
      Object.assign(this, { [name]: run })
    },
    on() {},
    connect: () => Promise.resolve(),
    disconnect() {},
  })
  const redis = clientOf(() => Promise.resolve('done'))
  const migrated = (clock: () => number, name: string) => {
    const store = sqliteStore(join(folder(), `${name}.sqlite`), {
      now: clock,
      table: DJANGO_TABLE,
    })
    store.migrate()
    return store
  }
  for (const [name, engine] of Object.entries({
    djangoDb: (store: SessionStore) => djangoDb(store),
    djangoCachedDb: (store: SessionStore) => djangoCachedDb(store, redis),
  })) {
    test.each(chosen)(`${name}: $id`, (one) =>
      runCase(
        {
          name,
          traits,
          open: (options) =>
            engine(migrated(options.now, options.name))({ ...site, ...options }).store,
        },
        one,
      ),
    )
  }

  test("djangoCachedDb removes Django's copy although the database has nothing to end: the last try may have ended it", async () => {
    let isDown = true
    const removed: string[] = []
    const { store } = djangoCachedDb(
      migrated(now, 'again'),
      clientOf(async (key) => {
        if (isDown) throw new Error('connection lost')
        removed.push(key)
        return 'done'
      }),
    )({ ...site, now })
    await store.create(KEY, { data: '{}', expiresAt: now() + 60_000 })
    const end = async () => store.save(KEY, { data: '', expiresAt: 0 }, '{}')
    await expect(end()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    isDown = false
    await expect(end()).rejects.toMatchObject({ code: 'ERR_SESSION_GONE' })
    expect(removed).toHaveLength(1)
  })
})

describe("Django's cache on Redis", async () => {
  const site = { keys: { secretKey }, keySalt: 'salt', cookieName: 'sessionid', cookieAge: 3600 }
  const server = await testWith(kinds['redis']!)
  afterAll(() => server.service?.[Symbol.asyncDispose]())
  server.test(
    'moves a session from about the end that it has, and removes a retired one, also on a client with stringNumbers',
    async () => {
      const client = new Redis(server.url!, { stringNumbers: true })
      const { store } = djangoCache(client, { keyPrefix: crypto.randomUUID() })({
        ...site,
        now: Date.now,
      })
      const later = () => Date.now() + 60_000
      await store.create(KEY, { data: '{}', expiresAt: later() })
      const { expiresAt } = (await store.load(KEY))!
      for (const from of [expiresAt - 5000, expiresAt + 5000, 0]) {
        await expect(store.touch(KEY, later(), from)).rejects.toMatchObject({
          code: 'ERR_SESSION_CONFLICT',
        })
      }
      await store.touch(KEY, MAX_EXPIRES_AT, expiresAt)
      await store.touch(KEY, later(), (await store.load(KEY))!.expiresAt)
      await client.persist((await client.keys('*')).find((name) => name.endsWith(KEY))!)
      expect(await store.load(KEY)).toMatchObject({ expiresAt: MAX_EXPIRES_AT })
      await store.touch(KEY, later(), MAX_EXPIRES_AT)
      await store.save(KEY, { data: '', expiresAt: later() }, '{}')
      expect(await store.load(KEY)).toBeUndefined()
      await expect(store.touch(KEY, later(), later())).rejects.toMatchObject({
        code: 'ERR_SESSION_GONE',
      })
      client.disconnect()
    },
  )

  server.test('names its keys as CACHES and the store say, for both engines', async () => {
    const client = new Redis(server.url!)
    const table = sqliteStore(':memory:', { table: DJANGO_TABLE })
    table.migrate()
    const keyPrefix = crypto.randomUUID()
    const keyFunction = (key: string, prefix: string, version: number) =>
      `${prefix}/${version}/${key.toUpperCase()}`
    const own = { keyPrefix, version: 3, keyFunction, cacheKeyPrefix: 'shop.' }
    const record = { data: '{}', expiresAt: Date.now() + 60_000 }
    for (const [options, cache, cachedDb] of [
      [{ keyPrefix }, `${keyPrefix}:1:django.contrib.sessions.cache`, 'cached_db'],
      [{ keyPrefix, version: 3 }, `${keyPrefix}:3:django.contrib.sessions.cache`, 'cached_db'],
      [{ keyPrefix, cacheKeyPrefix: 'shop.' }, `${keyPrefix}:1:shop.`, undefined],
      [own, `${keyPrefix}/3/SHOP.`, undefined],
    ] as const) {
      const named = (key: string) => cache + (options === own ? key.toUpperCase() : key)
      await djangoCache(client, options)({ ...site, now: Date.now }).store.create(KEY, record)
      expect(await client.get(named(KEY))).toBe('{}')
      // What cached_db removes.
      const copy = cachedDb
        ? named(KEY).replace('sessions.cache', `sessions.${cachedDb}`)
        : named(KEY)
      await client.set(copy, 'pickled')
      await djangoCachedDb(table, client, options)({ ...site, now: Date.now }).store.delete(KEY)
      expect(await client.get(copy)).toBeNull()
    }
    client.disconnect()
  })

  server.test(
    'what is text and no session is an empty session, and a change of it gets a new key; what is no text is an error',
    async () => {
      const client = new Redis(server.url!)
      const keyPrefix = crypto.randomUUID()
      const at = `${keyPrefix}:1:django.contrib.sessions.cache${KEY}`
      const sessions = djangoSessions({ secretKey, engine: djangoCache(client, { keyPrefix }) })
      for (const text of [
        '',
        'nonsense',
        '{"cart":[1',
        '[1,2]',
        '5',
        'null',
        '"{}"',
        'é{}',
        '{\ufffd',
      ]) {
        await client.set(at, text, 'EX', 60)
        const session = await opened(sessions)
        expect(contents(session)).toEqual({})
        session.set('a', 1)
        const { setCookie } = await sessions.commit(session)
        expect(setCookie).not.toContain(KEY)
        expect((await opened(sessions, setCookie!.split(';')[0])).get('a')).toBe(1)
      }
      const json = Buffer.from('{"cart":[1,2,3],"user":"ann"}')
      const bytes = {
        'a pickle': Buffer.from('8005950c000000000000007d948c016194', 'hex'),
        'an old pickle': Buffer.from('8002630a', 'hex'),
        zlib: deflateSync(json),
        gzip: gzipSync(json),
        'zlib, fast': deflateSync(json, { level: 1 }),
        lz4: Buffer.from('04224d186440', 'hex'),
        zstd: Buffer.from('28b52ffd241d', 'hex'),
        lzma: Buffer.from('fd377a585a00', 'hex'),
      }
      for (const value of Object.values(bytes)) {
        await client.set(at, value, 'EX', 60)
        await expect(async () => opened(sessions)).rejects.toMatchObject({
          code: 'ERR_SESSION_STORE',
          message: expect.stringMatching(/is not JSON: .* no compressor/),
        })
      }
      client.disconnect()
    },
  )

  server.test('a KEY_FUNCTION that cannot tell sessions apart is refused at once', () => {
    const client = new Redis(server.url!)
    const table = sqliteStore(':memory:', { table: DJANGO_TABLE })
    for (const keyFunction of [() => 'one', () => undefined, () => 7, 'own.make_key']) {
      const options = { keyFunction } as object
      for (const make of [
        () => djangoCache(client, options),
        () => djangoCachedDb(table, client, options),
      ]) {
        expect(make).toThrow(/`keyFunction`/)
        expect(make).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
      }
    }
    client.disconnect()
  })

  server.test(
    'a Redis that is silent costs each call 5 seconds at the most, and no error holds the session',
    async () => {
      const { hostname, port } = new URL(server.url!)
      const proxy = await openProxy(hostname, Number(port))
      const client = new Redis({ host: proxy.host, port: proxy.port }).on('error', () => {})
      const keyPrefix = crypto.randomUUID()
      const { store } = djangoCache(client, { keyPrefix })({ ...site, now: Date.now })
      const table = sqliteStore(join(folder(), 'silent.sqlite'), { table: DJANGO_TABLE })
      table.migrate()
      const cached = djangoCachedDb(table, client, { keyPrefix })({ ...site, now: Date.now }).store
      const record = { data: '{"secret":1}', expiresAt: Date.now() + 60_000 }
      await store.create(KEY, record)
      await cached.create(KEY, record)
      proxy.freeze(true)
      const since = performance.now()
      const calls = [
        () => store.load(KEY),
        () => store.save(KEY, record),
        () => store.touch(KEY, record.expiresAt),
        () => store.delete(KEY),
        () => cached.save(KEY, record),
      ]
      const errors = await Promise.all(
        calls.map(async (call) => {
          try {
            return await call()
          } catch (error) {
            return error
          }
        }),
      )
      // A second time of waiting would make it 10.
      expect(performance.now() - since).toBeLessThan(9000)
      for (const error of errors) {
        expect(error).toMatchObject({ code: 'ERR_SESSION_STORE' })
        expect(inspect(error, { depth: 9 })).not.toMatch(new RegExp(`${KEY}|secret`))
      }
      proxy.freeze(false)
      const answers = async () => {
        await store.load(KEY)
        return true
      }
      await expect.poll(() => answers().catch(() => false), { timeout: 30_000 }).toBe(true)
      client.disconnect()
      proxy.cut()
    },
  )
})

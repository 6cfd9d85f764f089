// What holds a secret shows none, however deep somebody has it printed: stores, managers, cookies, signers.
import { inspect } from 'node:util'
import { redisStore } from '@coatcheck/cache/redis'
import { cachedDbStore } from '@coatcheck/cached-db'
import { createCookies } from '@coatcheck/cookies'
import { createSessions, hashKeys } from '@coatcheck/core'
import { createSigner } from '@coatcheck/core/signing'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { djangoSessions, djangoSignedCookies } from '@coatcheck/django'
import { connectCookie } from '@coatcheck/express-session'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import { afterAll, expect, test } from 'vitest'

const SECRET = 'hush'.repeat(10)
const secrets = [SECRET]
const redis = redisStore('redis://app:hush@127.0.0.1:1')
const postgres = postgresStore('postgres://app:hush@127.0.0.1:1/app')
const mysql = mysqlStore('mysql://app:hush@127.0.0.1:1/app')
const signed = signedCookieStore({ secrets })
const cached = cachedDbStore({ cache: redis, db: postgres })
afterAll(async () => {
  for (const store of [cached, redis, postgres, mysql]) await store.close?.()
})

const holders: Record<string, unknown> = {
  'redisStore(url)': redis,
  'postgresStore(url)': postgres,
  'mysqlStore(url)': mysql,
  'cachedDbStore()': cached,
  'hashKeys()': hashKeys(postgres),
  'signedCookieStore()': signed,
  'createCookies()': createCookies({ secrets }),
  'connectCookie()': connectCookie({ secrets }),
  'createSigner()': createSigner({ secrets, salt: 'a' }),
  'djangoSessions()': djangoSessions({ secretKey: SECRET, engine: djangoSignedCookies() }),
  'createSessions()': createSessions({ store: hashKeys(cached) }),
  'createSessions() in a signed cookie': createSessions({
    store: signed,
    cookie: connectCookie({ secrets }),
  }),
}

test.each(Object.entries(holders))('%s', (_, holder) => {
  expect(inspect(holder, { depth: null, showHidden: true, getters: true })).not.toContain('hush')
  expect(JSON.stringify(holder) ?? '').not.toContain('hush')
})

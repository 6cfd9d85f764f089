// What is configured by environment variables: one that is not set is an error at the start, which names the option.
import { redisStore } from '@coatcheck/cache/redis'
import { createCookies } from '@coatcheck/cookies'
import { createSigner } from '@coatcheck/core/signing'
import { mysqlStore } from '@coatcheck/db/mysql'
import { postgresStore } from '@coatcheck/db/postgres'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { djangoFile, djangoSessions, djangoSignedCookies } from '@coatcheck/django'
import { connectCookie } from '@coatcheck/express-session'
import { fileStore } from '@coatcheck/file'
import { signedCookieStore } from '@coatcheck/signed-cookie'
import { expect, test } from 'vitest'

const unset = process.env['COATCHECK_IS_NOT_SET']
const secret = 'a secret with at least 32 characters'
const engine = djangoSignedCookies()

/** Each call, and what its error must name. That they compile, without a cast, is half of the promise. */
const calls: Record<string, [() => unknown, RegExp]> = {
  signedCookieStore: [() => signedCookieStore({ secrets: [unset] }), /`secrets\[0\]` is undefined/],
  createCookies: [() => createCookies({ secrets: [secret, unset] }), /`secrets\[1\]` is undefined/],
  createSigner: [
    () => createSigner({ secrets: [unset], salt: 'x' }),
    /`secrets\[0\]` is undefined/,
  ],
  connectCookie: [() => connectCookie({ secrets: [secret, unset] }), /`secrets\[1\]` is undefined/],
  djangoSessions: [() => djangoSessions({ secretKey: unset, engine }), /`secretKey` is undefined/],
  redisStore: [() => redisStore(unset), /redisStore needs a URL .*got undefined/],
  postgresStore: [() => postgresStore(unset), /postgresStore needs a URL .*got undefined/],
  mysqlStore: [() => mysqlStore(unset), /mysqlStore needs a URL .*got undefined/],
  sqliteStore: [() => sqliteStore(unset), /sqliteStore needs the name of a file.*got undefined/],
  fileStore: [() => fileStore(unset), /fileStore needs the path of a folder.*got undefined/],
  djangoFile: [() => djangoFile(unset), /djangoFile needs the path of a folder.*got undefined/],
}

test.each(Object.entries(calls))(
  '%s given a variable that is not set is an error at once, which names what is missing and shows no secret',
  (_, [call, named]) => {
    expect(call).toThrow(expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }))
    expect(call).toThrow(named)
    expect(call).not.toThrow(new RegExp(secret))
  },
)

// Section "keys": a cookie is whatever a client sends.
import { strict as assert } from 'node:assert'
import { ifStateless, section } from '../case.ts'

const HOSTILE = {
  empty: '',
  short: 'short',
  path: '../../../../etc/passwd',
  'windows-path': '..\\..\\..\\windows\\win.ini',
  'absolute-path': '/etc/passwd',
  'dots-alone': '........',
  blank: 'has a blank in it',
  newline: 'newline\nin the middle',
  nul: 'nul\0in the middle0000',
  sql: "quote'; DROP TABLE x;--",
  encoded: '%2e%2e%2fetc%2fpasswd',
  'other-script': 'ключключключключ',
  surrogate: '\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800',
  glob: '*?[a-z]{a,b}*?[a-z]',
  prototype: '__proto__.polluted',
  'one-too-long': 'a'.repeat(65),
  'a-megabyte': 'a'.repeat(1_000_000),
} as const

export const keys = section('keys', (add) => {
  for (const [id, hostile] of Object.entries(HOSTILE)) {
    add(
      id,
      `a key that is hostile (${id.replaceAll('-', ' ')}) is a key that is not there, for every method`,
      'It would be an error page at best, and a path, a query or another session at worst.',
      async ({ store, record, clock, throws }) => {
        assert.equal(await store.load(hostile), undefined)
        await throws('ERR_SESSION_GONE', () => store.save(hostile, record('{}')))
        await throws('ERR_SESSION_GONE', () => store.save(hostile, record('{}'), '{}'))
        await throws('ERR_SESSION_GONE', () => store.touch(hostile, clock.now() + 1000))
        await store.delete(hostile)
        await throws('ERR_SESSION_USAGE', () => store.create(hostile, record('{}')))
        assert.equal(await store.load(hostile), undefined)
      },
      ifStateless(
        'a ticket that was never issued reads nothing and cannot be touched',
        async ({ store, clock, throws }) => {
          assert.equal(await store.load(hostile), undefined)
          await throws('ERR_SESSION_GONE', () => store.touch(hostile, clock.now() + 1000))
          await store.delete(hostile)
        },
      ),
    )
  }

  add(
    'prototype-names',
    'keys named after what every object has are keys like any other',
    'A store on a plain object would find them in its prototype.',
    async ({ store, record }) => {
      for (const name of ['constructor', 'toString', 'hasOwnProperty', '__proto__']) {
        assert.equal(await store.load(name), undefined)
        const ticket = await store.create(name, record(`"${name}"`))
        assert.equal((await store.load(ticket))?.data, `"${name}"`)
        await store.delete(ticket)
      }
    },
  )

  add(
    'case',
    'keys that differ by case alone are different keys',
    "A collation or file system that folds case would hand out somebody else's session.",
    async ({ store, record }) => {
      const [lower, upper] = [
        'abcdefghijklmnopqrstuvwxyz012345',
        'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345',
      ]
      await store.create(lower, record('{"lower":1}'))
      assert.equal(await store.load(upper), undefined)
      await store.create(upper, record('{"upper":1}'))
      assert.equal((await store.load(lower))?.data, '{"lower":1}')
    },
    ifStateless('a ticket whose case was changed is forged', async ({ store, key, record }) => {
      const ticket = await store.create(key(), record('{"lower":1}'))
      for (const other of [ticket.toUpperCase(), ticket.toLowerCase()]) {
        if (other !== ticket) assert.equal(await store.load(other), undefined)
      }
    }),
  )

  add(
    'forms',
    'every well-formed key works: 8 to 64 letters, digits, _ and -',
    'Sessions of Django or express-session could not be taken over.',
    async ({ store, record }) => {
      const forms = [
        'abcdefgh',
        'A'.repeat(64),
        '-_-_-_-_-_',
        '--------',
        '0123456789abcdef'.repeat(4),
      ]
      const tickets: string[] = []
      for (const form of forms) tickets.push(await store.create(form, record(`"${form}"`)))
      for (const [at, form] of forms.entries()) {
        assert.equal((await store.load(tickets[at]!))?.data, `"${form}"`)
      }
    },
  )

  add(
    'no-prefix-match',
    'a key is compared whole: neither its beginning nor a longer one opens it',
    'A key could be guessed letter by letter.',
    async ({ store, record }) => {
      const ticket = await store.create('abcdefghijklmnop', record('{}'))
      for (const other of [ticket.slice(0, -1), `${ticket}q`, ticket.slice(1)]) {
        assert.equal(await store.load(other), undefined)
      }
    },
  )
})

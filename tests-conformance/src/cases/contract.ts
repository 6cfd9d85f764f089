// Section "contract": what each method of a store does, returns and throws.
import { strict as assert } from 'node:assert'
import { ifStateless, section } from '../case.ts'
import type { Context } from '../context.ts'

const takesAnySave = ifStateless(
  'there is no newest data to compare with: the save is taken, whatever was expected',
  async ({ store, key, record }: Context) => {
    const mine = await store.create(key(), record('{"a":1}'))
    const next = await store.save(mine, record('{"a":2}'), '{"a":0}')
    assert.equal((await store.load(next))?.data, '{"a":2}')
  },
)
const eachItsOwn = ifStateless(
  'each create issues a ticket of its own, which holds its own record',
  async ({ store, key, record }: Context) => {
    const mine = key()
    const tickets = [await store.create(mine, record('1')), await store.create(mine, record('2'))]
    assert.notEqual(tickets[0], tickets[1])
    assert.equal((await store.load(tickets[0]!))?.data, '1')
    assert.equal((await store.load(tickets[1]!))?.data, '2')
  },
)
const stillReads = ifStateless(
  'a ticket that was deleted still reads until it expires, and can be saved again',
  async ({ store, key, record, clock }: Context) => {
    const mine = await store.create(key(), record('{"a":1}', 1000))
    await store.delete(mine)
    assert.equal((await store.load(mine))?.data, '{"a":1}')
    const next = await store.save(mine, record('{"a":2}', 1000))
    assert.equal((await store.load(next))?.data, '{"a":2}')
    await clock.advance(1000)
    assert.equal(await store.load(mine), undefined)
  },
)

export const contract = section('contract', (add) => {
  add(
    'load-unknown',
    'load of a key that nobody created is undefined',
    'An invented cookie would be taken for a session.',
    async ({ store, key }) => {
      assert.equal(await store.load(key()), undefined)
    },
  )

  add(
    'create-load',
    'load returns what create stored, data and expiry',
    'Nothing would be remembered.',
    async ({ store, key, record, same }) => {
      const stored = record('{"a":1}')
      const ticket = await store.create(key(), stored)
      same(await store.load(ticket), stored)
    },
  )

  add(
    'load-twice',
    'loading changes nothing: the second load returns the same',
    'A session could be read only once.',
    async ({ store, key, record }) => {
      const ticket = await store.create(key(), record('{"a":1}'))
      assert.deepEqual(await store.load(ticket), await store.load(ticket))
    },
  )

  add(
    'create-returns-key',
    'create resolves to the key it was given',
    'The client would be handed a key that opens nothing.',
    async ({ store, key, record }) => {
      const mine = key()
      assert.equal(await store.create(mine, record('{}')), mine)
    },
    eachItsOwn,
  )

  add(
    'create-exists',
    'create under a live key throws KeyExistsError and changes nothing',
    "Two visitors would share a session, or one's would be overwritten.",
    async ({ store, key, record, throws, same }) => {
      const mine = key()
      const first = record('{"first":1}')
      await store.create(mine, first)
      await throws('ERR_SESSION_KEY_EXISTS', () => store.create(mine, record('{"second":2}', 5)))
      same(await store.load(mine), first)
    },
    eachItsOwn,
  )

  add(
    'create-over-expired',
    'create replaces an expired record',
    'A key could not be used again until a sweep has run.',
    async ({ store, key, record, clock }) => {
      const mine = key()
      await store.create(mine, record('{"old":1}', 1000))
      await clock.advance(1000)
      await store.create(mine, record('{"new":1}'))
      assert.equal((await store.load(mine))?.data, '{"new":1}')
    },
    eachItsOwn,
  )

  add(
    'create-after-delete',
    'a key that was deleted can be created again',
    'A store that keeps tombstones would refuse it.',
    async ({ store, key, record }) => {
      const mine = key()
      await store.create(mine, record('{"a":1}'))
      await store.delete(mine)
      await store.create(mine, record('{"a":2}'))
      assert.equal((await store.load(mine))?.data, '{"a":2}')
    },
    eachItsOwn,
  )

  add(
    'save',
    'save replaces data and expiry',
    'Changes would be lost.',
    async ({ store, key, record, same }) => {
      const mine = await store.create(key(), record('{"a":1}'))
      const next = record('{"a":2}', 7_200_000)
      const saved = await store.save(mine, next)
      same(await store.load(saved), next)
    },
  )

  add(
    'save-shorter',
    'save replaces long data by short data whole',
    'The end of the old data would stay behind the new.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record(JSON.stringify({ text: 'x'.repeat(2000) })))
      const saved = await store.save(mine, record('{}'))
      assert.equal((await store.load(saved))?.data, '{}')
    },
  )

  add(
    'save-returns-key',
    'save and touch resolve to the same key',
    'Each change would send the client another key.',
    async ({ store, key, record, clock }) => {
      const mine = await store.create(key(), record('{"a":1}'))
      assert.equal(await store.save(mine, record('{"a":2}')), mine)
      assert.equal(await store.touch(mine, clock.now() + 1000), mine)
    },
    ifStateless(
      'save and touch issue a new ticket; the old one keeps its old record',
      async ({ store, key, record }) => {
        const mine = await store.create(key(), record('{"a":1}'))
        const next = await store.save(mine, record('{"a":2}'))
        assert.notEqual(next, mine)
        assert.equal((await store.load(mine))?.data, '{"a":1}')
      },
    ),
  )

  add(
    'save-unknown',
    'save under a key that nobody created throws SessionGoneError and creates nothing',
    'A key that an attacker made up would become a session (fixation).',
    async ({ store, key, record, throws }) => {
      const mine = key()
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{}')))
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{}'), '{}'))
      assert.equal(await store.load(mine), undefined)
    },
    ifStateless(
      'a save under a ticket that was never issued does not make that ticket valid',
      async ({ store, key, record }) => {
        const mine = key()
        await store.save(mine, record('{}'))
        assert.equal(await store.load(mine), undefined)
      },
    ),
  )

  add(
    'save-deleted',
    'save after delete throws SessionGoneError and brings nothing back',
    'A slow request would undo a logout.',
    async ({ store, key, record, throws }) => {
      const mine = key()
      await store.create(mine, record('{"a":1}'))
      await store.delete(mine)
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}')))
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}'), '{"a":1}'))
      assert.equal(await store.load(mine), undefined)
    },
    stillReads,
  )

  add(
    'save-expected',
    'save with the data that is stored as expected saves',
    'No change could ever be saved.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record('{"a":1}'))
      const saved = await store.save(mine, record('{"a":2}'), '{"a":1}')
      assert.equal((await store.load(saved))?.data, '{"a":2}')
    },
  )

  add(
    'save-same',
    'save of the same data and expiry again is a save, not an error',
    'A database that counts changed rows alone would report the session as gone.',
    async ({ store, key, record, same }) => {
      const stored = record('{"a":1}')
      const mine = await store.create(key(), stored)
      const saved = await store.save(await store.save(mine, stored), stored, '{"a":1}')
      const touched = await store.touch(saved, stored.expiresAt)
      same(await store.load(touched), stored)
    },
  )

  add(
    'save-conflict',
    'save with other data expected throws SessionConflictError and changes nothing',
    'The last save would win, and the other change be lost.',
    async ({ store, key, record, throws, same }) => {
      const mine = key()
      const stored = record('{"a":1}')
      await store.create(mine, stored)
      await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('{"a":3}', 5), '{"a":2}'))
      same(await store.load(mine), stored)
    },
    takesAnySave,
  )

  add(
    'save-expected-empty',
    'expecting the empty text is not the same as expecting nothing',
    'A falsy check would turn compare-and-swap off.',
    async ({ store, key, record, throws }) => {
      const mine = key()
      await store.create(mine, record('{"a":1}'))
      await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('{"a":2}'), ''))
      assert.equal((await store.load(mine))?.data, '{"a":1}')
    },
    takesAnySave,
  )

  for (const [id, what, stored, other] of [
    ['case', 'case', '{"name":"Ann "}', '{"Name":"Ann "}'],
    ['trailing-blank', 'a trailing blank', '{"name":"Ann"}', '{"name":"Ann"} '],
    ['trailing-newline', 'a trailing newline', '{"name":"Ann"}', '{"name":"Ann"}\n'],
    ['leading-blank', 'a leading blank', '{"name":"Ann"}', ' {"name":"Ann"}'],
    ['accent', 'an accent', '{"name":"Ann"}', '{"name":"Änn"}'],
    ['normal-form', 'its normal form', '{"name":"\u00c4nn"}', '{"name":"A\u0308nn"}'],
    ['sharp-s', 'ß against ss', '{"name":"Strauß"}', '{"name":"Strauss"}'],
    ['invisible', 'an invisible character', '{"name":"Ann"}', '{"name":"An\u200bn"}'],
    [
      'end',
      'its end after 100,000 characters',
      `${'x'.repeat(100_000)}a`,
      `${'x'.repeat(100_000)}b`,
    ],
  ] as const) {
    add(
      `expected-${id}`,
      `expected data that differs by ${what} alone is a conflict`,
      'A collation that folds text, or a check of a part, would let a change be overwritten.',
      async ({ store, key, record, throws }) => {
        const mine = key()
        await store.create(mine, record(stored))
        await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('{}'), other))
        assert.equal((await store.load(mine))?.data, stored)
      },
      takesAnySave,
    )
  }

  add(
    'touch',
    'touch moves the expiry, later and earlier, and leaves the data',
    'A rolling session would end early, or lose its data.',
    async ({ store, key, record, clock, same }) => {
      let mine = await store.create(key(), record('{"a":1}'))
      for (const ms of [7_200_000, 60_000]) {
        const expiresAt = clock.now() + ms
        mine = await store.touch(mine, expiresAt)
        same(await store.load(mine), { data: '{"a":1}', expiresAt })
      }
    },
  )

  add(
    'touch-keeps-text',
    'touch keeps the data byte for byte',
    'A store that decodes and encodes it again would change it.',
    async ({ store, key, record, clock }) => {
      const text = ' {"b" : 1e2,"a":"\\u00e9 \u{1f30d}"}\n'
      const mine = await store.create(key(), record(text))
      assert.equal((await store.load(await store.touch(mine, clock.now() + 1000)))?.data, text)
    },
  )

  add(
    'touch-unknown',
    'touch of a key that nobody created throws SessionGoneError and creates nothing',
    'A rolling refresh would make a session out of an invented key.',
    async ({ store, key, clock, throws }) => {
      const mine = key()
      await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 1000))
      assert.equal(await store.load(mine), undefined)
    },
  )

  add(
    'touch-deleted',
    'touch after delete throws SessionGoneError and brings nothing back',
    'A rolling refresh would undo a logout.',
    async ({ store, key, record, clock, throws }) => {
      const mine = key()
      await store.create(mine, record('{}'))
      await store.delete(mine)
      await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 1000))
      assert.equal(await store.load(mine), undefined)
    },
    stillReads,
  )

  add(
    'delete',
    'delete removes the record',
    'A logout would not happen.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record('{}'))
      await store.delete(mine)
      assert.equal(await store.load(mine), undefined)
    },
    stillReads,
  )

  add(
    'delete-again',
    'delete of what is not there, or not there any more, is no error',
    'Logging out twice would fail.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record('{}'))
      await store.delete(mine)
      await store.delete(mine)
      await store.delete(key())
    },
  )

  add(
    'delete-one',
    "delete removes that record and nobody else's",
    'One logout would log everybody out.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record('{"mine":1}'))
      const yours = await store.create(key(), record('{"yours":1}'))
      await store.delete(mine)
      assert.equal((await store.load(yours))?.data, '{"yours":1}')
    },
  )

  add(
    'by-value',
    'a record is kept by value: changing the object that was given or returned changes nothing',
    "One request would see another's unsaved changes.",
    async ({ store, key, record }) => {
      const given: { data: string; expiresAt: number } = record('{"a":1}')
      const mine = await store.create(key(), given)
      given.data = '{"a":2}'
      assert.equal((await store.load(mine))?.data, '{"a":1}')
      const loaded = await store.load(mine)
      try {
        ;(loaded as { data: string }).data = '{"a":3}'
      } catch {
        // A frozen record is as good.
      }
      assert.equal((await store.load(mine))?.data, '{"a":1}')
    },
  )

  add(
    'plain-record',
    'a record has data and expiresAt of the right types',
    'The manager would calculate with text.',
    async ({ store, key, record }) => {
      const loaded = await store.load(await store.create(key(), record('{"a":1}')))
      assert.equal(typeof loaded?.data, 'string')
      assert.ok(Number.isInteger(loaded?.expiresAt), `expiresAt is ${String(loaded?.expiresAt)}`)
    },
  )

  add(
    'sync-trait',
    'load answers without a promise exactly if the store says it is sync',
    'The manager relies on it to leave untouched sessions unloaded.',
    async ({ store, key }) => {
      const answer = store.load(key())
      assert.equal(answer instanceof Promise, !store.traits?.sync)
      await answer
    },
  )
})

// Section "contract": what each method of a store does, returns and throws.
import { strict as assert } from 'node:assert'
import { MAX_EXPIRES_AT } from '@coatcheck/core/store'
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

const movesAnyway = ifStateless(
  'a touch issues a ticket with the new end, whatever it is moved from; the one before it keeps its own',
  async ({ store, key, record, clock, same }: Context) => {
    const stored = record('{"a":1}')
    const mine = await store.create(key(), stored)
    const moved = { data: '{"a":1}', expiresAt: clock.now() + 60_000 }
    for (const from of [stored.expiresAt, stored.expiresAt - 5000, 0]) {
      same(await store.load(await store.touch(mine, moved.expiresAt, from)), moved)
      same(await store.load(mine), stored)
    }
  },
)
const endsInNewTickets = ifStateless(
  'a save that ends the session issues a dead ticket, whatever was expected; the one before it still reads',
  async ({ store, key, record, clock, same }: Context) => {
    const stored = record('{"a":1}')
    const mine = await store.create(key(), stored)
    for (const expiresAt of [0, clock.now() - clock.grain]) {
      const ended = await store.save(mine, { data: '', expiresAt }, '{"a":0}')
      assert.equal(await store.load(ended), undefined)
      same(await store.load(mine), stored)
    }
  },
)
/** The moments at which a session that is saved with them has ended. */
const past = ({ clock }: Context) => [0, clock.now() - clock.grain - 1, clock.now() - clock.grain]

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
    'touch-from',
    'touch from the end that load tells moves the expiry, later and earlier, and leaves the data',
    'No session could be renewed.',
    async ({ store, key, record, clock, same }) => {
      let mine = await store.create(key(), record('{"a":1}'))
      for (const ms of [7_200_000, 60_000, 60_000, 90_000]) {
        const { expiresAt: from } = (await store.load(mine))!
        const expiresAt = clock.now() + ms
        mine = await store.touch(mine, expiresAt, from)
        same(await store.load(mine), { data: '{"a":1}', expiresAt })
      }
    },
  )

  add(
    'touch-from-conflict',
    'touch from another end than the record has throws SessionConflictError and moves nothing',
    'A renewal would undo the expiry that another request has just set.',
    async ({ store, key, record, clock, throws, same }) => {
      const mine = key()
      const stored = record('{"a":1}')
      await store.create(mine, stored)
      const { expiresAt: end } = (await store.load(mine))!
      const target = clock.now() + 60_000
      for (const from of [end - 5000, end + 5000, target, 0, clock.now(), MAX_EXPIRES_AT]) {
        await throws('ERR_SESSION_CONFLICT', () => store.touch(mine, target, from))
        same(await store.load(mine), stored)
      }
    },
    movesAnyway,
  )

  add(
    'touch-from-exact',
    'ends that are a millisecond apart are not the same',
    'Of two renewals within a second both would take themselves for the first.',
    async ({ store, key, record, clock, throws }) => {
      const mine = key()
      await store.create(mine, record('{"a":1}', 3_600_123))
      const { expiresAt: end } = (await store.load(mine))!
      for (const from of [end - 1, end + 1]) {
        await throws('ERR_SESSION_CONFLICT', () => store.touch(mine, clock.now() + 60_000, from))
      }
      assert.equal((await store.load(mine))?.expiresAt, end)
    },
    movesAnyway,
    {
      trait: 'wholeSeconds',
      title: 'ends that are two seconds apart are not the same',
      async run({ store, key, record, clock, throws }) {
        const mine = key()
        await store.create(mine, record('{"a":1}'))
        const { expiresAt: end } = (await store.load(mine))!
        for (const from of [end - 2000, end + 2000]) {
          await throws('ERR_SESSION_CONFLICT', () => store.touch(mine, clock.now() + 60_000, from))
        }
      },
    },
  )

  add(
    'touch-from-moved',
    'touch from an end that another touch or save has moved meanwhile throws SessionConflictError',
    'A renewal would undo the expiry that another request has just set.',
    async ({ store, key, record, clock, throws, same }) => {
      for (const move of [
        (mine: string) => store.touch(mine, clock.now() + 10_000),
        (mine: string) => store.save(mine, record('{"a":1}', 10_000), '{"a":1}'),
      ]) {
        const mine = key()
        await store.create(mine, record('{"a":1}'))
        const { expiresAt: from } = (await store.load(mine))!
        const moved = record('{"a":1}', 10_000)
        await move(mine)
        await throws('ERR_SESSION_CONFLICT', () => store.touch(mine, clock.now() + 7_200_000, from))
        same(await store.load(mine), moved)
      }
    },
    movesAnyway,
  )

  add(
    'touch-from-other-data',
    'touch compares the end and not the data: what another request saved with the same end stays',
    'Every renewal beside a change would fail, or undo it.',
    async ({ store, key, record, clock }) => {
      let mine = await store.create(key(), record('{"a":1}'))
      const loaded = (await store.load(mine))!
      mine = await store.save(mine, { data: '{"a":2}', expiresAt: loaded.expiresAt })
      mine = await store.touch(mine, clock.now() + 60_000, loaded.expiresAt)
      assert.equal((await store.load(mine))?.data, '{"a":2}')
    },
  )

  add(
    'touch-from-gone',
    'touch from the last known end of a key that is unknown, deleted or expired throws SessionGoneError',
    'A renewal would bring back a session, or not tell a logout from a renewal by another request.',
    async ({ store, key, record, clock, throws }) => {
      const [unknown, deleted, expired] = [key(), key(), key()]
      await store.create(deleted, record('{}', 1000))
      await store.create(expired, record('{}', 1000))
      const { expiresAt: from } = (await store.load(expired))!
      await store.delete(deleted)
      await clock.advance(1000)
      for (const one of [unknown, deleted, expired]) {
        for (const end of [from, from - 5000]) {
          await throws('ERR_SESSION_GONE', () => store.touch(one, clock.now() + 60_000, end))
          assert.equal(await store.load(one), undefined)
        }
      }
    },
    movesAnyway,
  )

  add(
    'touch-from-far',
    'a session that ends with the year 9999 can be touched from that end',
    'A comparison would overflow, and the session could never be renewed.',
    async ({ store, key, clock, same }) => {
      const mine = await store.create(key(), { data: '{}', expiresAt: MAX_EXPIRES_AT })
      const expiresAt = clock.now() + 60_000
      const touched = await store.touch(mine, expiresAt, (await store.load(mine))!.expiresAt)
      same(await store.load(touched), { data: '{}', expiresAt })
    },
  )

  add(
    'touch-from-ends',
    'touch to a moment that has passed ends the session only from the end that it has',
    'Ending a session by its date would not end it, or end one that was just renewed.',
    async (context) => {
      const { store, key, record, clock, throws } = context
      for (const expiresAt of past(context)) {
        const mine = key()
        await store.create(mine, record('{}'))
        const { expiresAt: from } = (await store.load(mine))!
        await throws('ERR_SESSION_CONFLICT', () => store.touch(mine, expiresAt, from + 5000))
        assert.ok(await store.load(mine))
        await store.touch(mine, expiresAt, from)
        assert.equal(await store.load(mine), undefined)
        await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 60_000, expiresAt))
      }
    },
    movesAnyway,
  )

  add(
    'end-expected',
    'ending a session whose data is not what was expected throws SessionConflictError and leaves it as it is',
    'Emptying a session would take what another request has just put into it.',
    async (context) => {
      const { store, key, record, throws, same } = context
      for (const expiresAt of past(context)) {
        for (const data of ['', '{}', '{"a":1}']) {
          const mine = key()
          const stored = record('{"a":1}')
          await store.create(mine, stored)
          for (const expected of ['{"a":2}', '']) {
            await throws('ERR_SESSION_CONFLICT', () =>
              store.save(mine, { data, expiresAt }, expected),
            )
            same(await store.load(mine), stored)
          }
          await store.save(mine, { data, expiresAt }, '{"a":1}')
          assert.equal(await store.load(mine), undefined)
        }
      }
    },
    endsInNewTickets,
  )

  add(
    'end-missing',
    'ending a session that is unknown, deleted, expired or has been ended throws SessionGoneError',
    'A logout that ended nothing would look like one.',
    async ({ store, key, record, clock, throws }) => {
      const [unknown, deleted, expired, ended] = [key(), key(), key(), key()]
      for (const one of [deleted, ended]) await store.create(one, record('{"a":1}'))
      await store.create(expired, record('{"a":1}', 1000))
      await store.delete(deleted)
      await store.save(ended, { data: '', expiresAt: 0 }, '{"a":1}')
      await clock.advance(1000)
      for (const one of [unknown, deleted, expired, ended]) {
        for (const expected of [undefined, '{"a":1}', '']) {
          await throws('ERR_SESSION_GONE', () =>
            store.save(one, { data: '', expiresAt: 0 }, expected),
          )
          assert.equal(await store.load(one), undefined)
        }
      }
    },
    endsInNewTickets,
  )

  add(
    'end-for-good',
    'a session that a save has ended can be neither saved, touched nor retired, and its key can be created again',
    'A slow request would undo a logout, or a store that keeps tombstones would refuse the key.',
    async (context) => {
      const { store, key, record, clock, throws } = context
      for (const expiresAt of past(context)) {
        const mine = key()
        await store.create(mine, record('{"a":1}'))
        const { expiresAt: end } = (await store.load(mine))!
        assert.equal(await store.save(mine, { data: '', expiresAt }, '{"a":1}'), mine)
        assert.equal(await store.load(mine), undefined)
        for (const expected of [undefined, '{"a":1}', '']) {
          await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}'), expected))
          await throws('ERR_SESSION_GONE', () => store.save(mine, record(''), expected))
        }
        for (const from of [undefined, end, expiresAt]) {
          await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 60_000, from))
        }
        assert.equal(await store.load(mine), undefined)
        await store.create(mine, record('{"a":3}'))
        assert.equal((await store.load(mine))?.data, '{"a":3}')
      }
    },
    endsInNewTickets,
  )

  add(
    'end-alone',
    'ending one session ends no other',
    'One logout would log everybody out.',
    async ({ store, key, record }) => {
      const mine = await store.create(key(), record('{"a":1}'))
      const yours = await store.create(key(), record('{"a":1}'))
      await store.save(mine, { data: '', expiresAt: 0 })
      assert.equal((await store.load(yours))?.data, '{"a":1}')
    },
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

// Section "contract", continued: retired keys, which can be loaded and deleted, and nothing else.
import { strict as assert } from 'node:assert'
import { RETIRED } from '@coatcheck/core/store'
import { ifStateless, section, type Counterpart } from '../case.ts'
import type { Context } from '../context.ts'

const ticketsStay = ifStateless(
  'no ticket can be retired: one with empty data is one more ticket, and those before it still read',
  async ({ store, key, record }: Context) => {
    const mine = await store.create(key(), record('{"a":1}'))
    const next = await store.save(mine, record(RETIRED), '{"a":1}')
    assert.equal((await store.load(next))?.data, RETIRED)
    assert.equal((await store.load(mine))?.data, '{"a":1}')
  },
)

/** What holds instead where a key that is retired is unknown at once. */
export const leavesNothing: Counterpart = {
  trait: 'removesRetired',
  title: 'retiring a key removes its record: from then on it is a key that nobody has',
  async run({ store, key, record, throws }: Context) {
    const mine = key()
    for (const expected of [undefined, '{"a":1}']) {
      await store.create(mine, record('{"a":1}'))
      await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record(RETIRED), '{"a":2}'))
      assert.equal((await store.load(mine))?.data, '{"a":1}')
      await store.save(mine, record(RETIRED), expected)
      assert.equal(await store.load(mine), undefined)
      await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}')))
    }
  },
}
const instead = [ticketsStay, leavesNothing]

/** Creates a session and retires its key; resolves to the key and what is stored under it. */
async function retired({ store, key, record }: Context) {
  const mine = key()
  const stone = record(RETIRED, 60_000)
  await store.create(mine, record('{"a":1}'))
  await store.save(mine, stone, '{"a":1}')
  return { mine, stone }
}

export const retiredKeys = section('contract', (add) => {
  add(
    'retire',
    'a save of empty data retires the key: load gives back the empty record and its end',
    'A request that was sent before a login would be taken for a stranger’s, and its cookie would replace the login’s.',
    async ({ store, key, record, same }) => {
      for (const expected of [undefined, '{"a":1}']) {
        const mine = key()
        await store.create(mine, record('{"a":1}'))
        const stone = record(RETIRED, 60_000)
        assert.equal(await store.save(mine, stone, expected), mine)
        same(await store.load(mine), stone)
        same(await store.load(mine), stone)
      }
    },
    ...instead,
  )

  add(
    'retire-expected',
    'retiring a key whose data is not what was expected throws SessionConflictError and changes nothing',
    'What another request put into the session during the login would be lost.',
    async ({ store, key, record, throws, same }) => {
      const mine = key()
      const stored = record('{"a":1}')
      await store.create(mine, stored)
      for (const expected of ['{"a":2}', '{"a":1} ', '']) {
        await throws('ERR_SESSION_CONFLICT', () =>
          store.save(mine, record(RETIRED, 5000), expected),
        )
        same(await store.load(mine), stored)
      }
    },
    ...instead,
  )

  add(
    'retire-missing',
    'retiring a key that is unknown, deleted or expired throws SessionGoneError and leaves no record',
    'A logout would be undone, or keys that nobody had would pile up.',
    async ({ store, key, record, clock, throws }) => {
      const [unknown, deleted, expired] = [key(), key(), key()]
      await store.create(deleted, record('{"a":1}'))
      await store.create(expired, record('{"a":1}', 1000))
      await store.delete(deleted)
      await clock.advance(1000)
      for (const one of [unknown, deleted, expired]) {
        for (const expected of [undefined, '{"a":1}', '']) {
          await throws('ERR_SESSION_GONE', () => store.save(one, record(RETIRED), expected))
          assert.equal(await store.load(one), undefined)
        }
      }
    },
    ticketsStay,
  )

  add(
    'retired-save',
    'save onto a retired key throws SessionGoneError, whatever is expected, and changes nothing',
    'A slow request would bring back the session from before the login, under the key that an attacker may know.',
    async (context) => {
      const { store, record, throws, same } = context
      const { mine, stone } = await retired(context)
      for (const expected of [undefined, '{"a":1}', RETIRED, '{}']) {
        await throws('ERR_SESSION_GONE', () => store.save(mine, record('{"a":2}'), expected))
        same(await store.load(mine), stone)
      }
    },
    ...instead,
  )

  add(
    'retired-retire',
    'retiring or ending a retired key throws SessionGoneError, whatever is expected, and changes nothing',
    'Its end would move with each request that comes late, or a logout that ended nothing would look like one.',
    async (context) => {
      const { store, record, throws, same } = context
      const { mine, stone } = await retired(context)
      for (const expected of [undefined, '{"a":1}', RETIRED]) {
        await throws('ERR_SESSION_GONE', () => store.save(mine, record(RETIRED, 5000), expected))
        await throws('ERR_SESSION_GONE', () => store.save(mine, stoneOver, expected))
        same(await store.load(mine), stone)
      }
    },
    ...instead,
  )

  add(
    'retired-touch',
    'touch of a retired key throws SessionGoneError, whatever it is moved from, and moves nothing',
    'Requests with the old cookie would keep the old key for ever.',
    async (context) => {
      const { store, clock, throws, same } = context
      const { mine, stone } = await retired(context)
      const { expiresAt } = (await store.load(mine))!
      for (const from of [undefined, expiresAt, expiresAt - 5000]) {
        await throws('ERR_SESSION_GONE', () => store.touch(mine, clock.now() + 120_000, from))
        same(await store.load(mine), stone)
      }
    },
    ...instead,
  )

  add(
    'retired-create',
    'create under a retired key throws KeyExistsError and changes nothing',
    'The key from before the login would open a session again.',
    async (context) => {
      const { store, record, throws, same } = context
      const { mine, stone } = await retired(context)
      for (const data of ['{"a":2}', RETIRED]) {
        await throws('ERR_SESSION_KEY_EXISTS', () => store.create(mine, record(data, 5000)))
        same(await store.load(mine), stone)
      }
    },
    ...instead,
  )

  add(
    'retired-delete',
    'delete removes a retired key, and it can be created again',
    'It could not be cleaned up.',
    async (context) => {
      const { store, record } = context
      const { mine } = await retired(context)
      await store.delete(mine)
      assert.equal(await store.load(mine), undefined)
      await store.create(mine, record('{"a":2}'))
      assert.equal((await store.load(mine))?.data, '{"a":2}')
    },
    ...instead,
  )

  add(
    'retired-alone',
    'retiring one key changes no other session',
    'One login would log everybody out.',
    async (context) => {
      const { store, key, record, same } = context
      const others = [record('{"a":1}'), record('{"b":1}')]
      const keys = [key(), key()]
      for (const [n, other] of others.entries()) await store.create(keys[n]!, other)
      await retired(context)
      for (const [n, other] of others.entries()) same(await store.load(keys[n]!), other)
    },
    ...instead,
  )

  add(
    'retired-only-empty',
    'data that is blank, or falsy as a value, is a session like any other: only empty data retires a key',
    'A database that ignores trailing blanks would end sessions.',
    async ({ store, key, record, clock }) => {
      for (const text of [' ', '\n', '\u200b', '0', '""', 'null', 'false', '{}']) {
        let mine = await store.create(key(), record('{"a":1}'))
        mine = await store.save(mine, record(text), '{"a":1}')
        mine = await store.touch(mine, clock.now() + 60_000)
        mine = await store.touch(mine, clock.now() + 90_000, (await store.load(mine))!.expiresAt)
        assert.equal((await store.load(mine))?.data, text)
        mine = await store.save(mine, record('{"a":2}'))
        assert.equal((await store.load(mine))?.data, '{"a":2}')
      }
    },
  )
})

/** The record with which a manager ends a session. */
const stoneOver = { data: RETIRED, expiresAt: 0 }

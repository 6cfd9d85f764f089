// Section "random": random sequences of calls against the store and against a small model of what it should do.
import { strict as assert } from 'node:assert'
import { MAX_EXPIRES_AT, RETIRED } from '@coatcheck/core/store'
import fc from 'fast-check'
import { ifStateless, section } from '../case.ts'
import type { Context } from '../context.ts'

type Step =
  | { call: 'create' | 'save'; key: number; data: string; life: number }
  | { call: 'swap'; key: number; data: string; life: number; stale: boolean }
  | { call: 'retire'; key: number; life: number; expects: boolean; stale: boolean }
  | { call: 'end'; key: number; expects: boolean; stale: boolean }
  | { call: 'touch'; key: number; life: number }
  | { call: 'renew'; key: number; life: number; stale: boolean }
  | { call: 'delete' | 'load'; key: number }
  | { call: 'wait'; ms: number }
  | { call: 'sweep' }
  | { call: 'reopen' }

/** Two keys, so that the calls meet. */
const KEYS = 2
const key = fc.nat({ max: KEYS - 1 })
const text = fc
  .oneof(fc.string({ unit: 'grapheme' }), fc.json())
  .filter((some) => some !== RETIRED && !some.includes('\0'))
const expects = fc.boolean()
/** Whether what is expected is not what is there. */
const stale = fc.boolean()

/** The steps that this store can be put through. */
function stepFor({ store, clock }: Context): fc.Arbitrary<Step> {
  // Longer than most waits, so that records expire on the way but not at once; where the moment is not exact, far from it.
  const life = clock.grain
    ? fc.constantFrom(-10_000, 3_600_000)
    : fc.oneof(fc.integer({ min: -10, max: 500 }), fc.constant(MAX_EXPIRES_AT))
  const steps: fc.Arbitrary<Step>[] = [
    fc.record({ call: fc.constantFrom('create', 'save'), key, data: text, life }),
    fc.record({ call: fc.constant('swap' as const), key, data: text, life, stale }),
    fc.record({ call: fc.constant('retire' as const), key, life, expects, stale }),
    fc.record({ call: fc.constant('end' as const), key, expects, stale }),
    fc.record({ call: fc.constant('touch' as const), key, life }),
    fc.record({ call: fc.constant('renew' as const), key, life, stale }),
    fc.record({ call: fc.constantFrom('delete', 'load'), key }),
    fc.constant({ call: 'sweep' as const }),
  ]
  if (!clock.grain)
    steps.push(fc.record({ call: fc.constant('wait' as const), ms: fc.nat({ max: 150 }) }))
  if (!store.traits?.ephemeral) steps.push(fc.constant({ call: 'reopen' as const }))
  return fc.oneof(...steps)
}

/** What is asked of a store in one step, besides the call. */
interface Question {
  readonly data: string
  readonly expiresAt: number
  readonly expected: string | undefined
  readonly from: number | undefined
}

/** What each call should answer: a map, and the clock. */
function model({ clock: { now }, store }: Context) {
  const records = new Map<string, { data: string; expiresAt: number }>()
  const live = (name: string) => {
    const record = records.get(name)
    return record && record.expiresAt > now() ? record : undefined
  }
  return {
    live,
    run(name: string, { call }: Step, { data, expiresAt, expected, from }: Question): string {
      const record = live(name)
      if (call === 'load') return ''
      if (call === 'delete') {
        records.delete(name)
        return ''
      }
      if (call === 'create') {
        if (record) return 'ERR_SESSION_KEY_EXISTS'
        records.set(name, { data, expiresAt })
        return name
      }
      if (!record || record.data === RETIRED) return 'ERR_SESSION_GONE'
      if (call === 'touch' || call === 'renew') {
        if (from !== undefined && record.expiresAt !== from) return 'ERR_SESSION_CONFLICT'
        records.set(name, { ...record, expiresAt })
        return name
      }
      if (expected !== undefined && record.data !== expected) return 'ERR_SESSION_CONFLICT'
      if (data === RETIRED && store.traits?.removesRetired) records.delete(name)
      else records.set(name, { data, expiresAt })
      return name
    },
  }
}

/** Plays one sequence, on keys that no other has: all of them have one table or folder, which takes a database long to make. */
async function play(context: Context, sequence: Step[]): Promise<void> {
  const { clock } = context
  const keys = Array.from({ length: KEYS }, context.key)
  const open = () => context.open('random')
  let target = await open()
  const should = model(context)
  const answer = async (call: () => unknown) => {
    try {
      return (await call()) ?? ''
    } catch (error) {
      return (error as { code?: string }).code ?? error
    }
  }
  for (const one of sequence) {
    if (one.call === 'wait') await clock.advance(one.ms)
    else if (one.call === 'sweep') await target.clearExpired?.()
    else if (one.call === 'reopen') {
      await target.close?.()
      target = await open()
    } else {
      const name = keys[one.key]!
      const live = should.live(name)
      const expiresAt = 'life' in one ? Math.min(clock.now() + one.life, MAX_EXPIRES_AT) : 0
      const record = { data: 'data' in one ? one.data : RETIRED, expiresAt }
      const compares = one.call === 'swap' || ('expects' in one && one.expects)
      const expected = compares ? `${live?.data ?? ''}${one.stale ? '!' : ''}` : undefined
      const off = one.call === 'renew' && one.stale ? 7000 : 0
      const from = one.call === 'renew' ? (live?.expiresAt ?? clock.now()) - off : undefined
      const wanted = should.run(name, one, { ...record, expected, from })
      // As the store told it, which may be the second alone.
      const told = from === undefined ? undefined : (await target.load(name))?.expiresAt
      const got = await answer(() => {
        if (one.call === 'create') return target.create(name, record)
        if (one.call === 'touch') return target.touch(name, expiresAt)
        if (one.call === 'renew')
          return target.touch(name, expiresAt, told === undefined ? from : told - off)
        if (one.call === 'delete') return target.delete(name)
        if (one.call === 'load') return undefined
        return target.save(name, record, expected)
      })
      assert.equal(got, wanted, `${one.call} of ${name}`)
    }
    for (const name of keys) {
      const loaded = await target.load(name)
      const wanted = should.live(name)
      const when = `load of ${name} after ${one.call}`
      assert.equal(loaded?.data, wanted?.data, when)
      const off = (loaded?.expiresAt ?? 0) - (wanted?.expiresAt ?? 0)
      assert.ok(Math.abs(off) <= clock.grain, `${when}: expiresAt is off by ${off} ms`)
    }
  }
  await target.close?.()
}

export const random = section('random', (add) => {
  add(
    'calls',
    'random sequences of calls answer as a small model of the contract does',
    'Something that nobody thought of.',
    async (context) => {
      await fc.assert(
        fc.asyncProperty(fc.array(stepFor(context), { minLength: 10, maxLength: 40 }), (steps) =>
          play(context, steps),
        ),
        { numRuns: 40 },
      )
    },
    ifStateless(
      'random records are read back from their tickets, and from no changed one',
      async ({ store, record }) => {
        await fc.assert(
          fc.asyncProperty(text, fc.nat(), async (some, at) => {
            if (some.length > 500) return
            const ticket = await store.create('', record(some))
            assert.equal((await store.load(ticket))?.data, some)
            const place = at % (ticket.length - 1)
            const changed = `${ticket.slice(0, place)}${ticket[place] === 'A' ? 'B' : 'A'}${ticket.slice(place + 1)}`
            assert.equal(await store.load(changed), undefined)
          }),
          { numRuns: 100 },
        )
      },
    ),
  )
})

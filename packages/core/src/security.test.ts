// What docs/security.md says of core where no promise says it: fixation, reauthentication, an account's sessions, what is told.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, onTestFinished, test } from 'vitest'
import { everywhere, openSite, type Any } from '../../../testing/visitors.ts'
import type { Session } from './index.ts'

everywhere(
  'a session fixation: the key that an attacker has planted opens nothing after the login',
  async (site) => {
    const attacker = await site.visitor({ cart: [1] })
    const planted = attacker.cookie
    const victim = site.browser(planted)
    await victim.visit((session) => {
      session.cycleKey()
      session.set('user', 'ann')
    })
    expect(victim.cookie).not.toBe(planted)
    expect(await victim.data()).toEqual({ cart: [1], user: 'ann' })
    expect(await attacker.data()).toEqual({})
  },
)

everywhere(
  'a session fixation: a key that nobody was given is not taken, even where the login forgets cycleKey()',
  async (site) => {
    const key = 'a'.repeat(32)
    const victim = site.browser(`sessionid=${key}`)
    await victim.visit((session) => session.set('user', 'ann'))
    expect(await victim.data()).toEqual({ user: 'ann' })
    expect(victim.cookie).not.toContain(key)
    expect([...site.records.keys()]).not.toContain(key)
    expect(await site.browser(`sessionid=${key}`).data()).toEqual({})
  },
)

test.each<[string, (session: Session<Any>) => void, Any]>([
  ['flush() begins a new one', (session) => session.flush(), { user: 'ann' }],
  ['cycleKey() goes on with the old one', (session) => session.cycleKey(), {}],
])('the absolute age after a reauthentication: %s', async (_, renew, left) => {
  const site = openSite({ maxAge: 1000, absoluteMaxAge: 100 })
  const visitor = await site.visitor({ user: 'ann' })
  site.pass(60)
  await visitor.visit((session) => {
    renew(session)
    session.set('user', 'ann')
  })
  site.pass(60)
  expect(await visitor.data()).toEqual(left)
})

everywhere(
  "an account's number that each request compares ends all sessions that have an older one",
  async (site) => {
    const account = { id: 7, epoch: 1 }
    const compare = (session: Session<Any>) => {
      const user = session.get('user')
      if (user && user.epoch !== account.epoch) session.flush()
    }
    const [here, elsewhere] = [
      await site.visitor({ user: { ...account } }),
      await site.visitor({ user: { ...account } }),
    ]
    await here.visit((session) => {
      compare(session)
      account.epoch++
      session.cycleKey()
      session.set('user', { ...account })
    })
    const old = elsewhere.cookie
    await elsewhere.visit(compare)
    expect(await here.data()).toEqual({ user: { id: 7, epoch: 2 } })
    expect(elsewhere.cookie).toBeUndefined()
    expect(await site.browser(old).data()).toEqual({})
  },
)

test('no error and no event holds a key or a value of a session', async () => {
  const told: string[] = []
  const tell = (message: unknown) => void told.push(JSON.stringify(message))
  for (const name of ['warning', 'conflict', 'clash', 'unknown-key']) {
    subscribe(`coatcheck:${name}`, tell)
    onTestFinished(() => void unsubscribe(`coatcheck:${name}`, tell))
  }
  const failed: any[] = []
  const site = openSite({ maxBytes: 200 })
  const strict = openSite({ concurrency: 'reject' })
  const keys = new Set<string>()
  const note = () => {
    for (const { records } of [site, strict]) for (const key of records.keys()) keys.add(key)
  }
  const visitor = await site.visitor({ user: 'a-secret', theme: 'secret' })
  const { error: large } = await visitor.visit((session) => {
    session.set('much', 'secret'.repeat(100))
  })
  const { error: unfit } = await visitor.visit((session) => {
    session.set('when', { at: new Date(), by: 'a-secret' })
  })
  const two = [await visitor.open(), await visitor.open()]
  for (const [n, { session }] of two.entries()) session.set('theme', `${session.get('theme')}${n}`)
  for (const { answer } of two) await answer()
  const late = await visitor.open()
  late.session.set('a', 'secret')
  note()
  await visitor.visit((session) => session.flush())
  const { error: gone } = await late.answer()
  const sent = await visitor.open()
  await sent.answer()
  sent.session.set('user', 'a-secret')
  const unsent = await sent.session.save().catch((error: unknown) => error)

  const other = await strict.visitor({ user: 'a-secret' })
  const pair = [await other.open(), await other.open()]
  for (const [n, { session }] of pair.entries()) session.set('theme', `secret${n}`)
  await pair[0]!.answer()
  const { error: conflict } = await pair[1]!.answer()
  const saving = await other.open()
  saving.session.set('a', 'secret')
  strict.one.calls.away = true
  const { error: unsaved } = await saving.answer()
  const unloaded = await other.data().catch((error: unknown) => error)
  strict.one.calls.away = false
  note()
  for (const [key, record] of strict.records) strict.records.set(key, { ...record, data: 'secret' })
  expect(await other.data()).toEqual({})
  expect(await site.browser('sessionid=not!a!key!but!a!secret').data()).toEqual({})
  expect(await site.browser(`sessionid=${'k'.repeat(32)}`).data()).toEqual({})

  failed.push(large, unfit, gone, unsent, conflict, unsaved, unloaded)
  expect(failed.map(({ code }) => code)).toEqual([
    'ERR_SESSION_TOO_LARGE',
    'ERR_SESSION_ENCODE',
    'ERR_SESSION_GONE',
    'ERR_SESSION_HEADERS_SENT',
    'ERR_SESSION_CONFLICT',
    'ERR_SESSION_STORE',
    'ERR_SESSION_STORE',
  ])
  for (const event of ['MALFORMED_COOKIE', 'CORRUPT_DATA', '"attempt"', '"path"']) {
    expect(
      told.some((message) => message.includes(event)),
      event,
    ).toBe(true)
  }
  const texts = [...told, ...failed.map((error) => `${error.stack} ${JSON.stringify(error)}`)]
  expect(keys.size).toBeGreaterThan(1)
  for (const hidden of [...keys, 'k'.repeat(32), 'secret']) {
    for (const text of texts) expect(text).not.toContain(hidden)
  }
})

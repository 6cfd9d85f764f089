// A herd: many requests of one session that all want to write while another program has it locked.
import { createSessions } from '@coatcheck/core'
import type { SessionStore } from '@coatcheck/core/store'
import { expect } from 'vitest'

const SIZE = 1000

/**
 * Proves that a herd of one session is answered in a few seconds after a lock, with nothing lost; and that without one each save is done in its own turn.
 * @param lock Takes the lock, and gives it back later. @param key The session that is to be locked.
 */
export async function proveHerd(
  store: SessionStore,
  lock: (key: string) => unknown,
): Promise<void> {
  const sessions = createSessions({ store })
  const first = await sessions.open(undefined)
  first.set('count', 0)
  expect(await sessions.commit(first)).toBeDefined()
  const cookie = `sessionid=${first.key}`
  const herd = []
  for (let n = 0; n < SIZE; n++) {
    const session = await sessions.open(cookie)
    session.get('count')
    session.set(`n${n}`, n)
    herd.push(session)
  }
  await lock(first.key!)
  const start = performance.now()
  await Promise.all(herd.map((session) => session.save()))
  // One that is answered one by one takes minutes.
  expect(performance.now() - start).toBeLessThan(30_000)
  const last = await sessions.open(cookie)
  for (let n = 0; n < SIZE; n++) expect(last.get(`n${n}`)).toBe(n)
  last.set('count', 1)
  const before = await store.load(first.key!)
  const saved = last.save()
  expect(store.load(first.key!)).not.toEqual(before)
  await saved
}

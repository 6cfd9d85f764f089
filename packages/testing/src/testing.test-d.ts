// Types: a visitor holds what the manager's sessions hold, and what does not fit does not compile.
import { createSessions, type Session, type SessionStore } from '@coatcheck/core'
import { expectTypeOf, test } from 'vitest'
import { atOnce, visitor } from './index.ts'

interface Shop {
  cart: number[]
  user?: string
}
declare const store: SessionStore
const sessions = createSessions<Shop>({ store })

test('a visitor has the type of the manager’s sessions', async () => {
  const ann = await visitor(sessions, { user: 'ann' })
  expectTypeOf(await ann.session()).toEqualTypeOf<Session<Shop>>()
  await visitor<Shop>({ store }, { cart: [1] })
  await visitor({ store }, { anything: 1 })
})

test('a wrong key or value does not compile', async () => {
  // @ts-expect-error -- no such key
  await visitor(sessions, { name: 'ann' })
  // @ts-expect-error -- not a cart
  await visitor(sessions, { cart: 'one' })
})

test('atOnce gives what its requests resolved to', async () => {
  expectTypeOf(await atOnce(2, sessions, async (i) => `${i}`)).toEqualTypeOf<string[]>()
  expectTypeOf(await atOnce(2, store, (i) => i)).toEqualTypeOf<number[]>()
})

// Types: a declared session gives declared values, and what does not fit does not compile.
import { expectTypeOf, test } from 'vitest'
import type { Session } from './index.ts'

interface Item {
  id: number
  count: number
}
interface Shop {
  cart: Item[]
  theme: 'light' | 'dark'
  user?: { name: string }
}
declare const session: Session<Shop>
declare const open: Session

test('get has the declared type, or undefined; a fallback takes undefined away', () => {
  expectTypeOf(session.get('cart')).toEqualTypeOf<Item[] | undefined>()
  expectTypeOf(session.get('cart', [])).toEqualTypeOf<Item[]>()
  expectTypeOf(session.get('user')).toEqualTypeOf<{ name: string } | undefined>()
  expectTypeOf(session.pop('theme', 'dark')).toEqualTypeOf<'light' | 'dark'>()
  expectTypeOf(session.setDefault('cart', [])).toEqualTypeOf<Item[]>()
})

test('a wrong key or value does not compile', () => {
  // @ts-expect-error -- no such key
  session.get('card')
  // @ts-expect-error -- not a theme
  session.set('theme', 'blue')
  // @ts-expect-error -- the fallback is not a cart
  session.get('cart', 5)
  // @ts-expect-error -- no such key
  session.delete('card')
  // @ts-expect-error -- not an item
  session.update({ cart: [{ id: '1' }] })
  // @ts-expect-error -- the function returns no cart
  session.update('cart', () => 5)
  // @ts-expect-error -- not a theme
  session.flash('theme', 1)
  // @ts-expect-error -- what was got is not a number
  session.get('theme')?.toFixed()
})

test('update infers the argument of its function', () => {
  session.update('cart', (cart) => {
    expectTypeOf(cart).toEqualTypeOf<Item[] | undefined>()
    return [...(cart ?? []), { id: 1, count: 1 }]
  })
})

test('iteration is typed', () => {
  expectTypeOf([...session.keys()]).toEqualTypeOf<('cart' | 'theme' | 'user')[]>()
})

test('without declared fields any key is allowed, and its value is unknown', () => {
  expectTypeOf(open.get('anything')).toEqualTypeOf<unknown>()
  open.set('anything', [1, 'two'])
})

// Types: a declared session gives declared values, and what does not fit does not compile.
import { expectTypeOf, test } from 'vitest'
import type { Fields, KeyOf, Session, ValueOf } from './index.ts'

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
  expectTypeOf(session.get('user', null)).toEqualTypeOf<{ name: string } | null>()
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

class Point {
  x = 0
}
class Counter {
  n = 0
  add() {
    return ++this.n
  }
}

test('what JSON cannot carry back does not compile where it is stored, at any depth', () => {
  interface Wrong {
    date: Date
    maybe?: Date | null
    map: Map<string, number>
    set: ReadonlySet<string>
    symbol: symbol
    bytes: Uint8Array
    call: () => void
    counter: Counter
    url: URL
    deep: { list: { at: Date }[] }
    tuple: [string, Date]
    record: Record<string, Date>
  }
  const wrong = {} as Session<Wrong>
  const of = {} as Wrong
  // @ts-expect-error -- a Date
  wrong.set('date', of.date)
  // @ts-expect-error -- a Date
  wrong.setDefault('date', of.date)
  // @ts-expect-error -- a Date
  wrong.flash('date', of.date)
  // @ts-expect-error -- a Date
  wrong.update('date', () => of.date)
  // @ts-expect-error -- a Date
  wrong.update({ date: of.date })
  // @ts-expect-error -- a Date
  wrong.set('maybe', new Date())
  // @ts-expect-error -- a Map
  wrong.set('map', of.map)
  // @ts-expect-error -- a Set
  wrong.set('set', of.set)
  // @ts-expect-error -- a symbol
  wrong.set('symbol', of.symbol)
  // @ts-expect-error -- bytes
  wrong.set('bytes', of.bytes)
  // @ts-expect-error -- a function
  wrong.set('call', of.call)
  // @ts-expect-error -- an object with a method
  wrong.set('counter', of.counter)
  // @ts-expect-error -- an object with toJSON()
  wrong.set('url', of.url)
  // @ts-expect-error -- a Date in an object in a list
  wrong.set('deep', of.deep)
  // @ts-expect-error -- a Date in a tuple
  wrong.set('tuple', of.tuple)
  // @ts-expect-error -- Dates in a record
  wrong.set('record', of.record)
  expectTypeOf(wrong.get('date')).toEqualTypeOf<Date | undefined>()
})

test('what JSON can carry back compiles, however it is declared', () => {
  type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
  interface Tree {
    children: Tree[]
    parent?: Tree | null
  }
  interface Growing<T> {
    value: T
    next?: Growing<Growing<T>>
  }
  interface Right {
    json: Json
    tree: Tree
    growing: Growing<number>
    optional?: { name: string; age?: number }
    orNot: string | undefined
    list: readonly string[]
    pair: readonly [string, number?]
    rest: [string, ...number[]]
    union: 'a' | { kind: 'c'; v: number[] } | null
    brand: string & { readonly __brand: 'id' }
    template: `id-${number}`
    unknown: unknown
    any: any
    record: Record<string, unknown>
    point: Point
    object: object
  }
  const right = {} as Session<Right>
  const of = {} as Required<Right>
  right.set('json', of.json).set('tree', of.tree).set('growing', of.growing)
  right.set('optional', { name: 'Ann' }).set('orNot', 'x').set('list', of.list)
  right
    .set('pair', ['a'])
    .set('rest', ['a', 1, 2])
    .set('union', { kind: 'c', v: [1] })
  right.set('brand', of.brand).set('template', 'id-5').set('unknown', of.unknown)
  right.set('any', of.any).set('record', { a: 1 }).set('point', new Point()).set('object', {})
  right.update({ json: [1, { a: null }], optional: { name: 'Ann' }, tree: of.tree })
  right.update('tree', (tree) => tree ?? { children: [] })
  right.setDefault('list', [])
  right.flash('union', 'a')
})

test('functions that are generic in the session or in the key compile', () => {
  const store = <D extends object, K extends KeyOf<D>>(
    any: Session<D>,
    key: K,
    value: ValueOf<D, K>,
    values: Partial<Fields<D>>,
  ) => {
    any.update(values).set(key, value).flash(key, value)
    any.update(key, (current) => current ?? value)
    return any.setDefault(key, value)
  }
  const copy = <D extends object>(from: Session<D>, to: Session<D>) => {
    for (const key of from.keys()) {
      const value = from.get(key)
      if (value !== undefined) to.set(key, value)
    }
  }
  const keep = <K extends KeyOf<Shop>>(key: K, value: ValueOf<Shop, K>) => session.set(key, value)
  keep('theme', 'dark')
  copy(session, session)
  expectTypeOf(store(session, 'theme', 'dark', { cart: [] })).toEqualTypeOf<'light' | 'dark'>()
  // @ts-expect-error -- not a theme
  store(session, 'theme', 'blue', {})
})

test('a declared session fits where any session is asked for', () => {
  expectTypeOf(session).toExtend<Session>()
  expectTypeOf(session).toExtend<Session<object>>()
  expectTypeOf<Session<any>>().toExtend<Session<Shop>>()
  const generic = <D extends object>(one: Session<D>) => one as Session
  generic(session)
})

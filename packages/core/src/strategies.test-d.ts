// Types: a strategy is checked against the declared session.
import { test } from 'vitest'
import {
  append,
  atomic,
  byId,
  createSessions,
  max,
  reject,
  sum,
  union,
  type MergeStrategy,
  type SessionStore,
} from './index.ts'

interface Line {
  tags?: string[]
  sku: string
  quantity: number
  note?: string
}
interface Shop {
  visits: number
  count?: number
  limit: number | null
  rating: 1 | 2 | 3
  maybe: string[] | null
  either: number | string
  nullLines: Line[] | null
  seen: string
  theme: 'light' | 'dark'
  recent: string[]
  fixed: readonly string[]
  lines: Line[]
  frozen: readonly Line[]
  account: { id: number }
}
declare const store: SessionStore
declare const own: MergeStrategy<number>

test('what fits compiles, by name and by function', () => {
  createSessions<Shop>({
    store,
    merge: {
      visits: 'sum',
      count: sum,
      limit: 'sum',
      rating: 'sum',
      maybe: 'union',
      nullLines: byId('sku'),
      seen: 'max',
      theme: 'last',
      recent: 'union',
      fixed: union,
      lines: byId('sku', { quantity: 'sum', note: 'last' }),
      frozen: byId('sku'),
      account: atomic,
    },
  })
  createSessions<Shop>({
    store,
    merge: {
      visits: own,
      count: (base = 0, mine = 0, newest = 0) => newest + mine - base,
      seen: max,
      limit: sum,
      rating: sum,
      maybe: union,
      recent: append,
      lines: 'append',
      fixed: 'append',
      account: reject,
      theme: (_base, mine, newest) => (newest === 'dark' ? newest : mine),
    },
  })
})

test('without declared fields any key and any strategy goes', () => {
  createSessions({
    store,
    merge: {
      a: 'sum',
      b: sum,
      c: union,
      d: byId('sku'),
      g: byId('sku', { n: 'sum' }),
      e: (_base, mine) => mine,
      f: max,
    },
  })
})

test('what does not fit does not compile', () => {
  // @ts-expect-error -- not a number
  createSessions<Shop>({ store, merge: { seen: 'sum' } })
  // @ts-expect-error -- not a number
  createSessions<Shop>({ store, merge: { recent: sum } })
  // @ts-expect-error -- not a list
  createSessions<Shop>({ store, merge: { visits: 'union' } })
  // @ts-expect-error -- not a list
  createSessions<Shop>({ store, merge: { account: append } })
  // @ts-expect-error -- tells nothing apart
  createSessions<Shop>({ store, merge: { lines: byId('tags') } })
  // @ts-expect-error -- no such property
  createSessions<Shop>({ store, merge: { lines: byId('id') } })
  // @ts-expect-error -- not a number
  createSessions<Shop>({ store, merge: { lines: byId('sku', { note: 'sum' }) } })
  // @ts-expect-error -- not a list of objects
  createSessions<Shop>({ store, merge: { recent: byId('length') } })
  // @ts-expect-error -- not always a number
  createSessions<Shop>({ store, merge: { either: 'sum' } })
  // @ts-expect-error -- not always a number
  createSessions<Shop>({ store, merge: { either: sum } })
  // @ts-expect-error -- no such key
  createSessions<Shop>({ store, merge: { visit: 'sum' } })
  // @ts-expect-error -- no such strategy
  createSessions<Shop>({ store, merge: { visits: 'summ' } })
  // @ts-expect-error -- the wrong result
  createSessions<Shop>({ store, merge: { visits: () => 'x' } })
  // @ts-expect-error -- one strategy for all
  createSessions<Shop>({ store, merge: 'sum' })
})

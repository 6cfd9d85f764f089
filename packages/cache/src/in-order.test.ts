import { expect, test } from 'vitest'
import { InOrder, type Placed } from './in-order.ts'

interface Numbered extends Placed {
  readonly n: number
}
const make = (n: number): Numbered => ({ n, place: -1 })

test('is a Set in everything that it does, whatever comes and ends', () => {
  const things = new InOrder<Numbered>()
  const set = new Set<Numbered>()
  const all: Numbered[] = []
  // A generator of its own (Lehmer's), so that a failure comes back.
  let seed = 1
  const random = (below: number) => (seed = (seed * 48271) % 2147483647) % below
  for (let n = 0; n < 5000; n++) {
    // It fills up, and empties, in turns.
    if (random(10) < (n % 1000 < 500 ? 7 : 3)) {
      const thing = make(n)
      all.push(thing)
      things.add(thing)
      set.add(thing)
    } else if (all.length > 0) {
      const thing = all[Math.max(0, all.length - 1 - random(300))]!
      expect(things.has(thing)).toBe(set.has(thing))
      expect(things.delete(thing)).toBe(set.delete(thing))
      expect(things.has(thing)).toBe(false)
    }
    expect(things.size).toBe(set.size)
    if (n % 50 === 0) expect([...things]).toEqual([...set])
  }
})

test('what is ended while it is gone through is not seen, and what is added is, when it grows too', () => {
  const things = new InOrder<Numbered>()
  const first = Array.from({ length: 10 }, (_, n) => make(n))
  for (const thing of first) things.add(thing)
  const seen: number[] = []
  for (const thing of things) {
    seen.push(thing.n)
    things.delete(thing)
    if (thing.n === 2) things.delete(first[5]!)
    if (thing.n === 3) for (let n = 10; n < 40; n++) things.add(make(n))
  }
  expect(seen).toEqual(Array.from({ length: 40 }, (_, n) => n).filter((n) => n !== 5))
  expect(things.size).toBe(0)
})

test('one that stays for long while others come and go is still the first', () => {
  const things = new InOrder<Numbered>()
  const slow = make(0)
  things.add(slow)
  for (let n = 1; n < 1000; n++) {
    const quick = make(n)
    things.add(quick)
    things.delete(quick)
  }
  expect([...things]).toEqual([slow])
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { effort } from '../../../testing/effort.ts'
import { equal, isPlain } from './json.ts'
import { merge, type Path } from './merge.ts'

function merged(base: unknown, mine: unknown, newest: unknown) {
  const clashes: Path[] = []
  return { value: merge(base, mine, newest, (path) => clashes.push(path)), clashes }
}

describe('what becomes of base, mine and newest', () => {
  const line = (sku: string, quantity: number) => ({ sku, quantity })
  const cases: [
    what: string,
    base: unknown,
    mine: unknown,
    newest: unknown,
    value: unknown,
    clashes?: string[],
  ][] = [
    ['a scalar that only mine changed', 1, 2, 1, 2],
    ['a scalar that only newest changed', 1, 1, 2, 2],
    ['a scalar that both changed alike', 'a', 'b', 'b', 'b'],
    ['a number that both may have counted', 7, 8, 8, 8, ['']],
    ['a number within that both may have counted', { n: 7 }, { n: 8 }, { n: 8 }, { n: 8 }, ['n']],
    ['a scalar that both changed', 1, 2, 3, 2, ['']],
    ['a type that both changed', { a: 1 }, 'x', [1], 'x', ['']],
    ['nothing there, and a value of mine', undefined, 1, undefined, 1],
    ['both have begun a value', undefined, 1, 2, 1, ['']],
    ['mine removed what newest left', 1, undefined, 1, undefined],
    ['newest removed what mine left', 1, 1, undefined, undefined],
    ['mine removed what newest changed', 1, undefined, 2, undefined, ['']],
    ['newest removed what mine changed', 1, 2, undefined, 2, ['']],
    ['properties of both', {}, { a: 1 }, { b: 2 }, { b: 2, a: 1 }],
    [
      'properties within properties',
      { p: { a: 1, b: 1 } },
      { p: { a: 2, b: 1 } },
      { p: { a: 1, b: 2 } },
      { p: { a: 2, b: 2 } },
    ],
    [
      'a property that both changed',
      { a: 1, b: 1 },
      { a: 2, b: 1 },
      { a: 3, b: 3 },
      { a: 2, b: 3 },
      ['a'],
    ],
    ['a property that one removed', { a: 1, b: 2 }, { a: 1 }, { a: 5, b: 2 }, { a: 5 }],
    ['edit against delete', { a: 1, b: 1 }, { b: 1 }, { a: 2, b: 1 }, { b: 1 }, ['a']],
    ['both have begun the same object', undefined, { l: ['a'] }, { l: ['a'] }, { l: ['a'] }],
    ['pushes', ['a'], ['a', 'b'], ['a', 'c'], ['a', 'c', 'b']],
    ['equal pushes', ['a'], ['a', 'b'], ['a', 'b'], ['a', 'b', 'b']],
    ['equal pushes within an object', { l: [] }, { l: ['a'] }, { l: ['a'] }, { l: ['a', 'a'] }],
    ['both have begun a list', undefined, ['a'], ['b'], ['b', 'a']],
    ['a list where there was null', null, ['a'], ['a'], ['a', 'a']],
    ['one at the front, one at the end', [1], [0, 1], [1, 2], [0, 1, 2]],
    ['a removal and a push', [1, 2, 3], [1, 3], [1, 2, 3, 4], [1, 3, 4]],
    ['a removal by each', [1, 2, 3], [2, 3], [1, 2], [2]],
    ['emptied, and a push', [1, 2], [], [1, 2, 3], [3]],
    ['the newest few, kept by both', [3, 2, 1], [4, 3, 2], [5, 3, 2], [5, 4, 3, 2]],
    ['index by index', [0, 0, 0], [1, 0, 0], [0, 0, 2], [1, 0, 2]],
    ['index by index, in the middle of equals', [0, 0, 0], [1, 0, 1], [0, 2, 0], [1, 2, 1]],
    ['one index by both', [1, 2], [1, 3], [1, 4], [1, 3], ['1']],
    [
      'an element changed, and a push',
      [line('a', 1)],
      [line('a', 2)],
      [line('a', 1), line('b', 1)],
      [line('a', 2), line('b', 1)],
    ],
    [
      'two properties of one element',
      [{ a: 1, b: 1 }],
      [{ a: 2, b: 1 }],
      [{ a: 1, b: 2 }],
      [{ a: 2, b: 2 }],
    ],
    ['an element changed that the other removed', [1, 2], [1, 5], [1], [1, 5], ['1']],
    ['an element removed that the other changed', [1, 2], [1], [1, 5], [1], ['1']],
    ['rewritten by both', [1, 2, 3], [7, 8], [4, 5, 6, 9], [7, 8], ['']],
    ['rewritten, and a push', [1, 2], [7, 8, 9], [1, 2, 3], [7, 8, 9, 3]],
    ['pushed, and rewritten', [1, 2], [1, 2, 3], [7, 8, 9], [7, 8, 9, 3]],
    ['moved by both, and removed', [1, 2, 3, 4], [2, 3, 1], [2, 1, 4], [2, 1]],
    ['removed by one, moved by the other', ['a', 'b', 'c'], ['a', 'b'], ['b', 'a'], ['b', 'a']],
    [
      'moved by one, removed by the other',
      ['a', 'b', 'c', 'd'],
      ['d', 'b', 'c'],
      ['a', 'b', 'c'],
      ['b', 'c'],
    ],
    [
      'by id: changed and moved',
      [{ id: 1, q: 1 }, { id: 2 }],
      [{ id: 2 }, { id: 1, q: 5 }],
      [{ id: 1, q: 1, r: 1 }, { id: 2 }, { id: 3 }],
      [{ id: 2 }, { id: 3 }, { id: 1, q: 5, r: 1 }],
    ],
    [
      'by id: another one at the front by each',
      [{ id: 1 }],
      [{ id: 3 }, { id: 1 }],
      [{ id: 2 }, { id: 1 }],
      [{ id: 2 }, { id: 3 }, { id: 1 }],
    ],
    [
      'by id: removed, and changed',
      [{ id: 1 }, { id: 2 }],
      [{ id: 2 }],
      [{ id: 1 }, { id: 2, q: 1 }],
      [{ id: 2, q: 1 }],
    ],
    [
      'by id: edit against delete',
      [{ id: 1, q: 1 }],
      [{ id: 1, q: 2 }],
      [],
      [{ id: 1, q: 2 }],
      ['0'],
    ],
    ['both have sorted', [3, 1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3]],
    [
      'both have moved one to the front',
      ['a', 'b', 'c'],
      ['c', 'a', 'b'],
      ['c', 'a', 'b'],
      ['c', 'a', 'b'],
    ],
    [
      'both have moved one, and one has pushed',
      ['a', 'b', 'c'],
      ['c', 'a', 'b', 'x'],
      ['c', 'a', 'b'],
      ['c', 'a', 'b', 'x'],
    ],
    [
      'one has moved what the other removed',
      ['a', 'b', 'c'],
      ['c', 'a', 'b'],
      ['a', 'b'],
      ['a', 'b'],
    ],
    [
      'one has removed what the other moved',
      ['a', 'b', 'c'],
      ['a', 'b'],
      ['c', 'a', 'b'],
      ['a', 'b'],
    ],
    [
      'both have moved another one',
      ['a', 'b', 'c', 'd'],
      ['c', 'a', 'b', 'd'],
      ['d', 'a', 'b', 'c'],
      ['d', 'c', 'a', 'b'],
    ],
    ['both have rewritten it alike', [1, 2], [5, 6, 7], [5, 6, 7], [5, 6, 7]],
    ['both have put the same at the front', [1], [0, 1], [0, 1], [0, 0, 1]],
    [
      'one changed, while the other has rewritten all',
      ['a', 'b'],
      ['A', 'b'],
      ['X', 'Y', 'Z'],
      ['A', 'b'],
      [''],
    ],
    [
      'ids that are not unique: by position',
      [
        { id: 1, q: 1 },
        { id: 1, q: 1 },
      ],
      [
        { id: 1, q: 2 },
        { id: 1, q: 1 },
      ],
      [
        { id: 1, q: 1 },
        { id: 1, q: 3 },
      ],
      [
        { id: 1, q: 2 },
        { id: 1, q: 3 },
      ],
    ],
  ]
  test.each(cases)('%s', (_, base, mine, newest, value, clashes = []) => {
    const found = merged(base, mine, newest)
    expect(JSON.stringify(found.value)).toBe(JSON.stringify(value))
    expect(found.clashes.map((path) => path.join('.'))).toEqual(clashes)
  })

  test('the path of a clash leads to it through objects and arrays', () => {
    const value = (n: number) => ({ a: [{ id: 'x', b: { c: n } }] })
    expect(merged(value(1), value(2), value(3)).clashes).toEqual([['a', 0, 'b', 'c']])
  })

  test('__proto__, constructor and the like are properties like any other', () => {
    const of = (json: string): any => JSON.parse(json)
    const found = merge(
      of('{"__proto__":{"a":1},"constructor":1,"toString":1}'),
      of('{"__proto__":{"a":2},"constructor":1,"toString":1}'),
      of('{"__proto__":{"a":1,"b":1},"constructor":2}'),
    )
    expect(JSON.stringify(found)).toBe('{"__proto__":{"a":2,"b":1},"constructor":2}')
    expect(Object.getPrototypeOf(found)).toBe(Object.prototype)
    expect(({} as any).a).toBeUndefined()
  })
})

/** As it comes back from a store, which has no -0. */
const json = fc.jsonValue({ maxDepth: 4 }).map((one) => JSON.parse(JSON.stringify(one)) as unknown)
const key = fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor')
/** Values of which two are often alike, or alike in part. */
const { near } = fc.letrec((tie) => ({
  near: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.integer({ min: 0, max: 3 }),
    fc.array(tie('near'), { maxLength: 5 }),
    fc.array(fc.record({ id: fc.integer({ min: 0, max: 5 }), value: tie('near') }), {
      maxLength: 4,
    }),
    fc.array(fc.tuple(key, tie('near')), { maxLength: 4 }).map((all) => Object.fromEntries(all)),
  ),
}))
const value = fc.oneof(json, near)

const property = (...args: any[]) =>
  fc.assert((fc.property as any)(...args), {
    numRuns: 2000,
    seed: 1,
  })

describe('whatever the values', () => {
  test('where mine is base it is newest, where newest is base it is mine, without a clash', () => {
    property(value, value, (a: unknown, b: unknown) => {
      expect(merged(a, a, b)).toEqual({ value: b, clashes: [] })
      expect(merged(a, b, a)).toEqual({ value: b, clashes: [] })
    })
  })

  test('where all are the same it is that', () => {
    property(value, (a: unknown) => {
      expect(merge(a, structuredClone(a), structuredClone(a))).toEqual(a)
    })
  })

  test('nothing is changed in the arguments, the result is JSON, and the same every time', () => {
    property(value, value, value, (base: unknown, mine: unknown, newest: unknown) => {
      const before = JSON.stringify([base, mine, newest])
      const text = JSON.stringify(merge(base, mine, newest))
      expect(JSON.stringify([base, mine, newest])).toBe(before)
      const again = JSON.parse(before) as unknown[]
      expect(JSON.stringify(merge(again[0], again[1], again[2]))).toBe(text)
      expect(JSON.parse(text)).toEqual(merge(base, mine, newest))
    })
  })

  test('what base has and both have kept is there', () => {
    property(near, near, near, (base: unknown, mine: unknown, newest: unknown) => {
      for (const path of keptByBoth(base, mine, newest)) {
        expect(has(merge(base, mine, newest), path), path.join('.')).toBe(true)
      }
    })
  })

  test('what one has added to an object is there', () => {
    property(near, near, near, (base: unknown, mine: unknown, newest: unknown) => {
      if (!isPlain(base) || !isPlain(mine) || !isPlain(newest)) return
      const result = merge(base, mine, newest) as object
      for (const name of [...Object.keys(mine), ...Object.keys(newest)]) {
        if (!Object.hasOwn(base, name)) expect(Object.hasOwn(result, name)).toBe(true)
      }
    })
  })

  test('changes of different properties: whichever comes first, it is the same but for the order', () => {
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    const changes = (own: string[]) =>
      fc.array(fc.tuple(fc.constantFrom(...own), fc.option(value)), { maxLength: 4 })
    const apply = (base: object, all: [string, unknown][]) => {
      const result: Record<string, unknown> = { ...base }
      for (const [name, to] of all) {
        if (to === null) delete result[name]
        else result[name] = to
      }
      return result
    }
    const base = fc.dictionary(fc.constantFrom(...keys), value)
    property(
      base,
      changes(keys.slice(0, 3)),
      changes(keys.slice(3)),
      (from: object, one: [string, unknown][], two: [string, unknown][]) => {
        const [first, second] = [apply(from, one), apply(from, two)]
        const [there, back] = [merged(from, first, second), merged(from, second, first)]
        expect(there.value).toEqual(back.value)
        expect(there.value).toEqual(apply(first, two))
        expect([...there.clashes, ...back.clashes]).toEqual([])
      },
    )
  })

  test('writers that push one each, in any order, at any depth: all are there, each once', () => {
    const depth = fc.constantFrom(
      (list: unknown[]) => list as unknown,
      (list: unknown[]) => ({ cart: { lines: list, total: 1 } }),
      (list: unknown[]) => ({ carts: [{ id: 1, lines: list }] }),
    )
    const writers = fc.uniqueArray(fc.integer(), { minLength: 2, maxLength: 8 })
    property(
      fc.array(near, { maxLength: 5 }),
      writers,
      depth,
      (base: unknown[], all: number[], wrap: (list: unknown[]) => unknown) => {
        let newest = wrap(base)
        for (const n of all) newest = merge(wrap(base), wrap([...base, { pushed: n }]), newest)
        expect(newest).toEqual(wrap([...base, ...all.map((n) => ({ pushed: n }))]))
      },
    )
  })

  test('writers that insert one each, anywhere: all are there, each once, and all that was there', () => {
    const inserts = fc.array(fc.nat(100), { minLength: 1, maxLength: 6 })
    property(fc.array(near, { maxLength: 6 }), inserts, (base: unknown[], places: number[]) => {
      let newest: unknown = base
      const clashes: Path[] = []
      for (const [n, place] of places.entries()) {
        const mine = base.toSpliced(place % (base.length + 1), 0, { pushed: n })
        newest = merge(base, mine, newest, (path) => clashes.push(path))
      }
      const sorted = (list: unknown[]) => list.map((one) => JSON.stringify(one)).toSorted()
      const expected = [...base, ...places.map((_, n) => ({ pushed: n }))]
      expect(sorted(newest as unknown[])).toEqual(sorted(expected))
      expect(clashes).toEqual([])
    })
  })

  test('elements that are moved, removed and inserted by both: what both have kept is there once, what one has removed is not', () => {
    const edits = fc.array(
      fc.tuple(fc.nat(20), fc.nat(20), fc.constantFrom('move', 'move', 'remove', 'insert')),
      {
        maxLength: 4,
      },
    )
    const apply = (base: string[], all: [number, number, string][], mark: string) => {
      const list = [...base]
      for (const [n, [from, to, what]] of all.entries()) {
        const moved =
          what === 'insert' ? [`${mark}${n}`] : list.splice(from % (list.length || 1), 1)
        if (what !== 'remove') list.splice(to % (list.length + 1), 0, ...moved)
      }
      return list
    }
    const list = fc.nat(6).map((length) => Array.from({ length }, (_, n) => `b${n}`))
    property(
      list,
      edits,
      edits,
      (base: string[], ours: [number, number, string][], theirs: [number, number, string][]) => {
        const [mine, newest] = [apply(base, ours, 'm'), apply(base, theirs, 'n')]
        const clashes: Path[] = []
        const result = merge(base, mine, newest, (path) => clashes.push(path)) as string[]
        expect(result).toEqual([...new Set(result)])
        for (const one of base) {
          if (mine.includes(one) && newest.includes(one)) expect(result).toContain(one)
        }
        // Where both have put others in the place of the same elements, mine stands, and it is said.
        if (clashes.length > 0) return
        const all = [...new Set([...base, ...mine, ...newest])]
        const expected = all.filter(
          (one) => !base.includes(one) || (mine.includes(one) && newest.includes(one)),
        )
        expect(result.toSorted()).toEqual(expected.toSorted())
      },
    )
  })

  test('writers that remove one each: each is gone, the others are there', () => {
    const list = fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 8 })
    property(list, fc.array(fc.nat(100), { maxLength: 4 }), (base: number[], places: number[]) => {
      const gone = new Set(places.map((place) => base[place % base.length]))
      let newest: unknown = base
      for (const one of gone)
        newest = merge(
          base,
          base.filter((other) => other !== one),
          newest,
        )
      expect(newest).toEqual(base.filter((one) => !gone.has(one)))
    })
  })
})

describe('the work is bounded', () => {
  const item = (n: number, mark = '') => ({
    sku: `sku ${n}`,
    name: `product ${n}${mark}`,
    quantity: n,
  })
  const list = (length: number, mark = '') => Array.from({ length }, (_, n) => item(n, mark))
  /** How many times as much work a merge is as the JSON of all three. */
  const effortOf = (...all: [unknown, unknown, unknown]) => effort(all, () => merge(...all))

  test('200 elements that both have rewritten: little more work than their JSON', async () => {
    const [base, mine, newest] = [list(200), list(199, ' mine'), list(201, ' newest')]
    expect(await effortOf(base, mine, newest)).toBeLessThan(20)
  })

  test('more than a million comparisons: the array is one value, and a clash', () => {
    const [base, mine, newest] = [list(1100), list(1099, ' mine'), list(1101, ' newest')]
    expect(merged(base, mine, newest)).toEqual({ value: mine, clashes: [[]] })
  })

  test('many arrays, each small enough: the comparisons of all are bounded together', async () => {
    const lists = (mark: string, length: number) => ({
      all: Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`k${n}`, list(length, mark)])),
    })
    const [base, mine, newest] = [lists('', 100), lists(' mine', 99), lists(' newest', 101)]
    expect(await effortOf(base, mine, newest)).toBeLessThan(5)
  })

  test('a push to a long list needs no comparisons of each with each', () => {
    const base = list(20_000)
    const result = merge(base, [...base, 'mine'], [...base, 'newest']) as unknown[]
    expect(result.slice(-2)).toEqual(['newest', 'mine'])
  })

  test('a long list within many others: no level begins anew', async () => {
    const nested = (first: number) => {
      let inner: unknown = Array.from({ length: 100_000 }, (_, n) => (n * 7 + first) % 10)
      for (let level = 0; level < 98; level++) inner = [inner]
      return inner
    }
    expect(await effortOf(nested(0), nested(1), nested(2))).toBeLessThan(150)
  })

  test('what others have inserted may be more than a stack holds', () => {
    const many = Array.from({ length: 200_000 }, () => 5)
    const found = merged(
      { l: [0, 1], n: 0, o: {} },
      { l: [0, 1, 2], n: 0, o: { mine: 1 } },
      { l: [...many, 0, 1], n: 7, o: { theirs: 1 } },
    )
    expect(found.value).toMatchObject({ n: 7, o: { theirs: 1, mine: 1 } })
    expect((found.value as any).l).toHaveLength(200_003)
    expect(found.clashes).toEqual([])
  })

  test('nested more deeply than the stack goes: one value', () => {
    const nested = (inner: string, levels = 20_000) => {
      let text = `"${inner}"`
      for (let n = 0; n < levels; n++) text = `[${text}]`
      return JSON.parse(text) as unknown
    }
    const [base, mine, newest] = [nested('base'), nested('mine'), nested('newest')]
    const deepest = (from: unknown) => {
      let inner = from
      while (Array.isArray(inner)) [inner] = inner
      return inner
    }
    expect(deepest(merge(base, mine, newest))).toBe('mine')
    expect(deepest(merge([base, 1], [mine, 1, 2], [newest, 1, 3, 4]))).toBe('mine')
    const there = (n: number) => ({ deep: nested('base', 3000), n })
    const found = merged(there(1), there(2), { deep: 7, n: 1 })
    expect(found).toEqual({ value: { deep: 7, n: 2 }, clashes: [] })
  })
})

/** Paths of base's scalars that both still have, by property alone: arrays are edited in many ways. */
function keptByBoth(
  base: unknown,
  mine: unknown,
  newest: unknown,
  path: string[] = [],
): string[][] {
  if (isPlain(base) && isPlain(mine) && isPlain(newest)) {
    return Object.keys(base)
      .filter((name) => Object.hasOwn(mine, name) && Object.hasOwn(newest, name))
      .flatMap((name) => keptByBoth(base[name], mine[name], newest[name], [...path, name]))
  }
  return equal(base, mine) && equal(base, newest) ? [path] : []
}

function has(from: unknown, path: readonly string[]): boolean {
  const [name, ...rest] = path
  if (name === undefined) return true
  return isPlain(from) && Object.hasOwn(from, name) && has(from[name], rest)
}

import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { jsonCodec } from './codec.ts'
import { SessionEncodeError } from './errors.ts'

const encode = (value: unknown) => jsonCodec.encode({ k: value }, ['k'])
const cyclic: Record<string, unknown> = {}
cyclic['self'] = cyclic
const deep = () => {
  let value: unknown = 0
  for (let n = 0; n < 100_000; n++) value = [value]
  return value
}

test.each([
  ['text', 'é \u{1f30d} \u0000 \ud800 "\\'],
  ['numbers', [0, -1, 1.5, 1e21, 5e-324, Number.MAX_SAFE_INTEGER]],
  ['booleans and null', [true, false, null]],
  ['nested objects', { a: [{ b: { c: [] } }], '': {} }],
  ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
  ['an object of another realm', runInNewContext('({ a: [1] })')],
  ['hostile names', JSON.parse('{"__proto__":1,"constructor":2,"toString":3,"hasOwnProperty":4}')],
])('%s comes back as it was', (_, value) => {
  expect(JSON.stringify(jsonCodec.decode(encode(value)))).toBe(JSON.stringify({ k: value }))
})

test.each([
  ['a BigInt', { n: [1n] }, /'k'.*BigInt.*String\(value\)/],
  ['a function', { f() {} }, /'k\.f' is a function/],
  ['a symbol', [Symbol('s')], /'k\[0\]' is a symbol/],
  ['a cycle', cyclic, /'k' cannot be stored: it refers to itself/],
  ['undefined in an array', [1, undefined], /'k\[1\]' is undefined/],
  ['a hole in an array', [1, , 2], /'k\[1\]' is undefined/], // oxlint-disable-line no-sparse-arrays
  ['NaN', { a: { b: Number.NaN } }, /'k\.a\.b' is NaN/],
  ['Infinity', Infinity, /'k' is Infinity/],
  ['a Date', { at: new Date() }, /'k\.at' is a Date.*toISOString/],
  ['a Map', new Map([[1, 2]]), /'k' is a Map/],
  ['a Set', new Set([1]), /'k' is a Set/],
  ['a Buffer', Buffer.from('x'), /'k' is a Buffer/],
  [
    'a class instance',
    new (class Cart {
      items = []
    })(),
    /'k' is a Cart/,
  ],
  ['a boxed string', new String('x'), /'k' is a String/], // oxlint-disable-line no-new-wrappers
  ['an object with toJSON', { toJSON: () => 1 }, /'k' is an object with toJSON/],
  ['a promise', Promise.resolve(1), /'k' is a Promise/],
  ['a value 100,000 levels deep', deep(), /'k' cannot be stored: it is nested too deeply/],
  [
    'a getter that throws',
    {
      get a() {
        throw new Error('no')
      },
    },
    /threw an error/,
  ],
])('%s is a SessionEncodeError that names the key and says where', (_, value, message) => {
  let error: unknown
  try {
    encode(value)
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(SessionEncodeError)
  expect(error).toMatchObject({ code: 'ERR_SESSION_ENCODE', key: 'k' })
  expect((error as Error).message).toMatch(message)
})

test('a property that is undefined may go: it reads as undefined again', () => {
  expect(encode({ a: undefined, b: 1 })).toBe('{"k":{"b":1}}')
})

test.each(['', '[]', '1', 'null', '"x"', '{', 'nonsense'])('%j is no session', (text) => {
  expect(() => jsonCodec.decode(text)).toThrow()
})

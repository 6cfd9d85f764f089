// Section "encoding": whatever JSON can carry goes in and comes out unchanged, through every engine.
import { strict as assert } from 'node:assert'
import { section } from '../case.ts'

const everyPlane = () => {
  let text = ''
  // Each assigned block is hit at least once: every 257th code point, surrogates left out.
  for (let code = 0; code <= 0x10ffff; code += 257) {
    if (code < 0xd800 || code > 0xdfff) text += String.fromCodePoint(code)
  }
  return text
}
const nested = (depth: number) => {
  let value: unknown = 'core'
  for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { in: value }
  return value
}

const VALUES: Record<string, () => unknown> = {
  'empty text': () => '',
  'ASCII, control characters included': () =>
    Array.from({ length: 128 }, (_, code) => String.fromCodePoint(code)).join(''),
  'Latin, Greek and Cyrillic': () => 'Ünïcödé ÀÉÎÕÜ ß ſ Ωμέγα Ёлка',
  'combining marks, not normalised': () => 'e\u0301 \u00e9 A\u030a \u00c5 \u1e9b\u0323',
  'right-to-left text': () => 'שלום العالم \u202e\u202d\u200f',
  'East Asian text': () => '漢字 かな カナ 한글 ㍿',
  'Indic and Thai text': () => 'नमस्ते ภาษาไทย বাংলা',
  'emoji with modifiers and joiners': () => '👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇯🇵',
  'every 257th code point there is': everyPlane,
  'lone surrogates': () => ['\ud800', '\udfff', 'a\udbffb', '\udc00\ud800'],
  'line and paragraph separators, BOM': () => '\u2028\u2029\ufeff\u0085\u00a0',
  'quotes, backslashes, markup and SQL': () => `"'\`\\ </script> <!-- ' OR 1=1; -- %s %d $1 ?`,
  'text that looks like JSON, base64 or a token': () => ['{"a":1}', 'e30', 'a:b:c', '.eJx', 'null'],
  'numbers at the edges': () => [
    0,
    1,
    -1,
    0.1,
    -0.25,
    1e21,
    1e-7,
    5e-324,
    Number.MAX_VALUE,
    Number.MIN_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER,
    2 ** 53,
    123_456_789.123_456_78,
  ],
  'true, false and null': () => [true, false, null, [null], { a: null }],
  'empty containers': () => [[], {}, [[]], [{}], { a: {} }],
  'an array of 10,000 numbers': () => Array.from({ length: 10_000 }, (_, n) => n * 1.5),
  '200 levels of nesting': () => nested(200),
  'hostile property names inside': () =>
    JSON.parse(
      '{"__proto__":{"a":1},"constructor":2,"prototype":3,"toString":4,"":5,"a.b":6,"$set":7}',
    ),
}

export const encoding = section('encoding', (add) => {
  for (const [what, make] of Object.entries(VALUES)) {
    add(
      what
        .toLowerCase()
        .replaceAll(/[^a-z0-9]+/g, '-')
        .replaceAll(/^-|-$/g, ''),
      `${what}: what goes in comes out`,
      "A visitor's words would be changed.",
      async ({ store, browser }) => {
        const value = make()
        const visitor = browser()
        try {
          await visitor.visit((session) => session.set('value', value))
        } catch (error) {
          // What a cookie has no room for is refused in words, which is as good as keeping it.
          const { code } = error as { code?: string }
          if (store.traits?.stateless && code === 'ERR_SESSION_TOO_LARGE') return
          throw error
        }
        assert.deepEqual(await visitor.visit((session) => session.get('value')), value)
        // Once more, so that a change that only a second encoding shows is seen too.
        await visitor.visit((session) => session.set('other', 1))
        assert.deepEqual(await visitor.visit((session) => session.get('value')), value)
      },
    )
  }

  for (const name of [
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    '',
    '0',
    'a.b',
    'ключ',
    '\u0000',
  ]) {
    add(
      `name-${encodeURIComponent(name) || 'empty'}`,
      `${JSON.stringify(name)} as a key of the session is plain data`,
      'A form field could poison every object of the process.',
      async ({ browser }) => {
        const visitor = browser()
        await visitor.visit((session) => session.set(name, { polluted: true }))
        const data = await visitor.visit((session) => [...session])
        assert.deepEqual(data, [[name, { polluted: true }]])
        assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
        await visitor.visit((session) => session.delete(name))
        assert.equal(visitor.cookie, undefined)
      },
    )
  }

  for (const [id, text] of Object.entries({
    blank: ' ',
    'surrounding-space': '\t{"a": 1 }\r\n ',
    'trailing-newline': '{}\n',
    quoting: '{"q":"\\"\\\\/\'`%_;--"}',
    unicode: '{"e":"é e\u0301 \u{1f30d} नमस्ते 漢字 \u200b\ufeff\u2028"}',
    control: '\u0001\u001f\u007f\u0080\uffff',
    escapes: '%00 + %20 &amp; \\x00 <b>',
    digits: '0012',
    colon: '1:2:3:',
  })) {
    add(
      `record-${id}`,
      `a record's data comes back byte for byte: ${id.replaceAll('-', ' ')}`,
      'Text would be trimmed, folded or re-encoded.',
      async ({ store, key, record }) => {
        let mine = await store.create(key(), record(text))
        assert.equal((await store.load(mine))?.data, text)
        mine = await store.save(mine, record(`${text}!`), text)
        assert.equal((await store.load(mine))?.data, `${text}!`)
        mine = await store.save(mine, record(text), `${text}!`)
        assert.equal((await store.load(mine))?.data, text)
      },
    )
  }
})

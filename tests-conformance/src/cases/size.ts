// Section "size": limits are counted in bytes, refused before anything is written, and the same everywhere.
import { strict as assert } from 'node:assert'
import { ifStateless, section } from '../case.ts'

/** `{"text":""}` takes 11 bytes around the text. */
const AROUND = 11

export const size = section('size', (add) => {
  add(
    'at-the-limit',
    'data of exactly maxBytes is accepted',
    'The limit would be off by one.',
    async ({ browser, sessions }) => {
      const visitor = browser(sessions({ maxBytes: 1000 }))
      const text = 'x'.repeat(1000 - AROUND)
      await visitor.visit((session) => session.set('text', text))
      assert.equal(await visitor.visit((session) => session.get('text')), text)
    },
  )

  add(
    'one-byte-over',
    'one byte more is a SessionTooLargeError that says how much there is and may be',
    'A developer could not tell what to do.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ maxBytes: 1000 }))
      const error = await throws('ERR_SESSION_TOO_LARGE', () =>
        visitor.visit((session) => session.set('text', 'x'.repeat(1001 - AROUND))),
      )
      assert.deepEqual([error.bytes, error.limit], [1001, 1000])
      assert.equal(visitor.cookie, undefined)
    },
  )

  add(
    'bytes-not-characters',
    'multi-byte text is counted in bytes',
    'A limit in characters lets four times as much through.',
    async ({ browser, sessions, throws }) => {
      for (const [character, bytes] of [
        ['é', 2],
        ['漢', 3],
        ['\u{1f30d}', 4],
      ] as const) {
        const maxBytes = AROUND + 100 * bytes
        const visitor = browser(sessions({ maxBytes }))
        const text = character.repeat(100)
        await visitor.visit((session) => session.set('text', text))
        assert.equal(await visitor.visit((session) => session.get('text')), text)
        const error = await throws('ERR_SESSION_TOO_LARGE', () =>
          visitor.visit((session) => session.set('text', `${text}x`)),
        )
        assert.deepEqual([error.bytes, error.limit], [maxBytes + 1, maxBytes])
      }
    },
  )

  add(
    'refused-leaves-old',
    'a refused save leaves the stored session as it was',
    'A form that is too long would cost the visitor the cart.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ maxBytes: 100 }))
      await visitor.visit((session) => session.set('cart', [1, 2]))
      await throws('ERR_SESSION_TOO_LARGE', () =>
        visitor.visit((session) => {
          session.set('cart', [])
          session.set('text', 'x'.repeat(100))
        }),
      )
      assert.deepEqual(await visitor.visit((session) => [...session]), [['cart', [1, 2]]])
    },
  )

  add(
    'compressible',
    'text that compresses is counted as it is, not as it could be stored',
    'What one engine accepts another would refuse.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ maxBytes: 2000 }))
      await visitor.visit((session) => session.set('text', ' '.repeat(2000 - AROUND)))
      await throws('ERR_SESSION_TOO_LARGE', () =>
        visitor.visit((session) => session.set('text', ' '.repeat(2001 - AROUND))),
      )
    },
  )

  add(
    'refused-then-smaller',
    'after a refusal a smaller session is saved as if nothing had been',
    'One large form would end the session.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ maxBytes: 100 }))
      await throws('ERR_SESSION_TOO_LARGE', () =>
        visitor.visit((session) => session.set('text', 'x'.repeat(200))),
      )
      await visitor.visit((session) => session.set('text', 'x'))
      assert.equal(await visitor.visit((session) => session.get('text')), 'x')
    },
  )

  add(
    'refused-login',
    'a refused login keeps the old key and its session',
    'The visitor would lose the cart to an error.',
    async ({ browser, sessions, throws }) => {
      const visitor = browser(sessions({ maxBytes: 100 }))
      await visitor.visit((session) => session.set('cart', [1]))
      const { cookie } = visitor
      await throws('ERR_SESSION_TOO_LARGE', () =>
        visitor.visit((session) => {
          session.cycleKey()
          session.set('user', 'x'.repeat(100))
        }),
      )
      assert.equal(visitor.cookie, cookie)
      assert.deepEqual(await visitor.visit((session) => session.get('cart')), [1])
    },
  )

  const tooLargeForACookie = (bytes: number) =>
    ifStateless(
      'what does not fit a cookie is a SessionTooLargeError, and nothing is sent',
      async ({ browser, throws }) => {
        const visitor = browser()
        let seed = 1
        // Text that does not compress, from a generator that every run repeats.
        const noise = Array.from({ length: bytes }, () => {
          seed = (seed * 48_271) % 2_147_483_647
          return String.fromCodePoint(33 + (seed % 90))
        }).join('')
        const error = await throws('ERR_SESSION_TOO_LARGE', () =>
          visitor.visit((session) => session.set('text', noise)),
        )
        assert.equal(error.limit, 4096)
        assert.ok(error.bytes > 4096)
        assert.equal(visitor.cookie, undefined)
      },
    )

  for (const [id, length, title] of [
    ['4-kb', 4097, '4 K characters and one'],
    ['64-kb', 65_537, '64 K characters and one'],
    ['100-kb', 100_000, '100,000 characters'],
    ['1-mb', 1_000_000, 'a million characters'],
  ] as const) {
    add(
      id,
      `${title}, and more in bytes, are kept byte for byte and compared whole`,
      'A column or buffer of a fixed size would cut it.',
      async ({ store, key, record, throws }) => {
        const mine = key()
        const text = '漢é\u{1f30d} x'.repeat(Math.ceil(length / 6))
        await store.create(mine, record(text))
        assert.ok((await store.load(mine))?.data === text, 'the data came back changed')
        await throws('ERR_SESSION_CONFLICT', () => store.save(mine, record('{}'), `${text}!`))
        await store.save(mine, record(`${text}?`), text)
        assert.ok((await store.load(mine))?.data === `${text}?`, 'the data came back changed')
      },
      tooLargeForACookie(length),
    )
  }
})

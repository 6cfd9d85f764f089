// Section "flush": ending a session, emptying it, and giving it a new key.
import { strict as assert } from 'node:assert'
import { ifStateless, section } from '../case.ts'
import { RETIRED } from '@coatcheck/core/store'
import type { Counterpart } from '../case.ts'
import type { Context } from '../context.ts'

const replayReads = ifStateless(
  'a replayed cookie after flush still reads, until it expires',
  async ({ browser, sessions, clock }: Context) => {
    const visitor = browser(sessions({ maxAge: 3 }))
    await visitor.visit((session) => session.set('user', 7))
    const old = visitor.cookie
    await visitor.visit((session) => session.flush())
    assert.equal(visitor.cookie, undefined)
    visitor.cookie = old
    assert.equal(await visitor.visit((session) => session.get('user')), 7)
    await clock.advance(3000)
    assert.equal(await visitor.visit((session) => session.get('user')), undefined)
  },
)
const emptiedSendsNothing = ifStateless(
  'an emptied session deletes its cookie; what is set instead is in the new one alone',
  async ({ browser }: Context) => {
    const visitor = browser()
    await visitor.visit((session) => session.update({ a: 1, b: 2 }))
    await visitor.visit((session) => {
      session.clear()
      session.set('c', 3)
    })
    assert.deepEqual(await visitor.visit((session) => [...session]), [['c', 3]])
    await visitor.visit((session) => session.delete('c'))
    assert.equal(visitor.cookie, undefined)
  },
)
const lastCookieWins = ifStateless(
  'of two requests at once the cookie that arrives last wins, and the other change is lost',
  async ({ browser }: Context) => {
    const visitor = browser()
    await visitor.visit((session) => session.set('a', 1))
    const slow = await visitor.begin()
    slow.session.set('slow', 1)
    await visitor.visit((session) => session.set('fast', 1))
    await slow.finish()
    assert.deepEqual(await visitor.visit((session) => [...session]), [
      ['a', 1],
      ['slow', 1],
    ])
  },
)
const strangerIsRefused = ifStateless(
  'a value that was never issued is an empty session, and its cookie is deleted',
  async ({ browser, key }: Context) => {
    const visitor = browser()
    visitor.cookie = key()
    assert.equal(await visitor.visit((session) => session.size), 0)
    assert.equal(visitor.cookie, undefined)
  },
)

const isStranger: Counterpart = {
  trait: 'removesRetired',
  title:
    'a straggler with the old key, after a login, is taken for a stranger: it starts a session of its own',
  async run({ browser, sessions }: Context) {
    const shared = sessions()
    const visitor = browser(shared)
    await visitor.visit((session) => session.set('cart', [1]))
    const late = browser(shared)
    late.cookie = visitor.cookie
    await visitor.visit((session) => session.cycleKey())
    await late.visit((session) => session.set('visits', 1))
    assert.notEqual(late.cookie, visitor.cookie)
    assert.deepEqual(await late.visit((session) => [...session]), [['visits', 1]])
    assert.deepEqual(await visitor.visit((session) => [...session]), [['cart', [1]]])
  },
}

export const flush = section('flush', (add) => {
  add(
    'flush',
    'flush removes the record and the cookie, and the old cookie opens nothing',
    'A logout would leave the session usable by whoever kept the cookie.',
    async ({ store, browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('user', 7))
      const old = visitor.cookie!
      await visitor.visit((session) => session.flush())
      assert.equal(visitor.cookie, undefined)
      assert.equal(await store.load(old), undefined)
      visitor.cookie = old
      assert.equal(await visitor.visit((session) => session.get('user')), undefined)
    },
    replayReads,
  )

  add(
    'flush-then-set',
    'what is set after flush is a new session under a new key',
    "The next user would inherit the last one's key or data.",
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('user', 7))
      const old = visitor.cookie!
      await visitor.visit((session) => {
        session.flush()
        assert.equal(session.key, undefined)
        session.set('user', 8)
      })
      assert.notEqual(visitor.cookie, old)
      const data = await visitor.visit((session) => [...session])
      assert.deepEqual(data, [['user', 8]])
      visitor.cookie = old
      assert.equal(await visitor.visit((session) => session.get('user')), undefined)
    },
    replayReads,
  )

  add(
    'flush-nothing',
    'flush without a session stores nothing and sends nothing',
    'Logging out twice would fail, or make a session.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.flush())
      assert.equal(visitor.setCookie, undefined)
    },
  )

  add(
    'clear',
    'clear leaves neither record nor cookie',
    'Empty sessions would pile up.',
    async ({ store, browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.update({ a: 1, b: 2 }))
      const old = visitor.cookie!
      await visitor.visit((session) => {
        session.clear()
        assert.equal(session.size, 0)
      })
      assert.equal(visitor.cookie, undefined)
      assert.equal(await store.load(old), undefined)
    },
    emptiedSendsNothing,
  )

  add(
    'clear-then-set',
    'what is set after clear stands alone, under the same key',
    'Old values would shine through.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.update({ a: 1, b: 2 }))
      const old = visitor.cookie
      await visitor.visit((session) => {
        session.clear()
        session.set('c', 3)
      })
      assert.equal(visitor.cookie, old)
      assert.deepEqual(await visitor.visit((session) => [...session]), [['c', 3]])
    },
    emptiedSendsNothing,
  )

  add(
    'delete-last',
    'deleting the last key leaves neither record nor cookie',
    'Empty sessions would pile up.',
    async ({ store, browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('a', 1))
      const old = visitor.cookie!
      await visitor.visit((session) => session.delete('a'))
      assert.equal(visitor.cookie, undefined)
      assert.equal(await store.load(old), undefined)
    },
    emptiedSendsNothing,
  )

  add(
    'empty-not-over',
    'emptying a session does not take what another request put into it meanwhile',
    'A change would be lost.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('a', 1))
      const slow = await visitor.begin()
      slow.session.delete('a')
      await visitor.visit((session) => session.set('b', 2))
      await slow.finish()
      assert.deepEqual(await visitor.visit((session) => [...session]), [['b', 2]])
    },
    lastCookieWins,
  )

  add(
    'cycle-key',
    'cycleKey keeps the data under a new key; the old one opens nothing',
    'A key planted before the login would be logged in with it (fixation).',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('cart', [1, 2]))
      const old = visitor.cookie
      await visitor.visit((session) => {
        session.cycleKey()
        session.set('user', 7)
      })
      assert.notEqual(visitor.cookie, old)
      const data = await visitor.visit((session) => [...session])
      assert.deepEqual(data, [
        ['cart', [1, 2]],
        ['user', 7],
      ])
      visitor.cookie = old
      assert.deepEqual(await visitor.visit((session) => [...session]), [])
    },
    replayReads,
  )

  add(
    'cycle-nothing',
    'cycleKey without a session stores nothing and sends nothing',
    'A login without a session before it would fail.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.cycleKey())
      assert.equal(visitor.setCookie, undefined)
    },
  )

  add(
    'cycle-merges',
    'cycleKey takes along what another request saved under the old key meanwhile',
    'A product put into the cart during the login would be lost.',
    async ({ browser }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('cart', ['a']))
      const login = await visitor.begin()
      login.session.cycleKey()
      login.session.set('user', 7)
      await visitor.visit((session) => session.update('cart', (cart = []) => [...cart, 'b']))
      await login.finish()
      const data = await visitor.visit((session) => [...session])
      assert.deepEqual(data, [
        ['cart', ['a', 'b']],
        ['user', 7],
      ])
    },
    lastCookieWins,
  )

  add(
    'cycle-after-logout',
    'cycleKey of a session that was flushed meanwhile does not bring it back',
    'A logout would be undone.',
    async ({ browser, throws }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('user', 7))
      const slow = await visitor.begin()
      slow.session.cycleKey()
      await visitor.visit((session) => session.flush())
      await throws('ERR_SESSION_GONE', () => slow.finish())
    },
    lastCookieWins,
  )

  add(
    'no-resurrection',
    'a slow request cannot bring back a session that was flushed meanwhile',
    'A logged-out user would be logged in again.',
    async ({ store, browser, throws }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('user', 7))
      const old = visitor.cookie!
      const slow = await visitor.begin()
      slow.session.set('seen', true)
      await visitor.visit((session) => session.flush())
      await throws('ERR_SESSION_GONE', () => slow.finish())
      assert.equal(await store.load(old), undefined)
    },
    lastCookieWins,
  )

  add(
    'straggler-reads',
    'a straggler with the old key, during a login, gets an empty session and no cookie',
    'Deleting or replacing the cookie would log the user out.',
    async ({ browser, sessions }) => {
      const shared = sessions()
      const visitor = browser(shared)
      await visitor.visit((session) => session.set('cart', [1]))
      const straggler = browser(shared)
      straggler.cookie = visitor.cookie
      await visitor.visit((session) => session.cycleKey())
      assert.equal(await straggler.visit((session) => session.get('cart')), undefined)
      assert.equal(straggler.setCookie, undefined)
    },
    lastCookieWins,
  )

  add(
    'straggler-writes',
    'a straggler with the old key cannot start a session of its own over the login',
    'Its cookie would replace the one that the login has just sent.',
    async ({ browser, sessions, throws }) => {
      const shared = sessions()
      const visitor = browser(shared)
      await visitor.visit((session) => session.set('cart', [1]))
      const straggler = browser(shared)
      straggler.cookie = visitor.cookie
      await visitor.visit((session) => session.cycleKey())
      await throws('ERR_SESSION_GONE', () => straggler.visit((session) => session.set('visits', 1)))
    },
    lastCookieWins,
    isStranger,
  )

  add(
    'straggler-logs-out',
    'a straggler with the old key that logs out is refused, and ends nothing',
    'A logout would be acknowledged while the user stays logged in.',
    async ({ browser, sessions, throws }) => {
      const shared = sessions()
      const visitor = browser(shared)
      await visitor.visit((session) => session.set('cart', [1]))
      const straggler = browser(shared)
      straggler.cookie = visitor.cookie
      await visitor.visit((session) => {
        session.cycleKey()
        session.set('user', 7)
      })
      await throws('ERR_SESSION_GONE', () => straggler.visit((session) => session.flush()))
      assert.equal(straggler.setCookie, undefined)
      assert.equal(await visitor.visit((session) => session.get('user')), 7)
    },
    lastCookieWins,
    isStranger,
  )

  add(
    'straggler-logs-in',
    'a straggler with the old key that logs in gets a session of its own, with nothing of the other',
    'A user could not log in again before a minute has passed.',
    async ({ browser, sessions }) => {
      const shared = sessions()
      for (const begin of ['cycleKey', 'flush'] as const) {
        const visitor = browser(shared)
        await visitor.visit((session) => session.set('cart', [1]))
        const old = visitor.cookie
        const straggler = browser(shared)
        straggler.cookie = old
        await visitor.visit((session) => session.cycleKey())
        await straggler.visit((session) => {
          session[begin]()
          session.set('user', 8)
        })
        assert.ok(straggler.cookie !== undefined && straggler.cookie !== old)
        assert.deepEqual(await straggler.visit((session) => [...session]), [['user', 8]])
        assert.deepEqual(await visitor.visit((session) => [...session]), [['cart', [1]]])
      }
    },
    lastCookieWins,
  )

  add(
    'cycle-retires',
    'cycleKey retires the old key for a minute; a flush leaves nothing under its key',
    'A straggler could not be told from a stranger, or the keys of ended sessions would pile up.',
    async ({ store, browser, clock }) => {
      const visitor = browser()
      await visitor.visit((session) => session.set('user', 7))
      const old = visitor.cookie!
      await visitor.visit((session) => session.cycleKey())
      const left = (await store.load(old))!
      assert.equal(left.data, RETIRED)
      const age = left.expiresAt - clock.now()
      assert.ok(age > 0 && age <= 60_000 + clock.grain, `it is kept for ${age} ms`)
      const fresh = visitor.cookie!
      await visitor.visit((session) => session.flush())
      assert.equal(await store.load(fresh), undefined)
    },
    lastCookieWins,
    isStranger,
  )

  add(
    'unknown-left-alone',
    'a well-formed key that the store does not know is not adopted, and its cookie is left alone',
    'An attacker could choose the key (fixation); a parallel login would be undone.',
    async ({ browser, key }) => {
      const visitor = browser()
      const invented = key()
      visitor.cookie = invented
      assert.equal(await visitor.visit((session) => session.size), 0)
      assert.equal(visitor.setCookie, undefined)
      await visitor.visit((session) => session.set('a', 1))
      assert.notEqual(visitor.cookie, invented)
    },
    strangerIsRefused,
  )
})

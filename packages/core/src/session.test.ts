// The session object, row by row of Django's table.
import { expect, test } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { createSessions, type Session } from './index.ts'

type Any = Record<string, any>
const now = () => Date.UTC(2026, 0, 1)

/** Opens an empty session, and one more for each later request of the same visitor. */
async function visitor(first: (session: Session<Any>) => void = () => {}) {
  const sessions = createSessions<Any>({ store: mapStore({ now }), now })
  let cookie: string | undefined
  const visit = async <T>(handler: (session: Session<Any>) => T): Promise<T> => {
    const session = await sessions.open(cookie)
    const result = handler(session)
    const { setCookie } = await sessions.commit(session)
    if (setCookie) cookie = setCookie.split(';', 1)[0]
    return result
  }
  await visit(first)
  return visit
}

test('get, set, has, delete, with a default', async () => {
  const visit = await visitor((session) => {
    expect(session.get('a')).toBeUndefined()
    expect(session.get('a', 5)).toBe(5)
    expect(session.set('a', null).set('b', 'x')).toBe(session)
    expect(session.get('a', 5)).toBeNull()
    expect([session.has('a'), session.has('c')]).toEqual([true, false])
  })
  await visit((session) => {
    expect(session.get('b')).toBe('x')
    expect([session.delete('b'), session.delete('b')]).toEqual([true, false])
  })
  await visit((session) => expect([...session.keys()]).toEqual(['a']))
})

test('pop and setDefault', async () => {
  const visit = await visitor((session) => {
    expect(session.setDefault('a', 1)).toBe(1)
    expect(session.setDefault('a', 2)).toBe(1)
    session.set('b', 3)
  })
  await visit((session) => {
    expect(session.pop('a')).toBe(1)
    expect(session.pop('a')).toBeUndefined()
    expect(session.pop('a', 9)).toBe(9)
  })
  await visit((session) => expect([...session]).toEqual([['b', 3]]))
})

test('update with an object, keys, values, entries, size and iteration', async () => {
  const visit = await visitor((session) => session.update({ a: 1, b: { c: 2 } }))
  await visit((session) => {
    expect([...session.keys()]).toEqual(['a', 'b'])
    expect([...session.values()]).toEqual([1, { c: 2 }])
    expect([...session.entries()]).toEqual([...session])
    expect(session.size).toBe(2)
    expect([session.accessed, session.modified]).toEqual([true, false])
  })
})

test('update with a function sees the current value and stores the returned one', async () => {
  const visit = await visitor((session) => {
    session.update('n', (n = 0) => n + 1).update('n', (n) => n + 1)
  })
  await visit((session) => {
    session.update('n', (n) => n * 10)
    expect(session.get('n')).toBe(20)
  })
  await visit((session) => expect(session.get('n')).toBe(20))
})

test('accessed and modified say what this request did', async () => {
  const visit = await visitor((session) => {
    expect([session.accessed, session.modified]).toEqual([false, false])
    session.set('a', 1)
    expect([session.accessed, session.modified]).toEqual([true, true])
  })
  await visit((session) => {
    session.get('a')
    expect([session.accessed, session.modified]).toEqual([true, false])
  })
  await visit((session) => session.set('a', 2).modified && (session.modified = false))
  await visit((session) => expect(session.get('a')).toBe(1))
})

test('a nested value changed in place is noticed and saved', async () => {
  const visit = await visitor((session) => session.set('cart', { items: [{ id: 1, n: 1 }] }))
  await visit((session) => {
    session.get('cart').items[0].n++
    expect(session.modified).toBe(true)
  })
  await visit((session) => {
    for (const value of session.values()) value.items.push({ id: 2, n: 1 })
  })
  await visit((session) => {
    expect(session.get('cart').items).toEqual([
      { id: 1, n: 2 },
      { id: 2, n: 1 },
    ])
    expect(session.modified).toBe(false)
  })
})

test('a value that was set and is changed afterwards is stored as it is at the end', async () => {
  const cart = ['a']
  const visit = await visitor((session) => session.set('cart', cart) && cart.push('b'))
  await visit((session) => expect(session.get('cart')).toEqual(['a', 'b']))
})

test('isEmpty, clear and flush', async () => {
  const visit = await visitor((session) => {
    expect(session.isEmpty()).toBe(true)
    session.set('a', 1)
    expect(session.isEmpty()).toBe(false)
    session.clear()
    expect(session.isEmpty()).toBe(true)
    session.set('a', 1)
  })
  await visit((session) => {
    const { key } = session
    expect(key).toMatch(/^[a-z0-9]{32}$/)
    session.flush()
    expect([session.key, session.size, session.modified]).toEqual([undefined, 0, true])
  })
  await visit((session) => expect(session.isEmpty()).toBe(true))
})

test('the test cookie: set in one request, found in the next, then deleted', async () => {
  const visit = await visitor((session) => {
    expect(session.testCookieWorked()).toBe(false)
    session.setTestCookie()
  })
  await visit((session) => {
    expect(session.testCookieWorked()).toBe(true)
    session.deleteTestCookie()
  })
  await visit((session) => {
    expect(session.testCookieWorked()).toBe(false)
    session.deleteTestCookie()
  })
})

test('expiry: age, date and browser-length by each form of setExpiry', async () => {
  await visitor((session) => {
    const end = () => session.getExpiryDate().getTime() - now()
    const all = () => [session.getExpiryAge(), end(), session.getExpireAtBrowserClose()]
    expect(all()).toEqual([1_209_600, 1_209_600_000, false])
    session.setExpiry(90.5)
    expect(all()).toEqual([90, 90_500, false])
    session.setExpiry(new Date(now() + 61_000))
    expect(all()).toEqual([61, 61_000, false])
    session.setExpiry(0)
    expect(all()).toEqual([1_209_600, 1_209_600_000, true])
    session.setExpiry(null)
    expect(all()).toEqual([1_209_600, 1_209_600_000, false])
    expect(session.isEmpty()).toBe(true)
  })
})

test.each([Number.NaN, Infinity, new Date(Number.NaN), '60', undefined])(
  'setExpiry(%s) is refused',
  async (expiry) => {
    await visitor((session) => {
      expect(() => session.setExpiry(expiry as number)).toThrow(
        expect.objectContaining({ code: 'ERR_SESSION_USAGE' }),
      )
    })
  },
)

test('an expiry that the data does not hold properly counts as none', async () => {
  const store = mapStore({ now })
  await store.create('k'.repeat(32), {
    data: '{"a":1,"_session_expiry":"soon"}',
    expiresAt: now() + 1000,
  })
  const session = await createSessions<Any>({ store, now }).open(`sessionid=${'k'.repeat(32)}`)
  expect(session.getExpiryAge()).toBe(1_209_600)
  expect([...session]).toEqual([['a', 1]])
})

test('flash: there for the next request that looks, and for no other', async () => {
  const visit = await visitor((session) => {
    session.flash('notice', 'Saved')
    expect(session.get('notice')).toBeUndefined()
  })
  await visit(() => {})
  await visit((session) => expect(session.get('notice')).toBe('Saved'))
  await visit((session) => expect(session.get('notice')).toBeUndefined())
})

test('flash: set anew by the request that sees it, it stays', async () => {
  const visit = await visitor((session) => session.flash('notice', 'one'))
  await visit((session) => session.set('notice', `${session.get('notice')} kept`))
  await visit((session) => expect(session.get('notice')).toBe('one kept'))
  await visit((session) => expect(session.get('notice')).toBe('one kept'))
})

test('flash: again from the request that sees it, it is there once more', async () => {
  const visit = await visitor((session) => session.flash('notice', 1))
  await visit((session) => session.flash('notice', session.get('notice') + 1))
  await visit((session) => expect(session.get('notice')).toBe(2))
  await visit((session) => expect(session.isEmpty()).toBe(true))
})

test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', '', 'a.b', '0'])(
  '%j as a key is plain data',
  async (key) => {
    const visit = await visitor((session) => {
      expect(session.has(key)).toBe(false)
      expect(session.get(key)).toBeUndefined()
      session.set(key, { polluted: true }).update(key, (value) => ({ ...value, n: 1 }))
      session.flash(`${key}!`, 1)
    })
    await visit((session) => {
      expect([...session]).toEqual([
        [key, { polluted: true, n: 1 }],
        [`${key}!`, 1],
      ])
      expect(({} as Any)['polluted']).toBeUndefined()
      expect(session.delete(key)).toBe(true)
    })
    await visit((session) => expect(session.has(key)).toBe(false))
  },
)

test.each([
  ['undefined', undefined],
  ['a function', () => {}],
  ['a symbol', Symbol('s')],
])('set, update and flash refuse %s at once, and name the key', async (_, value) => {
  await visitor((session) => {
    for (const call of [
      () => session.set('cart', value),
      () => session.update({ ok: 1, cart: value }),
      () => session.update('cart', () => value),
      () => session.flash('cart', value),
      () => session.setDefault('cart', value),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'ERR_SESSION_ENCODE', key: 'cart' }))
    }
    expect(session.isEmpty()).toBe(true)
  })
})

test('-0 comes back as 0, as JSON has it, and is no change of one that was 0', async () => {
  const visit = await visitor((session) => session.set('n', -0).set('deep', { n: [-0] }))
  await visit((session) => {
    expect(Object.is(session.get('n'), 0)).toBe(true)
    expect(Object.is(session.get('deep').n[0], 0)).toBe(true)
    session.get('deep').n[0] = -0
    expect(session.modified).toBe(false)
  })
})

test('modified is false again once a change is saved, and true with the next one', async () => {
  const sessions = createSessions<Any>({ store: mapStore({ now }), now })
  const session = await sessions.open(undefined)
  session.set('a', 1)
  expect(session.modified).toBe(true)
  await session.save()
  expect(session.modified).toBe(false)
  session.set('a', 2)
  expect(session.modified).toBe(true)
})

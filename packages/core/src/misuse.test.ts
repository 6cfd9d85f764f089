// The session as it is misused: idioms of other libraries, which would lose what was meant without a word.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { expect, onTestFinished, test, vi } from 'vitest'
import { mapStore } from '../../../testing/map-store.ts'
import { createSessions, Session } from './index.ts'

const misuse = (message: string) =>
  expect.objectContaining({
    name: 'SessionUsageError',
    code: 'ERR_SESSION_USAGE',
    message: expect.stringContaining(message),
  })

/** Assigns as code does that is not strict: where nothing throws, nothing is said. */
const assign = new Function('target', 'name', 'value', 'target[name] = value') as (
  target: object,
  name: string | symbol,
  value: unknown,
) => void

const open = () =>
  createSessions<Record<string, any>>({ store: mapStore() }).open(undefined) as Session<any>

test.each<[string | symbol, unknown, string]>([
  ['user', { name: 'hush' }, "session.set('user', …)"],
  ['user', undefined, "session.delete('user')"],
  ['cookie', {}, "session.set('cookie', …)"],
  ['a b', 1, "session.set('a b', …)"],
  ['__proto__', {}, "session.set('__proto__', …)"],
  ['toString', 'x', "session.set('toString', …)"],
  ['then', 'x', "session.set('then', …)"],
  ['flash', [], "session.flash is the session's own"],
  ['key', 'hush', "session.key is the session's own"],
  ['accessed', true, "session.accessed is the session's own"],
  ['size', 0, "session.size is the session's own"],
  ['constructor', Object, "session.constructor is the session's own"],
  ['regenerate', () => {}, 'takes no methods'],
  [Symbol('s'), 1, 'takes no methods'],
  [Symbol.iterator, 1, "is the session's own"],
])(
  'an assignment of %s to a session throws at once, in sloppy code too, and says what to write',
  (name, value, message) => {
    const session = open()
    const call = () => assign(session, name, value)
    expect(call).toThrow(misuse(message))
    expect(call).not.toThrow(/hush/)
    expect(() => Object.assign(session, { [name]: value })).toThrow(misuse(''))
    expect([Object.keys(session), session.isEmpty()]).toEqual([[], true])
  },
)

test('every name of a session refuses to be assigned, but for `modified`', () => {
  const session = open()
  const names = Reflect.ownKeys(Session.prototype).filter((name) => name !== 'modified')
  expect(names.length).toBeGreaterThan(30)
  for (const name of names) {
    expect(() => assign(session, name, 1), String(name)).toThrow(misuse('assigned'))
  }
  session.modified = true
  expect(session.modified).toBe(true)
  expect(() => assign(session, 'modified', 'yes')).toThrow(misuse("was set to 'yes'"))
})

test('nothing that sessions share can be written to', () => {
  const one = open()
  const shared: object[] = [Session, Session.prototype, Object.getPrototypeOf(Session.prototype)]
  for (const name of Reflect.ownKeys(Session.prototype)) {
    const { get, set } = Object.getOwnPropertyDescriptor(Session.prototype, name)!
    for (const accessor of [get, set]) if (accessor) shared.push(accessor)
  }
  for (const method of ['get', 'set', 'flash', 'save', 'values', 'entries', 'toJSON'] as const) {
    shared.push(one[method])
  }
  shared.push((one.values as { prototype?: object }).prototype!)
  shared.push((one as any).destroy)
  for (const each of shared) {
    expect(() => Object.defineProperty(each, 'messages', { value: [] }), inspect(each)).toThrow(
      TypeError,
    )
    try {
      assign(each, 'messages', ['of one visitor'])
    } catch {}
    expect((each as any).messages).toBeUndefined()
  }
  expect((open() as any).messages).toBeUndefined()
})

test('what is read of a session and is not there is undefined, as of any object', async () => {
  const session = open()
  expect((session as any).user).toBeUndefined()
  expect((session as any).views).toBeUndefined()
  expect(await session).toBe(session)
  expect(session instanceof Session && session instanceof Object).toBe(true)
  expect([structuredClone(session), { ...session }, Object.keys(session)]).toEqual([{}, {}, []])
  const names = []
  for (const name in session) names.push(name)
  expect(names).toEqual([])
})

test('a method of a session can be spied on, and a class made of it', async () => {
  const session = open()
  const spy = vi.spyOn(session, 'set')
  session.set('a', 1)
  expect(spy).toHaveBeenCalledWith('a', 1)
  expect(session.get('a')).toBe(1)
  spy.mockRestore()
  class Counting extends Session<any> {
    count(): number {
      return this.size
    }
  }
  expect(Counting.prototype.count.call(session as Counting)).toBe(1)
  expect(() => assign(Object.create(session), 'user', 1)).toThrow(misuse("session.set('user', …)"))
})

test.each<[string, (session: any) => unknown, string]>([
  [
    'save(callback)',
    (s) => s.save(() => {}),
    'session.save() takes no callback and returns a promise',
  ],
  ['flush(callback)', (s) => s.flush(() => {}), 'session.flush() takes no callback'],
  ['cycleKey(callback)', (s) => s.cycleKey(() => {}), 'session.cycleKey() takes no callback'],
  ['clear(key)', (s) => s.clear('a'), 'session.clear() takes nothing'],
  ['get(key, callback)', (s) => s.get('a', () => {}), 'session.get() takes no callback'],
  ['set({ … })', (s) => s.set({ a: 1 }), 'several are set by update({ … })'],
  ['set(key)', (s) => s.set('a'), "and got the key 'a' alone"],
  ['setDefault(key)', (s) => s.setDefault('a'), "and got the key 'a' alone"],
  ['flash(key)', (s) => s.flash('a'), "what was flashed is read by get('a')"],
  ['update(key, value)', (s) => s.update('a', 5), "a value is set by set('a', …)"],
  ['update(key)', (s) => s.update('a'), "got the key 'a' and undefined"],
  ['setExpiry(text)', (s) => s.setExpiry('5'), "and got '5'"],
  ['setExpiry(Date.now())', (s) => s.setExpiry(Date.now() + 5000), 'for a moment pass a Date'],
  ['setExpiry(milliseconds)', (s) => s.setExpiry(14 * 86_400 * 1000), 'Then 1209600 it is'],
  ['cookie.maxAge', (s) => (s.cookie.maxAge = 1000), 'call setExpiry(seconds)'],
  ['delete()', (s) => s.delete(), 'to end the session call flush()'],
  ...['regenerate', 'destroy', 'reload', 'touch', 'resetMaxAge'].map(
    (name): [string, (session: any) => unknown, string] => [
      `${name}(callback)`,
      (s) => s[name](() => {}),
      `${name}() is a method of other libraries' sessions`,
    ],
  ),
  ...[undefined, null, new Map(), [], Promise.resolve({})].map(
    (given): [string, (session: any) => unknown, string] => [
      `update(${inspect(given)})`,
      (s) => s.update(given),
      'takes an object, or a key and a function, and got ',
    ],
  ),
  ...['get', 'set', 'has', 'delete', 'pop', 'setDefault', 'flash'].flatMap((name) =>
    [undefined, null, 5, ['a'], Symbol('a')].map(
      (key): [string, (session: any) => unknown, string] => [
        `${name}(${inspect(key)})`,
        (s) => s[name](key, 1),
        `session.${name}() takes a key`,
      ],
    ),
  ),
])('%s says at once what to write, and does nothing', async (_, call, message) => {
  const session = open()
  session.set('kept', 1)
  expect(() => call(session)).toThrow(misuse(message))
  expect([...session]).toEqual([['kept', 1]])
  expect(session.getExpiryAge()).toBeGreaterThan(1_209_000)
})

test.each<[string, (sessions: any, session: any) => unknown, string]>([
  ['open(request)', (s) => s.open({ headers: {} }), 'sessions.open() takes the text of a Cookie'],
  ['open(a Request)', (s) => s.open(new Request('http://a')), 'an object of the class Request'],
  ['open(a promise)', (s) => s.open(Promise.resolve('')), 'a promise (await it)'],
  ['open({ key: a promise })', (s) => s.open({ key: Promise.resolve('') }), 'a promise (await it)'],
  ['open(list)', (s) => s.open(['a=b']), 'and got a list'],
  ['open(cookie, info)', (s) => s.open('', { secure: true }), 'a function as its second argument'],
  ['commit({})', (s) => s.commit({}), 'This takes a session'],
  ['commit()', (s) => s.commit(), 'This takes a session'],
  ['commit(session, 200)', (s, session) => s.commit(session, 200), 'sessions.commit() takes'],
  ['headers(session, null)', (s, session) => s.headers(session, null), 'sessions.headers() takes'],
  ['load(request)', (s) => s.load({}), 'This takes a session'],
])('a manager that is called wrongly says so: %s', async (_, call, message) => {
  const sessions = createSessions({ store: mapStore() })
  const session = await sessions.open(null)
  expect(() => call(sessions, session)).toThrow(misuse(message))
})

test('a value that is read as a property is a warning, and no use of the session', async () => {
  const seen: unknown[] = []
  const note = (event: unknown) => void seen.push(event as { code: string; message: string })
  subscribe('coatcheck:warning', note)
  onTestFinished(() => void unsubscribe('coatcheck:warning', note))
  const sessions = createSessions<any>({ store: mapStore() })
  const first = await sessions.open(undefined)
  await first.set('user', 'ann').save()
  const session: any = await sessions.open({ key: first.key! })
  expect([session.user, session.another, session.then, session.toString]).toEqual([
    undefined,
    undefined,
    undefined,
    expect.any(Function),
  ])
  expect(session.accessed).toBe(false)
  expect(seen).toEqual([
    expect.objectContaining({
      code: 'READ_AS_PROPERTY',
      message: expect.stringContaining("write session.get('user')"),
    }),
  ])
})

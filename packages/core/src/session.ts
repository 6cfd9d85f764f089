// What a handler sees: Django's request.session as a typed dictionary. It does no I/O; the manager does.
import { inWords, isAge, isPlain, LONGEST_AGE } from './rules.ts'
import { BOOKKEEPING, isBookkeeping } from './bookkeeping.ts'
import type { Draft } from './draft.ts'
import { SessionEncodeError, SessionUsageError } from './errors.ts'
import { warnDeveloper, warnOfEach } from './events.ts'
import { endsWithBrowser, expiresAt, EXPIRY_KEY } from './expiry.ts'
import { seal } from './sealed.ts'
import { inspected, serialized, type ShownSession } from './shown.ts'
import { condemn, type SessionState } from './standing.ts'
import type { Storable } from './storable.ts'

/** As it was when this was loaded, and not a timer that stands still while an application's test runs. */
const { setTimeout: setTimer } = globalThis

/**
 * The fields of your sessions. Augment it once, by the name of the adapter that you have installed, and every session is typed:
 * ```ts
 * declare module '@coatcheck/express' {
 *   interface SessionData { cart: string[]; user: { id: number } }
 * }
 * ```
 * Left empty, any key is allowed and its value is `unknown`.
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- empty on purpose: applications fill it
export interface SessionData {}

/** The fields of `D`, or any field at all where none is declared. */
export type Fields<D> = [keyof D] extends [never] ? Record<string, unknown> : D
/** The keys of a session of `D`. */
export type KeyOf<D> = Keys<Fields<D>>['listed']
/** Of a property's type that is made of a mapped type's values an error lists the keys; of `keyof`, and of a type by its name, it says that alone. */
interface Keys<F> {
  listed: { [K in keyof F & string]: K }[keyof F & string]
}
/** What a session of `D` holds under `K`. */
export type ValueOf<D, K extends KeyOf<D>> = NonNullableField<Fields<D>, K>
type NonNullableField<F, K extends keyof F> = Exclude<F[K], undefined>

/**
 * Gives the manager a session's state. Not part of the public interface.
 * @throws SessionUsageError for what is no session.
 */
export let stateOf: (session: Session<any>) => SessionState

/** Warns of `session.user` where a session holds a `user`: as a property that is undefined. */
let warnOfRead: (instance: object, name: string) => void

const TEST_COOKIE = 'testcookie'
const TEST_COOKIE_VALUE = 'worked'

/**
 * One visitor's session, for one request: Django's `request.session`. Every method is synchronous and does no I/O;
 * what changed is written once, before the response's headers go out.
 *
 * Values are what JSON can carry back: strings, finite numbers, booleans, null, arrays and plain objects of these.
 * Changing a nested value in place (`session.get('cart').push(7)`) counts as a change.
 *
 * With `lazy: true`, any use before `getSession()` has loaded it throws SessionUsageError.
 *
 * Data is not kept in properties: an assignment (`session.user = …`) throws SessionUsageError, `modified` aside, and nothing that sessions
 * share can be written to. What is no assignment cannot be noticed: `delete session.user` does nothing, `delete('user')` does.
 *
 * Printed by itself (`console.log(session)`, `JSON.stringify(session)`, a test's diff) it shows its state, its data and a hash of its key;
 * within something else (a request, an error, a logger's fields) the names of its keys and no values. Neither counts as a use.
 *
 * @see https://docs.djangoproject.com/en/stable/topics/http/sessions/#using-sessions-in-views
 */
export class Session<D extends object = SessionData> implements Iterable<[KeyOf<D>, unknown]> {
  readonly #state: SessionState
  #checking = false

  static {
    warnOfRead = (instance, name) => {
      if (!(#state in instance) || !(instance as Session<any>).#holds(name)) return
      warnOfEach(
        'READ_AS_PROPERTY',
        () =>
          `session.${name} was read, which is undefined, though the session holds a value under this name: write session.get('${name}'). Other libraries keep values as properties.`,
      )
    }
    stateOf = (session) => {
      if (typeof session === 'object' && session !== null && #state in session)
        return session.#state
      throw new SessionUsageError(
        `This takes a session, as sessions.open() gives it, and got ${inWords(session)}. One of another copy of @coatcheck/core is none here.`,
      )
    }
  }

  /** Sessions are made by `createSessions().open()`. */
  constructor(state: SessionState) {
    this.#state = state
  }

  /**
   * The key under which the store has this session: what the client's cookie holds. Undefined for a session that is
   * not stored yet. After `cycleKey()` it is the old key until the session is saved.
   */
  get key(): string | undefined {
    const { standing } = this.#loaded()
    return standing.is === 'stored' ? standing.key : undefined
  }

  /** Whether this request has looked at the session or changed it. */
  get accessed(): boolean {
    return this.#state.accessed
  }

  /**
   * Whether the session has a change that is not saved yet, made by a method or in place: false again once it is saved. Set it to force
   * or to prevent a save.
   * @throws SessionUsageError when set to anything but true and false.
   */
  get modified(): boolean {
    const { modified, standing, draft, cycled, condemned, doubt } = this.#state
    if (standing.is === 'unloaded') return false
    return modified ?? (draft.isChanged || cycled || condemned.length > 0 || doubt !== undefined)
  }

  set modified(modified: boolean) {
    if (typeof modified !== 'boolean') {
      misused('modified', `is true or false, and was set to ${inWords(modified)}`)
    }
    this.#draft()
    this.#state.modified = modified
  }

  /** The value under `key`; `fallback` (default undefined) if there is none. */
  get<K extends KeyOf<D>>(key: K): ValueOf<D, K> | undefined
  get<K extends KeyOf<D>>(key: K, fallback: ValueOf<D, K>): ValueOf<D, K>
  get<K extends KeyOf<D>>(key: K, fallback: null): ValueOf<D, K> | null
  get(key: string, fallback?: unknown): unknown {
    assertKey('get', key)
    if (typeof fallback === 'function') noCallback('get', 'returns the value')
    const draft = this.#draft()
    return this.#shows(key) ? draft.get(key, fallback) : fallback
  }

  /**
   * Puts `value` under `key`.
   * @throws SessionEncodeError, here or at the save, for a value that JSON cannot carry back; SessionUsageError for a key
   * that begins with `_session_`, which is the session's own bookkeeping.
   */
  set<K extends KeyOf<D>>(key: K, value: Storable<ValueOf<D, K>>): this {
    if (typeof key !== 'string') refuseEntries(key)
    assertOwn('set', key)
    if (value === undefined) assertGiven('set', key, arguments.length)
    assertValue(key, value)
    this.#change().set(key, value)
    return this
  }

  /** Whether there is a value under `key`. */
  has(key: KeyOf<D>): boolean {
    assertKey('has', key)
    const draft = this.#draft()
    return this.#shows(key) && draft.looksFor(key)
  }

  /** Removes `key`; returns whether it was there. */
  delete(key: KeyOf<D>): boolean {
    assertOwn('delete', key)
    return this.#take().has(key) && this.#change().delete(key)
  }

  /** Removes `key` and returns its value; `fallback` (default undefined) if there is none. */
  pop<K extends KeyOf<D>>(key: K): ValueOf<D, K> | undefined
  pop<K extends KeyOf<D>>(key: K, fallback: ValueOf<D, K>): ValueOf<D, K>
  pop<K extends KeyOf<D>>(key: K, fallback: null): ValueOf<D, K> | null
  pop(key: string, fallback?: unknown): unknown {
    assertOwn('pop', key)
    const draft = this.#take()
    if (!draft.looksFor(key)) return fallback
    const value = draft.get(key)
    this.#change().delete(key)
    return value
  }

  /** The value under `key`; where there is none, puts `value` there and returns it. */
  setDefault<K extends KeyOf<D>>(key: K, value: Storable<ValueOf<D, K>>): ValueOf<D, K> {
    assertOwn('setDefault', key)
    if (value === undefined) assertGiven('setDefault', key, arguments.length)
    const draft = this.#draft()
    draft.get(key, value)
    if (!draft.has(key)) this.set(key, value)
    return draft.get(key) as ValueOf<D, K>
  }

  /**
   * With an object: sets each of its entries.
   *
   * With a key and a function: replaces the value by `fn(value)`. If another request changes the session first, `fn`
   * runs again on the newest value, so that no change is lost: have it depend on its argument alone.
   * `session.update('cart', (cart = []) => [...cart, item])`
   */
  update(values: { [K in keyof Fields<D>]?: Storable<Fields<D>[K]> }): this
  update<K extends KeyOf<D>>(
    key: K,
    fn: (current: ValueOf<D, K> | undefined) => Storable<ValueOf<D, K>>,
  ): this
  update(target: string | object, fn?: (current: any) => unknown): this {
    if (typeof target === 'string') {
      assertOwn('update', target)
      if (typeof fn !== 'function') refuseUpdate(target, fn)
      this.#change().update(target, (current) => {
        const value = fn(current)
        assertValue(target, value)
        return value
      })
    } else {
      if (!isPlain(target) || target instanceof Session) {
        misused('update', `takes an object, or a key and a function, and got ${inWords(target)}`)
      }
      const entries = Object.entries(target)
      for (const [key, value] of entries) {
        assertOwn('update', key)
        assertValue(key, value)
      }
      const draft = this.#change()
      for (const [key, value] of entries) draft.set(key, value)
    }
    return this
  }

  /** The keys, in order. */
  keys(): IterableIterator<KeyOf<D>> {
    return this.#keys().values() as IterableIterator<KeyOf<D>>
  }

  /** The values, in the order of the keys. */
  *values(): IterableIterator<Fields<D>[KeyOf<D>]> {
    for (const [, value] of this.entries()) yield value
  }

  /** Pairs of key and value, in order. */
  *entries(): IterableIterator<[KeyOf<D>, Fields<D>[KeyOf<D>]]> {
    const draft = this.#draft()
    for (const key of this.#keys()) yield [key, draft.get(key)] as [KeyOf<D>, Fields<D>[KeyOf<D>]]
  }

  /** The same as {@link entries}. */
  [Symbol.iterator](): IterableIterator<[KeyOf<D>, Fields<D>[KeyOf<D>]]> {
    return this.entries()
  }

  /** How many keys there are. */
  get size(): number {
    return this.#keys().length
  }

  /** Removes every key. A session that is empty when the request ends is removed, with its cookie. */
  clear(): void {
    if (arguments[0] !== undefined) misused('clear', 'takes nothing; to remove a key call delete()')
    this.#change()
    if (this.#state.standing.is === 'unreadable') condemn(this.#state)
    this.#state.draft.clear()
  }

  /** Ends the session: its data is gone, its key is dead, its cookie is deleted. What is set afterwards is a new session. */
  flush(): void {
    if (arguments[0] !== undefined) takesNothing('flush')
    this.#change()
    condemn(this.#state)
    this.#state.flushed ||= this.#state.condemned.some(({ refusal }) => !refusal)
  }

  /** Gives the session a new key and keeps its data; the old key is dead. Call it when a user logs in. */
  cycleKey(): void {
    if (arguments[0] !== undefined) takesNothing('cycleKey')
    this.#change()
    this.#state.cycled = true
  }

  /** Whether the session holds no data; an expiry that it was given counts as data, as in Django. */
  isEmpty(): boolean {
    return this.#draft().isEmpty
  }

  /**
   * Sets when this session ends: after `expiry` seconds without a change, at a Date, with the browser (0), or as the
   * manager's options say (null).
   * @throws SessionUsageError for an invalid Date, a number that is not finite, and more than ten years in seconds: that can only be
   * milliseconds.
   */
  setExpiry(expiry: number | Date | null): void {
    if (expiry === null) {
      if (this.#draft().has(EXPIRY_KEY)) this.#change().delete(EXPIRY_KEY)
      return
    }
    const value = expiry instanceof Date ? expiry.getTime() : expiry
    if (!Number.isFinite(value) || (expiry instanceof Date && Math.abs(value) > 8.64e15)) {
      throw new SessionUsageError(
        `setExpiry() takes seconds, a valid Date, 0 or null, and got ${inWords(expiry)}.`,
      )
    }
    if (!(expiry instanceof Date) && !isAge(value)) refuseAge(value)
    this.#change().set(EXPIRY_KEY, expiry instanceof Date ? expiry.toISOString() : expiry)
  }

  /** The seconds from now until this session would end if it were saved now. */
  getExpiryAge(): number {
    const now = this.#state.manager.now()
    return Math.floor((this.#expiresAt(now) - now) / 1000)
  }

  /** When this session would end if it were saved now. */
  getExpiryDate(): Date {
    return new Date(this.#expiresAt(this.#state.manager.now()))
  }

  /** Whether the session's cookie ends with the browser. */
  getExpireAtBrowserClose(): boolean {
    return endsWithBrowser(this.#draft().data[EXPIRY_KEY], this.#state.manager.settings)
  }

  /** Sets a value that the next request can look for, to learn whether the browser keeps cookies. */
  setTestCookie(): void {
    this.#change().set(TEST_COOKIE, TEST_COOKIE_VALUE)
  }

  /** Whether the value of {@link setTestCookie} came back. */
  testCookieWorked(): boolean {
    return this.#draft().data[TEST_COOKIE] === TEST_COOKIE_VALUE
  }

  /** Removes the value of {@link setTestCookie}. */
  deleteTestCookie(): void {
    if (this.#draft().has(TEST_COOKIE)) this.#change().delete(TEST_COOKIE)
  }

  /**
   * Puts a value under `key` for the next request that looks at its session, and for no other: a message shown after
   * a redirect, for one. That request reads it with `get`.
   * @throws SessionEncodeError, here or at the save, for a value that JSON cannot carry back.
   */
  flash<K extends KeyOf<D>>(key: K, value: Storable<ValueOf<D, K>>): void {
    assertOwn('flash', key)
    if (value === undefined) assertGiven('flash', key, arguments.length)
    assertValue(key, value)
    this.#change().flash(key, value)
  }

  /**
   * Writes the session now, instead of when the response starts: for streams, WebSockets and long requests. Works
   * after the headers went out too, as long as the client needs no new cookie.
   * @throws SessionGoneError if the session ended meanwhile, SessionConflictError with `concurrency: 'reject'`,
   * SessionTooLargeError, SessionEncodeError, SessionStoreError if the backend fails, and SessionUsageError if the
   * client would need a cookie that can no longer be sent.
   */
  save(): Promise<void> {
    if (arguments[0] !== undefined) noCallback('save', 'returns a promise: `await session.save()`')
    return this.#state.manager.save(this.#state)
  }

  /** `Session`: what test runners do not take for a plain object, and print as it says. */
  get [Symbol.toStringTag](): string {
    return 'Session'
  }

  /** What `JSON.stringify` writes. @param name That of the property which holds the session; empty for one that stands alone. */
  toJSON(name?: string): ShownSession {
    return serialized(this.#state, name)
  }

  /** What `console.log` prints. */
  [Symbol.for('nodejs.util.inspect.custom')](
    depth: number,
    options: { readonly depth?: number | null },
    inspect?: (value: unknown, options: object) => string,
  ): unknown {
    // Also asked of what has a session for its prototype.
    return #state in this ? inspected(this.#state, depth, options, inspect) : 'Session'
  }

  #expiresAt(now: number): number {
    const draft = this.#draft()
    return expiresAt(draft.data[EXPIRY_KEY], this.#state.manager.settings, draft.created, now)
  }

  #loaded(): SessionState {
    const state = this.#state
    if (state.standing.is === 'unloaded') state.manager.load(state)
    return state
  }

  /** Whether there is such a name, without a use of the session; not of one that cannot be loaded at once. */
  #holds(name: string): boolean {
    try {
      return Object.hasOwn(this.#loaded().draft.data, name)
    } catch {
      return false
    }
  }

  #draft(): Draft {
    const state = this.#loaded()
    state.accessed = true
    if (state.sent) this.#warnIfUnsaved()
    return state.draft
  }

  #change(): Draft {
    const draft = this.#draft()
    const state = this.#state
    if (state.modified === false) state.modified = undefined
    return draft
  }

  /** For taking something out: where the session's content is not known, that cannot be done by finding nothing. */
  #take(): Draft {
    const draft = this.#draft()
    this.#state.tookUnknown = true
    return draft
  }

  #keys(): string[] {
    const keys = this.#draft().keys()
    return keys.some(isBookkeeping) ? keys.filter((key) => this.#shows(key)) : keys
  }

  #shows(key: string): boolean {
    return !isBookkeeping(key) || this.#state.manager.shown.includes(key)
  }

  /** A change after the headers is lost unless `save()` follows at once: looks a moment later whether it did. */
  #warnIfUnsaved(): void {
    if (this.#checking) return
    this.#checking = true
    setTimer(() => {
      this.#checking = false
      if (this.modified && !this.#state.line) {
        warnDeveloper(
          'CHANGED_AFTER_HEADERS',
          "The session was changed after the response's headers went out, and that change is not saved. Change it before the response starts, or call `await session.save()` right after the change.",
        )
      }
    }, 0).unref?.()
  }
}

seal(Session, warnOfRead)

function assertOwn(method: string, key: string): void {
  assertKey(method, key)
  if (!isBookkeeping(key)) return
  throw new SessionUsageError(
    `'${key}' cannot be changed: names that begin with '${BOOKKEEPING}' are the session's own bookkeeping. Take another name, or setExpiry().`,
  )
}

function assertKey(method: string, key: unknown): void {
  if (typeof key === 'string') return
  const hint = method === 'delete' && key === undefined ? '; to end the session call flush()' : ''
  misused(method, `takes a key, which is text, and got ${inWords(key)}${hint}`)
}

function assertGiven(method: string, key: string, given: number): void {
  if (given >= 2) return
  const hint = method === 'flash' ? `; what was flashed is read by get('${key}')` : ''
  misused(method, `takes a key and a value, and got the key '${key}' alone${hint}`)
}

function refuseEntries(entries: unknown): never {
  const hint = isPlain(entries) ? ': several are set by update({ … })' : ''
  misused('set', `takes a key, which is text, and a value, and got ${inWords(entries)}${hint}`)
}

function refuseUpdate(key: string, given: unknown): never {
  misused(
    'update',
    `takes a key and a function, or an object, and got the key '${key}' and ${inWords(given)}: a value is set by set('${key}', …)`,
  )
}

function refuseAge(seconds: number): never {
  const meant =
    seconds > 1e11 ? 'for a moment pass a Date' : `is it milliseconds? Then ${seconds / 1000} it is`
  misused('setExpiry', `takes seconds, at most ${LONGEST_AGE}, and got ${seconds}: ${meant}`)
}

function takesNothing(method: string): never {
  noCallback(method, 'takes effect when the session is saved: `await session.save()`')
}

function noCallback(method: string, instead: string): never {
  misused(method, `takes no callback and ${instead}`)
}

function misused(method: string, what: string): never {
  const name = method === 'modified' ? method : `${method}()`
  throw new SessionUsageError(`session.${name} ${what}.`)
}

/** Refuses at once what no codec could carry, so that the stack shows the line that set it. */
function assertValue(key: string, value: unknown): void {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    const advice =
      value === undefined
        ? 'Use delete() to remove a key, return a value from update(), or store null'
        : 'Store the data it stands for'
    throw new SessionEncodeError(
      key,
      `The session cannot hold ${value === undefined ? 'undefined' : `a ${typeof value}`} under '${key}'. ${advice}.`,
    )
  }
}

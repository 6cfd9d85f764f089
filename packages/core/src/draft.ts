// One request's working copy of a session: the data as loaded, the changes made to it, and how they go onto newer data.
import type { Codec, Dictionary } from './codec.ts'

/** A change that can be run again on a newer value; undefined removes the key. */
export type Updater = (current: any) => unknown

/**
 * What this request did to one key: its value in `data` counts, it is gone, or these functions ran on it. Each change is
 * an object of its own and never altered, so that one made during a save can be told from the one that is saved.
 */
type Change =
  | { readonly kind: 'set' }
  | { readonly kind: 'delete' }
  | { readonly kind: 'update'; readonly fns: readonly Updater[] }

/** When the session was created, in ms since the epoch; kept only where an absolute lifetime counts from it. */
const CREATED = '_session_created'
/** Names the keys that are there for the next request only. */
const FLASH = '_session_flash'

export class Draft {
  readonly #codec: Codec
  /** The text this draft started from. */
  base: string | undefined
  /** How the store kept that text, which is what a save expects to find. */
  stored: string | undefined

  #data: Dictionary = {}
  /** The changes since the base. Never altered once it is `#settled`, but replaced. */
  #changes: Map<string, Change> | undefined
  /** Set if everything that was in the base is to go, whatever it is by now; a new object each time. */
  #cleared: object | undefined
  /** Which of the changes are on their way to the store. */
  #settled:
    | { changes: Map<string, Change> | undefined; cleared: object | undefined; text: string }
    | undefined
  /**
   * Keys whose value is an object that the application holds and may change in place. The text beside a key is the
   * value's encoding when it was handed out, where the base does not tell.
   */
  #handedOut: Map<string, string | undefined> | undefined
  /** What this request flashes, for the next one to see. */
  #flashed: Map<string, unknown> | undefined
  /** Flashed by an earlier request, so this one is the last to see them. */
  #fading: readonly string[] = []

  /** @throws whatever the codec throws if `stored` is not of its making. */
  constructor(codec: Codec, stored?: string) {
    this.#codec = codec
    if (stored === undefined) return
    const text = this.#open(stored)
    this.#data = codec.decode(text)
    this.base = text
    this.stored = stored
    if (Object.hasOwn(this.#data, FLASH)) this.#fading = names(this.#data[FLASH])
  }

  /** When the session was created, in ms since the epoch, if that is kept. */
  get created(): number | undefined {
    const created = Object.hasOwn(this.#data, CREATED) ? this.#data[CREATED] : undefined
    return typeof created === 'number' ? created : undefined
  }

  /** Keeps `time` as the session's creation, unless another request was first. */
  setCreated(time: number): void {
    this.update(CREATED, (created: number = time) => created)
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#data, key)
  }

  keys(): string[] {
    return Object.keys(this.#data).filter((key) => key !== CREATED && key !== FLASH)
  }

  get(key: string): unknown {
    if (!Object.hasOwn(this.#data, key)) return undefined
    const value = this.#data[key]
    if (typeof value === 'object' && value !== null) this.#handOut(key, value)
    return value
  }

  set(key: string, value: unknown): void {
    put(this.#data, key, value)
    this.#change(key, { kind: 'set' })
    if (typeof value === 'object' && value !== null) this.#handOut(key, value)
  }

  delete(key: string): boolean {
    if (!Object.hasOwn(this.#data, key)) return false
    delete this.#data[key]
    this.#change(key, { kind: 'delete' })
    return true
  }

  update(key: string, fn: Updater): void {
    const earlier = this.#changes?.get(key)
    const updates = earlier?.kind === 'update' ? earlier.fns : []
    const mine = earlier ? updates.length === 0 : this.#isChangedInPlace(key)
    run(this.#data, key, [fn])
    // On a value of this request's own there is nothing newer to run the function on.
    this.#change(key, mine ? { kind: 'set' } : { kind: 'update', fns: [...updates, fn] })
    if (!mine && this.#handedOut?.has(key)) this.#handedOut.set(key, this.#encodeOne(key))
  }

  /** Puts a value where the next request finds it and the one after does not. */
  flash(key: string, value: unknown): void {
    this.#flashed ??= new Map()
    this.#flashed.set(key, value)
  }

  clear(): void {
    const { created } = this
    this.#data = {}
    this.#changes = this.#handedOut = this.#flashed = undefined
    this.#fading = []
    this.#cleared = {}
    if (created !== undefined) this.setCreated(created)
  }

  /** Whether everything that was there before this request is to go. */
  get isCleared(): boolean {
    return this.#cleared !== undefined
  }

  get isEmpty(): boolean {
    for (const key in this.#data) if (key !== CREATED && key !== FLASH) return false
    return !this.#flashed?.size
  }

  /** Whether anything was changed, by a method or in place. */
  get isChanged(): boolean {
    if (this.isMarkedChanged || this.#flashed?.size) return true
    for (const key of this.#handedOut?.keys() ?? []) if (this.#isChangedInPlace(key)) return true
    return false
  }

  /** Whether a method changed anything; after `settle`, in-place changes count too. */
  get isMarkedChanged(): boolean {
    return this.isCleared || !!this.#changes?.size
  }

  /**
   * Gets ready for a save: what was flashed to this request goes, if it looked (`accessed`); what it flashes comes;
   * in-place changes are found. Returns the text to store; `saved` is to follow once it is.
   */
  settle(accessed: boolean): string {
    if (accessed && this.#fading.length > 0) {
      const faded = this.#fading
      this.#fading = []
      for (const key of faded) if (!this.#changes?.has(key)) this.delete(key)
      this.update(FLASH, (list) => listOf(names(list).filter((key) => !faded.includes(key))))
    }
    if (this.#flashed) {
      const keys = [...this.#flashed.keys()]
      for (const [key, value] of this.#flashed) this.set(key, value)
      this.#flashed = undefined
      this.update(FLASH, (list) => listOf([...new Set([...names(list), ...keys])]))
    }
    let text = this.base
    if (text === undefined || this.isMarkedChanged || this.#handedOut?.size) {
      text = this.#codec.encode(this.#data, this.#suspects())
      if (text !== this.base) this.#markInPlaceChanges()
    }
    this.#settled = { changes: this.#changes, cleared: this.#cleared, text }
    return text
  }

  /** The text as the store is to keep it. */
  seal(text: string): string {
    return this.#codec.seal ? this.#codec.seal(text) : text
  }

  #open(stored: string): string {
    return this.#codec.open ? this.#codec.open(stored) : stored
  }

  /**
   * What `settle` returned is stored as `stored`, or, if that is undefined, removed: the draft starts from there. Changes
   * made in between stay changes, and what the application holds it may go on changing.
   */
  saved(stored: string | undefined): void {
    const { changes, cleared, text } = this.#settled!
    this.base = stored === undefined ? undefined : text
    this.stored = stored
    if (this.#changes === changes) this.#changes = undefined
    else {
      for (const [key, saved] of changes ?? []) {
        const now = this.#changes?.get(key)
        if (now === saved) this.#changes!.delete(key)
        else if (now?.kind === 'update' && saved.kind === 'update') {
          this.#changes!.set(key, { kind: 'update', fns: now.fns.slice(saved.fns.length) })
        }
      }
    }
    if (this.#cleared === cleared) this.#cleared = undefined
    for (const key of this.#handedOut?.keys() ?? []) this.#handedOut!.set(key, undefined)
  }

  /**
   * Puts this request's changes, key by key, onto newer data, which becomes the new base.
   * @throws whatever the codec throws if `stored` is not of its making.
   */
  rebase(stored: string): void {
    const text = this.#open(stored)
    const newest = this.#codec.decode(text)
    const mine = this.#data
    this.base = text
    this.stored = stored
    this.#data = this.isCleared ? {} : newest
    for (const [key, change] of this.#changes ?? []) {
      if (change.kind === 'delete') delete this.#data[key]
      else if (change.kind === 'set') put(this.#data, key, mine[key])
      else {
        run(this.#data, key, change.fns)
        if (this.#handedOut?.has(key)) this.#handedOut.set(key, this.#encodeOne(key))
      }
    }
  }

  #change(key: string, change: Change): void {
    if (!this.#changes) this.#changes = new Map()
    else if (this.#changes === this.#settled?.changes) this.#changes = new Map(this.#changes)
    this.#changes.set(key, change)
  }

  #handOut(key: string, value: object): void {
    this.#handedOut ??= new Map()
    if (this.#handedOut.has(key)) return
    const updated = this.#changes?.get(key)?.kind === 'update'
    this.#handedOut.set(key, updated ? this.#encodeOne(key, value) : undefined)
  }

  #markInPlaceChanges(): void {
    for (const key of this.#handedOut?.keys() ?? []) {
      if (this.#isChangedInPlace(key)) this.#change(key, { kind: 'set' })
    }
  }

  /** Whether a value that the application holds is no longer what it was when it was handed out. */
  #isChangedInPlace(key: string): boolean {
    if (!this.#handedOut?.has(key) || !Object.hasOwn(this.#data, key)) return false
    const change = this.#changes?.get(key)
    if (change && change.kind !== 'update') return false
    const before = this.#handedOut.get(key) ?? this.#encodeBase(key)
    return before !== this.#encodeOne(key)
  }

  #encodeBase(key: string): string | undefined {
    if (this.base === undefined) return undefined
    const data = this.#codec.decode(this.base)
    return Object.hasOwn(data, key) ? this.#encodeOne(key, data[key]) : undefined
  }

  #encodeOne(key: string, value: unknown = this.#data[key]): string {
    const one: Dictionary = {}
    put(one, key, value)
    return this.#codec.encode(one, [key])
  }

  /** The keys whose values the application had in its hands. */
  #suspects(): string[] {
    return [...(this.#handedOut?.keys() ?? []), ...(this.#changes?.keys() ?? [])]
  }
}

/** Defines an own property, even where a plain assignment would hit a setter such as `__proto__`. */
function put(data: Dictionary, key: string, value: unknown): void {
  if (key in data && !Object.hasOwn(data, key)) {
    Object.defineProperty(data, key, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    })
  } else data[key] = value
}

/** Replaces a value by what the functions make of it, one after the other. */
function run(data: Dictionary, key: string, fns: readonly Updater[]): void {
  let value = Object.hasOwn(data, key) ? data[key] : undefined
  for (const fn of fns) value = fn(value)
  if (value === undefined) delete data[key]
  else put(data, key, value)
}

function names(list: unknown): string[] {
  return Array.isArray(list) ? list.filter((name) => typeof name === 'string') : []
}

/** A list that is kept only while there is something in it. */
function listOf(keys: string[]): string[] | undefined {
  return keys.length > 0 ? keys : undefined
}

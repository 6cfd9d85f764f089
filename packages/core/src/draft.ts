// One request's working copy of a session: the data, and what the request did to it since the store last had it.
import { isBookkeeping } from './bookkeeping.ts'
import type { Codec, Dictionary } from './codec.ts'
import {
  compose,
  composeKey,
  FLASH_KEY,
  mergeKey,
  put,
  putOnto,
  putOrDelete,
  runUpdaters,
  WHOLE_KEYS,
  type Change,
  type Changes,
  type Merging,
  type Updater,
} from './changes.ts'
import { Flashes } from './flashes.ts'
import { Hands, type Held } from './hands.ts'
import { equal, own } from './json.ts'
import { mergeBudget } from './merge.ts'
import {
  CREATED_KEY,
  createdIn,
  encodeOne,
  isEmptyData,
  Snapshot,
  UNCHANGED,
  type Kept,
} from './snapshot.ts'
import type { Clash } from './strategies.ts'

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>()
const NO_KEYS: readonly string[] = []
const NO_CLASHES: readonly Clash[] = []

export class Draft {
  readonly #codec: Codec
  #merging: Merging
  /** What the store had when this draft was loaded or last saved. */
  base: Kept | undefined

  #data: Dictionary = {}
  #cleared = false
  #changes: Map<string, Change> | undefined
  /** What is there for one request only; undefined while nothing is. */
  #flashes: Flashes | undefined

  /** The keys that the application has looked at. */
  #read: Set<string> | undefined
  /** Whether the application knows which keys there are, and so has looked at those too that are not there. */
  #readAll = false
  /** Objects that the application holds and may change in place. */
  #hands: Hands | undefined
  /** What the application knows of keys that were merged since it looked at them. */
  #known: Map<string, unknown> | undefined
  /** From what the application has made the value of a key that is not there: a default of its own, or what others have removed. */
  #starts: Map<string, unknown> | undefined

  /** What a change in place is told from: the text of the base, or of the snapshot that is on its way to the store. */
  #before: string | undefined
  /** The same as data, decoded once to compare with and never handed out. */
  #beforeData: Dictionary | undefined
  /** The snapshot that was merged into the base: the data is still as it was before that. */
  #merged: Snapshot | undefined
  /** Where one of two requests' changes was lost by that. */
  #clashes: Clash[] | undefined
  /** What a strategy or an `update` function has thrown then: the next save fails with it. */
  #failure: { readonly error: unknown } | undefined

  /** @throws whatever the codec throws if `kept` is not of its making. */
  constructor(codec: Codec, merging: Merging, kept?: Kept) {
    this.#codec = codec
    this.#merging = merging
    if (kept === undefined) return
    this.base = kept
    this.#before = kept.text
    this.#data = codec.decode(kept.text)
    if (Object.hasOwn(this.#data, FLASH_KEY)) this.#flashes = new Flashes(this.#data)
  }

  /** The data, bookkeeping and all. It is not to be changed. */
  get data(): Readonly<Dictionary> {
    return this.#current()
  }

  /** When the session was created, in ms since the epoch, if that is kept. */
  get created(): number | undefined {
    return createdIn(this.#current())
  }

  /** Whether there is a value under `key`. It does not count as a look at it. */
  has(key: string): boolean {
    return Object.hasOwn(this.#current(), key)
  }

  /** The keys. They count as looked at, and so do those that are not there. */
  keys(): string[] {
    this.#readAll = true
    const keys = Object.keys(this.#current())
    for (const key of keys) if (!isBookkeeping(key)) this.#look(key)
    return keys
  }

  /** Whether there is a value under `key`: the application looks. */
  looksFor(key: string): boolean {
    this.#look(key)
    return this.has(key)
  }

  /** The value under `key`, or `fallback`: the application looks at it, and may change it in place. */
  get(key: string, fallback?: unknown): unknown {
    const data = this.#current()
    this.#look(key)
    if (this.#hands) this.#takeOver(key)
    if (!Object.hasOwn(data, key)) {
      if (fallback !== undefined) this.#noteDefault(key, fallback)
      return fallback
    }
    this.#known?.delete(key)
    this.#holdCurrent(key)
    return data[key]
  }

  set(key: string, value: unknown): void {
    const data = this.#current()
    const held = isObject(value) ? this.#hands?.find(key, value) : undefined
    // What is held stays the key's value, though another version of it may be set: the application has both of one thing.
    if (held) this.#takeOver(key)
    else this.#hands?.forget(key)
    const known = this.#knownBefore(key, value, held)
    if (known && Object.hasOwn(data, key)) {
      this.#mergeIn(key, known.value, value)
      this.#note(key, 'changed')
      return
    }
    if (known && !this.#changes?.has(key)) this.#noteStart(key, known.value)
    put(data, key, value)
    this.#note(key, this.#isRead(key) ? 'changed' : 'set')
    this.#holdCurrent(key)
  }

  /** What the application has made a value from, where that is not the key's value of now. */
  #knownBefore(key: string, value: unknown, held: Held | undefined) {
    if (held?.was !== undefined && this.#data[key] !== value) {
      return { value: this.#codec.decode(held.was)[key] }
    }
    return this.#known?.has(key) ? { value: this.#known.get(key) } : undefined
  }

  delete(key: string): boolean {
    const data = this.#current()
    if (!Object.hasOwn(data, key)) return false
    this.#hands?.drop(key)
    this.#known?.delete(key)
    this.#starts?.delete(key)
    delete data[key]
    this.#note(key, this.#isRead(key) ? 'removed' : 'delete')
    return true
  }

  update(key: string, updater: Updater): void {
    const data = this.#current()
    if (this.#hands) this.#takeOver(key)
    const isOwn = this.#isChangedInPlace(key)
    const before = own(data, key)
    // The function sees the newest value.
    this.#known?.delete(key)
    runUpdaters(data, key, [updater])
    this.#note(key, isOwn ? 'changed' : [updater])
    const after = own(data, key)
    if (after !== before) {
      if (this.#hands?.forget(key)) this.#holdCurrent(key)
      return
    }
    // What the function has changed in place is no change in place: it runs again on newer data.
    const held = isObject(after) ? this.#hands?.find(key, after) : undefined
    if (held) held.was = this.#encodeOne(key, after)
  }

  /** Puts a value where the next request finds it and the one after does not. */
  flash(key: string, value: unknown): void {
    this.#flashes ??= new Flashes({})
    this.#flashes.flash(key, value, this.#isRead(key))
  }

  clear(): void {
    const { created } = this
    this.#data = {}
    this.#changes = this.#flashes = this.#hands = this.#known = this.#starts = undefined
    this.#clashes = this.#failure = undefined
    this.#cleared = true
    if (created !== undefined) this.#setCreated(created)
  }

  get isEmpty(): boolean {
    return !this.#flashes?.isWaiting && isEmptyData(this.#current())
  }

  /** Whether nothing can have been changed: nothing was set, nothing flashed, and nothing is in the application's hands. */
  get isUntouched(): boolean {
    const flashes = this.#flashes
    const mayHaveFlashed = flashes?.isWaiting || flashes?.isFading
    return !(this.#hands || mayHaveFlashed || this.#failure || this.#isMarkedChanged)
  }

  /** Whether anything was changed since the last save, by a method or in place. */
  get isChanged(): boolean {
    if (this.#isMarkedChanged || this.#flashes?.isWaiting) return true
    if (!this.#hands) return false
    this.#current()
    for (const [key, { value, was }] of this.#hands.all()) {
      if (was !== undefined && was !== this.#encodeOne(key, value)) return true
    }
    if (this.#before === undefined || this.#encode() === this.#before) return false
    return this.#heldKeys().some((key) => this.#isChangedInPlace(key))
  }

  /**
   * What is to be stored now, and what was done to get there. The draft goes on from here: `saved` is to follow once it is
   * stored, or `restore`.
   * @param accessed Whether the request looked at its session: then what was flashed to it goes.
   * @param createdAt Kept as the session's creation, in ms since the epoch, if none is kept yet.
   * @param isLogin Whether the request takes a new key: what it changes is taken whole, so that nothing of another user's can get
   * into it.
   * @throws What a strategy or an `update` function has thrown where it met newer data before.
   */
  take(accessed: boolean, createdAt: number | undefined, isLogin: boolean): Snapshot {
    if (isLogin) this.#merging = WHOLE_KEYS
    const data = this.#current()
    for (const key of this.#heldKeys()) this.#takeOver(key)
    if (isLogin) this.#takeWhole(data)
    this.#throwFailure()
    if (createdAt !== undefined && !this.isEmpty && createdIn(data) === undefined) {
      this.#setCreated(createdAt)
    }
    if (this.#flashes) this.#flashAndFade(data, this.#flashes, accessed)
    const { base } = this
    const text = this.#isMarkedChanged || this.#hands || !base ? this.#encode() : base.text
    if (base !== undefined && text !== base.text && !this.#isMarkedChanged) this.#noteInPlace()
    const isChanged = this.#isMarkedChanged
    const snapshot = new Snapshot(this.#codec, this.#merging, this.#heldKeys(), {
      base,
      // Text that another program has written otherwise than the codec would is no change.
      text: isChanged || base === undefined ? text : base.text,
      changes: isChanged ? this.#changesSoFar() : UNCHANGED,
      clashes: this.#clashes ?? NO_CLASHES,
    })
    this.#cleared = false
    this.#changes = this.#clashes = undefined
    this.#flashes?.taken()
    this.#compareWith(snapshot.text)
    for (const [key, held] of this.#allHeld()) if (data[key] === held.value) held.was = undefined
    return snapshot
  }

  /**
   * What was taken is stored: the draft starts from `kept`, or from nothing if the session was removed. Changes made in
   * between stay changes, and what the application holds it may go on changing.
   */
  saved(snapshot: Snapshot, kept: Kept | undefined): void {
    this.base = kept
    this.#compareWith(kept?.text)
    if (kept === undefined) {
      // What was there is gone, also what others had removed before: only what came since is left.
      this.#data = this.#putOnto({}, {}, this.#data)
      for (const key of this.#heldKeys()) if (!this.#changes?.has(key)) this.#hands!.forget(key)
      return
    }
    if (kept.text !== snapshot.text) {
      this.#merged = snapshot
      return
    }
    for (const [key, held] of this.#allHeld()) {
      if (this.#data[key] === held.value && !this.#changes?.has(key)) held.was = undefined
    }
  }

  /** What was taken is not stored: its changes are to be made again, with those that came after. */
  restore({ changes, text, clashes }: Snapshot): void {
    this.#compareWith(this.base?.text)
    if (clashes.length > 0) this.#clashes = [...clashes, ...(this.#clashes ?? [])]
    if (changes === UNCHANGED) return
    this.#compareUpdated(changes, text)
    const all = compose(changes, this.#changesSoFar())
    this.#cleared = all.cleared
    this.#changes = new Map(all.keys)
    if (this.#flashes) this.#flashes.changes = all
  }

  /** What update functions made is compared with itself: they run again on newer data, and that is no change in place. */
  #compareUpdated(changes: Changes, text: string): void {
    let data: Dictionary | undefined
    for (const [key, held] of this.#allHeld()) {
      if (typeof changes.keys.get(key) !== 'object') continue
      data ??= this.#codec.decode(text)
      held.was ??= this.#encodeIn(data, key)
    }
  }

  get #isMarkedChanged(): boolean {
    return this.#cleared || (this.#changes?.size ?? 0) > 0 || !!this.#flashes?.isChanged
  }

  #changesSoFar(): Changes {
    return {
      cleared: this.#cleared,
      keys: this.#changes ?? NOTHING,
      starts: this.#starts ?? NOTHING,
      faded: this.#flashes?.faded ?? NOTHING,
      flashed: this.#flashes?.flashed ?? NOTHING,
    }
  }

  /** The data; after a save that was merged, what that made of it, with what the request did and holds since. */
  #current(): Dictionary {
    if (this.#merged !== undefined) this.#followMerge(this.#merged)
    return this.#data
  }

  #followMerge({ text }: Snapshot): void {
    const before = this.#data
    const saved = this.#codec.decode(text)
    const newest = this.#codec.decode(this.base!.text)
    for (const [key, held] of this.#allHeld()) {
      const isOwn = before[key] === held.value
      // Made by functions, and changed in place since.
      if (isOwn && held.was !== undefined && held.was !== this.#tryEncode(key, held.value)) {
        this.#note(key, 'in place')
      }
      held.was ??= this.#encodeIn(saved, key)
      // What another request has not changed stays the object that the application has.
      const isAsSaved = isOwn && !this.#changes?.has(key)
      if (isAsSaved && held.was === this.#encodeIn(newest, key)) put(newest, key, held.value)
    }
    this.#data = this.#putOnto(newest, saved, before)
    this.#merged = undefined
    for (const [key, held] of this.#allHeld()) {
      if (this.#data[key] === held.value) held.was = undefined
      // It is in the data, merged or by the functions that made it.
      else if (before[key] === held.value && this.#changes?.has(key)) {
        held.was = this.#tryEncode(key, held.value)
      }
    }
    this.#hands?.tidy()
    for (const key of this.#read ?? []) {
      const known = own(this.#changes?.has(key) ? before : saved, key)
      const value = own(this.#data, key)
      if (this.#known?.has(key) || value === own(before, key) || equal(known, value)) continue
      this.#known ??= new Map()
      this.#known.set(key, this.#copyOf(key, known))
    }
  }

  /** What was done since, from `base` to `mine`, on top of newer data. */
  #putOnto(newest: Dictionary, base: Dictionary, mine: Dictionary): Dictionary {
    const data = putOnto(newest, {
      changes: this.#changesSoFar(),
      base,
      mine,
      merging: this.#merging,
      clash: (clash) => this.#noteClash(clash),
      fail: (key, error) => this.#noteFailure(key, error),
    })
    for (const [key, change] of this.#changes ?? []) {
      if (change !== 'changed' && change !== 'in place') continue
      if (!Object.hasOwn(newest, key)) this.#noteStart(key, own(base, key))
      // What was merged may share parts with what the application holds.
      const isShared = Object.hasOwn(data, key) && data[key] !== mine[key]
      if (isShared) put(data, key, this.#copyOf(key, data[key]))
    }
    return data
  }

  /** Objects that the application held from before a merge, and has changed since, are merged into the key's value. */
  #takeOver(key: string): void {
    for (const held of this.#hands!.of(key)) {
      const { value, was } = held
      if (was === undefined || was === this.#encodeOne(key, value)) continue
      this.#note(key, 'in place')
      if (this.#data[key] === value) {
        // Made by functions, and changed in place since.
        held.was = undefined
        continue
      }
      const isLookedAt = !this.#known?.has(key)
      this.#mergeIn(key, this.#codec.decode(was)[key], value)
      if (isLookedAt) this.#known?.delete(key)
    }
  }

  /** The application has changed a value from `from` to `to`, which is not the newest one. */
  #mergeIn(key: string, from: unknown, to: unknown): void {
    const data = this.#data
    // The object that was the key's value until now is in the data as it is.
    for (const other of this.#hands?.of(key) ?? []) other.was ??= this.#encodeOne(key, other.value)
    const mine = this.#copyOf(key, to)
    if (!Object.hasOwn(data, key)) this.#noteStart(key, from)
    try {
      const note = (clash: Clash) => this.#noteClash(clash)
      const newest = own(data, key)
      const merged = mergeKey(this.#merging, key, from, mine, newest, note, mergeBudget())
      putOrDelete(data, key, this.#copyOf(key, merged))
    } catch (error) {
      this.#noteFailure(key, error)
    }
    this.#known ??= new Map()
    this.#known.set(key, mine)
    if (isObject(to)) this.#hold(key, to).was = this.#encodeOne(key, to)
  }

  /** What a login changes is as the application knows it, without what was merged into it before. */
  #takeWhole(data: Dictionary): void {
    for (const [key, known] of this.#known ?? []) {
      if (this.#changes?.has(key)) putOrDelete(data, key, this.#copyOf(key, known))
    }
  }

  #noteClash(clash: Clash): void {
    this.#clashes ??= []
    this.#clashes.push(clash)
  }

  /** The change is dropped, and the next save fails. */
  #noteFailure(key: string, error: unknown): void {
    this.#failure ??= { error }
    this.#changes?.delete(key)
  }

  #throwFailure(): void {
    const failure = this.#failure
    this.#failure = undefined
    if (failure) throw failure.error
  }

  #noteInPlace(): void {
    for (const key of this.#heldKeys()) if (this.#isChangedInPlace(key)) this.#note(key, 'in place')
  }

  /** What an earlier request has flashed goes out of the data, if this one has looked; what this one flashes comes in. */
  #flashAndFade(data: Dictionary, flashes: Flashes, accessed: boolean): void {
    if (accessed && flashes.isFading) {
      const gone = flashes.fade(data, (key) => !!this.#changes?.has(key))
      for (const key of gone) this.#hands?.forget(key)
    }
    if (!flashes.isWaiting) return
    for (const key of flashes.put(data)) {
      this.#changes?.delete(key)
      this.#hands?.forget(key)
      this.#holdCurrent(key)
    }
  }

  /** Keeps `time` as the session's creation, unless another request was first. */
  #setCreated(time: number): void {
    this.update(CREATED_KEY, (created: number = time) => created)
  }

  #note(key: string, change: Change): void {
    if (change !== 'in place') this.#flashes?.keep(key, this.#data)
    this.#changes ??= new Map()
    const earlier = this.#changes.get(key)
    if (typeof earlier === 'object' && typeof change === 'object') {
      // The list is this draft's own until it is taken.
      ;(earlier as Updater[]).push(...change)
    } else this.#changes.set(key, composeKey(earlier, change))
  }

  #isRead(key: string): boolean {
    return (this.#readAll && !isBookkeeping(key)) || !!this.#read?.has(key)
  }

  #look(key: string): void {
    this.#read ??= new Set()
    this.#read.add(key)
  }

  /** What the application was given where there was nothing: it may go on from there. */
  #noteDefault(key: string, fallback: unknown): void {
    // What is begun empty is what a merge starts from anyway.
    if (isObject(fallback) && Object.keys(fallback).length === 0) return
    if (fallback === null || this.#starts?.has(key)) return
    try {
      this.#noteStart(key, this.#copyOf(key, fallback))
    } catch {
      // Nothing that could be set.
    }
  }

  /** What a value was made from that the newest data does not have. */
  #noteStart(key: string, from: unknown): void {
    if (from === undefined) return
    this.#starts ??= new Map()
    this.#starts.set(key, from)
  }

  #holdCurrent(key: string): void {
    const value = own(this.#data, key)
    if (isObject(value)) this.#hold(key, value)
  }

  #hold(key: string, value: object) {
    this.#hands ??= new Hands()
    // What an update function made is compared with itself: it runs again on newer data, and that is no change in place.
    const isMade = typeof this.#changes?.get(key) === 'object' && !this.#hands.find(key, value)
    return this.#hands.hold(key, value, isMade ? this.#encodeOne(key, value) : undefined)
  }

  #allHeld() {
    return this.#hands?.all() ?? []
  }

  #heldKeys(): readonly string[] {
    return this.#hands?.keys() ?? NO_KEYS
  }

  #isChangedInPlace(key: string): boolean {
    return (this.#hands?.of(key) ?? []).some(({ value, was }) => {
      const before = was ?? this.#encodeIn(this.#decodedBefore(), key)
      return before !== this.#encodeOne(key, value)
    })
  }

  #compareWith(text: string | undefined): void {
    this.#before = text
    this.#beforeData = undefined
  }

  #decodedBefore(): Dictionary {
    this.#beforeData ??= this.#before === undefined ? {} : this.#codec.decode(this.#before)
    return this.#beforeData
  }

  /** The data as text, checked where the application had a hand in it. */
  #encode(): string {
    const changed = this.#changes?.keys() ?? NO_KEYS
    if (!this.#hands && !this.#flashes?.isChanged) return this.#codec.encode(this.#data, changed)
    const suspects = [
      ...changed,
      ...this.#heldKeys(),
      ...(this.#flashes?.flashed.keys() ?? NO_KEYS),
    ]
    return this.#codec.encode(this.#data, suspects)
  }

  #encodeIn(data: Dictionary, key: string): string | undefined {
    return Object.hasOwn(data, key) ? this.#encodeOne(key, data[key]) : undefined
  }

  /** A value of the application's as it will come back from the store. */
  #copyOf(key: string, value: unknown): unknown {
    return isObject(value) ? own(this.#codec.decode(this.#encodeOne(key, value)), key) : value
  }

  #encodeOne(key: string, value: unknown): string {
    return encodeOne(this.#codec, key, value)
  }

  /** The same; undefined for what cannot be stored, which the next save will say. */
  #tryEncode(key: string, value: unknown): string | undefined {
    try {
      return this.#encodeOne(key, value)
    } catch {
      return undefined
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

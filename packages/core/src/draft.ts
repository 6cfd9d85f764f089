// One request's working copy of a session: the data, and what the request did to it since the store last had it.
import type { Codec, Dictionary } from './codec.ts'
import { createKey } from './key.ts'
import { mergeField } from './strategies.ts'
import {
  compose,
  composeKey,
  FLASH_KEY,
  put,
  putOnto,
  readMarks,
  runUpdaters,
  WHOLE_KEYS,
  writeMarks,
  type Change,
  type Changes,
  type Merging,
  type Updater,
} from './changes.ts'
import { reportClash } from './events.ts'
import { equal, own } from './json.ts'
import {
  CREATED_KEY,
  createdIn,
  encodeOne,
  isEmptyData,
  Snapshot,
  UNCHANGED,
  type Kept,
} from './snapshot.ts'

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>()
const NO_KEYS: readonly string[] = []
/** So many objects of one key an application may hold, each from before a merge, and change in place. */
const MOST_HELD = 8

/** An object in the application's hands, and what it was when it got there, where that is not the base's value. */
interface Held {
  readonly value: object
  was: string | undefined
}

export class Draft {
  readonly #codec: Codec
  readonly #merging: Merging
  /** What the store had when this draft was loaded or last saved. */
  base: Kept | undefined

  #data: Dictionary = {}
  #cleared = false
  #changes: Map<string, Change> | undefined
  /** The keys that the application has looked at. */
  #read: Set<string> | undefined
  /** Whether the application knows which keys there are, and so has looked at those too that are not there. */
  #readAll = false
  /** From what the application has made the value of a key that is not there: a default of its own, or what others have removed. */
  #starts: Map<string, unknown> | undefined
  /** Values that the application looked at before they were merged: what it knows of those keys, until it looks again. */
  #known: Map<string, unknown> | undefined
  #faded: ReadonlyMap<string, string> = NOTHING
  #flashed: ReadonlyMap<string, string> = NOTHING
  /** Flashed since the last save: the next request sees it, this one does not. */
  #flashing: Map<string, unknown> | undefined
  /** Flashed by an earlier request, with its marks: this one is the last to see it. */
  #fading: ReadonlyMap<string, string> = NOTHING
  /** Objects that the application holds and may change in place, by key: after a merge there may be an old and a new one. */
  #held: Map<string, Held[]> | undefined
  /** What a change in place is told from: the text of the base, or of the snapshot that is on its way to the store. */
  #before: string | undefined
  /** The same as data, decoded once to compare with and never handed out. */
  #beforeData: Dictionary | undefined
  /** The snapshot that was merged into the base: the data is still as it was before that. */
  #merged: Snapshot | undefined

  /** @throws whatever the codec throws if `kept` is not of its making. */
  constructor(codec: Codec, merging: Merging, kept?: Kept) {
    this.#codec = codec
    this.#merging = merging
    if (kept === undefined) return
    this.base = kept
    this.#before = kept.text
    this.#data = codec.decode(kept.text)
    if (Object.hasOwn(this.#data, FLASH_KEY)) this.#fading = readMarks(this.#data)
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
    const keys = Object.keys(this.#current())
    this.#readAll = true
    for (const key of keys) this.#look(key)
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
    if (!Object.hasOwn(data, key)) {
      if (fallback !== undefined) this.#noteDefault(key, fallback)
      return fallback
    }
    this.#known?.delete(key)
    const value = data[key]
    if (typeof value === 'object' && value !== null) this.#hold(key, value)
    return value
  }

  set(key: string, value: unknown): void {
    const data = this.#current()
    this.#held?.delete(key)
    if (this.#known?.has(key)) {
      this.#mergeIn(key, this.#known.get(key), value)
      this.#note(key, 'changed')
      return
    }
    put(data, key, value)
    this.#note(key, this.#isRead(key) ? 'changed' : 'set')
    if (typeof value === 'object' && value !== null) this.#hold(key, value)
  }

  delete(key: string): boolean {
    const data = this.#current()
    if (!Object.hasOwn(data, key)) return false
    this.#held?.delete(key)
    this.#known?.delete(key)
    delete data[key]
    this.#note(key, this.#isRead(key) ? 'removed' : 'delete')
    return true
  }

  update(key: string, updater: Updater): void {
    const data = this.#current()
    if (this.#held?.has(key)) this.#takeOver(key)
    const isOwn = this.#isChangedInPlace(key)
    runUpdaters(data, key, [updater])
    this.#note(key, isOwn ? 'changed' : [updater])
    if (this.#held?.delete(key)) this.#holdCurrent(key)
  }

  /** Puts a value where the next request finds it and the one after does not. */
  flash(key: string, value: unknown): void {
    this.#flashing ??= new Map()
    this.#flashing.set(key, value)
  }

  clear(): void {
    const { created } = this
    this.#data = {}
    this.#changes = this.#held = this.#flashing = this.#known = undefined
    this.#fading = this.#faded = this.#flashed = NOTHING
    this.#cleared = true
    if (created !== undefined) this.#setCreated(created)
  }

  /** Whether everything that was there before this request is to go. */
  get isCleared(): boolean {
    return this.#cleared
  }

  get isEmpty(): boolean {
    return !this.#flashing?.size && isEmptyData(this.#current())
  }

  /** Whether nothing can have been changed: nothing was set, nothing flashed, and nothing is in the application's hands. */
  get isUntouched(): boolean {
    return !(this.#held || this.#flashing || this.#fading.size || this.#isMarkedChanged)
  }

  /** Whether anything was changed since the last save, by a method or in place. */
  get isChanged(): boolean {
    if (this.#isMarkedChanged || this.#flashing?.size) return true
    if (!this.#held?.size) return false
    this.#current()
    for (const [key, { value, was }] of this.#allHeld()) {
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
   * @param isLogin Whether the request takes a new key: what it has changed is taken whole, so that nothing of another user's
   * can get into it.
   */
  take(accessed: boolean, createdAt: number | undefined, isLogin: boolean): Snapshot {
    const data = this.#current()
    for (const key of this.#heldKeys()) this.#takeOver(key)
    if (createdAt !== undefined && !this.isEmpty && createdIn(data) === undefined) {
      this.#setCreated(createdAt)
    }
    if (accessed && this.#fading.size > 0) this.#fade(data)
    if (this.#flashing) this.#putFlashing(data)
    const { base } = this
    const text = this.#isMarkedChanged || this.#held?.size || !base ? this.#encode() : base.text
    if (base !== undefined && text !== base.text && !this.#isMarkedChanged) this.#noteInPlace()
    const isChanged = this.#isMarkedChanged
    const snapshot = new Snapshot(
      this.#codec,
      base,
      // Text that another program has written otherwise than the codec would is no change.
      isChanged || base === undefined ? text : base.text,
      isChanged ? this.#changesSoFar() : UNCHANGED,
      this.#heldKeys(),
      isLogin ? WHOLE_KEYS : this.#merging,
    )
    this.#cleared = false
    this.#changes = undefined
    this.#faded = this.#flashed = NOTHING
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
      for (const key of this.#heldKeys()) if (!this.#changes?.has(key)) this.#held!.delete(key)
      return
    }
    if (kept.text !== snapshot.text) {
      this.#merged = snapshot
      return
    }
    if (!this.#held) return
    for (const [key, held] of this.#allHeld()) {
      if (this.#data[key] === held.value && !this.#changes?.has(key)) held.was = undefined
    }
  }

  /** What was taken is not stored: its changes are to be made again, with those that came after. */
  restore({ changes, text }: Snapshot): void {
    this.#compareWith(this.base?.text)
    if (changes === UNCHANGED) return
    this.#compareUpdated(changes, text)
    const all = compose(changes, this.#changesSoFar())
    this.#cleared = all.cleared
    this.#changes = new Map(all.keys)
    this.#faded = all.faded
    this.#flashed = all.flashed
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
    const changed = this.#changes?.size ?? 0
    return this.#cleared || changed + this.#faded.size + this.#flashed.size > 0
  }

  #changesSoFar(): Changes {
    return {
      cleared: this.#cleared,
      keys: this.#changes ?? NOTHING,
      starts: this.#starts ?? NOTHING,
      faded: this.#faded,
      flashed: this.#flashed,
    }
  }

  /** The data; after a save that was merged, what that made of it, with what the request did and holds since. */
  #current(): Dictionary {
    const snapshot = this.#merged
    if (snapshot === undefined) return this.#data
    const before = this.#data
    const saved = this.#codec.decode(snapshot.text)
    const newest = this.#codec.decode(this.base!.text)
    for (const [key, held] of this.#allHeld()) {
      held.was ??= this.#encodeIn(saved, key)
      const isAsSaved = before[key] === held.value && !this.#changes?.has(key)
      // What another request has not changed stays the object that the application has.
      if (isAsSaved && held.was === this.#encodeIn(newest, key)) put(newest, key, held.value)
    }
    this.#data = this.#putOnto(newest, saved, before)
    this.#merged = undefined
    for (const [key, all] of this.#held ?? []) {
      for (const held of all) {
        if (this.#data[key] === held.value) held.was = undefined
        // It is in the data, merged or by the functions that made it.
        else if (before[key] === held.value && this.#changes?.has(key)) {
          held.was = this.#encodeOne(key, held.value)
        }
      }
      // Of what was held over many merges the oldest is forgotten.
      if (all.length > MOST_HELD) all.splice(0, all.length - MOST_HELD)
    }
    for (const key of this.#read ?? []) {
      const known = own(this.#changes?.has(key) ? before : saved, key)
      const value = own(this.#data, key)
      if (this.#known?.has(key) || value === own(before, key) || equal(known, value)) continue
      this.#known ??= new Map()
      this.#known.set(key, this.#copyOf(key, known))
    }
    return this.#data
  }

  /** What was done since, from `base` to `mine`, on top of newer data. */
  #putOnto(newest: Dictionary, base: Dictionary, mine: Dictionary): Dictionary {
    const changes = this.#changesSoFar()
    const made = { changes, base, mine, merging: this.#merging, clash: reportClash }
    const data = putOnto(newest, made)
    for (const [key, change] of changes.keys) {
      // What was merged may share parts with what the application holds.
      const isMerged = change === 'changed' || change === 'in place'
      if (isMerged && !Object.hasOwn(newest, key)) this.#noteStart(key, own(base, key))
      const isShared = isMerged && Object.hasOwn(data, key) && data[key] !== mine[key]
      if (isShared) put(data, key, this.#copyOf(key, data[key]))
    }
    return data
  }

  /** An object that the application held from before a merge, and has changed since, is merged into the key's value. */
  #takeOver(key: string): void {
    for (const held of this.#held!.get(key)!) {
      if (held.was === undefined || held.was === this.#encodeOne(key, held.value)) continue
      if (this.#data[key] === held.value) {
        // Made by functions, and changed in place since.
        held.was = undefined
        this.#note(key, 'in place')
        continue
      }
      const was = this.#codec.decode(held.was)[key]
      // The one that was the key's value until now is in the data as it is.
      for (const other of this.#held!.get(key)!) other.was ??= this.#encodeOne(key, other.value)
      this.#mergeIn(key, was, held.value)
      this.#note(key, 'in place')
    }
  }

  /** The application has changed a value from `from` to `to`, and that was not the newest one. */
  #mergeIn(key: string, from: unknown, to: unknown): void {
    const { strategies, wholeKeys } = this.#merging
    const data = this.#data
    const copy = this.#copyOf(key, to)
    if (!Object.hasOwn(data, key)) this.#noteStart(key, from)
    const isWhole = wholeKeys && !strategies.has(key)
    const merged = isWhole
      ? copy
      : mergeField(strategies, key, from, copy, own(data, key), reportClash)
    if (merged === undefined) delete data[key]
    else put(data, key, this.#copyOf(key, merged))
    if (this.#known?.has(key)) this.#known.set(key, copy)
    if (typeof to !== 'object' || to === null) return
    const held = this.#hold(key, to)
    held.was = this.#encodeOne(key, to)
  }

  #noteInPlace(): void {
    for (const key of this.#heldKeys()) if (this.#isChangedInPlace(key)) this.#note(key, 'in place')
  }

  #fade(data: Dictionary): void {
    const marks = readMarks(data)
    for (const key of this.#fading.keys()) {
      marks.delete(key)
      if (this.#changes?.has(key)) continue
      this.#held?.delete(key)
      delete data[key]
    }
    writeMarks(data, marks)
    this.#faded = new Map([...this.#faded, ...this.#fading])
    this.#fading = NOTHING
  }

  #putFlashing(data: Dictionary): void {
    const marks = readMarks(data)
    const flashed = new Map(this.#flashed)
    for (const [key, value] of this.#flashing!) {
      // Each flash has a mark of its own, so that a request that saw an earlier one takes only that away.
      const mark = createKey().slice(0, 8)
      this.#held?.delete(key)
      put(data, key, value)
      marks.set(key, mark)
      flashed.set(key, mark)
      if (typeof value === 'object' && value !== null) this.#hold(key, value)
    }
    writeMarks(data, marks)
    this.#flashed = flashed
    this.#flashing = undefined
  }

  /** What the application sets is there to stay, though it was flashed before. */
  #unmark(key: string): void {
    this.#flashing?.delete(key)
    if (!Object.hasOwn(this.#data, FLASH_KEY) || this.#fading.has(key)) return
    const marks = readMarks(this.#data)
    if (marks.delete(key)) writeMarks(this.#data, marks)
  }

  /** Keeps `time` as the session's creation, unless another request was first. */
  #setCreated(time: number): void {
    this.update(CREATED_KEY, (created: number = time) => created)
  }

  #note(key: string, change: Change): void {
    if (change !== 'in place') this.#unmark(key)
    this.#changes ??= new Map()
    const earlier = this.#changes.get(key)
    if (typeof earlier === 'object' && typeof change === 'object') {
      // The list is this draft's own until it is taken.
      ;(earlier as Updater[]).push(...change)
    } else this.#changes.set(key, composeKey(earlier, change))
  }

  #isRead(key: string): boolean {
    return this.#readAll || !!this.#read?.has(key)
  }

  #look(key: string): void {
    this.#read ??= new Set()
    this.#read.add(key)
  }

  /** What the application was given where there was nothing: it may go on from there. */
  #noteDefault(key: string, fallback: unknown): void {
    // What is begun empty is what a merge starts from anyway.
    if (typeof fallback === 'object' && (fallback === null || isEmptyObject(fallback))) return
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
    if (typeof value === 'object' && value !== null) this.#hold(key, value)
  }

  #hold(key: string, value: object): Held {
    this.#held ??= new Map()
    const held = this.#held.get(key)
    const known = held?.find((one) => one.value === value)
    if (known) return known
    // What an update function made is compared with itself: it runs again on newer data, and that is no change in place.
    const was =
      typeof this.#changes?.get(key) === 'object' ? this.#encodeOne(key, value) : undefined
    const one: Held = { value, was }
    if (held) held.push(one)
    else this.#held.set(key, [one])
    return one
  }

  *#allHeld(): Iterable<[key: string, held: Held]> {
    for (const [key, all] of this.#held ?? []) for (const held of all) yield [key, held]
  }

  #heldKeys(): readonly string[] {
    return this.#held ? [...this.#held.keys()] : NO_KEYS
  }

  #isChangedInPlace(key: string): boolean {
    return (this.#held?.get(key) ?? []).some(({ value, was }) => {
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
    if (!this.#held && this.#flashed.size === 0) return this.#codec.encode(this.#data, changed)
    const suspects = [...changed, ...this.#heldKeys(), ...this.#flashed.keys()]
    return this.#codec.encode(this.#data, suspects)
  }

  #encodeIn(data: Dictionary, key: string): string | undefined {
    return Object.hasOwn(data, key) ? this.#encodeOne(key, data[key]) : undefined
  }

  /** A value of the application's as it will come back from the store. */
  #copyOf(key: string, value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    return own(this.#codec.decode(this.#encodeOne(key, value)), key)
  }

  #encodeOne(key: string, value: unknown): string {
    return encodeOne(this.#codec, key, value)
  }
}

function isEmptyObject(value: object): boolean {
  return Object.keys(value).length === 0
}

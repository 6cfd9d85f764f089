// A draft at one moment: the text to store, and what was done to get there, so that it can be done to newer data.
import type { Codec, Dictionary } from './codec.ts'
import {
  FLASH_KEY,
  areShownIn,
  isRepeatable,
  MARKS_KEY,
  put,
  putOnto,
  type Change,
  type Changes,
  type Made,
  type Merging,
} from './changes.ts'
import type { Clash } from './strategies.ts'

/** When the session was created, in ms since the epoch; kept only where an absolute lifetime counts from it. */
export const CREATED_KEY = '_session_created'

/** Nothing was done. */
export const UNCHANGED: Changes = {
  cleared: false,
  keys: new Map(),
  starts: new Map(),
  faded: new Map(),
  flashed: new Map(),
}

/** What the store has of a session. */
export interface Kept {
  /** As the store keeps it: what a save expects to find. */
  readonly stored: string
  /** The same, unsealed by the codec. */
  readonly text: string
  /** When the record ends, in ms since the epoch. */
  readonly expiresAt: number
}

/** A draft at one moment: the text to store, and what was done to get there, so that it can be done to newer data. */
export class Snapshot {
  readonly #codec: Codec
  readonly #held: readonly string[]
  readonly #merging: Merging

  /** What the changes were made on; undefined for a session that the store does not have. */
  readonly base: Kept | undefined
  /** All of the data. */
  readonly text: string
  /** What methods changed. What was changed in place shows in the text alone. */
  readonly changes: Changes
  /** Where one of two requests' changes is lost already: of what was merged since the last save. */
  readonly clashes: readonly Clash[]

  constructor(
    codec: Codec,
    merging: Merging,
    held: readonly string[],
    {
      base,
      text,
      changes,
      clashes,
    }: {
      readonly base: Kept | undefined
      readonly text: string
      readonly changes: Changes
      readonly clashes: readonly Clash[]
    },
  ) {
    this.#codec = codec
    this.#merging = merging
    this.#held = held
    this.base = base
    this.text = text
    this.changes = changes
    this.clashes = clashes
  }

  /** Whether the request changed anything: a value set anew to what it was counts. */
  get isChanged(): boolean {
    return this.changes !== UNCHANGED
  }

  /** Whether the request only looked: what was flashed to it goes, and the time of creation is noted. */
  get isIncidental(): boolean {
    const { cleared, keys, flashed } = this.changes
    if (cleared || flashed.size > 0) return false
    const isOfItsOwn = [...keys.keys()].every((key) => key === CREATED_KEY)
    return isOfItsOwn && this.#changedInPlace(this.#codec.decode(this.text)).length === 0
  }

  /** Whether data of now shows the changes, which are repeatable, or what was before them: undefined if that cannot be told. */
  isShownIn(newest: Dictionary): boolean | undefined {
    return areShownIn(
      newest,
      this.#made(() => {}),
    )
  }

  /** Whether the changes can be made twice with the same result: two pushes of one thing, for one, cannot. */
  get isRepeatable(): boolean {
    return isRepeatable(
      this.#made(() => {}),
      this.#codec.decode(this.text),
    )
  }

  /**
   * The newest data with this request's changes, those in place too. Its values are this call's own: the functions of other
   * requests may change them.
   * @param clash Is told where one of two changes is lost.
   */
  onto(newest: Dictionary, clash: (clash: Clash) => void): Dictionary {
    return putOnto(newest, this.#made(clash))
  }

  #made(clash: (clash: Clash) => void): Made {
    const [base, mine] = [
      this.base ? this.#codec.decode(this.base.text) : {},
      this.#codec.decode(this.text),
    ]
    const keys = new Map<string, Change>(this.changes.keys)
    for (const key of this.#changedInPlace(mine)) keys.set(key, 'in place')
    return { changes: { ...this.changes, keys }, base, mine, merging: this.#merging, clash }
  }

  #changedInPlace(mine: Dictionary): string[] {
    if (this.#held.length === 0 || this.base === undefined) return []
    const before = this.#codec.decode(this.base.text)
    const encoded = (data: Dictionary, key: string) =>
      Object.hasOwn(data, key) ? encodeOne(this.#codec, key, data[key]) : undefined
    return this.#held.filter(
      (key) =>
        !this.changes.keys.has(key) &&
        !this.changes.flashed.has(key) &&
        encoded(before, key) !== encoded(mine, key),
    )
  }
}

/** Whether data holds nothing of the application's. */
export function isEmptyData(data: Dictionary): boolean {
  for (const key in data) {
    if (key !== CREATED_KEY && key !== FLASH_KEY && key !== MARKS_KEY) return false
  }
  return true
}

/** When the session was created, in ms since the epoch, if its data tells. */
export function createdIn(data: Dictionary): number | undefined {
  const created = Object.hasOwn(data, CREATED_KEY) ? data[CREATED_KEY] : undefined
  return typeof created === 'number' ? created : undefined
}

export function encodeOne(codec: Codec, key: string, value: unknown): string {
  const one: Dictionary = {}
  put(one, key, value)
  return codec.encode(one, [key])
}

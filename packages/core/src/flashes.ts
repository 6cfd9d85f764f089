// What is in a session for the next request only: flashed by this one, or by an earlier one and seen by this one.
import type { Dictionary } from './codec.ts'
import { createKey } from './key.ts'
import { FLASH_KEY, put, readMarks, writeMarks, type Changes, type Flashed } from './changes.ts'

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>()

export class Flashes {
  /** Flashed since the last save: the next request sees it, this one does not. */
  #flashing: Map<string, { value: unknown; isSeen: boolean }> | undefined
  /** Flashed by an earlier request, with its marks: this one is the last to see it. */
  #fading: ReadonlyMap<string, string>
  /** What has faded out of the data since it was taken last. */
  faded: ReadonlyMap<string, string> = NOTHING
  /** What was flashed into it. */
  flashed: ReadonlyMap<string, Flashed> = NOTHING

  constructor(data: Dictionary) {
    this.#fading = readMarks(data)
  }

  /** Puts a value where the next request finds it; `isSeen`: after a look at what was there. */
  flash(key: string, value: unknown, isSeen: boolean): void {
    this.#flashing ??= new Map()
    this.#flashing.set(key, { value, isSeen })
  }

  /** Whether something waits to be put into the data. */
  get isWaiting(): boolean {
    return (this.#flashing?.size ?? 0) > 0
  }

  get isFading(): boolean {
    return this.#fading.size > 0
  }

  get isChanged(): boolean {
    return this.faded.size + this.flashed.size > 0
  }

  /** What the application sets is there to stay, though it was flashed before. */
  keep(key: string, data: Dictionary): void {
    this.#flashing?.delete(key)
    if (!Object.hasOwn(data, FLASH_KEY) || this.#fading.has(key)) return
    const marks = readMarks(data)
    if (marks.delete(key)) writeMarks(data, marks)
  }

  /** Takes what an earlier request has flashed out of the data; returns its keys, but for those that were changed. */
  fade(data: Dictionary, isChanged: (key: string) => boolean): string[] {
    const marks = readMarks(data)
    for (const key of this.#fading.keys()) marks.delete(key)
    const gone = [...this.#fading.keys()].filter((key) => !isChanged(key))
    for (const key of gone) delete data[key]
    writeMarks(data, marks)
    this.faded = new Map([...this.faded, ...this.#fading])
    this.#fading = NOTHING
    return gone
  }

  /** Puts what waits into the data; returns its keys. */
  put(data: Dictionary): string[] {
    const marks = readMarks(data)
    const flashed = new Map(this.flashed)
    const waiting = this.#flashing ?? NOTHING
    for (const [key, { value, isSeen }] of waiting) {
      // Each flash has a mark of its own, so that a request that saw an earlier one takes only that away.
      const mark = createKey().slice(0, 8)
      put(data, key, value)
      marks.set(key, mark)
      flashed.set(key, { mark, isSeen })
    }
    writeMarks(data, marks)
    this.flashed = flashed
    this.#flashing = undefined
    return [...waiting.keys()]
  }

  set changes({ faded, flashed }: Pick<Changes, 'faded' | 'flashed'>) {
    this.faded = faded
    this.flashed = flashed
  }

  /** What was taken is on its way to the store. */
  taken(): void {
    this.faded = this.flashed = NOTHING
  }
}

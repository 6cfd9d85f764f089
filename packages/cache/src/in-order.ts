// Things in the order in which they came, which end nearly in that order.

/** A thing that knows its place. */
export interface Placed {
  /** Whatever it is before the thing is added. */
  place: number
}

/**
 * A set in the order of time: adding and ending are a step each, and so is to find the oldest.
 *
 * Not a `Set`, whose entries come and go with each request: V8 makes its table anew every so often, and has the old one lead to the new
 * one. Once one of them is old enough for the garbage collector to leave it alone, everything later hangs on it until the next full
 * collection.
 */
export class InOrder<T extends Placed> {
  /** A ring: who has place `p` stands at `p & mask`. It grows to the most that was between the oldest and the newest, and stays so. */
  #ring: (T | undefined)[] = Array(16).fill(undefined)
  #mask = 15
  #size = 0
  /** The oldest one's place. */
  #start = 0
  /** The place of the next one. */
  #end = 0

  get size(): number {
    return this.#size
  }

  add(thing: T): void {
    if (this.#end - this.#start > this.#mask) this.#grow()
    thing.place = this.#end++
    this.#ring[thing.place & this.#mask] = thing
    this.#size++
  }

  has(thing: T): boolean {
    return this.#ring[thing.place & this.#mask] === thing
  }

  /** @returns Whether it was there. */
  delete(thing: T): boolean {
    if (!this.has(thing)) return false
    this.#ring[thing.place & this.#mask] = undefined
    this.#size--
    while (this.#start < this.#end && !this.#ring[this.#start & this.#mask]) this.#start++
    return true
  }

  /** From the oldest on. What is added or ended meanwhile is seen, or not seen, as in a `Set`. */
  *[Symbol.iterator](): Generator<T> {
    for (let place = this.#start; place < this.#end; place++) {
      const thing = this.#ring[place & this.#mask]
      if (thing && thing.place === place) yield thing
    }
  }

  #grow(): void {
    const things = [...this]
    this.#mask = this.#mask * 2 + 1
    this.#ring = Array(this.#mask + 1).fill(undefined)
    for (const thing of things) this.#ring[thing.place & this.#mask] = thing
  }
}

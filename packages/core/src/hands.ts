// The objects of a session that the application has in its hands and may change in place, each with what it was.

/** So many objects of one key are held in any case; those from before more merges than that while the application has them. */
const MOST_HELD = 8

/** An object in the application's hands. */
export class Held {
  #value: object | WeakRef<object>
  /** What it was, as text, where that is not what the draft compares with: it is from before a merge, or functions made it. */
  was: string | undefined

  constructor(value: object, was: string | undefined) {
    this.#value = value
    this.was = was
  }

  /** The object; undefined if nobody has it any more. */
  get value(): object | undefined {
    return this.#value instanceof WeakRef ? this.#value.deref() : this.#value
  }

  /** From now on it is the application that keeps the object alive. */
  release(): void {
    if (!(this.#value instanceof WeakRef)) this.#value = new WeakRef(this.#value)
  }
}

/** Objects that have been one key's value: after a merge there may be an old and a new one. */
interface Holding {
  readonly all: Held[]
  /** The key was deleted, so changes of them do not count, until one of them is set again. */
  isDropped: boolean
}

export class Hands {
  readonly #holdings = new Map<string, Holding>()

  /** The keys whose values are held. */
  keys(): string[] {
    const keys: string[] = []
    for (const [key, { isDropped }] of this.#holdings) if (!isDropped) keys.push(key)
    return keys
  }

  /** The objects that are held of a key. */
  of(key: string): readonly Held[] {
    const holding = this.#holdings.get(key)
    return holding && !holding.isDropped ? holding.all : []
  }

  *all(): Iterable<[key: string, held: Held]> {
    for (const [key, { all, isDropped }] of this.#holdings) {
      if (!isDropped) for (const held of all) yield [key, held]
    }
  }

  /** An object, if it is or was held of this key. */
  find(key: string, value: object): Held | undefined {
    return this.#holdings.get(key)?.all.find((held) => held.value === value)
  }

  hold(key: string, value: object, was: string | undefined): Held {
    const found = this.find(key, value)
    const holding = this.#holdings.get(key)
    if (found) {
      holding!.isDropped = false
      return found
    }
    const held = new Held(value, was)
    if (holding && !holding.isDropped) holding.all.push(held)
    else this.#holdings.set(key, { all: [held], isDropped: false })
    return held
  }

  /** The key has another value: what was held of it is nothing of the session's any more. */
  forget(key: string): boolean {
    return this.#holdings.delete(key)
  }

  /** The key is gone. */
  drop(key: string): void {
    const holding = this.#holdings.get(key)
    if (holding) holding.isDropped = true
  }

  /** After a merge: what is left to the application to keep, and what it has not kept. */
  tidy(): void {
    for (const [key, { all }] of this.#holdings) {
      for (const held of all.slice(0, -MOST_HELD)) held.release()
      const left = all.filter(({ value }) => value !== undefined)
      if (left.length < all.length) all.splice(0, all.length, ...left)
      if (all.length === 0) this.#holdings.delete(key)
    }
  }
}

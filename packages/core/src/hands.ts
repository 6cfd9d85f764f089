// The objects of a session that the application has in its hands and may change in place, each with what it was.

/** So many objects of one key are held; those from before more merges than that are forgotten. */
const MOST_HELD = 16

/** An object in the application's hands. */
export interface Held {
  readonly value: object
  /** What it was, as text, where that is not what the draft compares with: it is from before a merge, or functions made it. */
  was: string | undefined
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
    const held: Held = { value, was }
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

  /** After a merge: there may be one more of each key. */
  tidy(): void {
    for (const { all } of this.#holdings.values()) {
      if (all.length > MOST_HELD) all.splice(0, all.length - MOST_HELD)
    }
  }
}

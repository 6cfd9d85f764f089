// What a process and the stores that a process of Bun's keeps for it say to each other.

/** A call of a store, which is made anew for a number that has not been seen. */
export interface BunCall {
  readonly id: number
  readonly store: number
  readonly url: string
  readonly prefix: string
  readonly time: number
  readonly method: string
  readonly args: readonly unknown[]
}

/** What it came to. */
export interface BunAnswer {
  readonly id: number
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly message: string; readonly hasCause: boolean }
}

/** A value as a line of JSON: readline takes other characters for the ends of lines, too. */
export const asLine = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )

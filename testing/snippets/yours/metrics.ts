// What the pages' readers have themselves: where figures go.

/** Counts one more. */
export function increment(_name: string, _tag: string): void {}

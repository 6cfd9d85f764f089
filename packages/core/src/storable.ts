// What a session's type may hold: refuses, when the application is compiled, what its codec could not carry back.

/**
 * Kinds of values that JSON cannot carry and your codec can. Left empty, none of them compiles in `set`, `update`, `setDefault`
 * and `flash`. An application with a codec of its own declares them, under any name:
 * ```ts
 * declare module '@coatcheck/core' {
 *   interface CodecValues { date: Date }
 * }
 * ```
 */
// oxlint-disable-next-line typescript/no-empty-object-type -- empty on purpose: applications fill it
export interface CodecValues {}

/** What no value has: it stands in the place of one that cannot be stored, and says what to store. */
export interface NotStorable<Advice extends string> {
  readonly 'cannot be stored': Advice
}

/**
 * `V`, as a value that is to be stored. Where JSON cannot carry it, at any depth, it is a {@link NotStorable} too, so that no value
 * fits.
 */
// The question is put so that a type which is not known yet, of a generic function, counts as one that can be stored.
export type Storable<V> = [[V] extends [Stored<V>] ? true : never] extends [never]
  ? V & Stored<V>
  : V

type Stored<V> = V extends
  | string
  | number
  | boolean
  | null
  | undefined
  | CodecValues[keyof CodecValues]
  ? V
  : V extends bigint
    ? NotStorable<'of a bigint store its String()'>
    : V extends symbol
      ? NotStorable<'of a symbol store the text that it stands for'>
      : V extends object
        ? StoredObject<V>
        : V

type StoredObject<V extends object> = V extends Date
  ? NotStorable<'of a Date store its toISOString()'>
  : V extends ReadonlyMap<any, any>
    ? NotStorable<'of a Map store Object.fromEntries(map), or [...map]'>
    : V extends ReadonlySet<any>
      ? NotStorable<'of a Set store [...set]'>
      : V extends ArrayBuffer | ArrayBufferView
        ? NotStorable<'of bytes store text, in base64'>
        : V extends { toJSON(...args: any): unknown }
          ? NotStorable<'of an object with toJSON() store what that returns'>
          : V extends Function
            ? NotStorable<'of a function, or an object with methods, store the data that it stands for'>
            : V extends readonly unknown[]
              ? // Not as a list: its elements' type would be wanted at once, and that of a recursive type (`Json = Json[] | …`) never ends.
                { readonly [P in keyof V & number]: Stored<V[P]> }
              : { [P in keyof V]: Stored<V[P]> }

// The store to be proven: what its author hands to the suite.
import type { Awaitable, SessionStore, StoreTraits } from '@coatcheck/core/store'

/** What {@link Subject.open} is given. */
export interface OpenOptions {
  /** The clock, in ms since the Unix epoch. It stands still unless the case moves it (`realTime`: the system's). */
  readonly now: () => number
  /**
   * Letters, digits and underscores, for a prefix, a table or a folder. Stores of one name share their sessions; those
   * of different names see nothing of each other.
   */
  readonly name: string
}

/** How the suite takes the store's backend away, and gives it back as it was. */
export interface Outage {
  /** From here on the backend of the stores of this name fails, in every process, whatever they do just now: its server is gone, its table or folder missing. */
  begin(options: OpenOptions): Awaitable<void>
  /** Everything is there again. */
  end(options: OpenOptions): Awaitable<void>
}

/** The store to be proven. */
export interface Subject {
  /** Its name in titles and reports. */
  readonly name: string
  /** What the store cannot promise, as its own `traits` say: those cases turn into their counterparts. */
  readonly traits?: Omit<StoreTraits, 'sync'>
  /** The store has no `now` option and reads the system's clock: the cases then wait for what they test. */
  readonly realTime?: boolean
  /**
   * The URL or path of a module whose default export is this subject, so that other processes can open the store.
   * Needed unless the store is `stateless` or `ephemeral`.
   */
  readonly module?: string | URL
  /** Needed unless the store is `stateless` or `ephemeral`. */
  readonly outage?: Outage
  /**
   * Further ways in which the backend goes, by names such as `kill` and `stop`: the section `history` takes `outage` and these in turn.
   * Each gives everything back as it was.
   */
  readonly outages?: Readonly<Record<string, Outage>>
  /**
   * For a store that answers `load` from copies, and only `load(key, true)` from what there is: how long after another process's change
   * a copy may still tell what was before it, in ms. An end is to be seen at once nevertheless, unless the store is `unshared`.
   */
  readonly freshFor?: number
  /** Opens a store, empty if the name is new. Called at least once a case. */
  open(options: OpenOptions): Awaitable<SessionStore>
  /** Removes what `open` made, after the store was closed. */
  cleanUp?(store: SessionStore): Awaitable<void>
}

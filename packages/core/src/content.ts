// What is to be stored of a session: its text and its end, by itself or merged onto newer data. Pure but for the codec.
import { Buffer } from 'node:buffer'
import type { Codec, Dictionary } from './codec.ts'
import { createdIn, isEmptyData, type Kept, type Snapshot } from './snapshot.ts'
import { SessionTooLargeError } from './errors.ts'
import type { Clash } from './strategies.ts'
import { endsWithBrowser, expiresAt, EXPIRY_KEY, type ExpirySettings } from './expiry.ts'
import { unreadable } from './plan.ts'
import type { SessionRecord } from './store.ts'

/** What is to be stored. */
export interface Content {
  readonly text: string
  /** When it ends, in ms since the epoch. */
  readonly expiresAt: number
  readonly browserLength: boolean
  /** Whether there is nothing to keep: it is empty, or ends at once. */
  readonly over: boolean
  /** Where one of two requests' changes is lost, if it is stored. */
  readonly clashes: readonly Clash[]
}

/** What happens when two requests change one session. */
export type Concurrency = 'merge' | 'merge-keys' | 'overwrite' | 'reject'

/** The manager's options, as far as the content needs them. */
export interface ContentOptions {
  readonly codec: Codec
  readonly settings: ExpirySettings
  readonly concurrency: Concurrency
  /** In bytes of UTF-8. */
  readonly maxBytes: number
  readonly now: () => number
}

/** What one request wants to store. */
interface Wanted {
  readonly snapshot: Snapshot
  readonly content: Content
}

/**
 * What is to be stored if several requests' changes are put, one after the other, onto the newest data.
 * @param newest Undefined: onto nothing.
 */
export function contentOnto(
  options: ContentOptions,
  all: readonly Wanted[],
  newest: Kept | undefined,
): Content {
  const last = all.at(-1)!
  const isOnItsBase = all.length === 1 && last.snapshot.base?.stored === newest?.stored
  if (isOnItsBase || (options.concurrency === 'overwrite' && newest)) return last.content
  let data: Dictionary = newest ? decode(options.codec, newest.text) : {}
  const clashes: Clash[] = all.flatMap(({ snapshot }) => snapshot.clashes)
  for (const { snapshot } of all) data = snapshot.onto(data, (clash) => clashes.push(clash))
  const text = options.codec.encode(data, Object.keys(data))
  const time = options.now()
  return contentOf(options, text, data, createdIn(data), isEmptyData(data), time, clashes)
}

/** What data is that is stored at `time`, in ms since the epoch. */
export function contentOf(
  { settings }: ContentOptions,
  text: string,
  data: Readonly<Dictionary>,
  created: number | undefined,
  empty: boolean,
  time: number,
  clashes: readonly Clash[],
): Content {
  const expiry = Object.hasOwn(data, EXPIRY_KEY) ? data[EXPIRY_KEY] : undefined
  const end = expiresAt(expiry, settings, created, time)
  return {
    text,
    expiresAt: end,
    browserLength: endsWithBrowser(expiry, settings),
    over: empty || end <= time,
    clashes,
  }
}

/**
 * The record of a content. Text that the store has already is not sealed anew.
 * @throws SessionTooLargeError past `maxBytes`.
 */
export function recordOf(
  { codec, maxBytes }: ContentOptions,
  content: Content,
  base: Kept | undefined,
): SessionRecord {
  const { text, expiresAt: end } = content
  if (text === base?.text) return { data: base.stored, expiresAt: end }
  const data = codec.seal ? codec.seal(text) : text
  if (data.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(data)
    const advice = 'Keep less in the session, or raise maxBytes.'
    if (bytes > maxBytes) {
      throw new SessionTooLargeError("The session's data", bytes, maxBytes, advice)
    }
  }
  return { data, expiresAt: end }
}

/** What was just stored. */
export function kept(record: SessionRecord, { text }: Content): Kept {
  return { stored: record.data, text, expiresAt: record.expiresAt }
}

/** What was found in the store. @throws SessionStoreError if the codec cannot unseal it. */
export function found({ codec }: ContentOptions, record: SessionRecord): Kept {
  const { data: stored } = record
  try {
    return { stored, text: codec.open ? codec.open(stored) : stored, expiresAt: record.expiresAt }
  } catch (error) {
    throw unreadable(error)
  }
}

function decode(codec: Codec, text: string): Dictionary {
  try {
    return codec.decode(text)
  } catch (error) {
    throw unreadable(error)
  }
}

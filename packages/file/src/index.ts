// The file engine: one file a session, written aside and renamed into place, safe between processes.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  assertOptions,
  inWords,
  isSessionKey,
  KeyExistsError,
  refuseOption,
  RETIRED,
  rules,
  SessionConflictError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  systemClock,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { createFileLock, machineTime } from './lock.ts'

/** Options of {@link fileStore}. */
export interface FileStoreOptions {
  /** The clock, in ms since the Unix epoch. Default `Date.now()`, asked at each call. */
  readonly now?: () => number
}

/** A file starts with the expiry: 16 digits of ms since the epoch and a line break. The data follows. */
const DIGITS = 16
const HEADER = DIGITS + 1

/** Sessions that one batch of `clearExpired` looks at: a few ms on an ordinary disk. */
const BATCH_SIZE = 100

/** What a killed process left in the folder of unfinished files is removed by a sweep after this time, in ms. */
const ABANDONED_AFTER = 3_600_000

/**
 * Keeps sessions in files, in sub-folders of `directory`, which is made if it is missing. Files can be read and written
 * by their owner alone. The calls block for as long as the disk takes, which for a local one is well under a millisecond;
 * keep the folder on a local disk.
 * @throws SessionStoreError if the folder cannot be made or written.
 */
export function fileStore(directory: string, options: FileStoreOptions = {}): SessionStore {
  if (typeof directory !== 'string' || directory === '') {
    refuseOption(`fileStore needs the path of a folder, and got ${inWords(directory)}`)
  }
  assertOptions('fileStore', options, { now: rules.clock })
  const { now = systemClock } = options
  const unfinished = join(directory, '.unfinished')
  const withLock = createFileLock(unfinished)
  /** What most sessions fit into; a larger one gets a buffer of its own. */
  const buffer = Buffer.allocUnsafe(65_536)
  attempt('open', () => mkdirSync(unfinished, { recursive: true, mode: 0o700 }))

  /** Runs file operations, and turns the system's errors into the library's. */
  function attempt<T>(action: string, operation: () => T): T {
    try {
      return operation()
    } catch (error) {
      if (error instanceof SessionError) throw error
      throw new SessionStoreError(
        `The session folder '${directory}' failed to ${action} a session. Is it there, writable, and not full?`,
        error,
      )
    }
  }

  /** A file system may fold case, so a capital letter is written as `+` and the small one. */
  function pathOf(key: string): string {
    const name = key.replaceAll(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`)
    return join(directory, name.slice(0, 2), name)
  }

  /**
   * Opens a file; undefined if there is none. Where the folder itself has gone, as with a volume that is not mounted, it
   * throws: that is a failure, and not a session that nobody has.
   */
  function openIfThere(path: string, flags: 'r' | 'r+'): number | undefined {
    try {
      return openSync(path, flags)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      statSync(unfinished)
      return undefined
    }
  }

  /** Whether there is a file; throws as {@link openIfThere} does. */
  function isThere(path: string): boolean {
    if (statSync(path, { throwIfNoEntry: false })) return true
    statSync(unfinished)
    return false
  }

  /** What a file holds; undefined if there is none, or it is not one of ours. */
  function read(path: string): SessionRecord | undefined {
    const file = openIfThere(path, 'r')
    if (file === undefined) return undefined
    try {
      let bytes = buffer
      let length = readSync(file, bytes, 0, bytes.length, 0)
      while (length === bytes.length) {
        bytes = Buffer.concat([bytes, Buffer.allocUnsafe(bytes.length)])
        length += readSync(file, bytes, length, bytes.length - length, length)
      }
      const expiresAt = expiryIn(bytes, length)
      if (expiresAt === undefined) return undefined
      return { data: bytes.toString('utf8', HEADER, length), expiresAt }
    } finally {
      closeSync(file)
    }
  }

  /** Moves the expiry of a live session, if `check` does not throw for the one that it has. */
  function move(path: string, expiresAt: number, check?: (end: number) => void): void {
    const file = openIfThere(path, 'r+')
    if (file === undefined) throw new SessionGoneError()
    try {
      const length = readSync(file, buffer, 0, HEADER + 1, 0)
      const end = expiryIn(buffer, length)
      // A retired key's file has nothing after the header.
      if (end === undefined || end <= now() || length === HEADER) throw new SessionGoneError()
      check?.(end)
      // In place, within one disk sector. A save at the same time puts another file here; then its expiry counts.
      writeSync(file, String(expiresAt).padStart(DIGITS, '0'), 0)
    } finally {
      closeSync(file)
    }
  }

  /** When the session in an open file ends, read from its first bytes alone. */
  function readExpiry(file: number): number | undefined {
    return expiryIn(buffer, readSync(file, buffer, 0, HEADER, 0))
  }

  function live(path: string): SessionRecord | undefined {
    const record = read(path)
    if (!record || record.expiresAt > now()) return record
    // Another process may be renewing the expiry in place just now: what looks ended is looked at twice.
    const again = read(path)
    return again && again.expiresAt > now() ? again : undefined
  }

  /** Writes the whole file aside, then puts it into place in one step: a crash leaves the old one or the new one. */
  function replace(path: string, { data, expiresAt }: SessionRecord, assertHeld: () => void): void {
    const aside = join(unfinished, randomUUID())
    try {
      const text = `${String(expiresAt).padStart(DIGITS, '0')}\n${data}`
      writeFileSync(aside, text, { flag: 'wx', mode: 0o600 })
      assertHeld()
      renameSync(aside, path)
    } catch (error) {
      rmSync(aside, { force: true })
      throw error
    }
  }

  return {
    traits: { sync: true },

    load(key) {
      return isSessionKey(key) ? attempt('load', () => live(pathOf(key))) : undefined
    },

    create(key, record) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const path = pathOf(key)
      return attempt('create', () => {
        makeFolder(dirname(path))
        return withLock(path, (assertHeld) => {
          if (live(path)) throw new KeyExistsError()
          replace(path, record, assertHeld)
          return key
        })
      })
    },

    save(key, record, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const path = pathOf(key)
      return attempt('save', () => {
        if (!isThere(path)) throw new SessionGoneError()
        return withLock(path, (assertHeld) => {
          const stored = live(path)
          if (!stored || stored.data === RETIRED) throw new SessionGoneError()
          if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
          if (record.expiresAt > now()) replace(path, record, assertHeld)
          else {
            assertHeld()
            rmSync(path, { force: true })
          }
          return key
        })
      })
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const path = pathOf(key)
      return attempt('touch', () => {
        if (from === undefined) move(path, expiresAt)
        else {
          if (!isThere(path)) throw new SessionGoneError()
          // Others that compare wait meanwhile: two of them must not find the same expiry.
          withLock(path, (assertHeld) =>
            move(path, expiresAt, (end) => {
              if (end !== from) throw new SessionConflictError()
              assertHeld()
            }),
          )
        }
        return key
      })
    },

    delete(key) {
      if (!isSessionKey(key)) return
      const path = pathOf(key)
      attempt('delete', () => {
        if (isThere(path)) withLock(path, () => rmSync(path, { force: true }))
      })
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      const time = now()
      let removed = 0
      let looked = 0
      const ended = (path: string): boolean => {
        const file = openIfThere(path, 'r')
        if (file === undefined) return false
        try {
          const end = readExpiry(file)
          return end !== undefined && end <= time
        } finally {
          closeSync(file)
        }
      }
      for (const folder of attempt('clearExpired', () => readdirSync(directory))) {
        if (folder === '.unfinished') continue
        for (const name of attempt('clearExpired', () => readdirSync(join(directory, folder)))) {
          if (looked++ % batchSize === 0) {
            await setImmediate()
            if (signal?.aborted) return removed
          }
          const path = join(directory, folder, name)
          attempt('clearExpired', () => {
            if (name.endsWith('.lock') || !ended(path)) return
            withLock(path, () => {
              if (!ended(path)) return
              unlinkSync(path)
              removed++
            })
          })
        }
      }
      attempt('clearExpired', () => removeAbandoned(unfinished))
      return removed
    },
  }
}

function expiryIn(bytes: Buffer, length: number): number | undefined {
  if (length < HEADER) return undefined
  const header = bytes.toString('latin1', 0, HEADER)
  return /^\d{16}\n$/.test(header) ? Number(header) : undefined
}

/** Makes a sub-folder, but not the folder itself: one that was taken away is an error, not a fresh start. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function removeAbandoned(folder: string): void {
  const limit = machineTime() - ABANDONED_AFTER
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const { mtimeMs = Infinity } = statSync(path, { throwIfNoEntry: false }) ?? {}
    if (mtimeMs < limit) rmSync(path, { force: true })
  }
}

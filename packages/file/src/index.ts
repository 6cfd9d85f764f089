// The file engine: one file a session, written aside and renamed into place, safe between processes.
import { closeSync, fstatSync, lstatSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { opendir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  assertOptions,
  attempt,
  isSessionKey,
  KeyExistsError,
  RETIRED,
  rules,
  SessionConflictError,
  SessionGoneError,
  type SessionError,
  SessionUsageError,
  StoreClosedError,
  systemClock,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import {
  ACTIONS,
  createTries,
  diskError,
  folderAt,
  ifThere,
  isStranger,
  machineTime,
  READ,
  READ_AND_WRITE,
  type Action,
} from './disk.ts'
import { createFileLock, type FileLock, type HeldLock } from './lock.ts'

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

/** What is no session, though it has the name of one, is removed by a sweep after this time, in ms: a power cut has torn it. */
const TORN_AFTER = 3_600_000

/**
 * Keeps sessions in files, in sub-folders of `directory`, which is made if it is missing. Files can be read and written
 * by their owner alone. The calls block for as long as the disk takes, which for a local one is well under a millisecond;
 * keep the folder on a local disk. A session that another process has locked is waited for off the thread, for 5 seconds at the most:
 * then the call answers with a promise.
 * @throws SessionUsageError for what is no path; SessionStoreError if the folder cannot be made or read.
 */
export function fileStore(
  directory: string | undefined,
  options: FileStoreOptions = {},
): SessionStore {
  const root = folderAt('fileStore', directory)
  assertOptions('fileStore', options, { now: rules.clock })
  const { now = systemClock } = options
  const unfinished = join(root, '.unfinished')
  let isClosed = false
  /** What most sessions fit into; a larger one gets a buffer of its own. */
  const buffer = Buffer.allocUnsafe(65_536)
  const lock = run('open', () => {
    mkdirSync(unfinished, { recursive: true, mode: 0o700 })
    return createFileLock(unfinished)
  }) as FileLock

  /** Runs file operations, and turns the system's errors into the library's. */
  function run<T>(action: Action, operation: () => Awaitable<T>): Awaitable<T> {
    if (isClosed) throw new StoreClosedError()
    return attempt(operation, (error) => {
      throw failed(ACTIONS[action], error)
    })
  }

  function failed(what: string, error: unknown): SessionError {
    return diskError(`The session folder '${directory}' failed ${what}`, error)
  }

  /** Runs a task that changes the file of a session while nobody else does. */
  function withLock<T>(path: string, task: (held: HeldLock) => T): Awaitable<T> {
    return lock.hold(basename(path), task)
  }

  /** A file system may fold case, so a capital letter is written as `+` and the small one. */
  function pathOf(key: string): string {
    const name = key.replaceAll(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`)
    return join(root, name.slice(0, 2), name)
  }

  /** Whether a path in a sub-folder is that of a key. Everything else there is a stranger's. */
  function isOurs(path: string): boolean {
    const key = basename(path).replaceAll(/\+([a-z])/g, (_, letter: string) => letter.toUpperCase())
    return isSessionKey(key) && pathOf(key) === path
  }

  /**
   * What `use` makes of an open file; undefined if there is none. Where the folder itself has gone, as with a volume that is
   * not mounted, it throws: that is a failure, and not a session that nobody has.
   */
  function withFile<T>(path: string, flags: number, use: (file: number) => T): T | undefined {
    return ifThere(unfinished, () => {
      const file = openSync(path, flags)
      try {
        return use(file)
      } finally {
        closeSync(file)
      }
    })
  }

  /** Whether there is a file; throws as {@link withFile} does. */
  function isThere(path: string): boolean {
    return ifThere(unfinished, () => lstatSync(path)) !== undefined
  }

  /** What a file holds; undefined if there is none, or it is not one of ours. */
  function read(path: string): SessionRecord | undefined {
    return withFile(path, READ, (file) => {
      let bytes = buffer
      let length = readSync(file, bytes, 0, bytes.length, 0)
      while (length === bytes.length) {
        bytes = Buffer.concat([bytes, Buffer.allocUnsafe(bytes.length)])
        length += readSync(file, bytes, length, bytes.length - length, length)
      }
      const expiresAt = expiryIn(bytes, length)
      if (expiresAt === undefined) return undefined
      return { data: bytes.toString('utf8', HEADER, length), expiresAt }
    })
  }

  /** Moves the expiry of a live session, if `check` does not throw for the one that it has. */
  function move(path: string, expiresAt: number, check?: (end: number) => void): void {
    const isMoved = withFile(path, READ_AND_WRITE, (file) => {
      const length = readSync(file, buffer, 0, HEADER + 1, 0)
      const end = expiryIn(buffer, length)
      // A retired key's file has nothing after the header.
      if (end === undefined || end <= now() || length === HEADER) return false
      check?.(end)
      // In place, within one disk sector. A save at the same time puts another file here; then its expiry counts.
      writeSync(file, String(expiresAt).padStart(DIGITS, '0'), 0)
      return true
    })
    if (!isMoved) throw new SessionGoneError()
  }

  function live(path: string): SessionRecord | undefined {
    const record = read(path)
    if (!record || record.expiresAt > now()) return record
    // Another process may be renewing the expiry in place just now: what looks ended is looked at twice.
    const again = read(path)
    return again && again.expiresAt > now() ? again : undefined
  }

  /** Whether a file has ended by then, or is old and no session. */
  function isOver(path: string, time: number): boolean {
    const over = withFile(path, READ, (file) => {
      const end = expiryIn(buffer, readSync(file, buffer, 0, HEADER, 0))
      return end === undefined ? fstatSync(file).mtimeMs < machineTime() - TORN_AFTER : end <= time
    })
    return over ?? false
  }

  return {
    traits: { sync: true },

    load(key) {
      return isSessionKey(key) ? run('load', () => live(pathOf(key))) : undefined
    },

    create(key, record) {
      if (!isSessionKey(key)) throw new SessionUsageError('create() was given a malformed key.')
      const path = pathOf(key)
      return run('create', () => {
        makeFolder(dirname(path))
        return withLock(path, (held) => {
          if (live(path) || isStranger(path)) throw new KeyExistsError()
          held.replace(path, textOf(record))
          return key
        })
      })
    },

    save(key, record, expected) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const path = pathOf(key)
      return run('save', () => {
        if (!isThere(path)) throw new SessionGoneError()
        return withLock(path, (held) => {
          const stored = live(path)
          if (!stored || stored.data === RETIRED) throw new SessionGoneError()
          if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
          if (record.expiresAt > now()) held.replace(path, textOf(record))
          else held.remove(path)
          return key
        })
      })
    },

    touch(key, expiresAt, from) {
      if (!isSessionKey(key)) throw new SessionGoneError()
      const path = pathOf(key)
      return run('touch', () => {
        if (from === undefined) {
          move(path, expiresAt)
          return key
        }
        if (!isThere(path)) throw new SessionGoneError()
        // Others that compare wait meanwhile: two of them must not find the same expiry.
        return withLock(path, ({ assertHeld }) => {
          move(path, expiresAt, (end) => {
            if (end !== from) throw new SessionConflictError()
            assertHeld()
          })
          return key
        })
      })
    },

    delete(key) {
      if (!isSessionKey(key)) return
      const path = pathOf(key)
      return run('delete', () => {
        if (isThere(path)) return withLock(path, (held) => held.remove(path))
      })
    },

    async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
      const time = now()
      const tries = createTries()
      let removed = 0
      let looked = 0
      const isEnded = () => isClosed || signal?.aborted === true
      const sweepFolder = async (folder: string) => {
        for await (const entry of await opendir(folder)) {
          if (isEnded()) return
          const path = join(folder, entry.name)
          // Beside a session, an earlier version kept its locks.
          if (!entry.isFile() || !isOurs(path.replace(/\.lock$/, ''))) continue
          if (looked++ % batchSize === 0) await setImmediate()
          if (isEnded()) return
          await tries.go(() => {
            if (!isOver(path, time)) return
            return withLock(path, (held) => {
              if (!isOver(path, time)) return
              held.remove(path)
              removed++
            })
          })
        }
      }
      await run('clearExpired', async () => {
        for await (const entry of await opendir(root)) {
          if (isEnded()) return
          const isFolder = entry.name.length === 2 && entry.isDirectory()
          if (isFolder) await tries.go(() => sweepFolder(join(root, entry.name)))
        }
        await tries.go(() => lock.sweep(isEnded))
      })
      const { failures } = tries
      if (failures.length === 0 || isEnded()) return removed
      const what = `${failures.length} times to remove an ended session, and removed ${removed}`
      throw failed(what, failures[0])
    },

    close() {
      isClosed = true
      return lock.close()
    },
  }
}

function textOf({ data, expiresAt }: SessionRecord): string {
  return `${String(expiresAt).padStart(DIGITS, '0')}\n${data}`
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

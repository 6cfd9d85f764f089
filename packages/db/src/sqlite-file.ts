// A database's file: into WAL mode, room for a full disk, whether it is still the same, and why it cannot be opened.
import { Buffer } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import {
  type Stats,
  accessSync,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { SessionStoreError } from '@coatcheck/core/store'
import { isLocked, meaningOf } from './sqlite-errors.ts'

/** How often it is looked, in ms, whether the file is still the one that was opened. */
const LOOK_EVERY = 1000

/** How much of the disk is kept, in bytes: several times as much as a database grows by until its log is copied into it. */
const RESERVE = 4_194_304

/** How that file begins. */
const HEAD = Buffer.from('coatcheck: room for the day when the disk is full\n')

/** How often, in ms, it is tried to have that room again, on a disk that had none. */
const TRY_EVERY = 10_000

/** Whether a filename is that of a file, and not of a database in memory. */
export function isOnDisk(filename: string): boolean {
  return filename !== ':memory:'
}

/** Whether a file of this very name would be opened: the driver takes blanks off its ends, and understands no URL. */
export function isFilename(text: string): boolean {
  return text !== '' && text === text.trim() && !NO_FILENAME.test(text)
}

const NO_FILENAME = /^(file:|sqlite3?:)|:\/\/|\0/i

/**
 * Looks whether a file is still the one that it is now. The log of one that was moved away still lies beside its name: whoever opens another
 * file there has SQLite write the old log into it. So it is not opened anew, and closing writes nothing either.
 * @returns A function that looks once a second, or also at once if it is told to, and tells whether it did.
 * @throws What it returns throws SessionStoreError if the file was removed or replaced, until it is back.
 */
export function watch(filename: string): (atOnce?: boolean) => boolean {
  // The number of a file that is open is not given to another one.
  const path = resolve(filename)
  const opened = idOf(statSync(path))
  let lookedAt = performance.now()
  return (atOnce = false) => {
    if (!atOnce && performance.now() - lookedAt < LOOK_EVERY) return false
    const found = statSync(path, { throwIfNoEntry: false })
    if (!found || idOf(found) !== opened) {
      throw new SessionStoreError(
        `The session database '${filename}' was ${found ? 'replaced' : 'removed'} while it was open. Stop the application, remove '${filename}-wal' and '${filename}-shm' together with the old file, put the new one in its place, and start again.`,
      )
    }
    lookedAt = performance.now()
    return true
  }
}

/** What no other file of the machine has. */
function idOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`
}

/** Room on the disk for the day when it is full: without any, SQLite cannot even delete. */
export interface Reserve {
  /** Sees to it that the room is there. False if the disk has none. */
  keep(): boolean
  /** Gives it back to the disk; whether there was any. */
  give(): boolean
}

/** A file beside the database, whose room it is. */
export function reserveBeside(filename: string): Reserve {
  const path = `${resolve(filename)}-reserve`
  let triedAt = -Infinity
  /** Our own file begins so; any other of this name is somebody's, and stays. */
  const isOwn = () => {
    try {
      const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
      try {
        const head = Buffer.alloc(HEAD.length)
        return readSync(file, head, 0, head.length, 0) === head.length && head.equals(HEAD)
      } finally {
        closeSync(file)
      }
    } catch {
      return false
    }
  }
  const remove = () => {
    if (!isOwn()) return false
    try {
      unlinkSync(path)
      return true
    } catch {
      return false
    }
  }
  return {
    keep() {
      const found = lstatSync(path, { throwIfNoEntry: false })
      // One of another size is a stranger's, or was left half written.
      if (found && (found.size === RESERVE || !remove())) return true
      if (performance.now() - triedAt < TRY_EVERY) return false
      try {
        // At random, as a file system may keep no room for what it can compress.
        const filling = Buffer.concat([HEAD, randomBytes(RESERVE - HEAD.length)])
        writeFileSync(path, filling, { flag: 'wx', mode: 0o600 })
        return true
      } catch (error) {
        remove()
        if (!/^(ENOSPC|EDQUOT)$/.test(String((error as NodeJS.ErrnoException).code))) return true
        triedAt = performance.now()
        return false
      }
    },
    give: remove,
  }
}

/** Copies the log into the database as far as there is room, so that it begins anew in the room that it has. */
export function restartLog(connection: { exec(sql: string): unknown }): void {
  try {
    connection.exec('PRAGMA wal_checkpoint(RESTART)')
  } catch {
    // The next statement tells.
  }
}

/** Where several processes open a new file at once, SQLite answers "locked" here without waiting its busy timeout. */
export function enterWal(connection: { pragma(source: string): unknown }, deadline: number): void {
  for (;;) {
    try {
      connection.pragma('journal_mode = WAL')
      return
    } catch (error) {
      if (!isLocked(error) || performance.now() >= deadline) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/** Why a file cannot be opened: what the system says of it and its folder, or the driver's own words. */
export function openingReason(filename: string, error: unknown): string {
  const folder = dirname(resolve(filename))
  try {
    if (statSync(filename, { throwIfNoEntry: false })?.isDirectory()) return 'it is a folder'
    if (!statSync(folder, { throwIfNoEntry: false })) return `its folder '${folder}' is not there`
    accessSync(folder, constants.W_OK)
  } catch {
    return `this process may not write its folder '${folder}', or the disk is read-only`
  }
  return meaningOf(error) ?? (error as Error).message
}

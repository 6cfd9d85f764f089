// What the engines on files know of a disk: how to open what may be a stranger's, and what the system's errors mean.
import { constants, lstatSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { getSystemErrorMap } from 'node:util'
import {
  addressInWords,
  reasonIn,
  refuseOption,
  SessionError,
  SessionStoreError,
  type Awaitable,
} from '@coatcheck/core/store'

/** What an engine on files was doing when something failed, as "failed" goes on. */
export const ACTIONS = {
  open: 'to open',
  load: 'to load a session',
  create: 'to create a session',
  save: 'to save a session',
  touch: 'to touch a session',
  delete: 'to delete a session',
  clearExpired: 'to remove expired sessions',
}

export type Action = keyof typeof ACTIONS

/**
 * The whole path of a folder, which stays the same when the process goes to another one.
 * @param by The engine, as an error names it.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for what is no path: a URL, blanks, a NUL.
 */
export function folderAt(by: string, directory: string | undefined): string {
  if (typeof directory !== 'string' || !/\S/.test(directory) || NO_PATH.test(directory)) {
    refuseOption(`${by} needs the path of a folder, and got ${addressInWords(directory)}`)
  }
  return resolve(directory)
}

/** A URL, or what no file system takes. */
const NO_PATH = /^\s*(file:|[a-z][a-z\d+.-]+:\/\/)|\0/i

/** The machine's time, by which files are dated, whatever a test makes of `Date` later. */
export const machineTime = Date.now

const { O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDONLY, O_RDWR } = constants

/** Opens what is there, and not what it points to; and never waits for it, as a named pipe has everybody do. */
export const READ: number = O_RDONLY | O_NOFOLLOW | O_NONBLOCK

/** The same, to write in place. */
export const READ_AND_WRITE: number = O_RDWR | O_NOFOLLOW | O_NONBLOCK

/** The code of a system's error. */
export const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code)

/**
 * What `use` makes of a file; undefined if there is none: nothing, or a folder, a link, a pipe, a socket. It is tried twice, and the folder
 * looked for after each: a folder that was away, and may be back by then, is not one without the file.
 * @throws The system's error if `folder` is not there, as with a volume that is not mounted; and what `use` throws.
 */
export function ifThere<T>(folder: string, use: () => T): T | undefined {
  for (let isSecond = false; ; isSecond = true) {
    try {
      return use()
    } catch (error) {
      if (!NO_FILE.has(codeOf(error))) throw error
      statSync(folder)
      if (isSecond) return undefined
    }
  }
}

/** Whether there is something else than a file, which stays. */
export function isStranger(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === false
}

/** Tasks of which one that fails stops no other. */
export interface Tries {
  /** What failed, in order. */
  readonly failures: readonly unknown[]
  go(task: () => Awaitable<void>): Promise<void>
}

/** Makes a place to carry such tasks out. */
export function createTries(): Tries {
  const failures: unknown[] = []
  return {
    failures,
    async go(task) {
      try {
        await task()
      } catch (error) {
        failures.push(error)
      }
    },
  }
}

const NO_FILE = new Set([
  'ENOENT',
  'EISDIR',
  'ELOOP',
  'EMLINK',
  'ENOTDIR',
  'ENXIO',
  'EOPNOTSUPP',
  'ESPIPE',
])

/** What the system's errors mean for a session folder. */
const REASONS: Record<string, string> = {
  EACCES: 'this process may not read or write it',
  EDQUOT: 'its user has no room left (quota)',
  EIO: 'the disk failed',
  EMFILE: 'this process has too many files open (ulimit -n)',
  ENFILE: 'the machine has too many files open',
  ENOENT: 'it, or its sub-folder .unfinished, is not there',
  ENOSPC: 'the disk is full',
  EPERM: 'this process may not write it',
  EROFS: 'the disk is read-only',
}

/**
 * A system's error as the library's: with the reason, and without the path, which has a session's key in it. An error of the
 * library's stays as it is.
 * @param what What failed to do what, without a full stop.
 */
export function diskError(what: string, error: unknown): SessionError {
  if (error instanceof SessionError) return error
  const { code = '', errno, syscall } = error as NodeJS.ErrnoException
  const reason = REASONS[code]
  const message = `${what}${reason ? `: ${reason}` : ''}${reasonIn(error)}.`
  if (errno === undefined) return new SessionStoreError(message, error)
  const [, meaning = ''] = getSystemErrorMap().get(errno) ?? []
  const cause = Object.assign(new Error(`${code}: ${meaning}, ${syscall}`), {
    code,
    errno,
    syscall,
  })
  return new SessionStoreError(message, cause)
}

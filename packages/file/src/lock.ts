// A lock between processes, for the moment that replacing a file takes: a second file that only one can create.
import { randomUUID } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { SessionStoreError } from '@coatcheck/core/store'

/** A lock is held for a fraction of a millisecond; one that is this old, in ms, belongs to nobody any more. */
const STALE_AFTER = 10_000

/** How long a process waits for a lock, in ms: longer than one that belongs to nobody stands. */
const TIMEOUT = 2 * STALE_AFTER

/** The machine's time, by which files are dated, whatever a test makes of `Date` later. */
export const machineTime = Date.now

/** Runs a task while no other process or thread runs one on the same path. `assertHeld` throws if it took too long. */
export type FileLock = <T>(path: string, task: (assertHeld: () => void) => T) => T

/**
 * Makes a lock that waits without giving up the thread, as its tasks are short. A process that is killed while it holds a
 * lock leaves the file behind: on the same host the next one sees at once that the process is gone.
 * @param graveyard A folder on the same file system, for locks that are taken away.
 */
export function createFileLock(graveyard: string): FileLock {
  const token = `${process.pid}@${hostname()} ${randomUUID()}`
  const sleeper = new Int32Array(new SharedArrayBuffer(4))

  function acquire(path: string): void {
    const end = performance.now() + TIMEOUT
    for (;;) {
      try {
        writeFileSync(path, token, { flag: 'wx', mode: 0o600 })
        return
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const holder = readIfThere(path)
      if (holder === undefined) continue
      if (isAbandoned(path, holder)) takeAway(path, holder, join(graveyard, randomUUID()))
      else if (performance.now() > end) {
        throw new SessionStoreError('A session file stayed locked by another process.')
      } else Atomics.wait(sleeper, 0, 0, 1)
    }
  }

  return (path, task) => {
    const file = `${path}.lock`
    acquire(file)
    const since = performance.now()
    try {
      return task(() => {
        if (performance.now() - since < STALE_AFTER / 2) return
        throw new SessionStoreError('The process was stopped while it held a lock, and gave it up.')
      })
    } finally {
      rmSync(file, { force: true })
    }
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isAbandoned(path: string, holder: string): boolean {
  const [, pid, host] = /^(\d+)@(\S+) /.exec(holder) ?? []
  if (pid !== undefined && host === hostname() && !isRunning(Number(pid))) return true
  const { mtimeMs = Infinity } = statSync(path, { throwIfNoEntry: false }) ?? {}
  return machineTime() - mtimeMs > STALE_AFTER
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Removes an abandoned lock. Of several processes that see it, one moves it; a fresh lock moved by mistake goes back. */
function takeAway(path: string, holder: string, grave: string): void {
  try {
    renameSync(path, grave)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (readIfThere(grave) !== holder) {
    try {
      linkSync(grave, path)
    } catch {
      // Somebody else holds it by now.
    }
  }
  rmSync(grave, { force: true })
}

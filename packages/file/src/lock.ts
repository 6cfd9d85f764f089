// A lock between processes, for the moment that replacing a file takes: a name that only one can give to a file of its own.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import {
  createWaitingLines,
  LOCKED,
  SessionStoreError,
  type Awaitable,
} from '@coatcheck/core/store'
import { codeOf, createTries, ifThere, isStranger, machineTime, READ } from './disk.ts'
import { stateOf, tokenText } from './process.ts'

/** A task takes a fraction of a millisecond; after so long, in ms, it changes nothing any more. */
const HELD_FOR = 2000

/** A lock that nobody knows the holder of belongs to nobody if it has stood unchanged for so long, in ms. */
const ABANDONED_AFTER = 2 * HELD_FOR

/** How long a call waits for a lock, in ms: longer than an abandoned one stands. */
const TIMEOUT = 5000

/** What a killed process left in the folder is removed by a sweep after this time, in ms. */
const LITTER_AFTER = 3_600_000

/** What a task may do while it holds a lock. */
export interface HeldLock {
  /** @throws SessionStoreError if the process was stopped for so long that others may have gone on. */
  assertHeld(): void
  /**
   * Writes a file aside and puts it in the place of `path` in one step: a crash leaves the old one or the new one.
   * @param prepare What is to be done to the file that is aside, before.
   */
  replace(path: string, text: string, prepare?: (aside: string) => void): void
  /** Removes a file, if it is there and no folder, link or the like. It needs no room on the disk. */
  remove(path: string): void
}

/** Locks by name, for the processes that share a folder. */
export interface FileLock {
  /**
   * Runs a task while no other process or thread runs one of the same name: at once if it can, and otherwise later, with a promise
   * for the answer. Calls of one name come in order.
   * @throws SessionStoreError, or rejects with it, if the lock cannot be had within 5 seconds; and what the task throws.
   */
  hold<T>(name: string, task: (held: HeldLock) => T): Awaitable<T>
  /**
   * Removes what processes that are gone have left in the folder.
   * @param isEnded Whether it is to stop. Default never.
   */
  sweep(isEnded?: () => boolean): Promise<void>
  /** Waits for the calls under way, 5 seconds at the most, and removes what this lock has in the folder. */
  close(): Awaitable<void>
}

/**
 * Makes a lock. It is taken by a hard link to a file that the process made before, so that neither taking it nor removing
 * a file under it needs room on the disk. A process that is killed while it holds one leaves it behind: in the same container the next one
 * sees at once that it is gone, and elsewhere when the lock has stood for 4 seconds, by its own clock.
 * @param folder For the locks, and for what is written aside; on the file system of the files that are replaced.
 */
export function createFileLock(folder: string): FileLock {
  const lines = createWaitingLines(TIMEOUT)
  const spares = [1, 2].map((n) => join(folder, `spare-${n}`))
  let isSpared = false
  let id = randomUUID()
  let isTokenWhole = false
  /** The numbers of the token's file, and of the one that is the lock which was taken last: where there are hard links the same. */
  let tokenFile: number | undefined
  let taken: number | undefined
  /** The locks that others hold: what was seen of each, and since when. */
  const seen = new Map<string, { what: string; since: number }>()

  /** Locks of ours that could not be removed, as where the folder was away, each with what it says. */
  const left = new Map<string, string>()

  const own = (ending: string) => join(folder, `${id}.${ending}`)
  makeSpares()

  /** Keeps two files whose room is for what a lock needs, should the disk have no other any more. */
  function makeSpares(): void {
    isSpared = spares.every((path) =>
      ignoring(undefined, () => writeFileSync(path, SPARE, { mode: 0o600 })),
    )
  }

  /** Does what needs a little room: on a full disk in that of processes that are gone, or of a spare file. */
  function inSpareRoom<T>(operation: () => T): T {
    try {
      return operation()
    } catch (error) {
      if (!NO_ROOM.includes(codeOf(error))) throw error
      isSpared = false
      for (const name of readdirSync(folder)) removeLitter(folder, name, -Infinity)
      if (!spares.some((path) => ignoring(undefined, () => unlinkSync(path)))) throw error
      return operation()
    }
  }

  /** The file whose second name is the lock. Where the disk has no room to say whose it is, it says nothing. */
  function token(): string {
    const path = own('token')
    if (isTokenWhole) return path
    const file = inSpareRoom(() => openSync(path, 'w', 0o600))
    try {
      isTokenWhole = ignoring(NO_ROOM, () => inSpareRoom(() => writeSync(file, tokenText(id))))
      tokenFile = fstatSync(file).ino
    } finally {
      closeSync(file)
    }
    return path
  }

  /** Takes a lock. @throws An error with the code EEXIST if somebody has it. */
  function take(path: string): void {
    try {
      inSpareRoom(() => linkSync(token(), path))
      taken = tokenFile
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT' && isTokenWhole) {
        // The token was removed.
        isTokenWhole = false
        take(path)
      } else if (NO_LINKS.includes(code)) make(path)
      else throw error
    }
  }

  /** Takes a lock where there are no hard links. */
  function make(path: string): void {
    const file = openSync(path, 'wx', 0o600)
    try {
      ignoring(NO_ROOM, () => writeSync(file, tokenText(id)))
      taken = fstatSync(file).ino
    } finally {
      closeSync(file)
    }
  }

  /** Whether the lock is ours now. One that nobody holds any more is taken away first. */
  function tryToTake(path: string): boolean {
    for (let tries = 0; tries < 3; tries++) {
      try {
        take(path)
        seen.delete(path)
        return true
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error
      }
      const holder = look(path)
      if (!holder) continue
      if (!isAbandoned(path, holder)) return false
      takeAway(path, holder.text)
    }
    return false
  }

  /** No clock is asked what time it is: it counts how long this process has seen the same. */
  function isAbandoned(path: string, { text, what }: Holder): boolean {
    if (stateOf(text) === 'gone') return true
    const before = seen.get(path)
    const time = performance.now()
    if (before?.what === what) return time - before.since > ABANDONED_AFTER
    seen.set(path, { what, since: time })
    return false
  }

  /** Removes an abandoned lock. Of several processes that see it, one moves it; a fresh lock moved by mistake goes back. */
  function takeAway(path: string, text: string): void {
    const its = idIn(text)
    // Whoever held it can put nothing in place any more, should it go on.
    if (its !== undefined) unlinkIfThere(join(folder, `${its}.new`))
    const grave = join(folder, `${randomUUID()}.grave`)
    if (!ignoring(['ENOENT'], () => renameSync(path, grave))) return
    // Somebody else may hold it by now.
    if (look(grave)?.text !== text) ignoring(['EEXIST', ...NO_LINKS], () => linkSync(grave, path))
    unlinkIfThere(grave)
  }

  /** Runs a task and gives the lock back. */
  function run<T>(path: string, task: (held: HeldLock) => T): T {
    const since = performance.now()
    const lock = taken
    /** Somebody who took an abandoned lock away may have moved this one by mistake, and another have it by now. */
    const isOurs = () => lstatSync(path, { throwIfNoEntry: false })?.ino === lock
    const isHeld = () => performance.now() - since < HELD_FOR && isOurs()
    const assertHeld = () => {
      if (!isHeld()) throw new SessionStoreError(STOPPED)
    }
    try {
      return task({
        assertHeld,
        replace(file, text, prepare) {
          const aside = own('new')
          try {
            writeFileSync(aside, text, { mode: 0o600 })
            prepare?.(aside)
            assertHeld()
            // Who takes the lock away removes what is aside before.
            renameSync(aside, file)
          } catch (error) {
            ignoring(undefined, () => unlinkSync(aside))
            throw error
          }
        },
        remove(file) {
          assertHeld()
          const gone = own('gone')
          const isFound = ifThere(folder, () => {
            // A folder or a link would be a stranger's.
            if (isStranger(file)) return false
            renameSync(file, gone)
            return true
          })
          if (!isFound) return
          // It was there to be removed only if the lock was held until here.
          if (!isHeld()) ignoring(['EEXIST'], () => linkSync(gone, file))
          unlinkSync(gone)
          assertHeld()
        },
      })
    } finally {
      if (!(isHeld() && ignoring(undefined, () => unlinkSync(path)))) {
        // What was done is done. Others find the lock abandoned; this process removes it when it can.
        left.set(path, tokenText(id))
        removeLeft()
        renew()
      }
      if (!isSpared) makeSpares()
    }
  }

  function removeLeft(): void {
    for (const [path, text] of left) {
      const isDone = ignoring(undefined, () => {
        statSync(folder)
        if (look(path)?.text === text) takeAway(path, text)
      })
      if (isDone) left.delete(path)
    }
  }

  /** Goes on under another name: what has the old one stands still, and is seen to. */
  function renew(): void {
    ignoring(undefined, () => unlinkSync(own('token')))
    id = randomUUID()
    isTokenWhole = false
  }

  return {
    hold(name, task) {
      const path = join(folder, `${name}.lock`)
      if (left.size > 0) removeLeft()
      return lines.enter(
        name,
        () => (tryToTake(path) ? run(path, task) : LOCKED),
        () =>
          new SessionStoreError(
            `A session stayed locked by another process for ${TIMEOUT} ms. Is one stopped, or the disk very slow?`,
          ),
      )
    },

    async sweep(isEnded = () => false) {
      const limit = machineTime() - LITTER_AFTER
      const tries = createTries()
      for (const name of readdirSync(folder)) {
        if (isEnded()) return
        await tries.go(() => {
          // To have had a lock is to have removed it.
          if (name.endsWith('.lock')) return this.hold(name.slice(0, -'.lock'.length), () => {})
          return removeLitter(folder, name, limit)
        })
      }
      if (tries.failures.length > 0) throw tries.failures[0]
    },

    close() {
      const waited = lines.empty()
      return waited ? waited.then(renew) : renew()
    },
  }
}

const STOPPED =
  'The process was stopped, or the disk took very long, while a session was locked, so it was left as it was.'

/** Codes of a disk, or a quota, on which nothing more has room. */
const NO_ROOM: readonly string[] = ['ENOSPC', 'EDQUOT']

/** What a spare file holds: a block of the disk, as a folder needs to grow. */
const SPARE = Buffer.alloc(4096)

/** Codes of file systems that have no hard links, and of a file that has as many as it can. */
const NO_LINKS: readonly string[] = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK']

interface Holder {
  readonly text: string
  /** The same as long as the same holder holds it: a link changes the time of the file that it is to. */
  readonly what: string
}

/** What a lock says; undefined if there is none. */
function look(path: string): Holder | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false, bigint: true })
  if (!found) return undefined
  let text = ''
  // A lock that cannot be read is one that says nothing; a pipe or a link would be a stranger's.
  if (found.isFile())
    ignoring(undefined, () => void (text = readFileSync(path, { encoding: 'latin1', flag: READ })))
  return { text, what: `${found.ino} ${found.ctimeNs} ${text}` }
}

/** Removes a file of a process that is gone or, where that is not known, one that is older than the limit. */
function removeLitter(folder: string, name: string, limit: number): void {
  if (/^spare-|\.lock$/.test(name)) return
  const path = join(folder, name)
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found?.isFile()) return
  const [owner] = name.split('.', 1)
  const state = stateOf(look(join(folder, `${owner}.token`))?.text ?? '')
  if (state === 'gone' || (state === 'unknown' && found.mtimeMs < limit)) unlinkIfThere(path)
}

function idIn(text: string): string | undefined {
  return /^\d+@\S+ ([\da-f-]{36})/.exec(text)?.[1]
}

/** Whether it worked, where it may fail with one of these codes, or whichever. */
function ignoring(codes: readonly string[] | undefined, operation: () => unknown): boolean {
  try {
    operation()
    return true
  } catch (error) {
    if (codes?.includes(codeOf(error)) === false) throw error
    return false
  }
}

function unlinkIfThere(path: string): void {
  ignoring(['ENOENT'], () => unlinkSync(path))
}

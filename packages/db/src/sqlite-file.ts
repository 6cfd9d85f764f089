// A database's file: into WAL mode, whether it is still the same, and why it cannot be opened.
import { accessSync, constants, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { performance } from 'node:perf_hooks'
import { SessionStoreError } from '@coatcheck/core/store'
import { isLocked, reasonOf } from './sqlite-errors.ts'

/** How often it is looked, in ms, whether the file is still the one that was opened. */
const LOOK_EVERY = 1000

/** @returns A function that tells whether a file is still the one that it is now. */
export function watch(filename: string): () => boolean {
  if (filename === '' || filename.startsWith(':') || filename.startsWith('file:'))
    return () => false
  // The number of a file that is open is not given to another one.
  const path = resolve(filename)
  const idOf = ({ dev, ino }: { dev: number; ino: number }) => `${dev}:${ino}`
  const opened = idOf(statSync(path))
  let lookedAt = performance.now()
  return () => {
    if (performance.now() - lookedAt < LOOK_EVERY) return false
    const found = statSync(path, { throwIfNoEntry: false })
    if (!found) throw new SessionStoreError(`The session database '${filename}' was removed.`)
    lookedAt = performance.now()
    return idOf(found) !== opened
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
  return reasonOf(error) ?? (error as Error).message
}

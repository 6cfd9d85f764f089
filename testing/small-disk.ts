// A small disk of a test's own, that can be filled and made read-only: a tmpfs.
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { need } from './needs.ts'

export interface SmallDisk {
  readonly path: string
  /** Takes all the room that is left, as another program's log does. */
  fill(): void
  /** Gives it back. */
  free(): void
  setReadOnly(isReadOnly: boolean): void
  [Symbol.dispose](): void
}

/** Mounts one, by the options of tmpfs. Skips the test where mounting is not allowed. */
export function smallDisk(context: TestContext, options: string): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'coatcheck-disk-'))
  const mount = (...args: string[]) => spawnSync('mount', [...args, path]).status === 0
  const isMounted = mount('-t', 'tmpfs', '-o', options, 'tmpfs')
  if (!isMounted) rmSync(path, { recursive: true })
  const how = 'run them as root on Linux, where a tmpfs can be mounted'
  need(context, isMounted || undefined, 'A small disk', how)
  const ballast = join(path, 'ballast')
  return {
    path,
    fill() {
      const file = openSync(ballast, 'a')
      try {
        for (let size = 65_536; size >= 1;) {
          try {
            writeSync(file, Buffer.alloc(size))
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
            size = Math.floor(size / 2)
          }
        }
      } finally {
        closeSync(file)
      }
    },
    free: () => rmSync(ballast, { force: true }),
    setReadOnly(isReadOnly) {
      if (!mount('-o', `remount,${isReadOnly ? 'ro' : 'rw'}`)) throw new Error('not mounted anew')
    },
    [Symbol.dispose]() {
      spawnSync('umount', ['-l', path])
      rmSync(path, { recursive: true, force: true })
    },
  }
}

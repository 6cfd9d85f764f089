// Django's file engine: one file a session in one folder, whose age is that of the file.
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  inWords,
  KeyExistsError,
  refuseOption,
  RETIRED,
  SessionConflictError,
  SessionError,
  SessionGoneError,
  SessionStoreError,
  SessionUsageError,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { createFileLock } from '@coatcheck/file/lock'
import { dataCodec, expiryOf, sealing, type DjangoEngine } from './site.ts'

/** What Django takes for a session key here. Nothing that a path could stumble over is among it. */
const KEY = /^[a-z0-9]{8,64}$/

/** What stands for data that this site has not sealed: text that its codec cannot read. */
const UNREADABLE = 'not sealed by this site'

/** Sessions that one batch of `clearExpired` looks at: a few ms on an ordinary disk. */
const BATCH_SIZE = 100

/**
 * Django's `backends.file`: `SESSION_FILE_PATH` holds a file for each session, named by the cookie and the key. A session
 * ends `SESSION_COOKIE_AGE` after its file was last written, or by the expiry that it was given: a date, as in Django, or a
 * number of seconds, which Django leaves to the browser. Both sites must run as the same user, as the files are for their
 * owner alone.
 * @param directory `SESSION_FILE_PATH`; Django's default is the system's folder for temporary files.
 * @throws SessionStoreError if the folder is not there or cannot be written, as Django does.
 */
export function djangoFile(directory: string): DjangoEngine {
  if (typeof directory !== 'string' || directory === '') {
    refuseOption(`djangoFile needs the path of a folder, and got ${inWords(directory)}`)
  }
  // Django's sweep passes over names that do not start with the cookie's, and so over this folder.
  const aside = join(directory, '.coatcheck')
  attempt('open', () => {
    statSync(directory)
    mkdirSync(aside, { recursive: true, mode: 0o700 })
  })
  const withLock = createFileLock(aside)
  const lockOf = (key: string) => join(aside, key)

  function attempt<T>(action: string, operation: () => T): T {
    try {
      return operation()
    } catch (error) {
      if (error instanceof SessionError) throw error
      throw new SessionStoreError(
        `Django's session folder '${directory}' failed to ${action} a session. Is it there, writable, and not full?`,
        error,
      )
    }
  }

  return (site) => {
    const { cookieName, cookieAge, keySalt, now } = site
    const { seal, unseal } = sealing(site, keySalt)
    const pathOf = (key: string) => join(directory, cookieName + key)

    /** The session in a file, with its data unsealed. */
    function live(path: string): SessionRecord | undefined {
      let file
      try {
        file = openSync(path, 'r')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
        // A folder that has gone is a failure, and not a session that nobody has.
        statSync(aside)
        return undefined
      }
      let sealed
      let changed
      try {
        changed = fstatSync(file).mtimeMs
        sealed = readFileSync(file, 'utf8')
      } finally {
        closeSync(file)
      }
      // Django makes a session's file before it writes it.
      if (sealed === '') return undefined
      const data = unseal(sealed)?.json ?? UNREADABLE
      const expiresAt = Math.round(expiryOf(data, changed, cookieAge))
      return expiresAt > now() ? { data, expiresAt } : undefined
    }

    /** Sets the time from which the session in a file ends at `expiresAt`, if its data does not say when. */
    function date(path: string, data: string, expiresAt: number): void {
      const changed = (expiresAt - expiryOf(data, 0, cookieAge)) / 1000
      const time = changed > 0 ? changed : now() / 1000
      utimesSync(path, time, time)
    }

    function replace(path: string, { data, expiresAt }: SessionRecord): void {
      const file = join(aside, randomUUID())
      try {
        writeFileSync(file, seal(data), { flag: 'wx', mode: 0o600 })
        date(file, data, expiresAt)
        renameSync(file, path)
      } catch (error) {
        rmSync(file, { force: true })
        throw error
      }
    }

    const store: SessionStore = {
      traits: { sync: true, removesRetired: true },

      load: (key) => (KEY.test(key) ? attempt('load', () => live(pathOf(key))) : undefined),

      create(key, record) {
        if (!KEY.test(key)) throw new SessionUsageError('create() was given a malformed key.')
        return attempt('create', () =>
          withLock(lockOf(key), () => {
            if (live(pathOf(key))) throw new KeyExistsError()
            replace(pathOf(key), record)
            return key
          }),
        )
      },

      save(key, record, expected) {
        if (!KEY.test(key)) throw new SessionGoneError()
        const path = pathOf(key)
        return attempt('save', () =>
          withLock(lockOf(key), () => {
            const stored = live(path)
            if (!stored) throw new SessionGoneError()
            if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
            if (record.data === RETIRED || record.expiresAt <= now()) rmSync(path, { force: true })
            else replace(path, record)
            return key
          }),
        )
      },

      touch(key, expiresAt, from) {
        if (!KEY.test(key)) throw new SessionGoneError()
        const path = pathOf(key)
        return attempt('touch', () =>
          withLock(lockOf(key), () => {
            const stored = live(path)
            if (!stored) throw new SessionGoneError()
            if (from !== undefined && stored.expiresAt !== from) throw new SessionConflictError()
            date(path, stored.data, expiresAt)
            return key
          }),
        )
      },

      delete(key) {
        if (!KEY.test(key)) return
        attempt('delete', () => withLock(lockOf(key), () => rmSync(pathOf(key), { force: true })))
      },

      async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
        let removed = 0
        let looked = 0
        for (const name of attempt('clearExpired', () => readdirSync(directory))) {
          const key = name.slice(cookieName.length)
          if (!name.startsWith(cookieName) || !KEY.test(key)) continue
          if (looked++ % batchSize === 0) {
            await setImmediate()
            if (signal?.aborted) return removed
          }
          attempt('clearExpired', () =>
            withLock(lockOf(key), () => {
              const path = pathOf(key)
              const { size = 0 } = statSync(path, { throwIfNoEntry: false }) ?? {}
              if (size === 0 || live(path)) return
              rmSync(path, { force: true })
              removed++
            }),
          )
        }
        return removed
      },
    }
    return { store, codec: dataCodec }
  }
}

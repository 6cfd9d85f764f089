// Django's file engine: one file a session in one folder, whose age is that of the file.
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  utimesSync,
} from 'node:fs'
import { opendir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  attempt,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  type SessionError,
  SessionUsageError,
  StoreClosedError,
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
  READ,
  type Action,
} from '@coatcheck/file/disk'
import { createFileLock, type FileLock, type HeldLock } from '@coatcheck/file/lock'
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
 * @throws SessionUsageError for what is no path; SessionStoreError if the folder is not there or cannot be written, as Django does.
 */
export function djangoFile(directory: string | undefined): DjangoEngine {
  const root = folderAt('djangoFile', directory)
  // Django's sweep passes over names that do not start with the cookie's, and so over this folder.
  const aside = join(root, '.coatcheck')
  const lock = run('open', () => {
    statSync(root)
    mkdirSync(aside, { recursive: true, mode: 0o700 })
    return createFileLock(aside)
  }) as FileLock

  function run<T>(action: Action, operation: () => Awaitable<T>): Awaitable<T> {
    return attempt(operation, (error) => {
      throw failed(ACTIONS[action], error)
    })
  }

  function failed(what: string, error: unknown): SessionError {
    return diskError(`Django's session folder '${directory}' failed ${what}`, error)
  }

  return (site) => {
    const { cookieName, cookieAge, keySalt, now } = site
    const { seal, unseal } = sealing(site, keySalt)
    let isClosed = false
    const pathOf = (key: string) => join(root, cookieName + key)

    /** Runs file operations for as long as the store is open. */
    function use<T>(action: Action, operation: () => Awaitable<T>): Awaitable<T> {
      if (isClosed) throw new StoreClosedError()
      return run(action, operation)
    }

    /** The session in a file, with its data unsealed. */
    function live(path: string): SessionRecord | undefined {
      const found = ifThere(aside, () => {
        const file = openSync(path, READ)
        try {
          return { changed: fstatSync(file).mtimeMs, sealed: readFileSync(file, 'utf8') }
        } finally {
          closeSync(file)
        }
      })
      // Django makes a session's file before it writes it.
      if (!found || found.sealed === '') return undefined
      const { changed, sealed } = found
      const data = unseal(sealed)?.json ?? UNREADABLE
      const expiresAt = Math.round(expiryOf(data, changed, cookieAge))
      return expiresAt > now() ? { data, expiresAt } : undefined
    }

    /** Whether a file of Django's or ours has ended. It is nobody else's, and no file that Django has still to write. */
    function isOver(path: string): boolean {
      const found = lstatSync(path, { throwIfNoEntry: false })
      return found?.isFile() === true && found.size > 0 && !live(path)
    }

    /** Sets the time from which the session in a file ends at `expiresAt`, if its data does not say when. */
    function date(path: string, data: string, expiresAt: number): void {
      const changed = (expiresAt - expiryOf(data, 0, cookieAge)) / 1000
      const time = changed > 0 ? changed : now() / 1000
      utimesSync(path, time, time)
    }

    function replace(held: HeldLock, path: string, { data, expiresAt }: SessionRecord): void {
      held.replace(path, seal(data), (file) => date(file, data, expiresAt))
    }

    const store: SessionStore = {
      traits: { sync: true, removesRetired: true },

      load: (key) => (KEY.test(key) ? use('load', () => live(pathOf(key))) : undefined),

      create(key, record) {
        if (!KEY.test(key)) throw new SessionUsageError('create() was given a malformed key.')
        return use('create', () =>
          lock.hold(key, (held) => {
            const path = pathOf(key)
            if (live(path) || isStranger(path)) throw new KeyExistsError()
            replace(held, path, record)
            return key
          }),
        )
      },

      save(key, record, expected) {
        if (!KEY.test(key)) throw new SessionGoneError()
        const path = pathOf(key)
        return use('save', () =>
          lock.hold(key, (held) => {
            const stored = live(path)
            if (!stored) throw new SessionGoneError()
            if (expected !== undefined && stored.data !== expected) throw new SessionConflictError()
            if (record.data === RETIRED || record.expiresAt <= now()) held.remove(path)
            else replace(held, path, record)
            return key
          }),
        )
      },

      touch(key, expiresAt, from) {
        if (!KEY.test(key)) throw new SessionGoneError()
        const path = pathOf(key)
        return use('touch', () =>
          lock.hold(key, ({ assertHeld }) => {
            const stored = live(path)
            if (!stored) throw new SessionGoneError()
            if (from !== undefined && stored.expiresAt !== from) throw new SessionConflictError()
            assertHeld()
            date(path, stored.data, expiresAt)
            return key
          }),
        )
      },

      delete(key) {
        if (!KEY.test(key)) return
        return use('delete', () => lock.hold(key, (held) => held.remove(pathOf(key))))
      },

      async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
        const tries = createTries()
        const isEnded = () => isClosed || signal?.aborted === true
        let removed = 0
        let looked = 0
        await use('clearExpired', async () => {
          for await (const { name } of await opendir(root)) {
            const key = name.slice(cookieName.length)
            if (!name.startsWith(cookieName) || !KEY.test(key)) continue
            if (looked++ % batchSize === 0) await setImmediate()
            if (isEnded()) return
            await tries.go(() => {
              const path = pathOf(key)
              if (!isOver(path)) return
              return lock.hold(key, (held) => {
                if (!isOver(path)) return
                held.remove(path)
                removed++
              })
            })
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
    return { store, codec: dataCodec }
  }
}

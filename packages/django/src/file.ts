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
  inWords,
  KeyExistsError,
  refuseOption,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  type SessionError,
  SessionUsageError,
  type Awaitable,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'
import { createTries, diskError, ifThere, READ } from '@coatcheck/file/disk'
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
 * @throws SessionStoreError if the folder is not there or cannot be written, as Django does.
 */
export function djangoFile(directory: string): DjangoEngine {
  if (typeof directory !== 'string' || directory === '') {
    refuseOption(`djangoFile needs the path of a folder, and got ${inWords(directory)}`)
  }
  // Django's sweep passes over names that do not start with the cookie's, and so over this folder.
  const aside = join(directory, '.coatcheck')
  const lock = run('open', () => {
    statSync(directory)
    mkdirSync(aside, { recursive: true, mode: 0o700 })
    return createFileLock(aside)
  }) as FileLock

  function run<T>(action: string, operation: () => Awaitable<T>): Awaitable<T> {
    return attempt(operation, (error) => {
      throw failed(`to ${action} a session`, error)
    })
  }

  function failed(what: string, error: unknown): SessionError {
    return diskError(`Django's session folder '${directory}' failed ${what}`, error)
  }

  return (site) => {
    const { cookieName, cookieAge, keySalt, now } = site
    const { seal, unseal } = sealing(site, keySalt)
    const pathOf = (key: string) => join(directory, cookieName + key)

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

      load: (key) => (KEY.test(key) ? run('load', () => live(pathOf(key))) : undefined),

      create(key, record) {
        if (!KEY.test(key)) throw new SessionUsageError('create() was given a malformed key.')
        return run('create', () =>
          lock.hold(key, (held) => {
            if (live(pathOf(key))) throw new KeyExistsError()
            replace(held, pathOf(key), record)
            return key
          }),
        )
      },

      save(key, record, expected) {
        if (!KEY.test(key)) throw new SessionGoneError()
        const path = pathOf(key)
        return run('save', () =>
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
        return run('touch', () =>
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
        return run('delete', () => lock.hold(key, (held) => held.remove(pathOf(key))))
      },

      async clearExpired({ batchSize = BATCH_SIZE, signal } = {}) {
        const tries = createTries()
        let removed = 0
        let looked = 0
        await run('clearExpired', async () => {
          for await (const { name } of await opendir(directory)) {
            const key = name.slice(cookieName.length)
            if (!name.startsWith(cookieName) || !KEY.test(key)) continue
            if (looked++ % batchSize === 0) await setImmediate()
            if (signal?.aborted) return
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
          await tries.go(() => lock.sweep())
        })
        const { failures } = tries
        if (failures.length === 0 || signal?.aborted) return removed
        const what = `${failures.length} times to remove an ended session, and removed ${removed}`
        throw failed(what, failures[0])
      },

      close: () => lock.close(),
    }
    return { store, codec: dataCodec }
  }
}

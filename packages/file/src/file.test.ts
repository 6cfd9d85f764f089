// The file engine: the conformance suite, what lies on the disk, and what happens when the disk fails.
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { proveEngines } from '../../../testing/prove.ts'
import { fileStore } from './index.ts'

const folders: string[] = []
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'coatcheck-file-'))
  folders.push(path)
  return path
}
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

await proveEngines('file')

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000
const filesIn = (path: string) =>
  readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())

test('a session is one file in a sub-folder, for its owner alone, and nothing else is left', () => {
  const path = folder()
  const store = fileStore(join(path, 'sessions'))
  store.create(KEY, { data: '{"a":1}', expiresAt: later() })
  store.save(KEY, { data: '{"a":2}', expiresAt: later() }, '{"a":1}')
  store.touch(KEY, later())
  const file = join(path, 'sessions', 'kk', KEY)
  expect(filesIn(path).map((entry) => join(entry.parentPath, entry.name))).toEqual([file])
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(statSync(join(path, 'sessions', 'kk')).mode & 0o777).toBe(0o700)
  expect(readFileSync(file, 'utf8')).toMatch(/^\d{16}\n\{"a":2\}$/)
  store.delete(KEY)
  expect(filesIn(path)).toEqual([])
})

test('a session outlives the process: a second store on the folder finds it', () => {
  const path = folder()
  const record = { data: '{"a":1}', expiresAt: later() }
  fileStore(path).create(KEY, record)
  expect(fileStore(path).load(KEY)).toEqual(record)
})

test('touch leaves the data alone and does not rewrite it', () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: 'x'.repeat(1_000_000), expiresAt: later() })
  const { ino, size } = statSync(join(path, 'kk', KEY))
  store.touch(KEY, later() + 5)
  expect(statSync(join(path, 'kk', KEY))).toMatchObject({ ino, size })
})

test('a file that is not ours, or is torn, is no session', () => {
  const path = folder()
  const store = fileStore(path)
  mkdirSync(join(path, 'kk'))
  for (const text of ['', '123', '0000000000000000', 'nonsense that is longer than a header']) {
    writeFileSync(join(path, 'kk', KEY), text)
    expect(store.load(KEY)).toBeUndefined()
    expect(() => store.touch(KEY, later())).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_GONE' }),
    )
  }
  store.create(KEY, { data: 'new', expiresAt: later() })
  expect(store.load(KEY)).toMatchObject({ data: 'new' })
})

test('a folder that was deleted is a SessionStoreError, and comes back to life when it is made again', () => {
  const path = join(folder(), 'sessions')
  const store = fileStore(path)
  rmSync(path, { recursive: true })
  expect(() => store.create(KEY, { data: '{}', expiresAt: later() })).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining(`'${path}'`),
    }),
  )
  mkdirSync(join(path, '.unfinished'), { recursive: true })
  store.create(KEY, { data: '{}', expiresAt: later() })
})

test('a place where no folder can be is refused at once', () => {
  const path = join(folder(), 'file')
  writeFileSync(path, '')
  expect(() => fileStore(path)).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
})

test('a disk without room for a session is a SessionStoreError; the old session stays, and nothing half written', () => {
  const path = folder()
  // A limit on the size of files ends a write in the middle, as a full disk does.
  const command = `ulimit -f 64; exec "$0" "$1" "$2"`
  const script = `${import.meta.dirname}/fixtures/fill-disk.ts`
  const { stdout } = spawnSync('sh', ['-c', command, process.execPath, script, path], {
    encoding: 'utf8',
  })
  expect(JSON.parse(stdout)).toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringContaining(`'${path}'`),
    cause: 'EFBIG',
    data: { data: 'old' },
  })
  expect(filesIn(path).map((entry) => entry.name)).toEqual([KEY])
})

test('a lock left by a process that is gone does not stop anybody', async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const gone = fork(`${import.meta.dirname}/fixtures/hold-lock.ts`, [join(path, 'kk', KEY)])
  await once(gone, 'message')
  gone.kill('SIGKILL')
  await once(gone, 'exit')
  expect(readdirSync(join(path, 'kk'))).toContain(`${KEY}.lock`)
  store.save(KEY, { data: '2', expiresAt: later() }, '1')
  expect(store.load(KEY)).toMatchObject({ data: '2' })
  expect(readdirSync(join(path, 'kk'))).toEqual([KEY])
})

test('an old lock of another host is taken away', () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const lock = join(path, 'kk', `${KEY}.lock`)
  writeFileSync(lock, '1@elsewhere token')
  const old = Date.now() / 1000 - 11
  utimesSync(lock, old, old)
  store.delete(KEY)
  expect(store.load(KEY)).toBeUndefined()
})

test("a test's fake Date does not make the files of others old", async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const unfinished = join(path, '.unfinished', 'of another process')
  writeFileSync(unfinished, 'half a session')
  const lock = join(path, 'kk', `${KEY}.lock`)
  writeFileSync(lock, '1@elsewhere token')
  const almostOld = Date.now() / 1000 - 9
  utimesSync(lock, almostOld, almostOld)
  const start = performance.now()
  vi.useFakeTimers({ now: Date.now() + 86_400_000 })
  store.delete(KEY)
  await store.clearExpired!()
  vi.useRealTimers()
  expect(performance.now() - start).toBeGreaterThan(500)
  expect(existsSync(unfinished)).toBe(true)
})

test('the sweep removes what killed writers left unfinished', async () => {
  const path = folder()
  const store = fileStore(path)
  const [old, fresh] = ['old', 'fresh'].map((name) => join(path, '.unfinished', name))
  for (const file of [old!, fresh!]) writeFileSync(file, 'half a session')
  utimesSync(old!, 1, 1)
  await store.clearExpired!()
  expect(readdirSync(join(path, '.unfinished'))).toEqual(['fresh'])
})

// The file engine: the conformance suite, what lies on the disk, and what happens when the disk fails.
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { SessionRecord } from '@coatcheck/core/store'
import { afterEach, expect, test, vi } from 'vitest'
import { proveHerd } from '../../../testing/herd.ts'
import { proveEngines } from '../../../testing/prove.ts'
import { smallDisk, type SmallDisk } from '../../../testing/small-disk.ts'
import { fileStore } from './index.ts'
import { createFileLock, type HeldLock } from './lock.ts'
import { tokenText } from './process.ts'

const folders: string[] = []
function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'coatcheck-file-'))
  folders.push(path)
  return path
}
afterEach(() => {
  vi.restoreAllMocks()
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

await proveEngines('file')

const KEY = 'k'.repeat(32)
const later = () => Date.now() + 60_000
/** What is there but for what a lock needs: one file of each store, and two spare ones. */
const filesIn = (path: string) =>
  readdirSync(path, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && !/^spare-|\.token$/.test(entry.name),
  )
const namesIn = (path: string) => filesIn(path).map(({ name }) => name)

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
  expect(() => fileStore(path)).toThrow(
    expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringContaining(`'${path}' failed to open (`),
    }),
  )
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

/** A process that holds the lock of a key for ever. */
async function holder(path: string, key = KEY) {
  const script = `${import.meta.dirname}/fixtures/hold-lock.ts`
  const child = fork(script, [join(path, '.unfinished'), key])
  await once(child, 'message')
  return child
}

test.each([20, 1500])(
  'a thousand requests of one session beside a lock of %i ms are answered when it is over, and all is kept',
  async (ms) => {
    const path = folder()
    const store = fileStore(path)
    await proveHerd(store, async (key) => {
      const child = await holder(path, key)
      void setTimeout(ms).then(() => child.kill('SIGKILL'))
    })
  },
  120_000,
)

/** How long a call blocks the thread, in ms, and what it answers. */
function timed<T>(call: () => T): { ms: number; answer: T } {
  const start = performance.now()
  const answer = call()
  return { ms: performance.now() - start, answer }
}

test('a lock left by a process that is gone does not stop anybody', async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const gone = await holder(path)
  gone.kill('SIGKILL')
  await once(gone, 'exit')
  expect(namesIn(path)).toContain(`${KEY}.lock`)
  expect(store.save(KEY, { data: '2', expiresAt: later() }, '1')).toBe(KEY)
  expect(store.load(KEY)).toMatchObject({ data: '2' })
  expect(namesIn(path)).toEqual([KEY])
})

test('a lock of an earlier life of this process stops nobody: the number is the same, the start is not', () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const text = tokenText(randomUUID()).replace(/\d+$/, '1')
  writeFileSync(join(path, '.unfinished', `${KEY}.lock`), text)
  expect(store.save(KEY, { data: '2', expiresAt: later() }, '1')).toBe(KEY)
  expect(namesIn(path)).toEqual([KEY])
})

test.each([
  ['another container with this hostname', tokenText(randomUUID()).replace(/\[\d+\]/, '[1]')],
  ['another machine', `1@elsewhere ${randomUUID()} boot/pid:[1] 1`],
  ['an earlier version', `${process.pid}@${hostname()} ${randomUUID()}`],
  ['nobody: an empty file', ''],
])(
  'a lock of %s is waited for off the thread, and taken away when it has stood for 4 s',
  async (_, text) => {
    const path = folder()
    const store = fileStore(path)
    store.create(KEY, { data: '1', expiresAt: later() })
    const lock = join(path, '.unfinished', `${KEY}.lock`)
    writeFileSync(lock, text)
    // What clocks say counts for nothing.
    utimesSync(lock, 1, 1)
    const before = performance.now()
    const { ms, answer } = timed(() => store.delete(KEY))
    expect(ms).toBeLessThan(3000)
    expect(answer).toBeInstanceOf(Promise)
    // It was seen first between these two moments.
    const after = performance.now()
    let time = before + 4000
    vi.spyOn(performance, 'now').mockImplementation(() => time)
    await setTimeout(100)
    expect(existsSync(lock)).toBe(true)
    time = after + 4001
    await answer
    expect(namesIn(path)).toEqual([])
  },
)

test('a thousand calls that wait for a lock wait off the thread, and come in order', async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '0', expiresAt: later() })
  const other = await holder(path)
  const { ms, answer } = timed(() =>
    Array.from({ length: 1000 }, (_, n) =>
      store.save(KEY, { data: `${n + 1}`, expiresAt: later() }, `${n}`),
    ),
  )
  expect(ms).toBeLessThan(3000)
  for (const one of answer) expect(one).toBeInstanceOf(Promise)
  // Time stands still, so that the lock is none that has stood for too long.
  const start = performance.now()
  const clock = vi.spyOn(performance, 'now').mockReturnValue(start)
  for (let turns = 0; turns < 50; turns++) await setTimeout(5)
  clock.mockRestore()
  expect(performance.now() - start).toBeLessThan(15_000)
  expect(store.load(KEY)).toMatchObject({ data: '0' })
  other.kill('SIGKILL')
  await Promise.all(answer)
  expect(store.load(KEY)).toMatchObject({ data: '1000' })
  await store.close!()
  expect(namesIn(path)).toEqual([KEY])
})

test('a lock that could not be given back, as the folder was away, makes nobody of this process wait', () => {
  const path = folder()
  const lock = createFileLock(path)
  expect(lock.hold('a', () => renameSync(path, `${path}.away`))).toBeUndefined()
  renameSync(`${path}.away`, path)
  expect(readdirSync(path)).toContain('a.lock')
  expect(lock.hold('a', () => 'at once')).toBe('at once')
  expect(readdirSync(path)).not.toContain('a.lock')
})

test('who has lost a lock to others puts nothing in place, and gives back none of theirs', () => {
  const path = folder()
  const file = join(path, 'file')
  const [mine, theirs] = [createFileLock(path), createFileLock(path)]
  const lose = () => renameSync(join(path, 'a.lock'), join(path, 'moved-by-mistake'))
  for (const write of [
    (held: HeldLock) => held.replace(file, 'mine'),
    (held: HeldLock) => held.remove(file),
  ]) {
    expect(() =>
      mine.hold('a', (held) => {
        lose()
        theirs.hold('a', (other) => other.replace(file, 'theirs'))
        write(held)
      }),
    ).toThrow(expect.objectContaining({ code: 'ERR_SESSION_STORE' }))
    expect(readFileSync(file, 'utf8')).toBe('theirs')
  }
  mine.hold('a', () => {
    lose()
    writeFileSync(join(path, 'a.lock'), 'theirs')
  })
  expect(readFileSync(join(path, 'a.lock'), 'utf8')).toBe('theirs')
})

test('close waits for the calls that wait', async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const other = await holder(path)
  const deleted = store.delete(KEY)
  const closed = store.close!()
  other.kill('SIGKILL')
  await closed
  expect(namesIn(path)).toEqual([])
  await deleted
  expect(
    readdirSync(join(path, '.unfinished')).filter((name) => name.endsWith('.token')),
  ).toHaveLength(1)
})

test('close ends a sweep, which tells what it has removed, and everything else is refused', async () => {
  const path = folder()
  const store = fileStore(path)
  for (let n = 100; n < 200; n++) store.create(`kk${n}`.padEnd(32, 'k'), { data: '', expiresAt: 1 })
  const swept = store.clearExpired!({ batchSize: 1 })
  while (namesIn(path).length === 100) await setImmediate()
  await store.close!()
  const left = namesIn(path).length
  expect(await swept).toBe(100 - left)
  expect(namesIn(path)).toHaveLength(left)
  expect(left).toBeGreaterThan(0)
  const closed = 'The store is closed. Make another one.'
  await expect(store.clearExpired!()).rejects.toThrow(closed)
  for (const call of [
    () => store.load(KEY),
    () => store.create(KEY, { data: '', expiresAt: later() }),
    () => store.save(KEY, { data: '1', expiresAt: later() }),
    () => store.touch(KEY, later()),
    () => store.delete(KEY),
  ]) {
    expect(call).toThrow(closed)
  }
})

test('the folder stays the same when the process goes to another one', () => {
  const path = folder()
  const script = `
    import { fileStore } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
    const store = fileStore('sessions')
    process.chdir('/')
    store.create('${KEY}', { data: 'there', expiresAt: Date.now() + 60_000 })
    console.log(store.load('${KEY}').data)`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: path,
    encoding: 'utf8',
  })
  expect(stdout.trim()).toBe('there')
  expect(fileStore(join(path, 'sessions')).load(KEY)).toMatchObject({ data: 'there' })
})

test.each(['replace', 'remove'])(
  'a process that was stopped while it held a lock undoes nothing that others did: %s',
  async (what) => {
    const path = folder()
    const store = fileStore(path)
    store.create(KEY, { data: 'old', expiresAt: later() })
    const script = `${import.meta.dirname}/fixtures/stop-in-lock.ts`
    const stopped = fork(script, [join(path, '.unfinished'), KEY, join(path, 'kk', KEY), what])
    await once(stopped, 'message')
    await store.save(KEY, { data: 'newer', expiresAt: later() }, 'old')
    const third = await holder(path)
    const answer = once(stopped, 'message')
    stopped.kill('SIGCONT')
    expect(await answer).toEqual(['failed', undefined])
    expect(namesIn(path).toSorted()).toEqual([KEY, `${KEY}.lock`])
    third.kill('SIGKILL')
    await once(third, 'exit')
    expect(store.load(KEY)).toMatchObject({ data: 'newer' })
    store.save(KEY, { data: 'newest', expiresAt: later() }, 'newer')
    stopped.disconnect()
    await once(stopped, 'exit')
    expect(namesIn(path)).toEqual([KEY])
  },
)

test('where there are no hard links, a lock is a file that only one can make', () => {
  const script = `${import.meta.dirname}/fixtures/no-links.ts`
  const { stdout, stderr } = spawnSync(process.execPath, [script, folder()], { encoding: 'utf8' })
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual(['{"a":2}', undefined, 0].map((one) => one ?? null))
})

test("a test's fake Date does not make the files of others old", async () => {
  const path = folder()
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  const unfinished = join(path, '.unfinished', 'of another process')
  writeFileSync(unfinished, 'half a session')
  const lock = join(path, '.unfinished', `${KEY}.lock`)
  writeFileSync(lock, '1@elsewhere token')
  const start = performance.now()
  vi.useFakeTimers({ now: Date.now() + 86_400_000 })
  await store.delete(KEY)
  await store.clearExpired!()
  vi.useRealTimers()
  expect(performance.now() - start).toBeGreaterThan(3900)
  expect(existsSync(unfinished)).toBe(true)
})

test('the sweep removes what killed writers left unfinished', async () => {
  const path = folder()
  const store = fileStore(path)
  const gone = await holder(path)
  gone.kill('SIGKILL')
  await once(gone, 'exit')
  const [old, fresh] = ['old', 'fresh'].map((name) => join(path, '.unfinished', name))
  for (const file of [old!, fresh!]) writeFileSync(file, 'half a session')
  utimesSync(old!, 1, 1)
  await store.clearExpired!()
  await store.close!()
  expect(readdirSync(join(path, '.unfinished'))).toEqual(['fresh', 'spare-1', 'spare-2'])
})

test('strangers in the folder are passed over by the sweep and everything else, and stay', async () => {
  const path = folder()
  const store = fileStore(path)
  store.create('kkdeaddead', { data: '1', expiresAt: Date.now() + 1 })
  const at = (name: string) => join(path, name)
  for (const name of ['.gitkeep', '.DS_Store', '.nfs0123', 'zz', 'kk/.gitkeep', 'kk/kkdeaddead~']) {
    writeFileSync(at(name), '0000000000000001\nx')
  }
  for (const name of ['lost+found', 'lost+found/lolololo', 'xx', 'kk/kkfolderfolder'])
    mkdirSync(at(name))
  writeFileSync(at('xx/kkkkkkkkkk'), '0000000000000001\nof another key')
  writeFileSync(at('target'), `${'9'.repeat(16)}\nx`)
  symlinkSync(path, at('yy'))
  symlinkSync(at('target'), at('kk/kklinklink'))
  symlinkSync('kkloopoloop', at('kk/kkloopoloop'))
  symlinkSync('nowhere', at('kk/kkdangling'))
  spawnSync('mkfifo', [at('kk/kkpipepipe')])
  const socket = createServer().listen(at('kk/kksocketsocket'))
  const there = () => spawnSync('find', [path], { encoding: 'utf8' }).stdout.split('\n').toSorted()
  const before = there().filter((name) => !name.endsWith('kkdeaddead'))
  await setTimeout(5)
  expect(await store.clearExpired!()).toBe(1)
  expect(there()).toEqual(before)
  for (const key of [
    'kkfolderfolder',
    'kklinklink',
    'kkloopoloop',
    'kkdangling',
    'kkpipepipe',
    'kksocketsocket',
    'zzzzzzzz',
  ]) {
    expect(store.load(key), key).toBeUndefined()
    expect(() => store.touch(key, later()), key).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_GONE' }),
    )
    store.delete(key)
    if (key === 'zzzzzzzz') continue
    expect(() => store.create(key, { data: '1', expiresAt: later() }), key).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_KEY_EXISTS' }),
    )
  }
  expect(there()).toEqual(before)
  socket.close()
})

test('what a power cut has torn is no session, and is swept when it is an hour old', async () => {
  const path = folder()
  const store = fileStore(path)
  mkdirSync(join(path, 'kk'))
  const [old, fresh] = ['kkoldoldold', 'kkfreshfresh'].map((name) => join(path, 'kk', name))
  for (const file of [old!, fresh!]) writeFileSync(file, '')
  utimesSync(old!, Date.now() / 1000 - 3700, Date.now() / 1000 - 3700)
  expect(await store.clearExpired!()).toBe(1)
  expect(readdirSync(join(path, 'kk'))).toEqual(['kkfreshfresh'])
})

test('a session that cannot be removed stops no sweep: the rest goes, then it is a SessionStoreError', async (context) => {
  using disk = smallDisk(context, 'size=1m')
  const store = fileStore(disk.path)
  for (const key of ['aaaaaaaa', 'bbbbbbbb', 'cccccccc']) {
    store.create(key, { data: '1', expiresAt: Date.now() + 1 })
  }
  await setTimeout(5)
  // The folder of one is a disk of its own, from which nothing can be moved.
  const inner = join(disk.path, 'bb')
  spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', inner])
  writeFileSync(join(inner, 'bbbbbbbb'), '0000000000000001\nx')
  const failure = await (store.clearExpired!() as Promise<number>).catch((error: Error) => error)
  spawnSync('umount', [inner])
  expect(failure).toMatchObject({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/failed 1 times.*removed 2/),
  })
})

const FULL = {
  'without room': ['size=512k', (disk: SmallDisk) => disk.fill()],
  'without room for one more file': [
    'size=1m,nr_inodes=60',
    ({ path }: SmallDisk) => {
      let isFull = false
      for (let n = 0; !isFull; n++) {
        try {
          writeFileSync(join(path, `of-another-program-${n}`), '')
        } catch {
          isFull = true
        }
      }
    },
  ],
} as const
for (const [name, [options, fill]] of Object.entries(FULL)) {
  test(`a disk ${name}: logouts and the sweep work, nothing waits and nothing is left`, async (context) => {
    using disk = smallDisk(context, options)
    const path = join(disk.path, 'sessions')
    const opened = fileStore(path)
    const keys = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(32))
    for (const key of keys) opened.create(key, { data: '1', expiresAt: later() })
    for (const key of ['kkdeaddead', 'kkkkdeaddead']) {
      opened.create(key, { data: '1', expiresAt: Date.now() + 1 })
    }
    fill(disk)
    const isFull = expect.objectContaining({
      code: 'ERR_SESSION_STORE',
      message: expect.stringMatching(/the disk is full/),
    })
    const started = fileStore(path)
    const { ms } = timed(() => {
      // The one that was there before, and that of a process that starts now.
      for (const store of [opened, started]) {
        expect(() => store.create(KEY, { data: '{}', expiresAt: later() })).toThrow(isFull)
        const big = { data: 'x'.repeat(5000), expiresAt: later() }
        expect(() => store.save(keys[0]!, big, '1')).toThrow(isFull)
        expect(store.load(keys[0]!)).toMatchObject({ data: '1' })
        expect(
          store.touch(keys[0]!, later(), (store.load(keys[0]!) as SessionRecord).expiresAt),
        ).toBe(keys[0])
      }
      expect(started.delete(keys[0]!)).toBeUndefined()
      expect(started.save(keys[1]!, { data: '', expiresAt: 0 }, '1')).toBe(keys[1])
      expect(opened.delete(keys[2]!)).toBeUndefined()
      expect(opened.load(keys[2]!)).toBeUndefined()
    })
    // One that waits does so for 4 s.
    expect(ms).toBeLessThan(3500)
    expect(await opened.clearExpired!()).toBe(2)
    expect(namesIn(path)).toEqual([keys[3]])
    opened.create(KEY, { data: '{}', expiresAt: later() })
  })
}

test('a read-only disk: loads go on, all else is an error at once that says so', async (context) => {
  using disk = smallDisk(context, 'size=1m')
  const path = join(disk.path, 'sessions')
  const store = fileStore(path)
  store.create(KEY, { data: '1', expiresAt: later() })
  store.create('kkdeaddead', { data: '1', expiresAt: Date.now() + 1 })
  disk.setReadOnly(true)
  const isReadOnly = expect.objectContaining({
    code: 'ERR_SESSION_STORE',
    message: expect.stringMatching(/the disk is read-only/),
  })
  await setTimeout(5)
  for (const one of [store, fileStore(path)]) {
    expect(one.load(KEY)).toMatchObject({ data: '1' })
    for (const call of [
      () => one.create('n'.repeat(32), { data: '1', expiresAt: later() }),
      () => one.save(KEY, { data: '2', expiresAt: later() }, '1'),
      () => one.save(KEY, { data: '', expiresAt: 0 }, '1'),
      () => one.touch(KEY, later()),
      () => one.delete(KEY),
    ]) {
      expect(call).toThrow(isReadOnly)
    }
    await expect(one.clearExpired!()).rejects.toEqual(isReadOnly)
  }
  disk.setReadOnly(false)
  store.save(KEY, { data: '2', expiresAt: later() }, '1')
  expect(await store.clearExpired!()).toBe(1)
  expect(namesIn(path)).toEqual([KEY])
})

test('a process that has too many files open logs out, and says so of all else', () => {
  const path = folder()
  const script = `${import.meta.dirname}/fixtures/too-many-files.ts`
  const { stdout } = spawnSync(
    'sh',
    ['-c', 'ulimit -n 40; exec "$0" "$@"', process.execPath, script, path],
    { encoding: 'utf8' },
  )
  const tooMany = 'ERR_SESSION_STORE EMFILE too many files open'
  expect(JSON.parse(stdout)).toEqual({
    load: tooMany,
    save: tooMany,
    create: tooMany,
    delete: 'done',
  })
  expect(namesIn(path)).toEqual([KEY])
})

test('no error has a session key in it', () => {
  const path = folder()
  const store = fileStore(path)
  writeFileSync(join(path, 'kk'), 'a file where a folder should be')
  const failure = (() => {
    try {
      return store.create(KEY, { data: '1', expiresAt: later() })
    } catch (error) {
      return error
    }
  })()
  expect(failure).toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(inspect(failure, { showHidden: true, depth: null })).not.toContain(KEY)
})

test('a pipe, and a link to nothing, where a lock would be stop no sweep', async () => {
  const path = folder()
  const store = fileStore(path)
  execFileSync('mkfifo', [join(path, '.unfinished/a.lock'), join(path, '.unfinished/b.token')])
  writeFileSync(join(path, '.unfinished/b.new'), '')
  symlinkSync(join(path, 'nowhere'), join(path, '.unfinished/c.lock'))
  expect(await store.clearExpired!()).toBe(0)
  expect(readdirSync(join(path, '.unfinished'))).not.toContain('a.lock')
})

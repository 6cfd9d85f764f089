// A store that answers at once, while another program has it locked: a server with sessions goes on meanwhile.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { createSessions, type SessionStore } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { getSession, session } from '@coatcheck/express'
import { fileStore } from '@coatcheck/file'
import express from 'express'
import { afterEach, expect, test } from 'vitest'
import { signal } from './controlled-store.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

interface Locked {
  store: SessionStore
  /** Locks the session of a key from another process; what it returns lets go. */
  lock(key: string): Promise<() => unknown>
}

const engines: Record<string, (path: string) => Locked> = {
  sqlite(path) {
    const file = join(path, 'sessions.sqlite')
    const store = sqliteStore(file)
    store.migrate()
    return {
      store,
      async lock() {
        const other = fork(join(import.meta.dirname, '../packages/db/src/fixtures/run-sql.ts'), [
          file,
        ])
        other.send('BEGIN IMMEDIATE')
        await once(other, 'message')
        return () => other.kill('SIGKILL')
      },
    }
  },
  file: (path) => ({
    store: fileStore(path),
    async lock(key) {
      const script = join(import.meta.dirname, '../packages/file/src/fixtures/hold-lock.ts')
      const other = fork(script, [join(path, '.unfinished'), key])
      await once(other, 'message')
      return () => other.kill('SIGKILL')
    },
  }),
}

function open(engine: string): Locked {
  const path = mkdtempSync(join(tmpdir(), 'coatcheck-locked-'))
  cleanups.push(() => rmSync(path, { recursive: true, force: true }))
  const opened = engines[engine]!(path)
  cleanups.push(() => opened.store.close!())
  return opened
}

for (const engine of Object.keys(engines)) {
  test(`${engine}: requests wait for the lock, the server serves others, and nothing is lost`, async () => {
    const { store, lock } = open(engine)
    const app = express()
    app.get('/public', (_, response) => void response.send('public'))
    app.use(session({ store }))
    const inside = signal()
    let entered = 0
    app.get('/', async (request, response) => {
      const visitor = await getSession<{ n: number }>(request)
      visitor.update('n', (n = 0) => n + 1)
      response.send('counted')
      if (++entered === 51) inside.resolve()
    })
    app.get('/logout', async (request, response) => {
      ;(await getSession(request)).flush()
      response.send('bye')
    })
    const server = createServer(app).listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanups.push(() => {
      server.closeAllConnections()
      server.close()
    })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const [cookie] = (await fetch(url)).headers.getSetCookie()[0]!.split(';')
    const get = (path: string) => fetch(url + path, { headers: { cookie: cookie! } })
    const [, key] = cookie!.split('=')

    let letGo = await lock(key!)
    let answered = 0
    const counted = Array.from({ length: 50 }, () => get('/').finally(() => answered++))
    await inside.promise
    // A request waits 5 s for the lock. Were the server held up by one, it would not have answered these by then.
    for (let n = 0; n < 10; n++) expect(await (await get('/public')).text()).toBe('public')
    expect(answered).toBe(0)
    letGo()
    expect((await Promise.all(counted)).map(({ status }) => status)).toEqual(Array(50).fill(200))
    const record = await store.load(key!)
    expect(JSON.parse(record!.data)).toMatchObject({ n: 51 })

    letGo = await lock(key!)
    const loggedOut = get('/logout')
    await setTimeout(100)
    letGo()
    expect((await loggedOut).status).toBe(200)
    expect(await store.load(key!)).toBeUndefined()
  })

  test(`${engine}: a save, a login and a logout beside each other wait, and the manager's promises hold`, async () => {
    const { store, lock } = open(engine)
    const sessions = createSessions<{ user?: string; cart?: string[] }>({ store })
    const first = await sessions.open(undefined)
    first.set('cart', ['hat'])
    const [cookie] = (await sessions.commit(first)).setCookie!.split(';')
    const key = first.key!
    const letGo = await lock(key)
    const begin = async () => sessions.open(cookie)
    const [login, adding, logout] = [await begin(), await begin(), await begin()]
    login.cycleKey()
    login.set('user', 'ann')
    adding.get('cart')!.push('coat')
    logout.flush()
    const all = [login, adding, logout].map(async (one) => sessions.commit(one))
    await setTimeout(100)
    letGo()
    const settled = await Promise.allSettled(all)
    const after = await store.load(key)
    expect(after === undefined || after.data === '').toBe(true)
    for (const one of settled) {
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ status: 400 })
    }
  })
}

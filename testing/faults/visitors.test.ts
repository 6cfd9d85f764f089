// The visitors notice what they must: a change that is lost, a key that lives on; and they forgive only what may be lost.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { startLoad, type Forgiven } from './visitors.ts'

const closing: (() => void)[] = []
afterEach(() => closing.splice(0).forEach((close) => close()))

/** Sessions in memory, as the application of a trial answers for them; `revives` leaves old keys alive. */
async function startApplication({ revives = false } = {}) {
  const sessions = new Map<string, number>()
  let keys = 0
  const server = createServer((request, response) => {
    const old = /sessionid=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? ''
    const act = request.url!.slice(1)
    let key = old
    let n = sessions.get(old) ?? 0
    if (act === 'login' || act === 'logout') {
      if (!revives) sessions.delete(old)
      key = ''
    }
    if (act === 'change' || act === 'login') {
      if (!sessions.has(key)) key = `key${++keys}`
      sessions.set(key, ++n)
      response.setHeader('Set-Cookie', `sessionid=${key}; Path=/`)
    }
    response.end(`${act === 'logout' ? 0 : n}`)
  })
  const socket = join(tmpdir(), `coatcheck-visitors-${process.pid}-${Math.random()}.socket`)
  await once(server.listen(socket), 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
    rmSync(socket, { force: true })
  })
  return { sessions, socket }
}

/** What a load finds wrong where `meanwhile` is done to the sessions. */
async function load(
  application: Awaited<ReturnType<typeof startApplication>>,
  meanwhile: () => void = () => {},
  forgiven?: Forgiven,
) {
  const { asked, finish, lost, wrong } = startLoad(application.socket, forgiven)
  while (asked.length < 100) await sleep(10)
  meanwhile()
  while (asked.length < 150) await sleep(10)
  await finish()
  return { lost, wrong: [...new Set(wrong)] }
}

test('where nothing is lost, nothing is wrong', async () => {
  const application = await startApplication()
  expect(await load(application)).toEqual({ lost: { changes: 0, ends: 0 }, wrong: [] })
})

test('an acknowledged change that is lost is noticed', async () => {
  const application = await startApplication()
  const { sessions } = application
  const { lost, wrong } = await load(application, () => {
    for (const [key, n] of sessions) sessions.set(key, n - 2)
  })
  expect(lost.changes).toBeGreaterThan(0)
  expect(wrong).toContainEqual(expect.stringMatching(/acknowledged changes are lost/))
})

test('a session that is gone is noticed', async () => {
  const application = await startApplication()
  const { lost, wrong } = await load(application, () => application.sessions.clear())
  expect(lost.changes).toBeGreaterThan(20)
  expect(wrong).toContainEqual(expect.stringMatching(/acknowledged changes are lost/))
})

test('a key that opens a session after its end was acknowledged is noticed', async () => {
  const { lost, wrong } = await load(await startApplication({ revives: true }))
  expect(lost.ends).toBeGreaterThan(0)
  expect(wrong).toEqual(['a key that was acknowledged to be dead opens a session'])
})

test('what was acknowledged since a moment is forgiven, and counted; what was acknowledged before is not', async () => {
  for (const [moment, isForgiven] of [
    [performance.now(), true],
    [Infinity, false],
  ] as const) {
    const application = await startApplication()
    const meanwhile = () => application.sessions.clear()
    const { lost, wrong } = await load(application, meanwhile, () => moment)
    expect(lost.changes).toBeGreaterThan(0)
    expect(wrong.length === 0).toBe(isForgiven)
  }
})

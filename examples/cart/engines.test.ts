// The demo on every engine, as `pnpm start --engine <name>` runs it: the same shop, whatever keeps its sessions.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, expect, test as plainTest } from 'vitest'
import { testWith, type TestServer } from '../../testing/needs.ts'
import { startProgram, stopPrograms } from '../../testing/programs.ts'
import { mariadb, postgres, redis } from '../../testing/services.ts'
import { engineNames } from './engines.ts'

const SERVER = join(import.meta.dirname, 'server.ts')
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-cart-engines-'))
const servers: Record<string, TestServer> = {
  redis: await testWith(redis),
  postgres: await testWith(postgres),
  mysql: await testWith(mariadb),
}
const env = {
  PORT: '0',
  SESSIONS_FOLDER: folder,
  REDIS_URL: servers['redis']!.url,
  POSTGRES_URL: servers['postgres']!.url,
  MYSQL_URL: servers['mysql']!.url,
}
afterEach(stopPrograms)
afterAll(async () => {
  for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

for (const engine of engineNames) {
  const test = servers[engine]?.test ?? plainTest
  test(`--engine ${engine}: the cart is kept, over a restart too where the engine promises it, and the logout ends it`, async () => {
    let cookie = ''
    let { url, stop } = await startProgram(SERVER, ['--engine', engine], env)
    const request = async (path: string, fields?: Record<string, string>) => {
      const response = await fetch(url + path, {
        headers: { cookie },
        redirect: 'manual',
        ...(fields && { method: 'POST', body: new URLSearchParams(fields) }),
      })
      const [sent] = response.headers.getSetCookie()
      if (sent !== undefined) cookie = /Max-Age=0/.test(sent) ? '' : sent.split(';')[0]!
      return response.text()
    }
    await request('/cart/add', { product: 'coat' })
    await request('/cart/add', { product: 'coat' })
    expect(await request('/')).toMatch(/Coat <span class="count">× 2/)
    expect(await stop()).toBe(0)
    ;({ url, stop } = await startProgram(SERVER, ['--engine', engine], env))
    const kept = /Coat <span class="count">× 2/.test(await request('/'))
    expect(kept).toBe(engine !== 'lru')
    await request('/login', { user: 'Ann' })
    expect(await request('/')).toContain('Ann')
    await request('/logout', {})
    expect(cookie).toBe('')
  })

  const result = engine === 'signed-cookie' ? 'some are lost, and the page says so' : 'all are kept'
  test(`--engine ${engine}: twenty requests at once: ${result}`, async () => {
    const { url } = await startProgram(SERVER, ['--engine', engine], env)
    let cookie = ''
    const post = async (path: string, fields: Record<string, string> = {}) => {
      const response = await fetch(`${url}/at-once/coatcheck${path}`, {
        method: 'POST',
        headers: { cookie },
        body: new URLSearchParams(fields),
      })
      for (const line of response.headers.getSetCookie()) cookie = line.split(';')[0]!
      expect(response.status).toBe(200)
      return response.text()
    }
    await post('/begin')
    await Promise.all(Array.from({ length: 20 }, () => post('/add', { product: 'hat' })))
    const cart = JSON.parse(await post('/end')) as string[]
    const page = await (await fetch(url)).text()
    if (engine === 'signed-cookie') {
      expect(cart.length).toBeLessThan(20)
      expect(page).toContain('requests at once cannot be merged')
    } else {
      expect(page).not.toContain('cannot be merged')
      expect(cart).toEqual(Array.from({ length: 20 }, () => 'hat'))
    }
  })
}

plainTest('an engine that does not exist, or whose server is not there, is a clear line', () => {
  const start = (...args: string[]) =>
    spawnSync(process.execPath, [SERVER, ...args], {
      env: { ...process.env, ...env, REDIS_URL: 'redis://127.0.0.1:1' },
      encoding: 'utf8',
    })
  const wrong = start('--engine', 'mongo')
  expect([wrong.status, wrong.stderr.trim()]).toEqual([
    1,
    `There is no engine 'mongo'. Choose one of: ${engineNames.join(', ')}`,
  ])
  const away = start('--engine', 'redis')
  expect(away.status).toBe(1)
  expect(away.stderr).toMatch(
    /^Redis \(127\.0\.0\.1:1\) failed to load a session: connect ECONNREFUSED 127\.0\.0\.1:1\.\n/,
  )
})

// A real browser and the 4 KB limit: it keeps the greatest cookie that is sent, and drops without a word what is larger.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createSessions } from '@coatcheck/core'
import { getSession, session } from '@coatcheck/express'
import { expect, test, vi } from 'vitest'
import { launchChromium } from '../../../testing/needs.ts'
import { signedCookieStore } from './index.ts'

/** A browser and a server of their own take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

// One moment for all: the time is in the token, and another one compresses to another length.
const moment = Date.now()
const now = () => moment
const store = signedCookieStore({ secrets: ['test-secret-test-secret-test-secret!'], now })

/** Text that does not compress: the same for the same length. */
function noise(length: number): string {
  let seed = 1
  return Array.from({ length }, () => {
    seed = (seed * 48_271) % 2_147_483_647
    return String.fromCodePoint(33 + (seed % 90))
  }).join('')
}

/** The longest text that fits, and the Set-Cookie line that it makes. */
async function greatest(name: string): Promise<{ length: number; line: string }> {
  const sessions = createSessions<{ text: string }>({ store, now, cookie: { name } })
  let fits = { length: 0, line: '' }
  for (let length = 3000; ; length++) {
    const visitor = await sessions.open(undefined)
    visitor.set('text', noise(length))
    try {
      fits = { length, line: (await sessions.commit(visitor)).setCookie! }
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_SESSION_TOO_LARGE', limit: 4096 })
      return fits
    }
  }
}

test('Chromium keeps a cookie whose whole line has 4096 bytes; one byte more is refused before it is sent', async (context) => {
  const browser = await launchChromium(context)
  // Base64 grows by more than one byte at a time: with one of these names the line has 4096 exactly.
  const names = Array.from({ length: 12 }, (_, n) => `sessionid${'_'.repeat(n)}`)
  const fits = await Promise.all(names.map(async (name) => ({ name, ...(await greatest(name)) })))
  const { name, length, line } = fits.find((one) => Buffer.byteLength(one.line) === 4096)!
  expect(line).toHaveLength(4096)

  const withSession = session({ store, now, cookie: { name } })
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://localhost')
    const wanted = Number(searchParams.get('length'))
    if (pathname === '/raw') {
      response.setHeader('Set-Cookie', `raw=${'x'.repeat(wanted - 'raw'.length)}; Path=/`)
      return response.end('sent')
    }
    withSession(request, response, async (error) => {
      if (error) return response.writeHead(500).end((error as { code: string }).code)
      const visitor = await getSession<{ text: string }>(request)
      if (pathname === '/fill') visitor.set('text', noise(wanted))
      response.end(String(visitor.get('text', '').length))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  try {
    const tab = await browser.newContext()
    const page = await tab.newPage()
    const visit = async (path: string) => {
      await page.goto(url + path)
      return page.textContent('body')
    }
    await visit(`/fill?length=${length}`)
    expect(await visit('/read'), 'the browser sent back what it was given').toBe(String(length))

    // One character more never leaves the server, and the browser's cookie still stands.
    expect(await visit(`/fill?length=${length + 1}`)).toBe('ERR_SESSION_TOO_LARGE')
    expect(await visit('/read')).toBe(String(length))

    // What Chromium itself does: it counts name and value alone, and drops what is larger without a word.
    const kept = async () => (await tab.cookies()).some((cookie) => cookie.name === 'raw')
    await visit('/raw?length=4097')
    expect(await kept()).toBe(false)
    await visit('/raw?length=4096')
    expect(await kept()).toBe(true)
  } finally {
    await browser.close()
    server.close()
    server.closeAllConnections()
  }
})

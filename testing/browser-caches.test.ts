// A real browser after a logout: what it still shows when its visitor goes back, and forward again.
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { lruStore } from '@coatcheck/cache/lru'
import type { Session, SessionsOptions } from '@coatcheck/core'
import { session } from '@coatcheck/express'
import express from 'express'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, expect, test, vi, type TestContext } from 'vitest'
import { launchChromium } from './needs.ts'

/** A browser and a server of their own take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

let browser: Browser | undefined
let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
})
afterAll(() => browser?.close())

type User = Session<{ user: string }>

/** Serves an application on localhost, which browsers trust as they do HTTPS, and opens a page of a browser that keeps pages. */
async function open(context: TestContext, options: Partial<SessionsOptions> = {}) {
  const app = express()
  app.use(session({ store: lruStore(), ...options }))
  app.use((request, response) => {
    const visitor = request.session as unknown as User
    if (request.path === '/login') visitor.set('user', 'ann')
    if (request.path === '/logout') visitor.flush()
    if (request.path === '/kept') response.set('Cache-Control', 'private, max-age=600')
    const script = `addEventListener('pageshow', (event) => { document.title = event.persisted ? 'kept whole' : 'loaded' })`
    const shown = request.path === '/about' ? 'about us' : (visitor.get('user') ?? 'nobody')
    response.send(`<title></title><script>${script}</script><h1>${shown}</h1>`)
  })
  server = app.listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  browser ??= await launchChromium(context, { keepsPages: true })
  const page = await browser.newPage({ baseURL: `http://localhost:${port}` })
  return { page, ...steps(page) }
}

function steps(page: Page) {
  const shown = async () => {
    await page.waitForFunction(() => document.title !== '')
    return page.textContent('h1')
  }
  return {
    /** Without a page of its own, as going back to that would log in again. */
    logIn: () => page.request.post('/login'),
    /** What a page shows. */
    async visit(path: string) {
      await page.goto(path)
      return shown()
    },
    /** What the page before the present one shows, or the one after it. */
    async go(where: 'goBack' | 'goForward') {
      // A page that is kept whole is not loaded, and fires no event that a load would.
      await page[where]({ waitUntil: 'commit' })
      return shown()
    },
  }
}

for (const clearSiteData of [undefined, ['cache', 'storage']] as const) {
  const options = clearSiteData ? { clearSiteData } : {}
  const how = clearSiteData ? "with clearSiteData: ['cache', 'storage']" : 'by default'

  test(`back and forward after a logout show nothing of the session, ${how}`, async (context) => {
    const { page, logIn, visit, go } = await open(context, options)
    await logIn()
    await visit('/about')
    expect(await visit('/account')).toBe('ann')
    expect(await visit('/logout')).toBe('nobody')
    expect(await go('goBack')).toBe('nobody')
    expect(await go('goBack')).toBe('about us')
    expect(await go('goForward')).toBe('nobody')
    expect(await go('goForward')).toBe('nobody')
    await page.close()
  })
}

test('a page that shows no session is kept by the browser as ever', async (context) => {
  const { page, logIn, visit, go } = await open(context)
  await logIn()
  await visit('/account')
  expect(await visit('/about')).toBe('about us')
  await visit('/account')
  expect(await go('goBack')).toBe('about us')
  await page.waitForFunction(() => document.title === 'kept whole')
  await page.close()
})

test('clearSiteData: after a logout nothing is left of pages that the browser was allowed to keep, nor in localStorage', async (context) => {
  const { page, logIn, visit, go } = await open(context, { clearSiteData: ['cache', 'storage'] })
  await logIn()
  expect(await visit('/kept')).toBe('ann')
  await page.evaluate(() => localStorage.setItem('drafts', 'of ann'))
  await visit('/account')
  await visit('/logout')
  expect(await page.evaluate(() => localStorage.length)).toBe(0)
  expect(await go('goBack')).toBe('nobody')
  expect(await go('goBack')).toBe('nobody')
  await page.close()
})

test('without clearSiteData they are shown again: the test above can fail', async (context) => {
  const { page, logIn, visit, go } = await open(context)
  await logIn()
  expect(await visit('/kept')).toBe('ann')
  await page.evaluate(() => localStorage.setItem('drafts', 'of ann'))
  await visit('/account')
  await visit('/logout')
  expect(await page.evaluate(() => localStorage.length)).toBe(1)
  await go('goBack')
  expect(await go('goBack')).toBe('ann')
  await page.close()
})

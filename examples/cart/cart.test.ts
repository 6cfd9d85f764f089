// A real browser uses the demo, as a newcomer would; the server is stopped and started in between.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterEach, expect, test, vi } from 'vitest'
import { launchChromium } from '../../testing/needs.ts'
import { startProgram, stopPrograms } from '../../testing/programs.ts'

/** A browser and a server of their own take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-cart-'))
const IMAGES = join(import.meta.dirname, '../../docs/images')
const SERVER = join(import.meta.dirname, 'server.ts')
const start = (env: Record<string, string | undefined>, ...args: string[]) =>
  startProgram(SERVER, args, { SESSIONS_FOLDER: folder, ...env })

afterEach(async () => {
  await stopPrograms()
  rmSync(folder, { recursive: true, force: true })
})

test('Chromium: the cart survives a restart, the login changes the key, the logout ends it', async (context) => {
  const browser = await launchChromium(context)
  try {
    const tab = await browser.newContext({ viewport: { width: 1180, height: 980 } })
    const page = await tab.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    const shown = (name: string) => page.textContent(`[data-test="${name}"]`)
    const cookie = async (name: string) =>
      (await tab.cookies()).find((candidate) => candidate.name === name)?.value
    const click = async (selector: string) => {
      // Every page asks for its panel: this is how the next one is told from the one that is left.
      const next = page.waitForResponse((response) => response.url().endsWith('/panel'))
      await page.click(selector)
      await next
      await ready(page)
    }

    let { url, stop: stopServer } = await start({ PORT: '0' })
    await page.goto(url)
    await ready(page)
    expect(await shown('visits')).toBe('1')
    expect(await shown('key')).toMatch(/^[a-z0-9]{32}$/)
    await click('[data-test="add-coat"]')
    await click('[data-test="add-coat"]')
    await click('[data-test="add-hat"]')
    expect(await shown('cart')).toMatch(/Coat × 2 €240.*Hat × 1 €35/s)

    // The cart survives a restart of the server.
    expect(await stopServer()).toBe(0)
    ;({ url, stop: stopServer } = await start({ PORT: new URL(url).port }))
    await page.reload()
    await ready(page)
    expect(await shown('cart')).toMatch(/Coat × 2/)
    expect(await shown('record')).toContain('"coat": 2')
    expect(await shown('ends')).toMatch(/^1[34] days \d\d:\d\d:\d\d$/)
    const before = await shown('ends')
    await page.waitForFunction(
      (text) => document.querySelector('[data-test="ends"]')!.textContent !== text,
      before,
    )

    // Preferences.
    await page.selectOption('[name="theme"]', 'light')
    await page.selectOption('[name="language"]', 'hi')
    await click('form[action="/preferences"] button')
    expect(await page.textContent('#you')).toContain('स्वागत है')
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const light = await paper()
    await page.selectOption('[name="theme"]', 'dark')
    await click('form[action="/preferences"] button')
    expect(await paper()).not.toBe(light)
    await click('form[action="/preferences/clear"] button')
    expect(await page.textContent('#you')).toContain('Welcome')

    // A plain cookie.
    for (const favourite of ['"><b>tea</b>; a=1 é', 'tea']) {
      await page.fill('[name="favourite"]', favourite)
      await click('form[action="/cookie"] button')
      expect(await page.inputValue('[name="favourite"]')).toBe(favourite)
    }

    // Login, by keyboard alone: a new key, the same cart.
    const anonymous = await cookie('sessionid')
    await page.focus('[name="user"]')
    await page.keyboard.type('Ann')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-test="user"]')
    await ready(page)
    expect(await shown('user')).toBe('Ann')
    const loggedIn = await cookie('sessionid')
    expect(loggedIn).not.toBe(anonymous)
    expect(await shown('cart')).toMatch(/Coat × 2/)
    await page.reload()
    await ready(page)
    if (process.env['SCREENSHOTS'] === '1') {
      mkdirSync(IMAGES, { recursive: true })
      await tryTwenty(page)
      await page.$eval('.at-once button', (button) => (button as HTMLElement).blur())
      // As high as it takes to show the result.
      const end = await page.$eval('.at-once', (section) => section.getBoundingClientRect().bottom)
      await page.setViewportSize({ width: 1180, height: Math.ceil(end) + 12 })
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        await page.screenshot({ path: join(IMAGES, `cart-${colorScheme}.png`) })
      }
    }

    // Logout: the cookie is gone, and the old key is dead.
    await click('form[action="/logout"] button')
    expect(page.url()).toBe(`${url}/goodbye`)
    expect(await cookie('sessionid')).toBeUndefined()
    expect(await shown('record')).toBe('nothing')
    for (const key of [anonymous, loggedIn]) {
      const headers = { cookie: `sessionid=${key}` }
      const panel = await (await fetch(`${url}/panel`, { headers })).json()
      expect(panel.house?.data ?? '').not.toContain('coat')
      const text = await (await fetch(url, { headers })).text()
      expect(text).not.toContain('Coat <span class="count">')
    }
    expect(problems).toEqual([])
    expect(await stopServer()).toBe(0)
  } finally {
    await browser.close()
  }
})

test('twenty at once: all are kept, and express-session, with the same handler, keeps but some', async (context) => {
  const browser = await launchChromium(context)
  try {
    const tab = await browser.newContext({ viewport: { width: 375, height: 800 } })
    const page = await tab.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    const sent: string[] = []
    page.on('request', (request) => sent.push(new URL(request.url()).pathname))
    const { url } = await start({ PORT: '0' })
    await page.goto(url)
    const next = page.waitForResponse((response) => response.url().endsWith('/panel'))
    await page.click('[data-test="add-coat"]')
    await next
    await ready(page)
    const size = () =>
      page.$eval('.at-once', ({ clientHeight }) => [
        clientHeight,
        document.documentElement.scrollWidth,
      ])
    const kept = async (side: string) => {
      const text = await page.textContent(`[data-test="kept-${side}"]`)
      const [, count] = /^(\d+) of 20$/.exec(text!)!
      return Number(count)
    }
    const before = await size()
    expect(before[1]).toBe(375)

    // What is shown is what runs.
    const source = readFileSync(join(import.meta.dirname, 'at-once-handlers.ts'), 'utf8')
    const shown = await page.$$eval('.side code', (all) => all.map((code) => code.textContent!))
    expect(shown).toHaveLength(2)
    for (const code of shown) expect(source).toContain(`: Handler = ${code}\n`)

    // Twice, as anybody does who does not believe it; each try begins with an empty cart.
    for (const time of [1, 2]) {
      await tryTwenty(page)
      expect(problems).toEqual([])
      for (const side of ['coatcheck', 'express-session']) {
        const fired = sent.filter((path) => path === `/at-once/${side}/add`)
        expect(fired).toHaveLength(20 * time)
      }
      expect(await kept('express-session')).toBeGreaterThan(0)
      expect(await kept('express-session')).toBeLessThan(20)
      expect(await page.textContent('.at-once [role="status"]')).toBe(
        `Kept: Coatcheck ${await kept('Coatcheck')} of 20, express-session ${await kept('express-session')} of 20.`,
      )
    }
    expect(await size()).toEqual(before)

    // The visitor's own cart is as it was, and nothing of the try is left.
    await page.reload()
    await ready(page)
    expect(await page.textContent('[data-test="cart"]')).toMatch(/^.*Coat × 1 €120\s*$/)
    expect((await tab.cookies(`${url}/at-once/coatcheck/`)).map(({ name }) => name)).toEqual([
      'sessionid',
    ])

    await tryTwenty(page)
    expect(await kept('Coatcheck')).toBe(20)
    expect(problems).toEqual([])
  } finally {
    await browser.close()
  }
})

test('without PORT it takes 3000 or the next free one; a PORT that is taken is a clear error', async () => {
  const taken = createServer().listen(3000)
  await Promise.race([once(taken, 'listening'), once(taken, 'error')])
  try {
    const { url } = await start({ PORT: undefined })
    expect(Number(new URL(url).port)).toBeGreaterThan(3000)
    const server = spawn(process.execPath, [SERVER], {
      env: { ...process.env, SESSIONS_FOLDER: folder, PORT: new URL(url).port },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let message = ''
    server.stderr.on('data', (chunk) => (message += String(chunk)))
    expect((await once(server, 'close'))[0]).toBe(1)
    expect(message).toMatch(/Port \d+ is taken\. Choose another one: PORT=\d+/)
  } finally {
    taken.close()
  }
})

test('all embedded engines side by side: each click has the same effect on every one', async (context) => {
  const browser = await launchChromium(context)
  try {
    const tab = await browser.newContext({ viewport: { width: 1180, height: 760 } })
    const page = await tab.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(String(error)))
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    const { url } = await start({ PORT: '0' })
    await page.goto(`${url}/side-by-side`)
    await ready(page)
    const engines = await page.$$eval('[data-engine]', (all) => all.map((one) => one.textContent))
    expect(engines).toEqual(['sqlite', 'file', 'signed-cookie', 'lru', 'cached-db'])
    let clicks = 0
    const click = async (label: string) => {
      await page.click(`button:has-text("${label}")`)
      await page.waitForFunction(
        (done) => Number(document.documentElement.dataset['done']) === done,
        ++clicks,
      )
    }
    const shown = (row: string) =>
      Promise.all(engines.map((name) => page.textContent(`[data-cell="${name} ${row}"]`)))
    await click('Add a coat')
    await click('Add a hat')
    await click('Add a coat')
    const carts = async () =>
      (await shown('record')).map((text) => JSON.parse(text!) as Record<string, unknown>)
    for (const { cart } of await carts()) expect(cart).toEqual({ coat: 2, hat: 1 })
    const before = await shown('cookie')
    expect(new Set(before).size).toBe(5)
    await click('Log in as Ann')
    for (const { user } of await carts()) expect(user).toBe('Ann')
    const after = await shown('cookie')
    for (const [at, key] of before.entries()) expect(after[at]).not.toBe(key)
    if (process.env['SCREENSHOTS'] === '1') {
      await page.screenshot({ path: join(IMAGES, 'side-by-side.png'), fullPage: true })
    }
    await click('Log out')
    expect(await shown('cookie')).toEqual(engines.map(() => 'none'))
    expect(problems).toEqual([])
  } finally {
    await browser.close()
  }
})

/** Presses "Two at once" by keyboard, and waits for the result; the focus stays where it was. */
async function tryTwenty(page: Page) {
  await page.waitForLoadState()
  await page.focus('.at-once button')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => {
    const [button, status] = document.querySelectorAll('.at-once button, .at-once [role="status"]')
    return button!.ariaDisabled === 'false' && status!.textContent!.startsWith('Kept')
  })
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Two at once')
}

/** The panel has its figures: the page is done. */
async function ready(page: Page) {
  await page.waitForFunction(() => document.documentElement.dataset['panel'] === 'ready')
}

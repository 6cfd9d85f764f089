// The example as a user sees it: in a browser, over both sites.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { launchChromium, need } from '../../testing/needs.ts'
import { startProgram, stopPrograms } from '../../testing/programs.ts'

/** A browser and a server of their own take their time on a busy machine. */
vi.setConfig({ testTimeout: 600_000 })

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-example-django-'))
afterAll(async () => {
  await stopPrograms()
  rmSync(folder, { recursive: true, force: true })
})

test('one browser, one session, two sites: login on Django, cart on Node', async (context) => {
  const python = ['/usr/bin/python3', 'python3'].find(
    (one) => spawnSync(one, ['-c', 'import django'], { stdio: 'ignore' }).status === 0,
  )
  const PYTHON = need(context, python, 'Django', 'apt-get install python3-django')
  const browser = await launchChromium(context)
  try {
    const shop = await startProgram(join(import.meta.dirname, 'server.ts'), [], {
      PORT: '0',
      PYTHON,
      DATABASE: join(folder, 'db.sqlite3'),
    })
    const tab = await browser.newPage()
    await tab.goto(`${shop.url}/cart`)
    await tab.getByRole('button', { name: 'Add' }).click()
    await tab.getByRole('link', { name: 'Home' }).click()
    expect(await tab.textContent('small')).toBe('this page: Django')
    expect(await tab.textContent('output')).toBe('1')
    await tab.getByRole('button', { name: 'Log in' }).click()
    expect(await tab.textContent('h1')).toBe('Hello, ann')
    await tab.getByRole('link', { name: 'Cart' }).click()
    expect(await tab.textContent('small')).toBe('this page: Node')
    expect(await tab.textContent('h1')).toBe('ann’s cart')
    expect(await tab.locator('li').allTextContents()).toEqual(['coat'])
    if (process.env['SCREENSHOTS'] === '1') {
      await tab.screenshot({ path: 'docs/images/django.png' })
    }
    await tab.getByRole('link', { name: 'Home' }).click()
    await tab.getByRole('button', { name: 'Log out' }).click()
    await tab.getByRole('link', { name: 'Cart' }).click()
    expect(await tab.textContent('h1')).toBe('Your cart')
    expect(await tab.locator('li').count()).toBe(0)
  } finally {
    await browser.close()
  }
})

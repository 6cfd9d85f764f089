// docs/recipes.md: its recipes, taken from the page, are one program, and do what the page says of them.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const page = readFileSync(join(import.meta.dirname, '../docs/recipes.md'), 'utf8')

/** The file of this name that the page's blocks make, in their order. */
function file(name: string): string {
  const blocks = Array.from(page.matchAll(/```ts\n\/\/ (\S+?)(?:, continued)?\n([^]*?)```/g))
  return blocks.flatMap(([, of, text]) => (of === name ? [text] : [])).join('\n')
}

let folder: string
let child: ChildProcess
let port: number

beforeAll(async () => {
  folder = mkdtempSync(join(import.meta.dirname, '.recipes-'))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  mkdirSync(join(folder, 'node_modules'))
  // Other packages have brought it along: the workspace itself has no use for it.
  symlinkSync(
    join(import.meta.dirname, '../node_modules/.pnpm/node_modules/ws'),
    join(folder, 'node_modules/ws'),
  )
  const tell = `
app.post('/slow', async (request, response) => {
  request.session.set('report', 'slow')
  await new Promise((resolve) => setTimeout(resolve, 300))
  response.send('done')
})
app.get('/report', (request, response) => {
  response.send(request.session.get('report'))
})
const told = () => process.send({ port: server.address().port })
server.listening ? told() : server.on('listening', told)
`
  const program = file('server.ts').replace('app.listen(3000)', "app.listen(0, '127.0.0.1')")
  writeFileSync(join(folder, 'server.ts'), `${program}${tell}`)
  writeFileSync(join(folder, 'sweep.ts'), file('sweep.ts'))
  child = start('server.ts')
  const ended = once(child, 'exit').then(([code]) => expect.unreachable(`It ended with ${code}`))
  const [told] = (await Promise.race([once(child, 'message'), ended])) as [{ port: number }]
  ended.catch(() => {})
  port = told.port
  child.disconnect()
}, 60_000)

afterAll(() => {
  child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

const start = (name: string) =>
  fork(join(folder, name), {
    cwd: folder,
    execArgv: [],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })

/** A browser without pages: it keeps its cookies, and follows no redirect. */
function browser(jar = new Map<string, string>()) {
  const cookie = () => Array.from(jar, ([name, value]) => `${name}=${value}`).join('; ')
  async function visit(path: string, form?: Record<string, string>, headers = {}) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      redirect: 'manual',
      headers: { cookie: cookie(), ...headers },
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
      if (line.includes('Max-Age=0')) jar.delete(name!)
      else jar.set(name!, value!)
    }
    const { status } = response
    const lines = response.headers.getSetCookie()
    return { status, text: await response.text(), to: response.headers.get('location'), lines }
  }
  return { jar, cookie, visit }
}

async function loggedIn() {
  const ann = browser()
  await ann.visit('/login', { name: 'ann', password: 'secret' })
  return ann
}

test('who logs in is known on the next page under a new key, and after the logout no more, by no key', async () => {
  const ann = browser()
  expect((await ann.visit('/account')).to).toBe('/login')
  expect((await ann.visit('/login', { name: 'ann', password: 'wrong' })).status).toBe(401)
  await ann.visit('/profile', {})
  const before = ann.cookie()
  expect((await ann.visit('/login', { name: 'ann', password: 'secret' })).to).toBe('/account')
  expect(ann.cookie()).not.toBe(before)
  const thief = browser(new Map(ann.jar))
  expect((await ann.visit('/account')).text).toBe('Hello ann')
  await ann.visit('/logout', {})
  expect(ann.jar.size).toBe(0)
  expect((await thief.visit('/account')).to).toBe('/login')
})

test('who is to be remembered has a cookie for 30 days, and who is not one that ends with the browser', async () => {
  const [kept] = (await browser().visit('/login/remembered', { remember: 'on' })).lines
  expect(kept).toContain('Max-Age=2592000;')
  const [brief] = (await browser().visit('/login/remembered', {})).lines
  expect(brief).not.toMatch(/Max-Age|Expires/)
})

test('a flash message is on the next page, and on no other', async () => {
  const ann = await loggedIn()
  expect((await ann.visit('/profile', {})).to).toBe('/profile')
  expect((await ann.visit('/profile')).text).toBe('Your profile is saved.')
  expect((await ann.visit('/profile')).text).toBe('Your profile')
})

test('a forged request is refused: from another site, without the token, with another', async () => {
  const ann = await loggedIn()
  expect((await ann.visit('/transfer', { csrf: '' })).status).toBe(403)
  const [, token] = /value="([^"]+)"/.exec((await ann.visit('/transfer')).text)!
  const csrf = token!
  expect((await ann.visit('/transfer', { csrf })).text).toBe('Done')
  expect((await ann.visit('/transfer', { csrf: 'another' })).status).toBe(403)
  const from = { 'sec-fetch-site': 'cross-site' }
  expect((await ann.visit('/transfer', { csrf }, from)).status).toBe(403)
})

test('a job that is handed the key of a new session finds it, and its visitor what the job has saved', async () => {
  const ann = browser()
  expect((await ann.visit('/export', {})).text).toBe('We are on it.')
  await expect.poll(async () => (await ann.visit('/report')).text).toBe('ready')
})

/** What a server answers to an upgrade, from its first line on. */
async function upgrade(cookie: string, origin: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.write(
    `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: ${origin}\r\nCookie: ${cookie}\r\n\r\n`,
  )
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    if (text.includes('Hello')) socket.destroy()
  })
  socket.on('error', () => {})
  await once(socket, 'close')
  return text
}

test('a WebSocket is for who is logged in, and for no other site’s page', async () => {
  const ann = await loggedIn()
  expect(await upgrade(ann.cookie(), `http://127.0.0.1:${port}`)).toContain('Hello ann')
  expect(await upgrade('', `http://127.0.0.1:${port}`)).toBe('')
  expect(await upgrade(ann.cookie(), 'https://evil.example')).toBe('')
  expect(await upgrade(ann.cookie(), 'null')).toBe('')
})

test('two sessions on one request have a cookie each, and know nothing of each other', async () => {
  const ann = await loggedIn()
  expect((await ann.visit('/admin')).text).toBe('nobody, ann')
  await ann.visit('/admin/login', {})
  expect([...ann.jar.keys()].toSorted()).toEqual(['adminid', 'sessionid'])
  expect((await ann.visit('/admin')).text).toBe('editor, ann')
  await ann.visit('/logout', {})
  expect((await ann.visit('/admin')).text).toBe('editor, nobody')
})

test('a health check is answered, and no cookie with it', async () => {
  const ann = await loggedIn()
  expect(await ann.visit('/health')).toMatchObject({ text: 'ok', lines: [] })
})

test('the cron job ends by itself, and says how many it removed', async () => {
  const job = start('sweep.ts')
  let said = ''
  job.stdout!.on('data', (chunk) => (said += String(chunk)))
  expect(await once(job, 'close')).toEqual([0, null])
  expect(said).toMatch(/^\d+ removed\n$/)
})

test('a request under way when the process is told to end is answered and saved, and the process ends by itself', async () => {
  const ann = await loggedIn()
  const slow = ann.visit('/slow', {})
  await new Promise((resolve) => setTimeout(resolve, 100))
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await slow).toMatchObject({ status: 200, text: 'done' })
  expect(await ended).toEqual([0, null])
})

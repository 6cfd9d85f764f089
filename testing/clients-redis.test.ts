// Every recipe of docs/clients.md for Redis is run as it stands there, but for the server's name.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { bunBinary } from './bun-store.ts'
import { need, testWith } from './needs.ts'
import { redis, redisCluster } from './services.ts'
import { openUpstash } from './upstash.ts'

const page = readFileSync(join(import.meta.dirname, '../docs/clients.md'), 'utf8')
const [section] = page.split('## Redis\n')[1]!.split(/^## /m)
const recipes = Array.from(section!.matchAll(/```ts\n([^]*?)```/g), ([, code]) => code!)

const single = await testWith(redis)
const cluster = await testWith(redisCluster)
// Beside the packages that the recipes import.
const folder = mkdtempSync(join(import.meta.dirname, 'node_modules/.recipes-'))
afterAll(async () => {
  rmSync(folder, { recursive: true })
  for (const { service } of [single, cluster]) await service?.[Symbol.asyncDispose]()
})

const run = promisify(execFile)

/** A session is kept and found. */
const USE = `
const key = crypto.randomUUID().replaceAll('-', '')
await store.create(key, { data: '1', expiresAt: Date.now() + 60_000 })
console.log((await store.load(key))?.data)
process.exit()`

for (const [at, code] of recipes.entries()) {
  const [, library] = /from '(?!@coatcheck)(.*)'/.exec(code)!
  const server = code.includes('Cluster(') ? cluster : single
  server.test(`Redis by ${library}, recipe ${at + 1}`, async (context) => {
    const program =
      library === 'bun' ? need(context, bunBinary, 'Bun', 'use Linux on x64') : process.execPath
    const { host } = new URL(single.url!)
    const [name, port] = host.split(':')
    const file = join(folder, `${at}.mjs`)
    const placed = code
      .replaceAll('localhost:6379', host)
      .replaceAll("'localhost', port: 6379", `'${name}', port: ${port}`)
      .replaceAll('localhost:7000', new URL((cluster.url ?? single.url!).split(',')[0]!).host)
    writeFileSync(file, placed + USE)
    const upstash = await openUpstash(single.url!)
    const env = {
      ...process.env,
      UPSTASH_REDIS_REST_URL: upstash.url,
      UPSTASH_REDIS_REST_TOKEN: upstash.token,
    }
    const { stdout } = await run(program, [file], { env, timeout: 60_000 })
    upstash.close()
    expect(stdout.trim()).toBe('1')
  })
}

test('there is a recipe for each library', () => {
  expect(recipes).toHaveLength(6)
})

// Every fenced block of every page and doc comment: what is code compiles in strict mode against the packed packages, and runs.
import { execFile } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { drive } from '../drive.ts'
import { testWith } from '../needs.ts'
import { startProgram, stopPrograms } from '../programs.ts'
import { mariadb, postgres, redis } from '../services.ts'
import {
  isCode,
  linesOf,
  readApplications,
  readPages,
  whereIs,
  type Block,
  type Page,
  type SnippetFile,
} from './pages.ts'
import { compile, packAll, projectsOfNpm, projectsOfPnpm } from './projects.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const pages = readPages()
const blocks = pages.flatMap((page) => page.blocks)
const applications = readApplications()
const files = pages.flatMap((page) => page.files.map((file) => ({ page, file })))

/** Its SQL clients want peers that contradict each other, as no application has them all: npm refuses to install them into one folder. */
const NOT_TOGETHER = 'docs/clients.md'

/** What is compiled and not run here, by page and file or by page, and why not. */
const ONLY_COMPILED: Record<string, string> = {
  'docs/moving-from-django.md sessions.ts':
    'there is no table of Django here; the package’s live tests have one',
  'packages/core/src/store.ts': 'it is testing/map-store.ts, over which the suite runs',
  'tests-conformance/README.md': 'the suite’s own tests run it, over real stores',
  'tests-conformance/src/index.ts': 'as its README',
  'tests-conformance/src/operation.ts': 'as its README',
  'docs/recipes.md': 'recipes.test.ts runs it, as one program with users and a table',
  'docs/clients.md': 'clients-redis.test.ts and sql-clients.test.ts run its recipes',
}

/** What a reader has in the environment. */
const SECRETS = {
  SECRET: 'the secret of an application, as long as it must be',
  SECRET_KEY: 'the secret of a Django site, as long as Django makes it',
  SESSION_SECRET: 'the secret of the sessions, as long as it must be',
}

afterEach(stopPrograms)
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-snippets-'))
const redisServer = await testWith(redis)
const postgresServer = await testWith(postgres)
const mariadbServer = await testWith(mariadb)
afterAll(async () => {
  rmSync(folder, { recursive: true })
  for (const { service } of [redisServer, postgresServer, mariadbServer]) {
    await service?.[Symbol.asyncDispose]()
  }
})

/** Where the servers of the pages are here. */
const PLACES = [
  [/redis:\/\/localhost(:6379)?/g, redisServer],
  [/postgres:\/\/localhost\/app/g, postgresServer],
  [/mysql:\/\/localhost\/app/g, mariadbServer],
] as const

const packed = packAll(makeFolder('tarballs'))

describe.each([
  { manager: 'pnpm', install: projectsOfPnpm, of: [...pages, ...applications] },
  {
    manager: 'npm',
    install: projectsOfNpm,
    of: [...pages, ...applications].filter(({ path }) => path !== NOT_TOGETHER),
  },
])('under $manager', ({ manager, install, of }) => {
  const place = makeFolder(manager)
  let errors: Map<string, string[]>
  beforeAll(async () => {
    await install(place, of, await packed)
    errors = await compile(place, of)
  }, 900_000)

  test.each(of.filter((page) => page.files.length > 0))(
    '$path: what it has one install is enough, and its code compiles in strict mode',
    ({ name }) => {
      expect(errors.get(name) ?? []).toEqual([])
    },
  )

  test.each(applications)(
    '$path counts visits, keeps them over a login under a new key, and forgets them at a logout',
    async (application) => {
      const names = application.files.map((file) => file.name)
      const main = names.includes('node.ts') ? 'node.js' : 'server.js'
      const built = join(place, application.name, 'dist', main)
      const env = {
        PORT: '0',
        SESSIONS: join(makeFolder(`${manager}-${application.name}`), 'sessions'),
      }
      await drive(await startProgram(built, [], env))
    },
  )

  for (const { page, file } of files) {
    if (!of.includes(page) || reasonNotToRun(page, file)) continue
    const missing = PLACES.find(([pattern, { url }]) => !url && file.text.search(pattern) >= 0)
    const register = missing?.[1].test ?? ((title, body) => test(title, body))
    register(`${nameOf(page, file)} runs`, async () => {
      const built = join(place, page.name, 'dist', file.name.replace(/ts$/, 'js'))
      const cwd = makeFolder(`${manager}-${page.name}-${file.name}`)
      const program = PLACES.reduce(
        (text, [pattern, { url }]) => text.replaceAll(pattern, url ?? ''),
        readFileSync(built, 'utf8'),
      )
      writeFileSync(built, program)
      const routes = routesOf(file)
      const runner = join(import.meta.dirname, 'run-file.ts')
      const args = isTest(file) ? ['--test', built] : [runner, built, JSON.stringify(routes)]
      const { stdout } = await run(process.execPath, args, {
        cwd,
        env: {
          ...process.env,
          ...SECRETS,
          DATABASE_URL: postgresServer.url,
          REDIS_URL: redisServer.url,
        },
        timeout: 120_000,
      })
      const statuses = Array.from(stdout.matchAll(/^answered .*: (\d+)$/gm), ([, status]) => status)
      expect(statuses).toHaveLength(serves(file) ? routes.length : 0)
      expect(statuses.filter((status) => Number(status) >= 500)).toEqual([])
    })
  }
})

test('each line for the shell calls what is there', () => {
  for (const block of blocks) {
    if (kindOf(block) !== 'shell') continue
    for (const line of linesOf(block))
      expect(isThere(line), `${whereIs(block)}: ${line}`).toBe(true)
  }
})

test('no block is left out: it is code, a line for the shell, data or text, or the page says why it cannot be checked', () => {
  const of = (kind: string) => blocks.filter((block) => kindOf(block) === kind)
  const runs = files.filter(({ page, file }) => !reasonNotToRun(page, file))
  expect(of('unknown').map(whereIs)).toEqual([])
  expect(new Set(files.flatMap(({ file }) => file.blocks)).size).toBe(of('code').length)
  const known = new Set(files.flatMap(({ page, file }) => [page.path, nameOf(page, file)]))
  expect(Object.keys(ONLY_COMPILED).filter((name) => !known.has(name))).toEqual([])
  const counts = ['code', 'shell', 'data', 'text', 'unchecked'].map(
    (kind) => `${of(kind).length} ${kind}`,
  )
  console.log(
    `${blocks.length} blocks on ${pages.length} pages: ${counts.join(', ')}. ` +
      `The code makes ${files.length} files: all are compiled, ${runs.length} run.`,
  )
  // A pattern that finds nothing any more would pass everything.
  expect(of('code').length).toBeGreaterThan(60)
  expect(runs.length).toBeGreaterThan(25)
})

function makeFolder(name: string): string {
  const place = join(folder, name)
  mkdirSync(place)
  return place
}

function kindOf(block: Block) {
  if (block.unchecked) return 'unchecked'
  if (isCode(block)) return 'code'
  if (block.language === 'sh') return 'shell'
  if (block.language === 'json' && JSON.parse(block.text)) return 'data'
  return block.language === 'text' ? 'text' : 'unknown'
}

const nameOf = (page: Page, file: SnippetFile) => `${page.path} ${file.name}`

const reasonNotToRun = (page: Page, file: SnippetFile): string | undefined =>
  ONLY_COMPILED[page.path] ?? ONLY_COMPILED[nameOf(page, file)]

/** Whether the file goes on answering requests: the runner visits it then. */
const serves = ({ text }: SnippetFile) =>
  /\.listen\(|^export default app|fetch: /m.test(text) && !/^server\.close\(\)$/m.test(text)

/** Whether Node's own runner runs the file. */
const isTest = ({ text }: SnippetFile) => text.includes("from 'node:test'")

/** What a server is visited for: its root, and every route that the file writes down. */
function routesOf({ text }: SnippetFile): [string, string][] {
  const written = text.matchAll(/\.(get|post)\('(\/[^']*)'/g)
  const routes = Array.from(written, ({ 1: method, 2: path }): [string, string] => [
    method!.toUpperCase(),
    path!,
  ])
  return [['GET', '/'], ...routes]
}

/** Whether there is what a line calls. What it has one install was installed already. */
function isThere(line: string): boolean {
  const [first, name, ...words] = line.split(/\s+/)
  if (first === 'npm') return name === 'install'
  if (first !== 'npx') return false
  if (name !== 'pnpm@12') return readManifest(name!)?.bin !== undefined
  const manifest = words[0] === '--filter' ? readManifest(words[1]!) : readJson('package.json')
  return manifest.scripts[words[words[0] === '--filter' ? 2 : 0]!] !== undefined
}

/** Of the package of the workspace that has the name. */
const readManifest = (name: string) =>
  globSync('{packages,examples}/*/package.json', { cwd: ROOT })
    .concat('tests-conformance/package.json')
    .map(readJson)
    .find((manifest) => manifest.name === name)

function readJson(file: string): any {
  return JSON.parse(readFileSync(join(ROOT, file), 'utf8'))
}

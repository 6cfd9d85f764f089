// Every engine in an application's bundle: it works, or says in one sentence what to pass.
import { execFile, spawn } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { afterAll, expect, test } from 'vitest'
import webpack from 'webpack'
import { freePort } from '../services.ts'

const run = promisify(execFile)
const here = import.meta.dirname
/** Within the workspace, as Turbopack follows no link out of it; and not in this folder, above which it would take proxy.ts for its own. */
const folder = mkdtempSync(join(here, '../../node_modules/.bundles-'))
/** Where nothing is installed, in no folder above it either. */
const elsewhere = mkdtempSync(join(tmpdir(), 'coatcheck-bundles-'))
afterAll(() => {
  for (const one of [folder, elsewhere]) rmSync(one, { recursive: true })
})

/** What reaches a server that is not there has found its driver. */
const REFUSED = /^ERR_SESSION_STORE: .*ECONNREFUSED 127\.0\.0\.1:1/
const WORKS = {
  sqlite: 'works',
  postgres: expect.stringMatching(REFUSED),
  mysql: expect.stringMatching(REFUSED),
  redis: expect.stringMatching(REFUSED),
  lru: 'works',
  bridge: 'works',
}
const NEEDS_NO_DRIVER = { file: 'works', 'signed-cookie': 'works' }
const missing = (by: string, name: string, pass: string) =>
  `ERR_SESSION_DRIVER_MISSING: ${by} does not find the package ${name}. Run: npm install ${name}. In a bundle, where nothing can be loaded by name, import it yourself and pass it: ${pass}\nSee https://github.com/coatcheck/coatcheck/blob/main/docs/errors.md#err_session_driver_missing`
const SAYS_WHAT_TO_PASS = {
  sqlite: missing('sqliteStore', 'better-sqlite3', 'sqliteStore(new Database(file))'),
  postgres: missing('postgresStore', 'pg', 'postgresStore(new Pool({ connectionString }))'),
  mysql: missing(
    'mysqlStore',
    'mysql2',
    'mysqlStore(createPool(url)), with createPool of mysql2/promise',
  ),
  redis: missing('redisStore', 'ioredis', 'redisStore(new Redis(url))'),
  lru: missing('lruStore', 'lru-cache', 'lruStore({ LRUCache })'),
  bridge: missing(
    'toExpressStore',
    'express-session',
    'toExpressStore(store, { Store: session.Store })',
  ),
}

const PACKAGES = ['cache', 'cached-db', 'core', 'db', 'express-session', 'file', 'signed-cookie']
const DRIVERS = ['better-sqlite3', 'express-session', 'ioredis', 'lru-cache', 'mysql2', 'pg']

/** An application's folder: our packages as they are published, and whatever else is named, installed. */
function makeApplication(name: string, others: readonly string[]): string {
  const place = join(folder, name)
  const modules = join(place, 'node_modules')
  mkdirSync(join(modules, '@coatcheck'), { recursive: true })
  for (const one of PACKAGES) {
    const source = join(here, '../../packages', one)
    const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'))
    const target = join(modules, '@coatcheck', one)
    cpSync(join(source, 'dist'), join(target, 'dist'), { recursive: true })
    writeFileSync(
      join(target, 'package.json'),
      JSON.stringify({ ...manifest, ...manifest.publishConfig }),
    )
  }
  for (const one of ['cookie', ...others]) {
    symlinkSync(realpathSync(join(here, 'node_modules', one)), join(modules, one))
  }
  cpSync(join(here, 'application.js'), join(place, 'application.js'))
  cpSync(join(here, 'main.js'), join(place, 'main.js'))
  writeFileSync(join(place, 'package.json'), '{ "type": "module" }')
  return place
}

const built = run(
  process.execPath,
  [join(here, '../../node_modules/typescript/bin/tsc'), '-b', 'tsconfig.build.json'],
  { cwd: join(here, '../..') },
)

// pnpm's NODE_PATH would find what is not there.
const { NODE_PATH: _, ...env } = process.env

async function say(cwd: string, bundle: string, way: string): Promise<object> {
  const { stdout } = await run(process.execPath, [bundle, way], { cwd, env })
  return JSON.parse(stdout)
}

test.each(['esm', 'cjs'] as const)(
  'a bundle of esbuild, %s',
  async (format) => {
    await built
    const application = makeApplication(`esbuild-${format}`, DRIVERS)
    const file = format === 'esm' ? 'server.mjs' : 'server.cjs'
    const bundle = join(application, 'dist', file)
    await build({
      entryPoints: [join(application, 'main.js')],
      outfile: bundle,
      bundle: true,
      format,
      platform: 'node',
      logLevel: 'error',
      external: ['better-sqlite3', 'pg-native'],
      // What esbuild's users put before an ES module that holds packages of CommonJS.
      ...(format === 'esm' && {
        banner: {
          js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url)",
        },
      }),
    })
    expect(await say(application, bundle, 'alone')).toEqual({ ...WORKS, ...NEEDS_NO_DRIVER })
    expect(await say(application, bundle, 'passed')).toEqual({ ...WORKS, 'cached-db': 'works' })

    // Carried to where nothing is installed, but for the addon, which is in no bundle.
    const carried = join(elsewhere, format)
    mkdirSync(join(carried, 'node_modules'), { recursive: true })
    const away = join(carried, file)
    cpSync(bundle, away)
    const addon = join(carried, 'node_modules', 'better-sqlite3')
    symlinkSync(realpathSync(join(here, 'node_modules/better-sqlite3')), addon)
    expect(await say(carried, away, 'passed')).toEqual({ ...WORKS, 'cached-db': 'works' })
    expect(await say(carried, away, 'alone')).toEqual({
      ...SAYS_WHAT_TO_PASS,
      sqlite: 'works',
      ...NEEDS_NO_DRIVER,
    })
  },
  600_000,
)

test.each(['esm', 'cjs'] as const)(
  'a bundle of webpack, %s',
  async (format) => {
    await built
    const application = makeApplication(`webpack-${format}`, DRIVERS)
    const filename = format === 'esm' ? 'server.mjs' : 'server.cjs'
    const compiler = webpack({
      context: application,
      entry: './main.js',
      target: 'node',
      mode: 'production',
      // Addons are in no bundle.
      externals: {
        'better-sqlite3': `${format === 'esm' ? 'node-commonjs' : 'commonjs'} better-sqlite3`,
      },
      ...(format === 'esm' && { experiments: { outputModule: true } }),
      output: { path: join(application, 'dist'), filename, module: format === 'esm' },
    })!
    const stats = await promisify(compiler.run.bind(compiler))()
    expect(stats!.compilation.errors).toEqual([])
    const bundle = join(application, 'dist', filename)
    expect(await say(application, bundle, 'alone')).toEqual({ ...WORKS, ...NEEDS_NO_DRIVER })
    expect(await say(application, bundle, 'passed')).toEqual({ ...WORKS, 'cached-db': 'works' })
  },
  600_000,
)

test('a build of Next', async () => {
  await built
  const application = makeApplication('next', [...DRIVERS, 'next', 'react', 'react-dom'])
  const route = join(application, 'app/[way]')
  mkdirSync(route, { recursive: true })
  writeFileSync(
    join(route, 'route.js'),
    `import { report } from '../../application.js'
     export const dynamic = 'force-dynamic'
     export async function GET(request, { params }) {
       return Response.json(await report((await params).way))
     }`,
  )
  writeFileSync(join(application, 'next.config.mjs'), `export default { output: 'standalone' }`)
  const next = join(application, 'node_modules/next/dist/bin/next')
  const settings = { ...env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' as const }
  await run(process.execPath, [next, 'build'], { cwd: application, env: settings })
  const { alone, passed } = await readings(application, [next, 'start', '--port'], settings)
  expect(alone).toEqual({ ...WORKS, ...NEEDS_NO_DRIVER })
  expect(passed).toEqual({ ...WORKS, 'cached-db': 'works' })

  // What is deployed of it: a folder with what Next has seen to be imported.
  const carried = join(elsewhere, 'next')
  cpSync(join(application, '.next/standalone'), carried, {
    recursive: true,
    verbatimSymlinks: true,
  })
  const server = join(carried, relative(join(here, '../..'), application), 'server.js')
  const away = await readings(carried, [server], settings)
  expect(away.passed).toEqual({ ...WORKS, 'cached-db': 'works' })
  for (const [name, said] of Object.entries({ ...WORKS, ...NEEDS_NO_DRIVER })) {
    const spoken = away.alone[name] ?? ''
    if (spoken.startsWith('ERR_SESSION_DRIVER_MISSING')) {
      expect(spoken).toBe(SAYS_WHAT_TO_PASS[name as keyof typeof SAYS_WHAT_TO_PASS])
    } else expect(spoken).toEqual(said)
  }
}, 1_200_000)

/** Starts a server, and asks it both ways. */
async function readings(cwd: string, args: string[], settings: NodeJS.ProcessEnv) {
  const port = `${await freePort()}`
  const server = spawn(process.execPath, [...args, port], {
    cwd,
    env: { ...settings, PORT: port, HOSTNAME: '127.0.0.1' },
    stdio: 'ignore',
  })
  const ask = async (way: string): Promise<Record<string, string>> =>
    (await fetch(`http://127.0.0.1:${port}/${way}`)).json() as Promise<Record<string, string>>
  try {
    await expect.poll(() => ask('alone'), { timeout: 300_000 }).toBeTruthy()
    return { alone: await ask('alone'), passed: await ask('passed') }
  } finally {
    server.kill('SIGKILL')
  }
}

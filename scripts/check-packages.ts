// Packs every published package as npm would get it, and checks the result: publint, types (attw), install by npm alone.
import { execFileSync } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Manifest {
  name: string
  private?: boolean
  peerDependencies?: Record<string, string>
  exports: Record<string, unknown>
}

interface Lockfile {
  packages: Record<string, unknown>
}

/** What every package may bring along: core's one library. */
const INVITED = ['cookie']
/** What some packages bring along besides. No driver and no framework is among it: those are the user's to install. */
const INVITED_BY: Record<string, string[]> = {
  '@coatcheck/conformance': ['fast-check', 'pure-rand'],
  '@coatcheck/fastify': ['fastify-plugin'],
}

/** Engines with a driver, and how they are opened: without it they must say how to get it. */
const DRIVERS: Record<string, { open: string; driver: string }> = {
  '@coatcheck/db/sqlite': { open: "sqliteStore('x')", driver: 'better-sqlite3' },
  '@coatcheck/db/postgres': { open: "postgresStore('postgres://x')", driver: 'pg' },
  '@coatcheck/db/mysql': { open: "mysqlStore('mysql://x')", driver: 'mysql2' },
  '@coatcheck/cache/lru': { open: 'lruStore()', driver: 'lru-cache' },
  '@coatcheck/cache/redis': { open: "redisStore('redis://x')", driver: 'ioredis' },
}

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-packages-'))
const run = (command: string, args: string[], cwd = process.cwd()) => {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error })
  }
}

const packages = globSync(['packages/*/package.json', 'tests-conformance/package.json'])
  .toSorted()
  .map((file) => ({
    path: file.slice(0, -'/package.json'.length),
    manifest: JSON.parse(readFileSync(file, 'utf8')) as Manifest,
  }))
  .filter(({ manifest }) => !manifest.private)

try {
  const tarballs = new Map<string, string>()
  for (const { path, manifest } of packages) {
    const before = new Set(readdirSync(folder))
    run('pnpm', ['pack', '--pack-destination', folder], path)
    const tarball = readdirSync(folder).find((file) => !before.has(file))!
    tarballs.set(manifest.name, join(folder, tarball))
    run('publint', [join(folder, tarball), '--strict'])
    run('attw', [join(folder, tarball), '--profile', 'esm-only', '--no-emoji'])
    console.log(`${manifest.name}: publint and attw pass`)
  }

  // Each installed alone, its own workspace dependencies from their tarballs too: what comes along, and does it load?
  for (const { manifest } of packages) {
    const empty = mkdtempSync(join(folder, 'install-'))
    const file = (name: string) => `file:${tarballs.get(name)!}`
    const overrides = Object.fromEntries([...tarballs.keys()].map((name) => [name, file(name)]))
    delete overrides[manifest.name]
    const dependencies = { [manifest.name]: file(manifest.name) }
    writeFileSync(
      join(empty, 'package.json'),
      JSON.stringify({ private: true, type: 'module', dependencies, overrides }),
    )
    run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], empty)
    const lock = JSON.parse(readFileSync(join(empty, 'package-lock.json'), 'utf8')) as Lockfile
    const installed = Object.keys(lock.packages)
      .filter((path) => path.startsWith('node_modules/'))
      .map((path) => path.split('node_modules/').at(-1)!)
    const invited = new Set([...INVITED, ...(INVITED_BY[manifest.name] ?? [])])
    const uninvited = installed.filter(
      (name) => !name.startsWith('@coatcheck/') && !invited.has(name),
    )
    if (uninvited.length > 0) {
      throw new Error(`${manifest.name} brings along ${uninvited.join(', ')}`)
    }
    for (const entry of Object.keys(manifest.exports)) {
      const specifier = join(manifest.name, entry)
      run(process.execPath, ['--eval', `await import(${JSON.stringify(specifier)})`], empty)
    }
    for (const [engine, { open, driver }] of Object.entries(DRIVERS)) {
      if (!engine.startsWith(`${manifest.name}/`)) continue
      const script = `import(${JSON.stringify(engine)}).then((engine) => engine.${open}).catch((e) => console.log(e.message))`
      const said = run(process.execPath, ['--eval', script], empty)
      if (!said.includes(`Run: npm install ${driver}`)) {
        throw new Error(`${engine} without its driver says: ${said}`)
      }
    }
    console.log(`${manifest.name}: installs alone and loads, with ${installed.join(', ')}`)
  }
} finally {
  rmSync(folder, { recursive: true })
}

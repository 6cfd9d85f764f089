// Makes the pages' projects of the packed packages, as a reader gets them: pnpm's, where a package finds what it names alone, and npm's.
import { execFile } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { importsOf, neighboursOf, type Page } from './pages.ts'

const ROOT = join(import.meta.dirname, '../..')
const YOURS = join(import.meta.dirname, 'yours')
const run = promisify(execFile)
const MANY_LINES = { maxBuffer: 64 * 2 ** 20 }

/** What the pages use and the workspace does not have itself. */
const BESIDE: Record<string, string> = {
  ws: '8.21.3',
  '@types/ws': '8.18.2',
  '@types/bun': '1.3.3',
}

/** Strict, and as strict as TypeScript can be asked to be beyond that. */
const COMPILER_OPTIONS = {
  target: 'es2023',
  lib: ['es2023'],
  module: 'nodenext',
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
  allowJs: true,
  checkJs: true,
  esModuleInterop: true,
  outDir: 'dist',
  rootDir: '.',
}

/** Packs every package as it is published; by name, the tarball. */
export async function packAll(folder: string): Promise<Map<string, string>> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  await run(process.execPath, [tsc, '-b', 'tsconfig.build.json'], { cwd: ROOT, ...MANY_LINES })
  const chosen = ['./packages/*', './tests-conformance'].flatMap((path) => ['--filter', path])
  await pnpm(['-r', ...chosen, 'pack', '--pack-destination', folder], ROOT)
  const tarballs = readdirSync(folder).filter((file) => file.endsWith('.tgz'))
  return new Map(
    tarballs.map((file) => [
      file.replace(/^coatcheck-(.*)-\d+\.\d+\.\d+.*$/, '@coatcheck/$1'),
      `file:${join(folder, file)}`,
    ]),
  )
}

/** Under pnpm each page's project finds what the page has one install, and nothing else. */
export async function projectsOfPnpm(
  folder: string,
  pages: readonly Page[],
  tarballs: Map<string, string>,
): Promise<void> {
  for (const page of pages) {
    const dependencies = versionsOf(packagesOf(page), tarballs)
    writeProject(folder, page, { dependencies })
  }
  const overrides = Array.from(tarballs, ([name, file]) => `  '${name}': '${file}'\n`)
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  writeFileSync(
    join(folder, 'pnpm-workspace.yaml'),
    `packages: ['*']\noverrides:\n${overrides.join('')}`,
  )
  await pnpm(['install', '--prefer-offline', '--ignore-scripts', '--no-frozen-lockfile'], folder)
}

/** Under npm all packages lie in one folder, above the pages' projects. */
export async function projectsOfNpm(
  folder: string,
  pages: readonly Page[],
  tarballs: Map<string, string>,
): Promise<void> {
  for (const page of pages) writeProject(folder, page, {})
  const dependencies = versionsOf([...new Set(pages.flatMap(packagesOf))], tarballs)
  const manifest = { private: true, dependencies, overrides: Object.fromEntries(tarballs) }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
  await run('npm', ['install', '--prefer-offline', '--ignore-scripts', ...quiet], {
    cwd: folder,
    ...MANY_LINES,
  })
}

const pnpm = (args: string[], cwd: string) =>
  run('npx', ['--yes', 'pnpm@12', ...args], { cwd, ...MANY_LINES })

/** What the page has one install; of a page that says nothing of it what its files import, and of a doc comment its package too. */
function packagesOf({ path, files, installs }: Page): string[] {
  if (installs.length > 0) return [...installs]
  const own = path.endsWith('.ts')
    ? [readJson(join(ROOT, path.split('/src/', 1)[0]!, 'package.json')).name as string]
    : []
  return [...new Set([...own, ...files.flatMap(importsOf)])]
}

/** Each package as we have packed it, or in the workspace's version; and beside it its types, where they are a package of their own. */
function versionsOf(names: readonly string[], tarballs: Map<string, string>) {
  const versions: Record<string, string> = {}
  const add = (name: string) => {
    const version = tarballs.get(name) ?? BESIDE[name] ?? workspace.get(name)
    if (version) versions[name] = version
    return version
  }
  for (const name of names) {
    if (!add(name) && !add(`@types/${name}`)) {
      throw new Error(`No version is known of ${name}: add it to BESIDE`)
    }
    add(`@types/${name}`)
  }
  add('@types/node')
  return versions
}

/** Every package that the workspace has installed for itself, with its version. */
const workspace = new Map(
  globSync(
    ['package.json', '{packages/*,testing,testing/*,tests-conformance,examples/*}/package.json'],
    { cwd: ROOT },
  ).flatMap((file) => {
    const { dependencies, devDependencies, peerDependencies } = readJson(join(ROOT, file))
    const names = Object.keys({ ...dependencies, ...devDependencies, ...peerDependencies })
    return names
      .filter((name) => !name.startsWith('@coatcheck/'))
      .flatMap((name) => {
        const manifest = join(ROOT, dirname(file), 'node_modules', name, 'package.json')
        try {
          const { name: real, version } = readJson(manifest)
          return real === name ? [[name, version] as const] : []
        } catch {
          return []
        }
      })
  }),
)

function readJson(file: string): any {
  return JSON.parse(readFileSync(file, 'utf8'))
}

/** The page's files, and of the reader's own modules those that they import. */
function writeProject(folder: string, page: Page, manifest: object): void {
  const place = join(folder, page.name)
  mkdirSync(place, { recursive: true })
  const files = new Map(page.files.map(({ name, text }) => [name, text]))
  for (const file of page.files) {
    for (const name of neighboursOf(file)) {
      if (files.has(`${name}.ts`) || files.has(`${name}.js`)) continue
      const own = join(YOURS, `${name}.ts`)
      if (existsSync(own)) files.set(`${name}.ts`, readFileSync(own, 'utf8'))
    }
  }
  for (const [name, text] of files) {
    // A declaration that stands alone is added to a program that imports the package.
    const [, declared] = /^declare module '(.*)'/.exec(text) ?? []
    writeFileSync(join(place, name), declared ? `${text}import type {} from '${declared}'\n` : text)
  }
  const own = { name: page.name, private: true, type: 'module', ...manifest }
  writeFileSync(join(place, 'package.json'), JSON.stringify(own))
  const ofBun = page.files.some((file) => importsOf(file).includes('bun'))
  const types = ofBun ? ['bun'] : ['node']
  writeFileSync(
    join(place, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...COMPILER_OPTIONS,
        types,
        // Bun's own contradict each other.
        skipLibCheck: ofBun,
      },
      include: ['*'],
      exclude: ['dist'],
    }),
  )
}

/** What TypeScript says of each page's project, by the page's name, in one run over all. */
export async function compile(
  folder: string,
  pages: readonly Page[],
): Promise<Map<string, string[]>> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  const names = pages.filter(({ files }) => files.length > 0).map(({ name }) => name)
  const said = await run(process.execPath, [tsc, '-b', ...names, '--pretty', 'false'], {
    cwd: folder,
    ...MANY_LINES,
  }).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
  )
  // An error goes on in the lines that are indented.
  const errors = said.trim() === '' ? [] : said.trim().split(/\n(?! )/)
  const byName = new Map<string, string[]>()
  for (const error of errors) {
    const name = error.split('/', 1)[0]!
    byName.set(name, [...(byName.get(name) ?? []), error])
  }
  return byName
}

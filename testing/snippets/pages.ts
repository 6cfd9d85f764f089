// Takes the fenced code blocks out of the pages and doc comments, and makes of each page the files that a reader would have.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')

/** One fenced block of a page. */
export interface Block {
  readonly page: string
  /** Of its first fence, from 1. */
  readonly line: number
  readonly language: string
  readonly text: string
  /** What an HTML comment before it says: why nothing can be done with it. */
  readonly unchecked: string | undefined
}

/** A file that the blocks of a page make. */
export interface SnippetFile {
  readonly name: string
  readonly text: string
  readonly blocks: readonly Block[]
}

/** A page, as the project of a reader who does what it says. */
export interface Page {
  readonly path: string
  /** The project's name and folder. */
  readonly name: string
  readonly files: readonly SnippetFile[]
  /** The packages that it has one install. */
  readonly installs: readonly string[]
  readonly blocks: readonly Block[]
}

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'ARCHITECTURE.md',
  'SECURITY.md',
  '{packages,examples}/*/README.md',
  'tests-conformance/README.md',
  'spec/README.md',
  'docs/**/*.md',
]
const SOURCES = ['packages/*/src/**/*.ts', 'tests-conformance/src/**/*.ts']

/** Every page of the repository that holds a block, doc comments of what is published included. */
export function readPages(): Page[] {
  const pages = globSync(PAGES, { cwd: ROOT }).map((path) => ({ path, text: read(path) }))
  const sources = globSync(SOURCES, { cwd: ROOT })
    .filter((path) => !/test|fixtures/.test(path.slice(path.indexOf('/src/'))))
    .map((path) => ({ path, text: commentsOf(read(path)) }))
  return [...pages, ...sources]
    .map(({ path, text }) => makePage(path, blocksOf(path, text)))
    .filter(({ blocks }) => blocks.length > 0)
    .toSorted((one, other) => (one.path < other.path ? -1 : 1))
}

/** Programs that a reader may have made of the pages: the examples, and what no example shows. */
export function readApplications(): Page[] {
  const folders = [
    ...['express', 'fastify', 'koa', 'hono', 'fetch'].map((name) => `examples/${name}`),
    ...['node-http', 'express-session'].map((name) => `testing/snippets/applications/${name}`),
  ]
  return folders.map((path) => {
    const names = globSync('*.ts', { cwd: join(ROOT, path) }).filter(
      (name) => !/^(bun|deno)/.test(name),
    )
    const files = names.map((name) => ({ name, text: read(`${path}/${name}`), blocks: [] }))
    return { path, name: `application-${path.split('/').at(-1)!}`, files, installs: [], blocks: [] }
  })
}

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The text of doc comments alone, each line where it was. */
function commentsOf(source: string): string {
  let within = false
  return source
    .split('\n')
    .map((line) => {
      if (line.trim().startsWith('/**')) within = true
      const text = within ? line.replace(/^\s*\/?\*+\/? ?/, '') : ''
      if (line.includes('*/')) within = false
      return text
    })
    .join('\n')
}

/** The fenced blocks of a text. */
export function blocksOf(page: string, text: string): Block[] {
  const fences = text.matchAll(/^([ \t]*)```([^\n`]*)\n([^]*?)^[ \t]*```[ \t]*$/gm)
  return Array.from(fences, ({ 1: indent = '', 2: language = '', 3: body = '', index }) => ({
    page,
    line: text.slice(0, index).split('\n').length,
    language: language.trim(),
    text: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    unchecked: /<!-- not checked: ([^]*?) -->\s*$/.exec(text.slice(0, index))?.[1],
  }))
}

/** `// server.ts`, or `// server.ts, continued`. */
const FILE_LINE = /^\/\/ ([\w./-]+\.[cm]?[jt]sx?)(, continued)?$/

/** A block whose first line names a file is that file; one that continues it stands behind what the page had of it before. */
export function filesOf(blocks: readonly Block[]): SnippetFile[] {
  const files = new Map<string, SnippetFile>()
  for (const block of blocks) {
    if (!isCode(block)) continue
    const [, name, continued] = FILE_LINE.exec(block.text.split('\n', 1)[0]!) ?? []
    const before = files.get(name ?? '')
    if (continued ? !before : before) {
      const wrong = continued ? 'continues a file that is not there' : 'is there twice'
      throw new Error(`${whereIs(block)}: ${name} ${wrong}`)
    }
    const file = {
      name: name ?? `line-${block.line}.${block.language}`,
      text: (before?.text ?? '') + block.text,
      blocks: [...(before?.blocks ?? []), block],
    }
    files.set(file.name, file)
  }
  return [...files.values()]
}

export const isCode = ({ language, unchecked }: Block) => !unchecked && /^[jt]sx?$/.test(language)

export const whereIs = ({ page, line }: Block) => `${page}:${line}`

/** The lines of a shell's block, without their comments. */
export const linesOf = ({ text }: Block): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/\s*#.*/, '').trim())
    .filter(Boolean)

function makePage(path: string, blocks: Block[]): Page {
  const installs = blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(linesOf)
    .filter((line) => line.startsWith('npm install'))
    .flatMap((line) => line.split(/\s+/).slice(2))
    .filter((word) => !word.startsWith('-'))
  const name = path
    .replace(/^packages\//, '')
    .replace(/(\/README)?\.(md|ts)$/, '')
    .replaceAll(/\W+/g, '-')
    .toLowerCase()
  return { path, name, files: filesOf(blocks), installs: [...new Set(installs)], blocks }
}

/** The packages that a file imports, and those that it adds to. */
export function importsOf({ text }: SnippetFile): string[] {
  const found = text.matchAll(/(?:\bfrom|\bimport|\bdeclare module|\brequire\()\s*'([^'.][^']*)'/g)
  return Array.from(found, ([, specifier]) => packageOf(specifier!)).filter(
    (name) => !name.startsWith('node:'),
  )
}

const packageOf = (specifier: string) =>
  specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')

/** The files of the page's folder that a file imports. */
export const neighboursOf = ({ text }: SnippetFile): string[] =>
  Array.from(text.matchAll(/\bfrom '\.\/([\w-]+)\.js'/g), ([, name]) => name!)

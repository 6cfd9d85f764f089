// The explorer can fail: it finds each fault that is put back into core.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { explore, type Explored } from './explore.ts'
import { mutations } from './mutations.ts'

const core = join(import.meta.dirname, '../../packages/core')
const folder = mkdtempSync(join(tmpdir(), 'coatcheck-mutations-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Enough for every mutation several times over. */
const MOST = 150_000

test.each(mutations.map((mutation, n) => [mutation.what, mutation, n] as const))(
  'found: %s',
  { timeout: 120_000 },
  async (_what, { file, find, replace }, n) => {
    const copy = join(folder, String(n))
    cpSync(join(core, 'src'), join(copy, 'src'), { recursive: true })
    cpSync(join(core, 'package.json'), join(copy, 'package.json'))
    symlinkSync(join(core, 'node_modules'), join(copy, 'node_modules'))
    const path = join(copy, 'src', file)
    const source = readFileSync(path, 'utf8')
    expect(source.split(find), 'the place of the mutation').toHaveLength(2)
    writeFileSync(
      path,
      source.replace(find, () => replace),
    )
    const mutant = await import(/* @vite-ignore */ pathToFileURL(join(copy, 'src/index.ts')).href)
    const explored: Explored = { interleavings: 0, found: [] }
    const goOn = () => explored.found.length === 0 && explored.interleavings < MOST
    await explore(mutant, explored, goOn, { mostOfEach: 300 })
    expect(explored.found.length, `faults in ${explored.interleavings} interleavings`).toBe(1)
  },
)

// The explorer can fail: it finds each fault that is put back into core, or into cached-db.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as core from '@coatcheck/core'
import { afterAll, expect, test } from 'vitest'
import { createAsk } from '../../packages/cached-db/src/cache.ts'
import { overCopies } from './cached.ts'
import { explore, type Explored } from './explore.ts'
import { cachedMutations, mutations, type Mutation } from './mutations.ts'
import type { Tested } from './world.ts'

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-mutations-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Enough for every mutation several times over. */
const MOST = 150_000

/** A copy of a package with a mutation, loaded from a file of its own. */
async function mutant(name: string, entry: string, { file, find, replace }: Mutation) {
  const from = join(import.meta.dirname, '../../packages', name)
  const copy = mkdtempSync(join(folder, name))
  cpSync(join(from, 'src'), join(copy, 'src'), { recursive: true })
  cpSync(join(from, 'package.json'), join(copy, 'package.json'))
  symlinkSync(join(from, 'node_modules'), join(copy, 'node_modules'))
  const path = join(copy, 'src', file)
  const source = readFileSync(path, 'utf8')
  expect(source.split(find), 'the place of the mutation').toHaveLength(2)
  writeFileSync(
    path,
    source.replace(find, () => replace),
  )
  return import(/* @vite-ignore */ pathToFileURL(join(copy, 'src', entry)).href)
}

async function expectFound(tested: Tested): Promise<void> {
  const explored: Explored = { interleavings: 0, found: [] }
  const goOn = () => explored.found.length === 0 && explored.interleavings < MOST
  await explore(tested, explored, goOn, { mostOfEach: tested.storeOf ? 100 : 300 })
  expect(explored.found.length, `faults in ${explored.interleavings} interleavings`).toBe(1)
}

const named = (list: readonly Mutation[]) =>
  list.map((mutation) => [mutation.what, mutation] as const)

test.each(named(mutations))('found: %s', { timeout: 1_800_000 }, async (_what, mutation) => {
  await expectFound({ core: await mutant('core', 'index.ts', mutation) })
})

test.each(named(cachedMutations))(
  'found over copies: %s',
  { timeout: 1_800_000 },
  async (_what, mutation) => {
    const copies = await mutant('cached-db', 'copies.ts', mutation)
    await expectFound(overCopies(core, { createAsk, ...copies }))
  },
)

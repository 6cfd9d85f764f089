// Runs the conformance suite over engines, with the servers that they need, as part of a file of tests.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance } from '@coatcheck/conformance'
import { afterAll, test as plainTest } from 'vitest'
import { testWith, type TestServer } from './needs.ts'
import { kinds } from './services.ts'
import { engineSubject, needsOf, type Places } from './subjects.ts'

/**
 * Registers the suite's cases for each engine. Engines whose server is neither here nor named by the environment are
 * skipped with a word.
 * @returns The servers, by the names of `kinds`, for what else the file tests.
 */
export async function proveEngines(...engines: string[]): Promise<Record<string, TestServer>> {
  const servers: Record<string, TestServer> = {}
  const places: Places = { folder: mkdtempSync(join(tmpdir(), 'coatcheck-prove-')) }
  for (const name of new Set(engines.flatMap((engine) => needsOf(engine)))) {
    const server = await testWith(kinds[name]!)
    servers[name] = server
    if (server.url !== undefined) places[name] = server.url
  }
  const disposals: (() => void)[] = []
  afterAll(async () => {
    for (const dispose of disposals) dispose()
    for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
    rmSync(places.folder, { recursive: true, force: true })
  })
  for (const engine of engines) {
    const missing = needsOf(engine).find((name) => !servers[name]!.url)
    if (missing !== undefined) {
      servers[missing]!.test(`${engine} › the conformance suite`, () => {})
      continue
    }
    const subject = await engineSubject(engine, places)
    disposals.push(subject.dispose)
    conformance(subject, plainTest)
  }
  return servers
}

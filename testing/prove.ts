// Runs the conformance suite over engines, with the servers that they need, as part of a file of tests.
import { conformance } from '@coatcheck/conformance'
import { afterAll, test as plainTest } from 'vitest'
import { type TestServer } from './needs.ts'
import { openPlaces } from './places.ts'
import { shareOf } from './share.ts'
import { engineSubject, needsOf } from './subjects.ts'

/**
 * Registers the suite's cases for each engine. Engines whose server is neither here nor named by the environment are
 * skipped with a word.
 * @returns The servers, by the names of `kinds`, for what else the file tests.
 */
export async function proveEngines(...engines: string[]): Promise<Record<string, TestServer>> {
  const { places, servers } = await openPlaces('prove', engines)
  const subjects: Disposable[] = []
  // What is registered last runs first: before the servers are stopped.
  afterAll(() => {
    for (const subject of subjects) subject[Symbol.dispose]()
  })
  for (const engine of engines) {
    const missing = needsOf(engine).find((name) => !servers[name]!.url)
    if (missing !== undefined) {
      servers[missing]!.test(`${engine} › the conformance suite`, () => {})
      continue
    }
    const subject = await engineSubject(engine, places)
    subjects.push(subject)
    conformance(subject, shareOf(engine, plainTest))
  }
  return servers
}

// Where engines keep their sessions while a file of tests runs: a folder, and the servers that they need.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { testWith, type TestServer } from './needs.ts'
import { kinds } from './services.ts'
import { needsOf, type Places } from './subjects.ts'

/**
 * Opens what these engines need, until the file's tests are over.
 * @param name Part of the folder's name.
 * @returns The places of what there is, and the servers by the names of `kinds`, those that are missing too.
 */
export async function openPlaces(
  name: string,
  engines: readonly string[],
): Promise<{ places: Places; servers: Record<string, TestServer> }> {
  const places: Places = { folder: mkdtempSync(join(tmpdir(), `coatcheck-${name}-`)) }
  const servers: Record<string, TestServer> = {}
  for (const need of new Set(engines.flatMap((engine) => needsOf(engine)))) {
    const server = await testWith(kinds[need]!)
    servers[need] = server
    if (server.url !== undefined) places[need] = server.url
  }
  afterAll(async () => {
    for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
    rmSync(places.folder, { recursive: true, force: true })
  })
  return { places, servers }
}

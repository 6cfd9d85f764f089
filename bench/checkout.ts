// The packages that a benchmark measures, from this checkout or from another one that it is compared with.
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** This checkout's root. */
export const HERE = resolve(import.meta.dirname, '..')

interface Entries {
  '@coatcheck/cache/lru': typeof import('@coatcheck/cache/lru')
  '@coatcheck/cache/redis': typeof import('@coatcheck/cache/redis')
  '@coatcheck/db/mysql': typeof import('@coatcheck/db/mysql')
  '@coatcheck/db/postgres': typeof import('@coatcheck/db/postgres')
  '@coatcheck/db/sqlite': typeof import('@coatcheck/db/sqlite')
  '@coatcheck/express': typeof import('@coatcheck/express')
  '@coatcheck/fastify': typeof import('@coatcheck/fastify')
  '@coatcheck/file': typeof import('@coatcheck/file')
  '@coatcheck/signed-cookie': typeof import('@coatcheck/signed-cookie')
}

/** Loads an entry of a checkout's packages; its dependencies must be installed there. */
export function load<E extends keyof Entries>(root: string, entry: E): Promise<Entries[E]> {
  const { resolve: find } = createRequire(join(root, 'bench/package.json'))
  return import(pathToFileURL(find(entry)).href)
}

// What share of their work the tests do where all of it takes long; `pnpm whole` does all.

/** Sections that take long and say more of the database than of what stands before it. */
const LONG = /(?:^|› )(?:durability|failure|history|random) ›/

/** Engines by a client that is not their default one, and engines whose keys are hashed. */
const ALIKE = /^(?:redis|redis cluster|sqlStore) by (.+)$|^(hashKeys\(.+\))$/

/** Those over which the tests run the whole suite. */
const WHOLE = new Set([
  'node-redis 6',
  'node:sqlite',
  'postgres.js',
  'Kysely (mysql2)',
  'hashKeys(sqlite)',
  'hashKeys(redis)',
  'hashKeys(file)',
  'hashKeys(lru)',
])

/** Clients like node-redis 6 or ioredis: of another version, or made of it. */
const RELATED = new Set(['node-redis 5', 'a pool of node-redis', 'iovalkey'])

/** Whether all is asked for. */
export const isWhole = process.env['WHOLE'] === '1'

type Register = (title: string, run: () => Promise<void>) => void

/** Registers of the suite's cases those that the tests run over an engine. */
export function shareOf(engine: string, register: Register): Register {
  const [, client, hashed] = ALIKE.exec(engine) ?? []
  const name = client ?? hashed
  const isLong = name === undefined || WHOLE.has(name) || isWhole
  return (title, run) => {
    if (isLong || !LONG.test(title)) register(title, run)
  }
}

/** Registers a test that takes long, unless the tests run it over a related client anyway. */
export const unlessRelated = <R>(client: string, register: R): R | (() => void) =>
  isWhole || !RELATED.has(client) ? register : () => {}

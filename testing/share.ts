// What the tests run of the suite over clients of other libraries; `pnpm clients` runs all of it over every one.

/** Sections that take long and say more of the database than of the client by which it is reached. */
const LONG = /(?:^|› )(?:durability|failure|history|random) ›/

/** Engines by a client that is not their default one. */
const BY_CLIENT = /^(?:redis|redis cluster|sqlStore) by (.+)$/

/** Those over which the tests run the whole suite. */
const WHOLE = new Set(['node-redis 6', 'node:sqlite', 'postgres.js', 'Kysely (mysql2)'])

type Register = (title: string, run: () => Promise<void>) => void

/** Registers of the suite's cases those that the tests run over an engine. */
export function shareOf(engine: string, register: Register): Register {
  const client = BY_CLIENT.exec(engine)?.[1]
  const isWhole = client === undefined || WHOLE.has(client) || process.env['EVERY_CLIENT'] === '1'
  return (title, run) => {
    if (isWhole || !LONG.test(title)) register(title, run)
  }
}

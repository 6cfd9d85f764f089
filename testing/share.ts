// What the tests run of the suite over clients of other libraries; `pnpm clients` runs all of it over every one.

/** Sections that take long and say more of the database than of the client by which it is reached. */
const LONG = /(?:^|› )(?:durability|failure|history|random) ›/

/** Engines by a client that is not their default one. */
const BY_CLIENT = /^(?:redis|redis cluster|sqlStore) by (.+)$/

/** Those over which the tests run the whole suite. */
const WHOLE = new Set(['node-redis 6', 'node:sqlite', 'postgres.js', 'Kysely (mysql2)'])

/** Whether a case of the suite is run over an engine. */
export function isInShare(engine: string, title: string): boolean {
  const client = BY_CLIENT.exec(engine)?.[1]
  const isWhole = client === undefined || WHOLE.has(client) || process.env['EVERY_CLIENT'] === '1'
  return isWhole || !LONG.test(title)
}

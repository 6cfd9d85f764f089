// What the pages' readers have themselves: a database, by whatever client.
import type { SqlRun } from '@coatcheck/db/sql'

/** Runs one statement on it. */
export const run: SqlRun = () => ({ rows: [], changes: 0 })

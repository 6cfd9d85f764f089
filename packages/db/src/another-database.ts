// Whether an error is another database's than the one that statements are written for: its code says so.
import type { SqlDialect } from './sql.ts'

/** What the codes of each look like, whichever client has made the error. */
const CODES: Readonly<Record<SqlDialect, RegExp>> = {
  sqlite: /^(ERR_)?SQLITE_/,
  postgres: /^\d[\dA-Z]{4}$/,
  mysql: /^ER_/,
}

/** @param error What a client's error is made around. */
export function isOfAnotherDatabase(dialect: SqlDialect, error: any): boolean {
  const code = String(error?.code)
  return Object.entries(CODES).some(([name, codes]) => name !== dialect && codes.test(code))
}

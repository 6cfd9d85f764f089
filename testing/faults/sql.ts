// Statements of an administrator, on a connection of their own.
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'

/** Runs statements, one after the other, on the PostgreSQL or MariaDB of a URL. */
export async function query(url: string, statements: readonly string[]): Promise<void> {
  if (url.startsWith('mysql:')) {
    const connection = await createConnection(url)
    for (const statement of statements) await connection.query(statement)
    return connection.end()
  }
  const client = new Client(url)
  // The server may be killed before the connection is closed.
  client.on('error', () => {})
  await client.connect()
  // An administrator writes to a server that is read-only, too.
  await client.query('SET default_transaction_read_only = off')
  for (const statement of statements) await client.query(statement)
  await client.end()
}

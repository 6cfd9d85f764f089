// What befalls the role of a server: full, read-only, or a primary no more, while connections that are open stay.
import type { Proxy } from '../proxy.ts'
import { ask, until } from './redis.ts'
import { query } from './sql.ts'
import { fault, type Fault } from './strikes.ts'

/** A Redis without room refuses what would take more. */
export const full = (ports: readonly number[]): Fault => {
  const limit = (bytes: number) => () =>
    Promise.all(ports.map((port) => ask(port, 'config', 'set', 'maxmemory', `${bytes}`)))
  return fault('full', limit(1), limit(0))
}

/** Waits until a replica has all that its primary has. */
const replicates = (port: number) =>
  until('A replica that is up to date', async () =>
    /master_link_status:up/.test(await ask(port, 'info', 'replication')),
  )

/**
 * A primary hands over to its replica, which has all that it acknowledged, and stays up as the replica of that one. A new
 * connection leads to the new primary, as by a name that has another address now; one that is there stays where it is.
 */
export const handedOver = (proxy: Proxy, primary: number, replica: number): Fault => {
  const handOver = async (from: number, to: number) => {
    // Refused for a moment, until the primary has heard that the replica is up to date.
    await until('A handover', async () => {
      await ask(from, 'failover', 'to', '127.0.0.1', `${to}`)
      return /role:slave/.test(await ask(from, 'info', 'replication'))
    })
    await replicates(from)
    proxy.pointTo(to)
  }
  return fault(
    'failed over',
    async () => {
      await ask(replica, 'replicaof', '127.0.0.1', `${primary}`)
      await replicates(replica)
      await handOver(primary, replica)
    },
    () => {},
    {
      isBrief: true,
      async settle() {
        await handOver(replica, primary)
        await ask(replica, 'replicaof', 'no', 'one')
      },
    },
  )
}

/** PostgreSQL refuses writes, for all; or, of a demoted primary, on the connections that are there. */
export function readOnly(url: string): Fault[] {
  const set = (value: string, database = 'RESET default_transaction_read_only') =>
    query(url, [
      `ALTER DATABASE postgres ${database}`,
      `ALTER SYSTEM SET default_transaction_read_only = ${value}`,
      'SELECT pg_reload_conf()',
    ])
  return [
    fault(
      'read-only',
      () => set('on'),
      () => set('off'),
    ),
    fault(
      'failed over',
      () => set('on', 'SET default_transaction_read_only = off'),
      () => {},
      { isBrief: true, settle: () => set('off') },
    ),
  ]
}

/** The same of MariaDB, whose users learn of a new right when they connect again. */
export function readOnlyMariadb(root: string, user: string): Fault[] {
  const set = (value: 0 | 1) => query(root, [`SET GLOBAL read_only = ${value}`])
  return [
    fault(
      'read-only',
      () => set(1),
      () => set(0),
    ),
    fault(
      'failed over',
      () => query(root, ['SET GLOBAL read_only = 1', `GRANT READ ONLY ADMIN ON *.* TO ${user}`]),
      () => {},
      {
        isBrief: true,
        settle: () =>
          query(root, ['SET GLOBAL read_only = 0', `REVOKE READ ONLY ADMIN ON *.* FROM ${user}`]),
      },
    ),
  ]
}

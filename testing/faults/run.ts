// Starts a server in a network of its own, and lets its faults befall it, one after the other.
import { openNetwork } from './network.ts'
import type { Server } from './servers.ts'
import { tryFault, untried, type Pace, type Row } from './trial.ts'

/**
 * Tries the faults of a server.
 * @param which Whether a fault is tried, by its name. Default: all are.
 * @param tell Hears of each row as it is done.
 */
export async function tryServer(
  server: Server,
  {
    which = () => true,
    pace,
    tell,
  }: { which?: (name: string) => boolean; pace?: Pace; tell?: (row: Row) => void } = {},
): Promise<Row[]> {
  const network = openNetwork()
  try {
    const running = await server.start(network)
    try {
      const rows: Row[] = []
      for (const fault of running.faults.filter(({ name }) => which(name))) {
        const row = await tryFault(running, fault, network, pace).catch((error) =>
          untried(fault.name, { wrong: [`the trial failed: ${error}`] }),
        )
        tell?.(row)
        rows.push(row)
      }
      return rows
    } finally {
      await running.stop()
    }
  } finally {
    network.close()
  }
}

// Who holds a lock, and whether that process still runs: what a lock's text says, and what the system says of it.
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** Whether a process is gone; unknown if it belongs to another machine or container, or does not say. */
export type ProcessState = 'running' | 'gone' | 'unknown'

/**
 * What process numbers are told apart in: this boot of this machine and, within it, this container. Two containers may
 * have one hostname and both be process 1.
 */
const place = placeOfThis()

/** A number is given again, in a container always the same one; the time when a process started is not. */
const start = startOf(process.pid) ?? '-'

/** The text by which a process is known as the holder. @param id Its own for each lock that it makes. */
export function tokenText(id: string): string {
  return `${process.pid}@${hostname()} ${id} ${place} ${start}`
}

/** What is known of a holder, by its {@link tokenText}. */
export function stateOf(text: string): ProcessState {
  const [, pid, where, since] = /^(\d+)@\S+ \S+ (\S+) (\S+)$/.exec(text) ?? []
  if (pid === undefined || where !== place) return 'unknown'
  if (!isRunning(Number(pid))) return 'gone'
  const now = startOf(Number(pid))
  if (now === undefined) return 'unknown'
  return now === since ? 'running' : 'gone'
}

function placeOfThis(): string {
  if (process.platform !== 'linux') return `on-${hostname()}`
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${boot}/${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return `unknown-${crypto.randomUUID()}`
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** When a process started, as the system counts; undefined if the system does not say. */
function startOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return '-'
  try {
    // The name of a process may have spaces and brackets. Its state is the first field after it, its start the twentieth.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? 'ended' : fields[19]
  } catch {
    return undefined
  }
}

// How much work something is, by the processor's time of this thread: whatever the machine, and whoever else uses it.

/** Work is done again until it took so much of the processor's time, in ms: some systems count it in steps of 10. */
const ENOUGH = 200

/** The processor's time that this thread has taken, in ms. */
export function cpuTime(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** The processor's time that work takes which can be done again, in ms. */
async function costOf(work: () => unknown): Promise<number> {
  const start = cpuTime()
  for (let times = 1; ; times++) {
    await work()
    const cost = cpuTime() - start
    if (cost >= ENOUGH) return cost / times
  }
}

/** How many times as much work it is as to write `data` as JSON and to read that. */
export async function effort(data: unknown, work: () => unknown): Promise<number> {
  const yardstick = await costOf(() => JSON.parse(JSON.stringify(data)))
  return (await costOf(work)) / yardstick
}

// Lets tasks of one name run one after the other within this process.

/** Runs `task` when every earlier task of the same name has ended, well or badly. */
export type Lock = <T>(name: string, task: () => Promise<T>) => Promise<T>

/** Makes a lock. A name takes up memory only while one of its tasks waits or runs. */
export function createLock(): Lock {
  const tails = new Map<string, Promise<unknown>>()
  return (name, task) => {
    const run = (tails.get(name) ?? Promise.resolve()).then(task, task)
    const tail = run
      .catch(() => {})
      .then(() => {
        if (tails.get(name) === tail) tails.delete(name)
      })
    tails.set(name, tail)
    return run
  }
}

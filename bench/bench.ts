// pnpm bench [store|request-cost|contention|scale|sweep] [which]: all of them, or one, in a process of its own so that none warms up for another.
import { spawnSync } from 'node:child_process'

const [name, ...which] = process.argv.slice(2)
const benchmarks = ['store', 'request-cost', 'contention', 'scale', 'sweep']
if (name !== undefined && !benchmarks.includes(name)) {
  console.error(`There is no benchmark '${name}'. Choose one of: ${benchmarks.join(', ')}`)
  process.exit(2)
}
for (const one of name === undefined ? benchmarks : [name]) {
  const { status } = spawnSync(process.execPath, [`${import.meta.dirname}/${one}.ts`, ...which], {
    stdio: 'inherit',
  })
  if (status !== 0) process.exitCode = 1
}

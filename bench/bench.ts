// pnpm bench [benchmark] [its arguments]: the usual ones, or one, each in a process of its own so that none warms up for another.
import { spawnSync } from 'node:child_process'

const usual = ['request-cost', 'store', 'contention', 'hit-rate']
/** These fill stores with millions of sessions, which takes long, so they run by name alone. */
const long = ['scale', 'sweep']

const [first, ...others] = process.argv.slice(2)
const isNamed = first !== undefined && !first.startsWith('-')
if (isNamed && ![...usual, ...long].includes(first)) {
  console.error(
    `There is no benchmark '${first}'. Choose one of: ${[...usual, ...long].join(', ')}`,
  )
  process.exit(2)
}
for (const name of isNamed ? [first] : usual) {
  const args = isNamed ? others : process.argv.slice(2)
  const { status } = spawnSync(process.execPath, [`${import.meta.dirname}/${name}.ts`, ...args], {
    stdio: 'inherit',
  })
  if (status !== 0) process.exitCode = 1
}

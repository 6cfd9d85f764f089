// A process of judgements: told a framework and a way, it answers with what is wrong. Uncaught errors are its own to have.
import { catchAll, judge } from './judge.ts'
import { waysOn } from './ways.ts'

catchAll()
process.on('message', async ({ framework, name }: { framework: string; name: string }) => {
  const faults = await judge(framework, waysOn(framework).get(name)!).catch((error: Error) => [
    `the judge itself: ${error.stack}`,
  ])
  process.send!({ framework, name, faults })
})
process.on('disconnect', () => process.exit())
process.send!('ready')

// One process of a long history: works on an engine's store and tells each call before it makes it, so that none is unknown if it is killed.
import { workOn } from '../../tests-conformance/src/turmoil.ts'
import { subjectAt, type Places } from '../subjects.ts'

/** What a process is started with. */
export interface WorkerOptions {
  readonly engine: string
  readonly places: Places
  /** The store's name. */
  readonly name: string
}

const { engine, places, name } = JSON.parse(process.argv[2]!) as WorkerOptions
const store = await subjectAt(engine, places).open({ name, now: Date.now })

const tell = (message: object) =>
  new Promise<void>((resolve) => {
    process.send!(message, () => resolve())
  })

const note = (operation: object) => tell({ operation })

process.on('message', async (work: Parameters<typeof workOn>[1]) => {
  await workOn(store, work, note, note).then(
    () => tell({ done: true }),
    (error: unknown) => tell({ done: true, error: String(error) }),
  )
})
process.on('disconnect', () => process.exit())
await tell({ up: true })

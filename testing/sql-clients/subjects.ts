// Every SQL client as a subject of the conformance suite.
import { join } from 'node:path'
import type { OpenOptions, Subject } from '@coatcheck/conformance'
import { sqlStore } from '@coatcheck/db/sql'
import { clients } from './clients.ts'

/** How many stores were opened: one that is ephemeral shares nothing with others of its name. */
let opened = 0

/** @param place A server's URL, or a folder. */
export function subjectAt(name: string, place: string): Subject {
  const { dialect, needs, isInProcess = false, open } = clients[name]!
  const traits = isInProcess ? { ephemeral: true, unshared: true } : {}
  const openClient = ({ name: table }: OpenOptions) =>
    open(needs || isInProcess ? place : join(place, `${table}.sqlite`))
  const rename = async (options: OpenOptions, from: string, to: string) => {
    const client = await openClient(options)
    await client.run(`ALTER TABLE ${from} RENAME TO ${to}`, [])
    await client.close()
  }
  return {
    name: `sqlStore by ${name}`,
    traits,
    async open(options) {
      const client = await openClient(options)
      const table = isInProcess ? `${options.name}_${++opened}` : options.name
      const store = sqlStore({ dialect, run: client.run, table, now: options.now })
      await store.migrate()
      let closing: Promise<void> | undefined
      const close = async () => {
        await store.close!()
        await client.close()
      }
      return { ...store, ...(isInProcess && { traits }), close: () => (closing ??= close()) }
    },
    // What is within a process is neither seen nor taken away from another one.
    ...(!isInProcess && {
      module: new URL(
        `./subject-module.ts?${new URLSearchParams({ client: name, place })}`,
        import.meta.url,
      ),
      outage: {
        begin: (options) => rename(options, options.name, `${options.name}_away`),
        end: (options) => rename(options, `${options.name}_away`, options.name),
      },
    }),
  }
}

// The store as the conformance suite takes it: `npx @coatcheck/conformance ./subject.ts`
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Subject } from '@coatcheck/conformance'
import { builtinStore } from './store.ts'

// The suite opens the store in other processes too: they inherit the folder.
const folder = (process.env['CUSTOM_STORE_FOLDER'] ??= mkdtempSync(join(tmpdir(), 'custom-store-')))
const file = (name: string) => join(folder, `${name}.sqlite`)

function change(name: string, sql: string): void {
  // Other processes are at work meanwhile.
  const database = new DatabaseSync(file(name), { timeout: 5000 })
  database.exec(sql)
  database.close()
}

const subject: Subject = {
  name: 'a custom store',
  module: import.meta.url,
  open: ({ now, name }) => builtinStore(file(name), { now }),
  // How the backend goes away: here, the table is renamed.
  outage: {
    begin: ({ name }) => change(name, 'ALTER TABLE session RENAME TO away'),
    end: ({ name }) => change(name, 'ALTER TABLE away RENAME TO session'),
  },
}
export default subject

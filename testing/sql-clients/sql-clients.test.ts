// sqlStore over every client: the whole conformance suite, by the recipes that the docs have.
import { AsyncLocalStorage } from 'node:async_hooks'
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conformance } from '@coatcheck/conformance'
import { schema, sqlStore } from '@coatcheck/db/sql'
import { afterAll, expect, test } from 'vitest'
import { testWith } from '../needs.ts'
import { mariadb, postgres } from '../services.ts'
import { shareOf } from '../share.ts'
import { clients, generatePrisma } from './clients.ts'
import { runBySequelize } from './recipes/sequelize.ts'
import { subjectAt } from './subjects.ts'

const folder = mkdtempSync(join(tmpdir(), 'coatcheck-sql-clients-'))

generatePrisma('postgresql')
generatePrisma('sqlite')
const servers = {
  postgres: await testWith(postgres),
  mariadb: await testWith(mariadb),
}
afterAll(async () => {
  for (const { service } of Object.values(servers)) await service?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

for (const [name, { dialect, needs, open }] of Object.entries(clients)) {
  const server = needs && servers[needs]
  if (server && !server.url) {
    server.test(`sqlStore by ${name} › the conformance suite`, () => {})
    continue
  }
  const subject = subjectAt(name, server?.url ?? folder)
  conformance(subject, shareOf(subject.name, test))

  test(`sqlStore by ${name} › what schema() returns makes the table, a statement at a time`, async () => {
    const table = `of_${name.replaceAll(/\W+/g, '_').toLowerCase()}`
    const { run, close } = await open(server?.url ?? join(folder, `${table}.sqlite`))
    for (const statement of schema(dialect, { table })) await run(statement, [])
    const store = sqlStore({ dialect, run, table })
    await store.create('k'.repeat(32), { data: '{}', expiresAt: Date.now() + 60_000 })
    await store.close!()
    await close()
  })
}

test.each(Object.keys(clients).filter((name) => clients[name]!.dialect === 'sqlite'))(
  'what a session holds does not decide what an error of SQLite says: %s',
  async (name) => {
    const table = 'of_errors'
    const { run, close } = await clients[name]!.open(join(folder, `${name} errors.sqlite`))
    const store = sqlStore({ dialect: 'sqlite', run, table })
    await store.migrate()
    const data = `"x - no such table: ${table} x"`
    const saving = async () => store.save('k'.repeat(32), { data, expiresAt: Date.now() + 60_000 })
    await run(`ALTER TABLE ${table} RENAME COLUMN session_data TO other`, [])
    await expect(saving()).rejects.toThrow(/^SQLite failed to save a session/)
    await run(`DROP TABLE ${table}`, [])
    await expect(saving()).rejects.toThrow(/^The session table 'of_errors' does not exist/)
    await close()
  },
)

servers.postgres.test(
  'Sequelize, where every query is in the transaction of its request, keeps a logout that the request takes back',
  async () => {
    const { Sequelize } = await import('sequelize')
    const values = new AsyncLocalStorage<Map<string, unknown>>()
    Sequelize.useCLS({
      get: (name: string) => values.getStore()?.get(name),
      set: (name: string, value: unknown) => values.getStore()?.set(name, value),
      run: (work: () => void) => values.run(new Map(), work),
      bind: (work: unknown) => work,
    })
    const sequelize = new Sequelize(servers.postgres.url!, { logging: false })
    const run = runBySequelize(sequelize)
    const store = sqlStore({ dialect: 'postgres', run, table: 'of_cls' })
    await store.migrate()
    const key = await store.create('k'.repeat(32), { data: '{}', expiresAt: Date.now() + 60_000 })
    const request = sequelize.transaction(async () => {
      await store.delete(key)
      throw new Error('the request fails')
    })
    await expect(request).rejects.toThrow('the request fails')
    expect(await store.load(key)).toBeUndefined()
    Reflect.deleteProperty(Sequelize, '_cls')
    await sequelize.close()
  },
)

test.each(globSync('recipes/*.ts', { cwd: import.meta.dirname }))(
  'docs/clients.md has %s',
  (file) => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/clients.md'), 'utf8')
    const recipe = readFileSync(join(import.meta.dirname, file), 'utf8')
    expect(page).toContain(`\`\`\`ts\n${recipe}\`\`\`\n`)
  },
)

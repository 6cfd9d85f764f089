// sqlStore over every client: the whole conformance suite, by the recipes that the docs have.
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

test.each(globSync('recipes/*.ts', { cwd: import.meta.dirname }))(
  'docs/clients.md has %s',
  (file) => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/clients.md'), 'utf8')
    const recipe = readFileSync(join(import.meta.dirname, file), 'utf8')
    expect(page).toContain(`\`\`\`ts\n${recipe}\`\`\`\n`)
  },
)

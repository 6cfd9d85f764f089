// Types: our adapter beside the types of other sessions, and our stores under them. Each fixture is compiled as a program.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const folder = `${import.meta.dirname}/fixtures/beside`

/** What the compiler says of a fixture. */
function compile(name: string): string {
  const program = mkdtempSync(join(folder, '.program-'))
  try {
    const config = { extends: '../tsconfig.json', files: [`../${name}.ts`] }
    writeFileSync(join(program, 'tsconfig.json'), JSON.stringify(config))
    return spawnSync('tsc', ['-p', program, '--pretty', 'false', '--skipLibCheck', 'false'], {
      encoding: 'utf8',
    }).stdout
  } finally {
    rmSync(program, { recursive: true })
  }
}

test.each([
  ['express-session-before', 'the types of express-session may come before those of the adapter'],
  ['express-session-after', 'the types of express-session may come after those of the adapter'],
  ['cookie-session', 'the types of cookie-session may be there beside those of the adapter'],
  ['fastify-session', 'toExpressStore() fits the option `store` of @fastify/session'],
])('%s: %s', (name) => {
  expect(compile(name)).toBe('')
})

test('a session declared by the name of the adapter is that of every request, and nothing else compiles', () => {
  const said = compile('alone')
  const lines = said.match(/(?<=alone\.ts\()\d+/g)
  expect(lines, said).toEqual(['17', '18'])
})

import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

const folder = `${import.meta.dirname}/fixtures/augmentation`
const { stdout } = spawnSync('tsc', ['-p', folder, '--pretty', 'false'], { encoding: 'utf8' })
const errors = stdout.match(/augmented\.ts\(\d+,\d+\): error.*/g) ?? []
const errorAt = (line: number) => errors.find((error) => error.includes(`(${line},`))

test('augmenting SessionData types every session: what is declared compiles, and nothing else', () => {
  const lines = errors.map((error) => Number(/\d+/.exec(error)))
  expect(lines, stdout).toEqual([16, 17, 20, 21, 22, 23, 24, 27, 28])
})

test("a wrong key's error lists the keys that there are", () => {
  expect(errorAt(17)).toContain(`"card"' is not assignable to parameter of type '"cart" | `)
  expect(errorAt(17)).toContain('"lines"')
  expect(errorAt(17)).toContain('"visits"')
})

test('the error of a value that cannot be stored says what to store in its place', () => {
  expect(errorAt(27)).toContain('NotStorable<"of a bigint store its String()">')
  expect(errorAt(28)).toContain('NotStorable<"of a Date store its toISOString()">')
})

import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

test('augmenting SessionData types every session: what is declared compiles, and nothing else', () => {
  const folder = `${import.meta.dirname}/fixtures/augmentation`
  const { stdout } = spawnSync('tsc', ['-p', folder, '--pretty', 'false'], { encoding: 'utf8' })
  const errors = stdout.match(/augmented\.ts\(\d+,\d+\): error/g)
  const lines = errors?.map((error) => Number(/\d+/.exec(error)))
  expect(lines, stdout).toEqual([16, 17, 20, 21, 22, 23, 24])
})

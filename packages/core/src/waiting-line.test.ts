// Lines of calls that wait for a lock off the thread.
import { performance } from 'node:perf_hooks'
import { expect, test } from 'vitest'
import { createWaitingLines, LOCKED } from './waiting-line.ts'

test('who comes when the last in the line has its answer stands behind nobody', async () => {
  const lines = createWaitingLines(60_000)
  const tooLate = () => new Error('too late')
  let tries = 0
  const waited = lines.enter(
    'key',
    () => {
      // Longer than a line is served in one turn.
      for (const end = performance.now() + 20; performance.now() < end;);
      return tries++ < 2 ? LOCKED : 'waited'
    },
    tooLate,
  )
  expect(waited).toBeInstanceOf(Promise)
  expect(await waited).toBe('waited')
  expect(lines.enter('key', () => 'at once', tooLate)).toBe('at once')
  expect(lines.empty()).toBeUndefined()
})

// A clock that a test moves on: sessions end by it, whether the test fakes `Date` as well or not.
import { lruStore } from '@coatcheck/cache/lru'
import { createSessions } from '@coatcheck/core'
import { afterEach, expect, test, vi } from 'vitest'
import { testClock, visitor } from './index.ts'

afterEach(() => vi.useRealTimers())

test('a session lives for two weeks, and not a second longer, without a wait', async () => {
  const { now, advance } = testClock()
  const sessions = createSessions<any>({ store: lruStore({ now }), now })
  const ann = await visitor(sessions, { user: 'ann' })
  advance({ days: 13, hours: 23, minutes: 59, seconds: 30 })
  expect((await ann.session()).get('user')).toBe('ann')
  advance({ seconds: 30 })
  expect((await ann.session()).isEmpty()).toBe(true)
})

test('it goes by the fake Date too, and both count', async () => {
  vi.useFakeTimers({ now: 1_000_000_000_000 })
  const clock = testClock()
  clock.advance({ hours: 1 })
  vi.advanceTimersByTime(5000)
  expect(clock.now()).toBe(1_000_003_605_000)
  vi.useRealTimers()
  expect(clock.now() - Date.now()).toBeCloseTo(3_600_000, -2)
})

test('a unit that there is not, a number without one, and a way back are refused', () => {
  const { advance, now } = testClock()
  for (const by of [{ weeks: 1 }, { day: 1 }, { days: -1 }, { days: '15' }, 60, undefined]) {
    expect(() => advance(by as any)).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTIONS' }),
    )
  }
  expect(now() - Date.now()).toBeLessThan(1000)
})

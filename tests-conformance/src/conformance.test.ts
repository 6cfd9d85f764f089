// The suite itself: a right store passes it, and every broken one fails the case that should catch it.
import { expect, test } from 'vitest'
import { mapStore } from '../../testing/map-store.ts'
import { cases, conformance, runConformance } from './index.ts'

const subject = {
  name: 'the store in the contract’s doc comment',
  traits: { ephemeral: true, unshared: true },
  open: mapStore,
}

conformance(subject, test)

test('every case has its own id', () => {
  const ids = cases.map((one) => one.id)
  expect(ids).toEqual([...new Set(ids)])
})

test('runConformance needs no test runner and reports each case', async () => {
  const seen: string[] = []
  const report = await runConformance({ ...subject, name: 'map' }, (result) => {
    seen.push(result.case.id)
  })
  expect(report).toMatchObject({ subject: 'map', passed: cases.length, failed: 0 })
  expect(seen).toEqual(cases.map((one) => one.id))
})

// Node 22, 24 and 26, Bun, Deno and workerd: the suite over the engines that need no driver, cookies, fetch and Hono.
import { expect, test } from 'vitest'
import { need } from '../needs.ts'
import { runtimes } from './runtimes.ts'

test.for(Object.entries(runtimes))('%s', { timeout: 600_000 }, async ([name, runtime], context) => {
  const { prove } = need(context, runtime, name, 'use Linux on x64, for which npm has its build')
  const parts = await prove()
  expect(parts.flatMap((part) => part.failed.map((failure) => `${part.name}: ${failure}`))).toEqual(
    [],
  )
  expect(parts.length).toBeGreaterThan(8)
  for (const { name: part, passed } of parts) {
    expect(passed, part).toBeGreaterThan(part.startsWith('suite') ? 150 : 0)
  }
})

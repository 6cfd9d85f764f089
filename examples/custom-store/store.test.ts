// The custom store passes the whole suite, under a test runner and by the command line.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cases, conformance } from '@coatcheck/conformance'
import { afterAll, expect, test, vi } from 'vitest'
import subject from './subject.ts'

vi.setConfig({ testTimeout: 600_000 })

conformance(subject, test)

const out = mkdtempSync(join(tmpdir(), 'custom-store-report-'))
afterAll(() => {
  rmSync(out, { recursive: true })
  rmSync(process.env['CUSTOM_STORE_FOLDER']!, { recursive: true })
})

test('npx @coatcheck/conformance ./subject.ts: everything passed, exit code 0', () => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [
      join(import.meta.dirname, '../../tests-conformance/src/cli.ts'),
      join(import.meta.dirname, 'subject.ts'),
      '--out',
      out,
    ],
    { encoding: 'utf8' },
  )
  expect(stderr).toBe('')
  expect(stdout).toContain(`${cases.length} passed, 0 failed`)
  expect(status).toBe(0)
})

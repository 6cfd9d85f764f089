import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { SkipReporter } from './testing/skip-reporter.ts'

export default defineConfig({
  test: {
    include: [
      '{packages/*,tests-conformance}/src/**/*.test.ts',
      '{examples,spec,testing}/**/*.test.ts',
    ],
    typecheck: {
      enabled: true,
      include: ['packages/*/src/**/*.test-d.ts'],
      tsconfig: 'tsconfig.json',
    },
    reporters: ['default', new SkipReporter(), ...(process.env['CI'] ? ['json'] : [])],
    outputFile: { json: 'test-results.json' },
    // Many tests wait for servers that do not answer.
    maxWorkers: availableParallelism() + 1,
    // Servers and browsers are started for real: what a test waits for may take a while on a busy machine.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})

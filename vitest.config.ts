import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'
import { SkipReporter } from './testing/skip-reporter.ts'

/** Tests that take the time: of calls while a server is away, of handlers while a client hangs up. They mostly wait. */
const TIMED = [
  'packages/{cache,cached-db,db}/src/*{faults,away}.test.ts',
  'packages/db/src/{own-settings,poolers}.test.ts',
  'testing/{at-once,locked-store}.test.ts',
  'testing/{answers,chaos,faults,histories}/*.test.ts',
  'tests-conformance/src/crash.test.ts',
]

export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: [
            '{packages/*,tests-conformance}/src/**/*.test.ts',
            '{examples,spec,testing}/**/*.test.ts',
          ],
          exclude: [...configDefaults.exclude, ...TIMED],
          typecheck: {
            enabled: true,
            include: ['packages/*/src/**/*.test-d.ts'],
            tsconfig: 'tsconfig.json',
          },
        },
      },
      // After the others, which leave a small machine no time to spare.
      { extends: true, test: { name: 'timed', include: TIMED, sequence: { groupOrder: 1 } } },
    ],
    reporters: ['default', new SkipReporter(), ...(process.env['CI'] ? ['json'] : [])],
    outputFile: { json: 'test-results.json' },
    maxWorkers: availableParallelism() + 1,
    // Servers and browsers are started for real: what a test waits for may take a while on a busy machine.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})

import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { SkipReporter } from './testing/skip-reporter.ts'

/** Tests that take the time: of calls while a server is away, of handlers while a client hangs up. They mostly wait. */
const TIMED = [
  'packages/{cache,cached-db,db}/src/*{faults,away}.test.ts',
  'packages/db/src/{own-settings,poolers}.test.ts',
  'testing/{at-once,locked-store}.test.ts',
  'testing/{answers,chaos,faults,histories,sql-clients}/*.test.ts',
  'tests-conformance/src/crash.test.ts',
]

/**
 * What begins first: a file with much to do that begins last keeps everybody waiting. Of the timed ones, those that only wait stand
 * between those that need the processor.
 */
const FIRST = [
  /tests-conformance\/src\/engines/,
  /interleavings|spec\/session|browser-cookies/,
  /sql-clients\/sql-clients\.test/,
  /redis-(?:clients|faults)/,
  /answers\/answers/,
  /db\/src\/faults/,
  /chaos/,
  /cache-away/,
  /faults\/faults/,
]

function rankOf({ moduleId }: TestSpecification): number {
  const at = FIRST.findIndex((pattern) => pattern.test(moduleId))
  return at < 0 ? FIRST.length : at
}

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]) {
    // oxlint-disable-next-line unicorn/no-array-sort -- a sequencer's, and no array's
    const sorted = await super.sort(files)
    return sorted.toSorted((one, other) => rankOf(one) - rankOf(other))
  }
}

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
      {
        extends: true,
        test: {
          name: 'timed',
          include: TIMED,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    reporters: ['default', new SkipReporter(), ...(process.env['CI'] ? ['json'] : [])],
    outputFile: { json: 'test-results.json' },
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    // Servers and browsers are started for real: what a test waits for may take a while on a busy machine.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 15_000 } },
  },
})

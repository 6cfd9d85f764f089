// Ends a test run with what was skipped and why, in plain words.
import type { Reporter, TestModule } from 'vitest/node'

export class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const reasons = new Map<string, number>()
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const result = test.result()
        const note = ('note' in result && result.note) || 'no reason given (a filter, or skip)'
        reasons.set(note, (reasons.get(note) ?? 0) + 1)
      }
    }
    for (const [note, count] of reasons) {
      console.log(`Skipped ${count} ${count === 1 ? 'test' : 'tests'}: ${note}`)
    }
  }
}

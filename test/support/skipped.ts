/**
 * A reporter that says at the end of a run which tests were skipped, and why: the reason is in the name of a test, or of what it is in, behind SKIPPED.
 * Vitest's own counts them and says no more. A run with one that does not say why has failed. Where tests are picked by name the others are not told.
 */
import { relative } from 'node:path'
import type { Reporter, TestModule, Vitest } from 'vitest/node'

/** A test that was skipped. */
export interface SkippedTest {
  readonly file: string
  /** Its name behind those of what it is in. */
  readonly name: string
}

const UNTOLD = 'it is not told why'

/** Why: the words behind the last SKIPPED, up to the next name, without the brackets that it stands in. */
function reasonOf({ name }: SkippedTest): string {
  const words = /.*SKIPPED[:,]? *(.+?)(?: > |$)/.exec(name)?.[1]
  if (words === undefined) return UNTOLD
  const unmatched = words.split(')').length > words.split('(').length
  return unmatched && words.endsWith(')') ? words.slice(0, -1) : words
}

/** True where some test does not say why it was skipped, as where one is left that was to run alone. */
export const isUntold = (tests: readonly SkippedTest[]): boolean => tests.some((test) => reasonOf(test) === UNTOLD)

/** Lines that say it, the most common reasons first. */
export function skippedLines(tests: readonly SkippedTest[]): readonly string[] {
  const reasons = new Map<string, Map<string, number>>()
  for (const test of tests) {
    const files = reasons.get(reasonOf(test)) ?? new Map<string, number>()
    files.set(test.file, (files.get(test.file) ?? 0) + 1)
    reasons.set(reasonOf(test), files)
  }
  const count = (files: ReadonlyMap<string, number>): number => [...files.values()].reduce((sum, each) => sum + each, 0)
  return [...reasons].sort(([, one], [, other]) => count(other) - count(one)).map(([reason, files]) =>
    `  ${count(files)} skipped: ${reason} (${[...files].map(([file, each]) => (each === 1 ? file : `${each} of ${file}`)).join(', ')})`)
}

/** The reporter. */
export class SkippedReporter implements Reporter {
  private root = ''
  private isPicked = false

  onInit({ config }: Vitest): void {
    this.root = config.root
    this.isPicked = config.testNamePattern !== undefined
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    if (this.isPicked) return
    const tests = modules.flatMap((module) => [...module.children.allTests('skipped')].map(({ fullName }) => ({ file: relative(this.root, module.moduleId), name: fullName })))
    if (tests.length > 0) console.log(`\n${skippedLines(tests).join('\n')}`)
    if (isUntold(tests)) process.exitCode = 1
  }
}

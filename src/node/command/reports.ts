/** Outcomes for other programs: JUnit's XML, and annotations of GitHub's workflows. */
import type { Exploration } from '../../testing/index.ts'

/** An exploration with what it took. */
export interface TimedExploration {
  readonly found: Exploration
  readonly seconds: number
  readonly text: string
}

// Control characters are no XML, whatever a guest has written.
const escaped = (text: string): string => text
  .replace(/[^\t\n\x20-\ud7ff\ue000-\ufffd]/g, '?').replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;')

/** One test suite of JUnit with a case for each test. */
export function junit(file: string, all: readonly TimedExploration[]): string {
  const cases = all.map(({ found, seconds, text }) => {
    const head = `    <testcase classname="${escaped(file)}" name="${escaped(found.name)}" time="${seconds.toFixed(3)}"`
    if (found.passed) return `${head}/>`
    const { message, kind } = found.failure!.failure
    return `${head}>\n      <failure type="${escaped(kind)}" message="${escaped(message)}">${escaped(text)}</failure>\n    </testcase>`
  })
  const failures = all.filter(({ found }) => !found.passed).length
  const time = all.reduce((sum, { seconds }) => sum + seconds, 0).toFixed(3)
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n  <testsuite name="paravirt" tests="${all.length}" failures="${failures}" time="${time}">\n${cases.join('\n')}\n  </testsuite>\n</testsuites>\n`
}

const encoded = (text: string): string => text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A')

/** An annotation of a file, as GitHub's workflows take it from the output. */
export const annotation = (file: string, { found, text }: TimedExploration): string =>
  `::error file=${encoded(file).replace(/,/g, '%2C').replace(/:/g, '%3A')},title=${encoded(`${found.name} failed`).replace(/,/g, '%2C').replace(/:/g, '%3A')}::${encoded(text)}`

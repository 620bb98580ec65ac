/** What docs/security.md says, held against the tests: every guarantee names the test that holds it, and that test exists. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = resolve(import.meta.dirname, '..')
const document = readFileSync(join(ROOT, 'docs/security.md'), 'utf8')

/** The tests that a text names: `file`: "title", and more titles of the same file behind commas. */
function namedTests(text: string): { file: string; title: string }[] {
  return [...text.matchAll(/`(test\/[^`]+)`((?:[:,] "[^"]+")*)/g)].flatMap(([, file, titles]) =>
    [...titles!.matchAll(/"([^"]+)"/g)].map(([, title]) => ({ file: file!, title: title! })))
}

/** Why a test that is named does not exist, or undefined. */
function complaint({ file, title }: { file: string; title: string }): string | undefined {
  let source: string
  try {
    source = readFileSync(join(ROOT, file), 'utf8')
  } catch {
    return `there is no ${file}`
  }
  return isTitleIn(source, title) ? undefined : `${file} has no test "${title}"`
}

/** Whether a text is the first argument of a call or the first word of a table's row, in any of the three quotes. */
const isTitleIn = (source: string, title: string): boolean => ["'", '"', '`'].some((quote) => {
  const literal = `${quote}${title.replaceAll(quote, `\\${quote}`)}${quote}`
  return [`(${literal},`, `[${literal},`].some((start) => source.includes(start))
})

/** The rows of all tables that have a column of tests. */
const guarantees = document.split('\n\n').filter((block) => /^\|[^\n]*\btest \|$/m.test(block))
  .flatMap((block) => block.split('\n').filter((line) => line.startsWith('| ')).slice(2))

describe('docs/security.md', () => {
  test('names only tests that exist', () => {
    expect(namedTests(document).length).toBeGreaterThan(15)
    expect(namedTests(document).map(complaint).filter((text) => text !== undefined)).toEqual([])
  })

  test('holds every guarantee with a test', () => {
    expect(guarantees.length).toBeGreaterThan(15)
    expect(guarantees.filter((row) => namedTests(row).length === 0)).toEqual([])
  })

  test('a planted fault is seen', () => {
    const [wrongTitle, wrongFile] = namedTests('`test/docs.test.ts`: "no such" and `test/none.test.ts`: "x"').map(complaint)
    expect(wrongTitle).toContain('no test "no such"')
    expect(wrongFile).toContain('there is no test/none.test.ts')
  })
})

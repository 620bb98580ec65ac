/** The documents: every link in them leads somewhere; every guarantee of docs/security.md names the test that holds it, and that test exists. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { REPLAY_VERSION } from '../src/testing/explore/replay-format.ts'
import { FILE_VERSION } from '../src/toolstack/moment-file/records.ts'
import { PROTECTION_VERSION } from '../src/toolstack/remus/frames.ts'
import { SERVICE_VERSION } from '../src/toolstack/service/api.ts'
import { IMAGE_VERSION, LIBXL_VERSION } from '../src/toolstack/stream/format.ts'

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

describe('docs/versions.md', () => {
  const rows = readFileSync(join(ROOT, 'docs/versions.md'), 'utf8').split('\n').filter((line) => line.startsWith('| '))

  test.each([
    ['saved domains', `Xen's: container ${LIBXL_VERSION}, image ${IMAGE_VERSION} (2 is read)`], ['[service protocol]', SERVICE_VERSION], ['Remus', PROTECTION_VERSION],
    ['[moments]', FILE_VERSION], ['[replays]', REPLAY_VERSION],
  ])('has the version of %s that the code has: %s', (name, version) => {
    expect(rows.filter((row) => row.startsWith(`| ${name}`)).map((row) => row.split(' | ')[1])).toEqual([String(version)])
  })
})

describe('docs/llms.txt', () => {
  test('names what the index of the guides names', () => {
    const linksOf = (file: string, folder: string): string[] =>
      [...readFileSync(join(ROOT, file), 'utf8').matchAll(/\]\(([^)#]+)/g)].map(([, link]) => join(folder, link!)).sort()
    expect([...new Set(linksOf('docs/llms.txt', 'docs'))]).toEqual([...new Set(linksOf('docs/guides/README.md', 'docs/guides'))])
  })
})

/** The documents that people write, and README and CHANGELOG. */
const pages = ['README.md', 'CHANGELOG.md', ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md') && !name.startsWith('api')).map((name) => join('docs', name))]

/** How a heading is named in a link, as GitHub does it. */
const anchorOf = (heading: string): string => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-')

/** The links of a page that lead nowhere. */
function deadLinks(page: string, text: string): string[] {
  return [...text.replace(/```.*?```/gs, '').matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!).filter((link) => !/^[a-z]+:/.test(link)).filter((link) => {
    const [path, anchor] = link.split('#') as [string, string?]
    const file = path === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), path)
    if (!existsSync(file)) return true
    return anchor !== undefined && ![...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].some(([, heading]) => anchorOf(heading!) === anchor)
  }).map((link) => `${page}: ${link}`)
}

describe('a link of the documents', () => {
  test('leads to a page, and to a heading on it', () => {
    expect(pages.length).toBeGreaterThan(25)
    expect(pages.flatMap((page) => deadLinks(page, readFileSync(join(ROOT, page), 'utf8')))).toEqual([])
  })

  test('that leads nowhere is seen', () => {
    expect(deadLinks('README.md', '[a](docs/none.md) [b](docs/testing.md#no-such-heading) [c](docs/testing.md#faults)')).toHaveLength(2)
  })
})

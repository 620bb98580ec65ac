/** The guides in docs/guides, held against the code: every program in them runs as it stands, prints what it is said to print, and has types. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { declarations } from '../support/declarations.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const GUIDES = join(ROOT, 'docs/guides')
/** The most lines that a program of a guide has: who needs more reads an example. */
const LINES = 30

/** A program of a guide, and the lines that it prints: those of the block of text behind it. */
interface Program {
  readonly guide: string
  readonly title: string
  readonly source: string
  readonly prints: readonly string[]
  /** Whether Debian's guests are needed. */
  readonly debian: boolean
  /** Whether it runs in a browser: browser.test.ts runs it there. */
  readonly browser: boolean
}

/** Every program of a guide, under the heading that it stands below. Blocks without an import are pieces of one, and belong to no test. */
function programsOf(file: string): Program[] {
  const text = readFileSync(join(GUIDES, file), 'utf8')
  return [...text.matchAll(/```ts\n(.*?)```\n(?:\n```text\n(.*?)```)?/gs)].filter(([, source]) => source!.includes("from 'paravirt")).map((found) => {
    const headings = [...text.slice(0, found.index).matchAll(/^#+ (.*)$/gm)]
    const source = found[1]!
    return {
      guide: basename(file, '.md'), title: headings.at(-1)?.[1] ?? file, source, prints: (found[2] ?? '').split('\n').filter((line) => line !== ''),
      debian: source.includes('debianGuests('), browser: source.includes("'paravirt/browser'"),
    }
  })
}

/** Documents beside the guides whose programs are whole. */
const OTHERS = ['../debugging.md', '../exploring.md', '../fault-tolerance.md', '../fleet.md', '../testing.md']
const guides = [...readdirSync(GUIDES).filter((name) => name.endsWith('.md')).sort(), ...OTHERS]
const programs = guides.flatMap(programsOf)

/** The example of each published entry point, which is its page's in the reference. */
const entries = Object.keys((JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { exports: object }).exports).filter((name) => name !== './package.json').map((name) => {
  const [, text = ''] = / \* @example\n(.*?)\n \*\n \* @module/s.exec(readFileSync(join(ROOT, 'src', name, 'index.ts'), 'utf8')) ?? []
  return { name, source: text.split('\n').map((line) => line.slice(3)).join('\n') }
})
mkdirSync(join(ROOT, '.types'), { recursive: true })
const folder = mkdtempSync(join(ROOT, '.types', 'guides-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The runner of a guide's tests: they are collected, and run by the one test that there is of each program. */
const COLLECTOR = `export { expect, vi } from 'vitest'
export const collected: (() => unknown)[] = []
export const test = (_title: string, body: () => unknown, _patience?: number): void => { collected.push(body) }
export const beforeAll = (body: () => unknown, _patience?: number): void => { collected.push(body) }
`

/** Where an entry point of the package has its source. */
const sourceOf = (subpath: string | undefined): string => join(ROOT, 'src', subpath ?? '', 'index.ts')

const placed = (source: string): string => source
  .replace(/from 'paravirt(?:\/([a-z/]+))?'/g, (_all, subpath: string | undefined) => `from '${sourceOf(subpath)}'`)
  .replace("from 'vitest'", "from './collector.ts'")
  .replace('debianGuests()', `debianGuests('${GUESTS_FOLDER}')`)
  .replace('folderCache()', `folderCache('${join(folder, 'cache')}')`)

/** Runs a program; gives what it prints. */
async function run(program: Program, name: string): Promise<string[]> {
  const lines: string[] = []
  const told = vi.spyOn(console, 'log').mockImplementation((...words: unknown[]) => void lines.push(...words.map(String).join(' ').replaceAll('\r', '').split('\n')))
  writeFileSync(join(folder, 'collector.ts'), COLLECTOR)
  writeFileSync(join(folder, `${name}.ts`), placed(program.source))
  try {
    await import(join(folder, `${name}.ts`))
    const { collected } = await import(join(folder, 'collector.ts')) as { collected: (() => unknown)[] }
    for (const body of collected.splice(0)) await body()
  } finally {
    told.mockRestore()
  }
  return lines.map((line) => line.trimEnd())
}

/** Whether a printed line is the one that a guide shows: `...` stands for what differs from run to run. */
const isShown = (line: string, shown: string): boolean => {
  const parts = shown.trimEnd().split('...')
  return new RegExp(`^${parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`).test(line)
}

/** The first line that a guide shows and that is not printed behind the one before it. */
function missing(lines: readonly string[], shown: readonly string[]): string | undefined {
  let at = 0
  for (const line of shown) {
    const found = lines.findIndex((printed, i) => i >= at && isShown(printed, line))
    if (found < 0) return line
    at = found + 1
  }
  return undefined
}

describe('a guide', () => {
  for (const [i, program] of programs.entries()) {
    if (program.browser) continue
    const lack = program.debian ? whyMissing(...LINUX_FILES) : undefined
    test.skipIf(lack !== undefined)(`${program.guide}: ${program.title}${lack === undefined ? '' : lack}`, { timeout: 240_000 }, async () => {
      const lines = await run(program, `program-${i}`)
      expect({ missing: missing(lines, program.prints), of: lines }).toEqual({ missing: undefined, of: lines })
    })
  }

  test.each(guides)('%s has programs that can be read at a glance', (file) => {
    for (const { source } of programsOf(file)) expect(source.trimEnd().split('\n').length).toBeLessThanOrEqual(LINES)
  })

  test.each(entries)('stands before each entry point: $name', ({ name, source }) => {
    const own = name === './guest' ? 'paravirt' : `paravirt${name.slice(1)}`
    expect(source).toContain(`from '${own}'`)
    expect(source.split('\n').length).toBeLessThanOrEqual(12)
  })

  test('is named by the index, as is every other document', () => {
    const index = readFileSync(join(GUIDES, 'README.md'), 'utf8')
    const others = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `../${name}`)
    const unnamed = [...guides.filter((name) => name !== 'README.md'), ...others].filter((name) => !index.includes(`](${name}`))
    expect(unnamed).toEqual([])
  })

  test('has programs that have types, as have the examples of entry points', { timeout: 240_000 }, () => {
    const types = declarations()
    const place = (source: string): string => source.replace(/from 'paravirt(?:\/([a-z/]+))?'/g, (_all, subpath: string | undefined) => `from '${join(types, subpath ?? '', 'index.js')}'`)
    const files = [...programs, ...entries].map(({ source }, i) => {
      const name = `typed-${i}.ts`
      writeFileSync(join(folder, name), `${place(source)}\nexport {}\n`)
      return name
    })
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
      compilerOptions: {
        noEmit: true, strict: true, target: 'es2022', module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'esnext.disposable', 'dom', 'dom.asynciterable'],
        types: ['node'], skipLibCheck: true,
      },
      files,
    }))
    const { stdout } = spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/lib/tsc.js'), '-p', folder], { encoding: 'utf8' })
    expect(stdout).toBe('')
  })
})

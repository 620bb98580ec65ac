/** What comments of src say, where a machine can tell: files that they name exist, and no article stands twice. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = resolve(import.meta.dirname, '..')
const SOURCE = join(ROOT, 'src')

interface Comment {
  readonly file: string
  readonly line: number
  readonly text: string
}

const commentsOf = (file: string, source: string): Comment[] =>
  [...source.matchAll(/\/\*[\s\S]*?\*\/|(?<![:'"`])\/\/[^\n]*/g)].map((found) =>
    ({ file, line: source.slice(0, found.index).split('\n').length, text: found[0].replace(/\n\s*\* ?/g, '\n') }))

const comments = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  .flatMap((name) => commentsOf(join(SOURCE, name), readFileSync(join(SOURCE, name), 'utf8')))

/** A file of ours is named from the folder of the comment, or from any folder around it. */
function isThere(file: string, name: string): boolean {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, name))) return true
    if (folder === ROOT) return false
  }
}

const missing = ({ file, line, text }: Comment): string[] =>
  [...text.matchAll(/(?<![\w./-])(?:[\w.-]+\/)*[\w-]+\.(?:ts|md)\b/g)].filter(([name]) => !isThere(file, name))
    .map(([name]) => `${relative(ROOT, file)}:${line} names ${name}`)

const doubled = ({ file, line, text }: Comment): string[] =>
  [...text.matchAll(/\b(?:a|an|the)\s+(?:a|an|the)\b/gi)].map(([words]) => `${relative(ROOT, file)}:${line} says "${words}"`)

describe('comments of src', () => {
  test('name only files that exist', () => {
    expect(comments.length).toBeGreaterThan(3000)
    expect(comments.flatMap(missing)).toEqual([])
  })

  test('have no article twice', () => {
    expect(comments.flatMap(doubled)).toEqual([])
  })

  test('planted faults are seen', () => {
    const planted = commentsOf(join(SOURCE, 'machine/planted.ts'), '/** As none.ts has it,\n * see machine.ts. */ // the\n/* with a\n * the other */')
    expect(planted.flatMap(missing)).toEqual(['src/machine/planted.ts:1 names none.ts'])
    expect(planted.flatMap(doubled)).toEqual(['src/machine/planted.ts:3 says "a\nthe"'])
  })
})

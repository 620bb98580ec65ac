/** How much text describes the instruction set: lines of code in the folders of src/machine/cpu that do nothing else. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { instructionRows } from '../../src/machine/cpu/decode/table.ts'

const CPU = fileURLToPath(new URL('../../src/machine/cpu', import.meta.url))

/** Folders that describe instructions, and what their lines are. */
const FOLDERS = { decode: 'decoding', lift: 'lifters', uops: 'micro-operations', handlers: 'handlers', system: 'system' } as const

/** Lines that are neither blank nor comment. */
export function codeLines(text: string): number {
  const withoutBlocks = text.replace(/\/\*[\s\S]*?\*\//g, '')
  return withoutBlocks.split('\n').filter((line) => line.trim() !== '' && !line.trim().startsWith('//')).length
}

/** The count as one line of the oracle's table. */
export function isaLines(): string {
  let total = 0
  const parts = Object.entries(FOLDERS).map(([folder, name]) => {
    const files = readdirSync(join(CPU, folder)).filter((file) => file.endsWith('.ts'))
    const lines = files.reduce((sum, file) => sum + codeLines(readFileSync(join(CPU, folder, file), 'utf8')), 0)
    total += lines
    return `${name} ${lines}`
  })
  const rows = instructionRows()
  const refused = rows.filter(({ offered }) => !offered).length
  return `${total} (${parts.join(', ')}; table of ${rows.length} rows, ${refused} of them not offered)`
}

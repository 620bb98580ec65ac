/** docs/guest-kinds.md: the contract as a table. `npx tsx test/sweeps/contract/update-table.ts` writes it. */
import { fileURLToPath } from 'node:url'
import { KINDS } from './kinds.ts'
import { ROWS } from './rows/index.ts'

/** The document. */
export const TABLE_FILE = fileURLToPath(new URL('../../../docs/guest-kinds.md', import.meta.url))

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

/** The document's text. */
export function formatTable(): string {
  const notes: string[] = []
  const rows = ROWS.map(({ name, holds, exceptions }) => line([
    name, holds,
    ...KINDS.map((kind) => {
      const exception = exceptions?.[kind.name]
      if (exception === undefined) return 'yes'
      notes.push(`${name}, ${kind.name}: ${exception.why}.`)
      return `no (${notes.length})`
    }),
  ]))
  return [
    '# Guests of every kind', '',
    'Written by test/sweeps/contract/update-table.ts from the suite that proves it, test/sweeps/contract: each row is run with a guest of each',
    'kind, and where a kind cannot, a test shows the error that says so.', '',
    line(['what', 'what holds', ...KINDS.map(({ name }) => name)]), line(['---', '---', ...KINDS.map(() => '---')]), ...rows, '',
    ...notes.map((note, i) => `${i + 1}. ${note}`), '',
    '| kind | in a description | the guest of the suite |', '| --- | --- | --- |',
    ...KINDS.map(({ name, type, guest, hypervisorKind }) => line([`${name} (\`${hypervisorKind}\`)`, `\`type = "${type}"\``, guest])), '',
  ].join('\n')
}

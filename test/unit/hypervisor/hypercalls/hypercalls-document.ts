/** docs/hypercalls.md out of the table of hypercalls. */
import { resolve } from 'node:path'
import { HYPERVISOR } from '../../../../src/abi/index.ts'
import type { HypercallRow, Support } from '../../../../src/hypervisor/domains/hypercall.ts'
import { hypercallTables } from '../../../support/hypercall-table.ts'

/** Where the document stands. */
export const HYPERCALLS_FILE = resolve(import.meta.dirname, '../../../../docs/hypercalls.md')

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

/** What is missing of an operation, or how it is refused. */
function remark(support: Support): string {
  switch (support.level) {
    case 'full': return ''
    case 'partial': return support.missing
    case 'refused': {
      const { error, privileged, why } = support
      return error === privileged ? `${error}: ${why}` : `${error}, dom0 ${privileged}: ${why}`
    }
  }
}

/** One hypercall, and a line for each of its sub-operations. */
function lines({ name, support, operations = [], source }: HypercallRow, kinds: readonly [string, string]): string[] {
  const title = `\`${name}\` (${HYPERVISOR[name]})`
  if (support !== undefined) return [row([title, '', ...kinds, support.level, remark(support), source])]
  return operations.flatMap(({ prefix, rows }) => rows.map((each) =>
    row([title, `\`${prefix}${each.name}\` (${each.number})`, ...kinds, each.support.level, remark(each.support), source])))
}

/** The text of the document. */
export function hypercallsDocument(): string {
  const { typescript, pv } = hypercallTables()
  const own = new Set(typescript.map(({ name }) => name))
  const all = pv.flatMap((each) => lines(each, [own.has(each.name) ? 'yes' : '', 'yes']))
  return `# Hypercalls

What there is of each hypercall and each sub-operation of Xen 4.17's public headers. Generated from the table that hypercalls are
dispatched by; \`npx tsx test/unit/hypervisor/hypercalls/update-hypercalls.ts\` writes it anew.

TypeScript and PV: the kinds of guests that have it. To others, and for a number that stands nowhere here, it is ENOSYS. Full: all
that Xen does for such a guest, with Xen's error numbers. Partial: what is missing is named. Refused: the error is that of any call
whose arguments can be read; dom0 stands for every privileged domain.

| hypercall | sub-operation | TypeScript | PV | support | missing, or error | source |
| --- | --- | --- | --- | --- | --- | --- |
${all.join('\n')}
`
}

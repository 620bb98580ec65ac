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

/** What guests of another kind have of an operation: `yes` where it is as for 64-bit PV guests, otherwise how much of it there is. */
function forKind(own: HypercallRow | undefined, operation: string | undefined, pv: Support): string {
  const support = own?.support ?? own?.operations?.flatMap(({ prefix, rows }) => rows.map((each) => ({ ...each, title: prefix + each.name })))
    .find(({ title }) => title === operation)?.support
  if (support === undefined) return ''
  if (support.level === pv.level && remark(support) === remark(pv)) return 'yes'
  return remark(support) === '' ? support.level : `${support.level}: ${remark(support)}`
}

/** One hypercall, and a line for each of its sub-operations. */
function lines({ name, support, operations = [], source }: HypercallRow, kinds: readonly [string, string], others: readonly (HypercallRow | undefined)[]): string[] {
  const title = `\`${name}\` (${HYPERVISOR[name]})`
  if (support !== undefined) return [row([title, '', ...kinds, ...others.map((own) => forKind(own, undefined, support)), support.level, remark(support), source])]
  return operations.flatMap(({ prefix, rows }) => rows.map((each) => {
    const operation = `${prefix}${each.name}`
    return row([title, `\`${operation}\` (${each.number})`, ...kinds, ...others.map((own) => forKind(own, operation, each.support)), each.support.level, remark(each.support), source])
  }))
}

/** The text of the document. */
export function hypercallsDocument(): string {
  const { typescript, pv, pv32, pvh } = hypercallTables()
  const own = new Set(typescript.map(({ name }) => name))
  const all = pv.flatMap((each) => lines(each, [own.has(each.name) ? 'yes' : '', 'yes'], [pv32, pvh].map((rows) => rows.find(({ name }) => name === each.name))))
  return `# Hypercalls

What there is of each hypercall and each sub-operation of Xen 4.17's public headers. Generated from the table that hypercalls are
dispatched by; \`npx tsx test/unit/hypervisor/hypercalls/update-hypercalls.ts\` writes it anew.

TypeScript, PV (of 64 bits), PV32, PVH: the kinds of guests that have it; under the last two stands what is otherwise for those. To others, and for a number that stands nowhere here, it is ENOSYS. Full: all
that Xen does for such a guest, with Xen's error numbers. Partial: what is missing is named. Refused: the error is that of any call
whose arguments can be read; dom0 stands for every privileged domain.

| hypercall | sub-operation | TypeScript | PV | PV32 | PVH | support | missing, or error | source |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${all.join('\n')}
`
}

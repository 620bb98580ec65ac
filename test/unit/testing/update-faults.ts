/** Writes docs/faults.md anew out of the catalogue's rows: `npx tsx test/unit/testing/update-faults.ts`. */
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { LINUX_FAULTS } from '../../support/linux-faults.ts'
import { FAULTS, type FaultParameter, type FaultRow } from '../../../src/testing/index.ts'

const FILE = join(resolve(import.meta.dirname, '../../..'), 'docs/faults.md')

const HEAD = `# Faults

The catalogue of \`paravirt/testing\`: what can be made to fail on a host, where, with which parameters, and what a right peer makes of it.
\`testHost({ seed, faults: [{ fault: 'disk-error', domain: 'web', probability: 0.1 }] })\` lets them fire; \`host.faults\` tells which have, adds
more, and ends all of them (\`quiet()\`). docs/testing.md has the guide. This file is written by \`npx tsx test/unit/testing/update-faults.ts\`.

All take these, unless said otherwise: \`domain\` (number or name), \`nth\` (the first opportunity that is taken), \`count\` (how often at most), \`probability\`
(of each opportunity), \`after\` and \`until\` (from when on and until when, counted from the host's beginning under the plan), \`when\` (a condition in
code). Faults of hypercalls, events, grants and allocations take \`symbol\`, a function that is to be on the guest's stack. Faults that act by themselves fire once, \`after\`
so long, or every \`every\`, \`count\` times. Each rule has chance of its own, from the seed and its place in the plan: the same host under the same plan
has the same firings.

The last column names the tests that use a fault, under its name. \`drivers\`, test/unit/testing/faults.test.ts: it has its effect, and our front-ends, back-ends, XenStore and
toolstack survive it; \`kinds\`, test/unit/testing/guest-clocks.test.ts: a guest in C of each binary kind; \`Linux\`, test/debian/faults.test.ts: Debian's Linux as the peer.
`

const parameter = ({ name, text, otherwise, isDuration, isOptional }: FaultParameter): string => {
  const value = otherwise === undefined ? undefined : isDuration === true ? `${Number(otherwise) / 1e6} ms` : String(otherwise)
  return `\`${name}\`: ${text}${value === undefined ? (isOptional === true ? '' : ' (must be given)') : ` (${value})`}`
}

const testsOf = ({ name, family }: FaultRow): string =>
  ['drivers', ...(family === 'Clocks' ? ['kinds'] : []), ...(name in LINUX_FAULTS ? ['Linux'] : [])].join(', ')

const line = (row: FaultRow): string => {
  const { name, seam, where, parameters, peer } = row
  return `| \`${name}\` | ${where}${seam === 'time' ? '. By itself' : ''} | ${parameters.map(parameter).join('; ') || '-'} | ${peer} | ${testsOf(row)} |`
}

/** The document. */
export function faultsDocument(): string {
  const families = [...new Set(FAULTS.map(({ family }) => family))]
  const sections = families.map((family) => {
    const rows = FAULTS.filter((row) => row.family === family).map(line)
    return `## ${family}\n\n| fault | where | parameters | what a right peer does | tests |\n| --- | --- | --- | --- | --- |\n${rows.join('\n')}\n`
  })
  return `${HEAD}\n${sections.join('\n')}`
}

if (process.argv[1] === import.meta.filename) writeFileSync(FILE, faultsDocument())

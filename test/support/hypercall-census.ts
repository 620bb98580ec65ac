/** Counts a guest's hypercalls by name and sub-operation, as the census taken on real Xen does. */
import { HYPERVISOR } from '../../src/abi/index.ts'
import type { HypervisorEvent } from '../../src/hypervisor/index.ts'
import type { EventSource } from '../../src/util/index.ts'
import { hypercallTables } from './hypercall-table.ts'

/** Hypercalls whose sub-operations the census tells apart. */
const TOLD_APART = ['sched_op', 'event_channel_op', 'grant_table_op', 'vcpu_op', 'memory_op', 'xen_version', 'hvm_op', 'vm_assist', 'domctl', 'sysctl']

/** Their sub-operations by name, as the table of hypercalls lists them. */
const SUBS: Readonly<Record<string, Readonly<Record<string, number>>>> = Object.fromEntries(
  [...hypercallTables().pv, ...hypercallTables().pvh.filter(({ name }) => name === 'hvm_op')].filter(({ name }) => TOLD_APART.includes(name)).map(({ name, operations = [] }) =>
    [name, Object.fromEntries(operations.flatMap(({ rows }) => rows.map((row) => [row.name, row.number])))]),
)

const nameOf = (table: Readonly<Record<string, number>>, number: number): string =>
  Object.entries(table).find(([, value]) => value === number)?.[0] ?? String(number)

/** The name under which a call is counted: the hypercall's, with the sub-operation's where it has named ones. */
export function callName(number: number, sub: number): string {
  const name = nameOf(HYPERVISOR, number)
  const subs = SUBS[name]
  return subs === undefined ? name : `${name}/${nameOf(subs, sub)}`
}

/** Counts from now on, calls inside multicalls too; returns the counts, which go on growing, and how to stop. */
export function takeCensus(events: EventSource<HypervisorEvent>): { readonly counts: Map<string, number>; stop(): void } {
  const counts = new Map<string, number>()
  const stop = events.on('hypercall', ({ number, sub }) => {
    const name = callName(number, sub)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  })
  return { counts, stop }
}

/** Counts in a capture from real Xen; flags and argument values there that are no sub-operation here are summed up. */
export function readCensus(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const [, name, sub, count] of text.matchAll(/^ +([a-z_]+)(?:\/(\S+))? +(\d+) .*$/gm)) {
    // What stands behind a sub-operation is its argument.
    const key = SUBS[name!] === undefined || sub === undefined ? name! : `${name}/${sub.split('/')[0]}`
    counts.set(key, (counts.get(key) ?? 0) + Number(count))
  }
  return counts
}

/** Two counts side by side, the most frequent calls first. */
export function formatCensus(here: ReadonlyMap<string, number>, onXen: ReadonlyMap<string, number>): string {
  const names = [...new Set([...onXen.keys(), ...here.keys()])].sort((a, b) => (onXen.get(b) ?? 0) - (onXen.get(a) ?? 0))
  const row = (name: string, first: string | number, second: string | number): string =>
    `${name.padEnd(42)} ${String(first).padStart(9)} ${String(second).padStart(9)}`
  return [row('hypercall', 'real Xen', 'here'), ...names.map((name) => row(name, onXen.get(name) ?? 0, here.get(name) ?? 0))].join('\n')
}

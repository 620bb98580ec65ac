/**
 * Hypercalls in words: their names, those of their sub-operations, and what their arguments are called.
 * Reference: public/xen.h and the headers of each family; arch-x86/xen-x86_64.h.
 */
import { CONSOLEIO, EVTCHNOP, GNTTABOP, HVMOP, HYPERVISOR, MMUEXT, PHYSDEVOP, SCHEDOP, VCPUOP, XENMEM, XENVER } from '../../abi/index.ts'

const nameOf = (table: Readonly<Record<string, number>>): ReadonlyMap<number, string> => new Map(Object.entries(table).map(([name, number]) => [number, name]))
const HYPERCALLS = /* @__PURE__ */ nameOf(HYPERVISOR)

interface Call {
  readonly arguments: readonly string[]
  /** Names of sub-operations, of the argument of that number. */
  readonly operations?: ReadonlyMap<number, string>
}

const CALLS: Readonly<Record<string, Call>> = /* @__PURE__ */ (() => ({
  set_trap_table: { arguments: ['table'] }, mmu_update: { arguments: ['requests', 'count', 'done', 'domain'] }, set_gdt: { arguments: ['frames', 'entries'] },
  stack_switch: { arguments: ['ss', 'sp'] }, set_callbacks: { arguments: ['event', 'failsafe', 'syscall'] }, fpu_taskswitch: { arguments: ['set'] },
  set_debugreg: { arguments: ['register', 'value'] }, get_debugreg: { arguments: ['register'] }, update_descriptor: { arguments: ['address', 'descriptor'] },
  memory_op: { arguments: ['operation', 'argument'], operations: nameOf(XENMEM) }, multicall: { arguments: ['calls', 'count'] },
  update_va_mapping: { arguments: ['address', 'entry', 'flags'] }, set_timer_op: { arguments: ['deadline'] }, xen_version: { arguments: ['operation', 'argument'], operations: nameOf(XENVER) },
  console_io: { arguments: ['operation', 'count', 'buffer'], operations: nameOf(CONSOLEIO) }, grant_table_op: { arguments: ['operation', 'argument', 'count'], operations: nameOf(GNTTABOP) },
  vm_assist: { arguments: ['operation', 'type'] }, update_va_mapping_otherdomain: { arguments: ['address', 'entry', 'flags', 'domain'] }, iret: { arguments: [] },
  vcpu_op: { arguments: ['operation', 'vcpu', 'argument'], operations: nameOf(VCPUOP) }, set_segment_base: { arguments: ['which', 'base'] },
  mmuext_op: { arguments: ['operations', 'count', 'done', 'domain'], operations: nameOf(MMUEXT) }, sched_op: { arguments: ['operation', 'argument'], operations: nameOf(SCHEDOP) },
  callback_op: { arguments: ['operation', 'argument'] }, event_channel_op: { arguments: ['operation', 'argument'], operations: nameOf(EVTCHNOP) },
  physdev_op: { arguments: ['operation', 'argument'], operations: nameOf(PHYSDEVOP) }, hvm_op: { arguments: ['operation', 'argument'], operations: nameOf(HVMOP) },
  sysctl: { arguments: ['request'] }, domctl: { arguments: ['request'] },
}))()

/** A hypercall in words: what it is called, with its sub-operation. */
export function hypercallName(number: number, sub: number): string {
  const name = HYPERCALLS.get(number) ?? `hypercall ${number}`
  const operation = CALLS[name]?.operations?.get(sub)
  return operation === undefined ? name : `${name} ${operation}`
}

/** Its arguments by name; those of a call that is not known are all six. */
export function hypercallArguments(number: number, values: readonly bigint[]): Record<string, bigint> {
  const names = CALLS[HYPERCALLS.get(number) ?? '']?.arguments ?? values.map((_, i) => `argument ${i}`)
  return Object.fromEntries(names.map((name, i) => [name, values[i] ?? 0n]))
}

/**
 * Instructions about the machine itself. On a hosted processor those that ring 3 may not execute become requests to the
 * host; ring 0 of a bare one executes them (system/).
 * Reference: Intel SDM volume 2; volume 3, chapter 2.
 */
import { CR4, GPR, MSR, VECTOR } from '../../../x86/index.ts'
import type { RequestedOperation } from '../../interface/processor.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import {
  clearTaskSwitched, invalidatePage, isHidden, loadStatusWord, loadSystemSegment, loadTable, moveControl, moveDebug,
  ringZero,  storeTable,
} from '../system/control.ts'
import { swapGs } from '../system/fast-calls.ts'
import { FEATURE, hasFeature } from '../system/features.ts'
import { rdmsr, timestamp, wrmsr } from '../system/msrs.ts'
import { portAccess, stringPort } from '../system/ports.ts'
import { inProtectedMode as described } from '../system/real-mode.ts'
import { clearInterrupts, setInterrupts } from './flags.ts'
import type { Handler } from '../core/handler.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

/** An instruction that a hosted processor's host carries out, and ring 0 of a bare one itself. */
const privileged = (operation: RequestedOperation, bare: Handler): Handler => (core, record) =>
  core.bare ? bare(core, record) : core.outside.leave(operation, record)
/** Before an instruction at whose offset in its page a breakpoint lies. */
const stop: Handler = ({ debug, records, progress }, record) => {
  records.goTo(record, 0)
  // What a host has carried out was stopped at before it came to the host.
  return debug.aside === undefined && debug.observer?.breaksAt(records.addressOf(record), progress.countWith(record) - 1) === true ? STATUS.STOP : STATUS.NEXT
}

const ringZeroOnly = (operation: RequestedOperation, bare: Handler): Handler => privileged(operation, ringZero(bare))

/** What comes before an instruction reads its operand: a host carries it out, ring 3 of a bare processor may not. */
const first = (operation: RequestedOperation): Handler => privileged(operation, ringZero(() => STATUS.NEXT))

/** MOV to or from a control or debug register. */
const special = (
  names: { readonly read: RequestedOperation; readonly write: RequestedOperation }, known: readonly number[], bare: Handler,
): Handler => (core, record) => {
  const { records } = core
  const register = records.field(record, RECORD.special)
  if (!known.includes(register)) return core.faults.undefinedOpcode()
  if (core.bare) return bare(core, record)
  const operation = records.field(record, RECORD.isWrite) === 0 ? names.read : names.write
  return core.outside.leave(operation, record, { register, general: records.field(record, RECORD.general) })
}

/** What DX names. */
const portInDx = (registers: RegisterFile): number => registers.low(GPR.rdx * 8) & 0xffff

const port = (operation: 'in' | 'out'): Handler => (core, record) => {
  if (core.bare) return PORTS[operation](core, record)
  const { registers, records, outside } = core
  return outside.leave(operation, record, {
    size: records.field(record, RECORD.size), general: GPR.rax,
    port: records.field(record, RECORD.isInDx) === 1 ? portInDx(registers) : records.displacement(record) & 0xff,
  })
}

const portString = (operation: 'ins' | 'outs'): Handler => (core, record) => {
  if (core.bare) return PORTS[operation](core, record)
  return core.outside.leave(operation, record, { size: core.records.field(record, RECORD.size), port: portInDx(core.registers) })
}

const PORTS = {
  in: portAccess('in'), out: portAccess('out'), ins: stringPort('ins'), outs: stringPort('outs'),
} as const

function setPair(registers: RegisterFile, low: number, high: number): void {
  registers.setSlot(GPR.rax * 8, low, 0)
  registers.setSlot(GPR.rdx * 8, high, 0)
}

/** RDTSC and RDTSCP where CR4.TSD keeps them from ring 3: a host decides. */
const timed = (operation: 'rdtsc' | 'rdtscp', execute: Handler): Handler => (core, record) => {
  const { registers } = core
  if ((registers.controlLow(4) & CR4.TSD) === 0 || registers.cpl === 0) return execute(core, record)
  return core.bare ? core.faults.protection() : core.outside.leave(operation, record)
}

/** RDTSC: the host's time stamp, or the number of instructions executed. */
function readTimestamp(core: Views<'registers' | 'progress' | 'outside' | 'system'>, record: number): number {
  setPair(core.registers, ...timestamp(core, core.progress.executedBefore(record)))
  return STATUS.NEXT
}

/** RDTSCP: the same, and TSC_AUX in ECX. */
function readTimestampAndProcessor(core: Views<'registers' | 'progress' | 'outside' | 'system'>, record: number): number {
  const { registers } = core
  setPair(registers, ...timestamp(core, core.progress.executedBefore(record)))
  registers.setSlot(GPR.rcx * 8, core.system.plain(MSR.TSC_AUX)![0], 0)
  return STATUS.NEXT
}

/** A kernel of its own may have been offered a processor without RDTSCP. */
const readBoth = timed('rdtscp', readTimestampAndProcessor)
const ifOffered: Handler = (core, record) =>
  core.bare && !hasFeature(core.outside, FEATURE.RDTSCP) ? core.faults.undefinedOpcode() : readBoth(core, record)

/** CPUID of a bare processor. */
function identify({ registers, outside }: Views<'registers' | 'outside'>): number {
  const [eax, ebx, ecx, edx] = outside.cpuid.read(registers.low(GPR.rax * 8), registers.low(GPR.rcx * 8))
  registers.setSlot(GPR.rax * 8, eax >>> 0, 0)
  registers.setSlot(GPR.rbx * 8, ebx >>> 0, 0)
  registers.setSlot(GPR.rcx * 8, ecx >>> 0, 0)
  registers.setSlot(GPR.rdx * 8, edx >>> 0, 0)
  return STATUS.NEXT
}

/** SGDT and SIDT of a hosted processor tell an empty table, as nothing of the host's is to be seen. */
const storeHostedTable: Handler = ({ registers, memory }) =>
  memory.writeBytes(registers.address(SLOT.t3), new Uint8Array(registers.long ? 10 : 6))

const table = (name: 'gdt' | 'idt'): Handler => {
  const own = storeTable(name)
  return (core, record) => (core.bare ? own : storeHostedTable)(core, record)
}

/** SLDT, STR, SMSW: the value goes to t0. With CR4.UMIP only ring 0 may. */
const leaveInTemporary = (value: (core: Core) => number): Handler => (core) => {
  const { registers } = core
  if (core.bare && isHidden(registers)) return core.faults.protection()
  registers.setSlot(SLOT.t0, value(core), 0)
  return STATUS.NEXT
}

/** VMCALL and VMMCALL exist where there is a host behind the kernel. */
const hypercall: Handler = (core, record) =>
  core.nested === undefined ? core.faults.undefinedOpcode() : core.outside.leave('vmcall', record)

/** HLT: the host waits, or the driver of a bare processor. */
const halt: Handler = () => STATUS.HALT
const nothing: Handler = () => STATUS.NEXT

/** Handlers by name. */
export const SYSTEM_HANDLERS: Handlers = {
  ...rows({ stop }, { price: 0 }),
  ...rows({ cpuid: privileged('cpuid', identify) }, { price: PRICE.shortWork }),
  ...rows({
    ud: ({ faults }) => faults.undefinedOpcode(),
    gp: ({ faults }) => faults.protection(),
    nm: ({ faults }) => faults.raise(VECTOR.NM),
    rdmsr: ringZeroOnly('rdmsr', rdmsr),
    wrmsr: ringZeroOnly('wrmsr', wrmsr), rdpmc: privileged('other', ({ faults }) => faults.protection()),
    rdtsc: timed('rdtsc', readTimestamp), rdtscp: ifOffered,
    vmcall: hypercall, vmmcall: hypercall,
    hlt: ringZeroOnly('hlt', halt), cli: privileged('cli', clearInterrupts), sti: privileged('sti', setInterrupts),
    clts: ringZeroOnly('clts', clearTaskSwitched), lmsw: ringZeroOnly('lmsw', loadStatusWord),
    invd: ringZeroOnly('wbinvd', nothing), wbinvd: ringZeroOnly('wbinvd', nothing),
    swapgs: privileged('swapgs', swapGs),
    invlpg: ringZeroOnly('invlpg', invalidatePage), rsm: ({ faults }) => faults.undefinedOpcode(),
    control: special({ read: 'read-cr', write: 'write-cr' }, [0, 2, 3, 4, 8], moveControl),
    debug: special({ read: 'read-dr', write: 'write-dr' }, [0, 1, 2, 3, 4, 5, 6, 7], moveDebug),
    in: port('in'), out: port('out'), ins: portString('ins'), outs: portString('outs'),
    lgdt: ringZeroOnly('other', loadTable('gdt')), lidt: ringZeroOnly('other', loadTable('idt')),
    lldt: ringZeroOnly('other', loadSystemSegment('ldtr')), ltr: ringZeroOnly('other', loadSystemSegment('tr')),
    'first-lldt': described(first('other')), 'first-ltr': described(first('other')), 'first-lmsw': first('lmsw'),
    'first-invlpg': first('invlpg'), 'first-lgdt': first('other'), 'first-lidt': first('other'),
    sgdt: table('gdt'), sidt: table('idt'),
    sldt: described(leaveInTemporary(({ bare, system }) => (bare ? system.ldtr.selector : 0))),
    str: described(leaveInTemporary(({ bare, system }) => (bare ? system.tr.selector : 0))),
    smsw: leaveInTemporary(({ registers }) => registers.controlLow(0)),
  }),
}

/**
 * Instructions about the machine itself. On a hosted processor those that ring 3 may not execute become requests to the
 * host.
 * Reference: Intel SDM volume 2; volume 3, chapter 2.
 */
import { CR4, GPR, VECTOR } from '../../../x86/index.ts'
import type { Core } from '../core.ts'
import { SLOT, STATUS, State } from '../state.ts'
import type { Handler, Handlers } from './handler.ts'

/** An instruction that the host carries out. */
const request = (operation: string): Handler => (core, record) => core.privileged(operation, record)

/** What comes before an instruction reads its operand: a host carries it out, ring 3 of a bare processor may not. */
const first = (operation: string): Handler => (core, record) => {
  if (!core.bare) return core.privileged(operation, record)
  return core.cpl === 0 ? STATUS.NEXT : core.protection()
}

/** MOV to or from a control or debug register. */
const special = (read: string, write: string, known: readonly number[]): Handler => (core, record) => {
  const register = core.field(record, 'c')
  if (!known.includes(register)) return core.undefinedOpcode()
  const operation = core.field(record, 'b') === 0 ? read : write
  return core.privileged(operation, record, { register, general: core.field(record, 'a') })
}

const port = (operation: string): Handler => (core, record) =>
  core.privileged(operation, record, {
    size: core.field(record, 'd'),
    port: core.field(record, 'c') === 1 ? core.low(GPR.rdx * 8) & 0xffff : core.displacement(record) & 0xff,
    general: GPR.rax,
  })

const stringPort = (operation: string): Handler => (core, record) =>
  core.privileged(operation, record, { size: core.field(record, 'd'), port: core.low(GPR.rdx * 8) & 0xffff })

function setPair(core: Core, low: number, high: number): void {
  core.setSlot(GPR.rax * 8, low, 0)
  core.setSlot(GPR.rdx * 8, high, 0)
}

/** RDTSC: the host's time stamp, or the number of instructions executed. */
function readTimestamp(core: Core, record: number): number {
  if ((core.controlLow(4) & CR4.TSD) !== 0 && core.cpl !== 0) return core.privileged('rdtsc', record)
  if (core.timestamp === undefined) {
    const count = core.totalExecuted + core.executedBefore(record)
    setPair(core, count >>> 0, Math.floor(count / 0x1_0000_0000))
  } else {
    const low = core.timestamp.low(core.executedBefore(record))
    setPair(core, low, core.timestamp.high())
  }
  return STATUS.NEXT
}

function readExtendedControl(core: Core): number {
  if ((core.controlLow(4) & CR4.OSXSAVE) === 0) return core.undefinedOpcode()
  if (core.low(GPR.rcx * 8) !== 0) return core.protection()
  setPair(core, State.xcr0.get(core.view, core.base), 0)
  return STATUS.NEXT
}

/** SGDT and SIDT of a hosted processor tell an empty table, as nothing of the host's is to be seen. */
function storeTable(core: Core): number {
  return core.writeBytes(core.address(SLOT.t3), new Uint8Array(core.long ? 10 : 6))
}

const leaveInTemporary = (value: (core: Core) => number): Handler => (core) => {
  core.setSlot(SLOT.t0, value(core), 0)
  return STATUS.NEXT
}

/** Handlers by name. */
export const SYSTEM_HANDLERS: Handlers = {
  ud: (core) => core.undefinedOpcode(),
  gp: (core) => core.protection(),
  nm: (core) => core.raise(VECTOR.NM),
  cpuid: request('cpuid'), rdmsr: request('rdmsr'), wrmsr: request('wrmsr'), rdpmc: request('other'),
  rdtsc: readTimestamp, rdtscp: request('rdtscp'),
  hlt: request('hlt'), cli: request('cli'), sti: request('sti'), clts: request('clts'), lmsw: request('lmsw'),
  invd: request('wbinvd'), wbinvd: request('wbinvd'), swapgs: request('swapgs'), xsetbv: request('xsetbv'),
  invlpg: request('invlpg'), rsm: (core) => core.undefinedOpcode(), xgetbv: readExtendedControl,
  control: special('read-cr', 'write-cr', [0, 2, 3, 4, 8]),
  debug: special('read-dr', 'write-dr', [0, 1, 2, 3, 4, 5, 6, 7]),
  in: port('in'), out: port('out'), ins: stringPort('ins'), outs: stringPort('outs'),
  lgdt: request('other'), lidt: request('other'), lldt: request('other'), ltr: request('other'),
  'first-lldt': first('other'), 'first-ltr': first('other'), 'first-lmsw': first('lmsw'),
  sgdt: storeTable, sidt: storeTable,
  sldt: leaveInTemporary(() => 0), str: leaveInTemporary(() => 0), smsw: leaveInTemporary((core) => core.controlLow(0)),
}

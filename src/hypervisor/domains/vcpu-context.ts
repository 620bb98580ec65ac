/**
 * The bytes of vcpu_guest_context and the typed {@link VcpuContext}, both ways: for VCPUOP_initialise, and for save and
 * restore. Frame numbers are carried over as they stand; a caller that needs other ones maps them before or after.
 * Reference: xen/include/public/arch-x86/xen.h, struct vcpu_guest_context; xen-x86_64.h, xen_pfn_to_cr3.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { VcpuGuestContext } from '../../abi/index.ts'
import type { TrapInfoEntry, VcpuContext, VcpuUserRegisters } from './vcpu-registers.ts'

/** Vectors of the virtual trap table. */
const TRAPS = 256
/** Frames that a GDT may span. */
const GDT_FRAMES = 16
const PAGE_BITS = 12n
/** The user table's slot holds its frame with this bit when it is set, 0 otherwise. */
const USER_TABLE_VALID = 1n

const wideRegisters = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags',
] as const
const selectors = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const

const tableOf = (register: bigint): number => Number((register >> PAGE_BITS) & 0xf_ffff_ffff_ffn)

/** Writes `context` as vcpu_guest_context (5168 bytes) at `base`. */
export function encodeVcpuContext(context: VcpuContext, view: DataView, base: number): void {
  new Uint8Array(view.buffer, view.byteOffset + base, VcpuGuestContext.size).fill(0)
  const { user } = context
  VcpuGuestContext.encode(view, base, {
    fpuCtxt: context.fpu, flags: BigInt(context.flags >>> 0), ldtBase: context.ldtBase, ldtEnts: BigInt(context.ldtEntries),
    gdtEnts: BigInt(context.gdtEntries), kernelSs: BigInt(context.kernelSs), kernelSp: context.kernelSp,
    gdtFrames: context.gdtFrames.map((frame) => BigInt(frame)), debugreg: [...context.debug],
    eventCallbackEip: context.eventCallback, failsafeCallbackEip: context.failsafeCallback,
    syscallCallbackEip: context.syscallCallback, vmAssist: context.vmAssist, fsBase: context.fsBase,
    gsBaseKernel: context.gsBaseKernel, gsBaseUser: context.gsBaseUser,
  })
  const registers = VcpuGuestContext.userRegs
  const place = registers.at(base)
  for (const name of wideRegisters) registers.layout[name].set(view, place, user[name])
  for (const name of selectors) registers.layout[name].set(view, place, user[name])
  registers.layout.savedUpcallMask.set(view, place, user.savedUpcallMask)
  for (const trap of context.traps) {
    const { element } = VcpuGuestContext.trapCtxt
    element.encode(view, VcpuGuestContext.trapCtxt.at(base, trap.vector & 0xff), { ...trap })
  }
  const control = (index: number, value: bigint): void =>
    view.setBigUint64(VcpuGuestContext.ctrlreg.at(base, index), value, true)
  control(0, context.cr0)
  control(1, context.userTable === 0 ? 0n : (BigInt(context.userTable) << PAGE_BITS) | USER_TABLE_VALID)
  control(3, BigInt(context.kernelTable) << PAGE_BITS)
  control(4, context.cr4)
}

function decodeUser(view: DataView, base: number): VcpuUserRegisters {
  const { layout } = VcpuGuestContext.userRegs
  const place = VcpuGuestContext.userRegs.at(base)
  const values: Record<string, bigint | number> = { savedUpcallMask: layout.savedUpcallMask.get(view, place) }
  for (const name of wideRegisters) values[name] = layout[name].get(view, place)
  for (const name of selectors) values[name] = layout[name].get(view, place)
  // Every field of the type is in one of the two lists above.
  return values as unknown as VcpuUserRegisters
}

function decodeTraps(view: DataView, base: number): TrapInfoEntry[] {
  const { trapCtxt } = VcpuGuestContext
  const { element } = trapCtxt
  const traps: TrapInfoEntry[] = []
  for (let i = 0; i < TRAPS; i += 1) {
    const at = trapCtxt.at(base, i)
    // Few of them are set.
    if ((element.address.low(view, at) | element.address.high(view, at)) !== 0) traps.push(element.decode(view, at))
  }
  return traps
}

/** Reads vcpu_guest_context at `base`. Nothing is checked: `setVcpuContext` does that. */
export function decodeVcpuContext(view: DataView, base: number): VcpuContext {
  const at = VcpuGuestContext
  const control = (index: number): bigint => view.getBigUint64(at.ctrlreg.at(base, index), true)
  const gdtEntries = at.gdtEnts.number(view, base)
  const gdtPages = Math.min(GDT_FRAMES, Math.ceil((gdtEntries * 8) / PAGE_SIZE))
  return {
    flags: at.flags.low(view, base),
    user: decodeUser(view, base),
    fpu: at.fpuCtxt.get(view, base).slice(),
    traps: decodeTraps(view, base),
    ldtBase: at.ldtBase.get(view, base),
    ldtEntries: at.ldtEnts.number(view, base),
    gdtFrames: Array.from({ length: gdtPages }, (_, i) => Number(view.getBigUint64(at.gdtFrames.at(base, i), true))),
    gdtEntries,
    kernelSs: at.kernelSs.low(view, base),
    kernelSp: at.kernelSp.get(view, base),
    kernelTable: tableOf(control(3)),
    userTable: (control(1) & USER_TABLE_VALID) === 0n ? 0 : tableOf(control(1)),
    cr0: control(0),
    cr4: control(4),
    debug: Array.from({ length: 8 }, (_, i) => view.getBigUint64(at.debugreg.at(base, i), true)),
    eventCallback: at.eventCallbackEip.get(view, base),
    failsafeCallback: at.failsafeCallbackEip.get(view, base),
    syscallCallback: at.syscallCallbackEip.get(view, base),
    vmAssist: at.vmAssist.get(view, base),
    fsBase: at.fsBase.get(view, base),
    gsBaseKernel: at.gsBaseKernel.get(view, base),
    gsBaseUser: at.gsBaseUser.get(view, base),
  }
}

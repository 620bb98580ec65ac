/**
 * The bytes of a 32-bit guest's vcpu_guest_context and the typed {@link VcpuContext}, both ways. What such a vCPU has not
 * is 0: r8 to r15, the table of the user, bases of segments, an entry for SYSCALL. Its CR3 holds the upper bits of its
 * frame number in the lower ones, so that 32 bits are enough for all frames.
 * Reference: xen/include/public/arch-x86/xen.h, struct vcpu_guest_context; xen-x86_32.h, xen_pfn_to_cr3.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { COMPAT, CompatVcpuGuestContext } from '../../abi/index.ts'
import type { TrapInfoEntry, VcpuContext, VcpuUserRegisters } from './vcpu-registers.ts'

/** Frames that a GDT may span. */
const GDT_FRAMES = 16

/** Registers by the names that a 32-bit guest has for them. */
const NARROW = { rax: 'eax', rbx: 'ebx', rcx: 'ecx', rdx: 'edx', rsi: 'esi', rdi: 'edi', rbp: 'ebp', rsp: 'esp', rip: 'eip', rflags: 'eflags' } as const
const narrowRegisters = Object.keys(NARROW) as (keyof typeof NARROW)[]
const absent = { r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n } as const
const selectors = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const

/** Writes `context` as vcpu_guest_context (2800 bytes) at `base`. */
export function encodeCompatVcpuContext(context: VcpuContext, view: DataView, base: number): void {
  const layout = CompatVcpuGuestContext
  new Uint8Array(view.buffer, view.byteOffset + base, layout.size).fill(0)
  layout.encode(view, base, {
    fpuCtxt: context.fpu, flags: BigInt(context.flags >>> 0), ldtBase: context.ldtBase, ldtEnts: BigInt(context.ldtEntries),
    gdtFrames: context.gdtFrames.map((frame) => BigInt(frame)), gdtEnts: BigInt(context.gdtEntries),
    kernelSs: BigInt(context.kernelSs), kernelSp: context.kernelSp,
    ctrlreg: [context.cr0, 0n, 0n, BigInt(COMPAT.cr3Of(context.kernelTable)), context.cr4, 0n, 0n, 0n], debugreg: [...context.debug],
    eventCallbackCs: BigInt(context.eventCallbackCs ?? 0), eventCallbackEip: context.eventCallback,
    failsafeCallbackCs: BigInt(context.failsafeCallbackCs ?? 0), failsafeCallbackEip: context.failsafeCallback,
    vmAssist: context.vmAssist,
  })
  const registers = layout.userRegs.layout
  const place = layout.userRegs.at(base)
  for (const name of narrowRegisters) registers[NARROW[name]].set(view, place, context.user[name])
  for (const name of selectors) registers[name].set(view, place, context.user[name])
  registers.savedUpcallMask.set(view, place, context.user.savedUpcallMask)
  const { element } = layout.trapCtxt
  for (const trap of context.traps) element.encode(view, layout.trapCtxt.at(base, trap.vector & 0xff), { ...trap })
}

function decodeUser(view: DataView, base: number): VcpuUserRegisters {
  const { layout } = CompatVcpuGuestContext.userRegs
  const place = CompatVcpuGuestContext.userRegs.at(base)
  const values: Record<string, bigint | number> = { ...absent, savedUpcallMask: layout.savedUpcallMask.get(view, place) }
  for (const name of narrowRegisters) values[name] = layout[NARROW[name]].get(view, place)
  for (const name of selectors) values[name] = layout[name].get(view, place)
  // Every field of the type is in one of the lists above.
  return values as unknown as VcpuUserRegisters
}

function decodeTraps(view: DataView, base: number): TrapInfoEntry[] {
  const { trapCtxt } = CompatVcpuGuestContext
  // Few of them are set.
  return Array.from({ length: trapCtxt.count }, (_, i) => trapCtxt.at(base, i)).filter((at) => trapCtxt.element.address.get(view, at) !== 0n)
    .map((at) => trapCtxt.element.decode(view, at))
}

/** Reads a 32-bit guest's vcpu_guest_context at `base`. Nothing is checked: `setVcpuContext` does that. */
export function decodeCompatVcpuContext(view: DataView, base: number): VcpuContext {
  const at = CompatVcpuGuestContext
  const word = (field: { at(base: number, index: number): number }, index: number): number => view.getUint32(field.at(base, index), true)
  const gdtEntries = at.gdtEnts.number(view, base)
  const gdtPages = Math.min(GDT_FRAMES, Math.ceil((gdtEntries * 8) / PAGE_SIZE))
  return {
    flags: at.flags.low(view, base), user: decodeUser(view, base), fpu: at.fpuCtxt.get(view, base).slice(), traps: decodeTraps(view, base),
    ldtBase: at.ldtBase.get(view, base), ldtEntries: at.ldtEnts.number(view, base),
    gdtFrames: Array.from({ length: gdtPages }, (_, i) => word(at.gdtFrames, i)), gdtEntries,
    kernelSs: at.kernelSs.low(view, base), kernelSp: at.kernelSp.get(view, base),
    kernelTable: COMPAT.frameOfCr3(word(at.ctrlreg, 3)), userTable: 0,
    cr0: BigInt(word(at.ctrlreg, 0)), cr4: BigInt(word(at.ctrlreg, 4)),
    debug: Array.from({ length: at.debugreg.count }, (_, i) => BigInt(word(at.debugreg, i))),
    eventCallback: at.eventCallbackEip.get(view, base), eventCallbackCs: at.eventCallbackCs.low(view, base),
    failsafeCallback: at.failsafeCallbackEip.get(view, base), failsafeCallbackCs: at.failsafeCallbackCs.low(view, base),
    syscallCallback: 0n, vmAssist: at.vmAssist.get(view, base), fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
  }
}

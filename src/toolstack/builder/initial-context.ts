/** Registers with which a PV kernel's first vCPU starts. Reference: xen/include/public/arch-x86/xen-x86_64.h. */
import type { VcpuContext } from '../../hypervisor/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { DomainLayout } from './layout.ts'

/** FLAT_RING3_CS64, FLAT_RING3_SS64. */
const KERNEL_CS = 0xe033
const KERNEL_SS = 0xe02b
/** VGCF_in_kernel | VGCF_online. */
const FLAGS = (1 << 2) | (1 << 5)
const INTERRUPTS_ENABLED = 1n << 9n
/** What DR6 and DR7 hold after reset. */
const DR6 = 0xffff0ff0n
const DR7 = 0x400n
/** Default control words of x87 and SSE in an FXSAVE image. */
const FCW = 0x37f
const MXCSR = 0x1f80

function emptyFpu(): Uint8Array {
  const fpu = new Uint8Array(512)
  const view = new DataView(fpu.buffer)
  view.setUint16(0, FCW, true)
  view.setUint32(24, MXCSR, true)
  return fpu
}

/** The context of vCPU 0: kernel mode, on the boot stack, start_info in RSI. `table`: frame of the top-level table. */
export function initialContext(layout: DomainLayout, entry: number, table: number): VcpuContext {
  const address = (value: number): bigint => BigInt.asUintN(64, BigInt(value))
  const stack = address(layout.bootStack.address + PAGE_SIZE)
  return {
    flags: FLAGS,
    user: {
      rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: address(layout.startInfo.address), rdi: 0n, rbp: 0n, rsp: stack,
      r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n,
      rip: address(entry), rflags: INTERRUPTS_ENABLED,
      cs: KERNEL_CS, ss: KERNEL_SS, ds: 0, es: 0, fs: 0, gs: 0, savedUpcallMask: 0,
    },
    fpu: emptyFpu(),
    traps: [], ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
    kernelSs: KERNEL_SS, kernelSp: stack, kernelTable: table, userTable: 0, cr0: 0n, cr4: 0n,
    debug: [0n, 0n, 0n, 0n, 0n, 0n, DR6, DR7],
    eventCallback: 0n,
    failsafeCallback: 0n,
    syscallCallback: 0n,
    vmAssist: 0n,
    fsBase: 0n,
    gsBaseKernel: 0n,
    gsBaseUser: 0n,
  }
}

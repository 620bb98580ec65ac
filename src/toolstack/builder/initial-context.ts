/** Registers with which a PV kernel's first vCPU starts. Reference: tools/libs/guest/xg_dom_x86.c, vcpu_x86_64, vcpu_x86_32. */
import type { VcpuContext } from '../../hypervisor/index.ts'
import { COMPAT_FLAT, FLAT, VMASST_TYPE } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { KernelImage } from '../image/kernel-image.ts'
import type { DomainLayout } from './layout.ts'

/** Segments of kernels by their bits: those of 64 need no data segments. */
const SEGMENTS = {
  64: { cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS64, data: 0 },
  32: { cs: COMPAT_FLAT.KERNEL_CS, ss: COMPAT_FLAT.KERNEL_SS, data: COMPAT_FLAT.KERNEL_DS },
} as const
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
export function initialContext(layout: DomainLayout, image: Pick<KernelImage, 'bits' | 'entry' | 'hasExtendedCr3'>, table: number): VcpuContext {
  const { cs, ss, data } = SEGMENTS[image.bits]
  const address = (value: number): bigint => BigInt.asUintN(64, BigInt(value))
  const stack = address(layout.bootStack.address + PAGE_SIZE)
  return {
    flags: FLAGS,
    user: {
      rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: address(layout.startInfo.address), rdi: 0n, rbp: 0n, rsp: stack,
      r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n,
      rip: address(image.entry), rflags: INTERRUPTS_ENABLED,
      cs, ss, ds: data, es: data, fs: data, gs: data, savedUpcallMask: 0,
    },
    fpu: emptyFpu(),
    traps: [], ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
    kernelSs: ss, kernelSp: stack, kernelTable: table, userTable: 0, cr0: 0n, cr4: 0n,
    debug: [0n, 0n, 0n, 0n, 0n, 0n, DR6, DR7],
    eventCallback: 0n,
    failsafeCallback: 0n,
    syscallCallback: 0n,
    vmAssist: image.hasExtendedCr3 ? 1n << BigInt(VMASST_TYPE.pae_extended_cr3) : 0n,
    fsBase: 0n,
    gsBaseKernel: 0n,
    gsBaseUser: 0n,
  }
}

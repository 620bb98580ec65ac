/**
 * A virtual CPU's registers as plain data: what builders, save, restore and crash reports carry. 64-bit registers are
 * bigint, for these are control paths. Nothing here reads or sets a register.
 * Reference: arch-x86/xen.h, vcpu_guest_context.
 */

/** Registers of user mode in vcpu_guest_context; selectors included. */
export interface VcpuUserRegisters {
  readonly rax: bigint, readonly rbx: bigint, readonly rcx: bigint, readonly rdx: bigint
  readonly rsi: bigint, readonly rdi: bigint, readonly rbp: bigint, readonly rsp: bigint
  readonly r8: bigint, readonly r9: bigint, readonly r10: bigint, readonly r11: bigint
  readonly r12: bigint, readonly r13: bigint, readonly r14: bigint, readonly r15: bigint
  readonly rip: bigint, readonly rflags: bigint
  readonly cs: number, readonly ss: number, readonly ds: number, readonly es: number
  readonly fs: number, readonly gs: number
  /** The "virtual IF" of the interrupted context; see arch-x86/xen-x86_64.h. */
  readonly savedUpcallMask: number
}

/** One entry of the virtual trap table. Reference: arch-x86/xen.h, struct trap_info. */
export interface TrapInfoEntry {
  readonly vector: number
  /** Bits 0-1 privilege level from which `int n` may call it, bit 2: mask events on entry. */
  readonly flags: number
  readonly cs: number
  readonly address: bigint
}

/**
 * A whole virtual CPU of a 64-bit PV guest, field by field as in vcpu_guest_context: what a builder gives to start
 * one, and what save and restore carry. Control registers hold the frame number of their table in Xen's form
 * (`xen_pfn_to_cr3`: frame << 12).
 */
export interface VcpuContext {
  /** VGCF flags. */
  readonly flags: number
  readonly user: VcpuUserRegisters
  /** FXSAVE image of 512 bytes. */
  readonly fpu: Uint8Array
  readonly traps: readonly TrapInfoEntry[]
  readonly ldtBase: bigint
  readonly ldtEntries: number
  readonly gdtFrames: readonly number[]
  readonly gdtEntries: number
  readonly kernelSs: number
  readonly kernelSp: bigint
  /** Frame of the kernel's top-level table (CR3), and of the user's (CR1 slot), 0 when there is none. */
  readonly kernelTable: number
  readonly userTable: number
  readonly cr0: bigint
  readonly cr4: bigint
  /** DR0 to DR7. */
  readonly debug: readonly bigint[]
  readonly eventCallback: bigint
  readonly failsafeCallback: bigint
  /** Code selectors of these two, of a 32-bit guest. */
  readonly eventCallbackCs?: number
  readonly failsafeCallbackCs?: number
  readonly syscallCallback: bigint
  readonly vmAssist: bigint
  readonly fsBase: bigint
  readonly gsBaseKernel: bigint
  readonly gsBaseUser: bigint
}

import { describe, expect, test } from 'vitest'
import type { VcpuContext } from '../../../../src/hypervisor/domains/vcpu-registers.ts'
import { decodeVcpuContext, encodeVcpuContext } from '../../../../src/hypervisor/domains/vcpu-context.ts'

const context: VcpuContext = {
  flags: 4,
  user: {
    rax: 1n, rbx: 2n, rcx: 3n, rdx: 4n, rsi: 0xffff_ffff_8000_0000n, rdi: 6n, rbp: 7n, rsp: 0xffff_ffff_8001_0000n,
    r8: 8n, r9: 9n, r10: 10n, r11: 11n, r12: 12n, r13: 13n, r14: 14n, r15: 15n, rip: 0xffff_ffff_8010_0000n, rflags: 0x202n,
    cs: 0xe033, ss: 0xe02b, ds: 1, es: 2, fs: 3, gs: 4, savedUpcallMask: 1,
  },
  fpu: new Uint8Array(512).fill(9),
  traps: [{ vector: 3, flags: 3, cs: 0xe033, address: 0xffff_ffff_8010_1000n }, { vector: 14, flags: 4, cs: 0xe033, address: 5n }],
  ldtBase: 0x1000n, ldtEntries: 2, gdtFrames: [0x777, 0x778], gdtEntries: 600, kernelSs: 0xe02b, kernelSp: 0xffff_ffff_8002_0000n,
  kernelTable: 0x12345, userTable: 0x54321, cr0: 0x80050033n, cr4: 0x660n, debug: [1n, 2n, 3n, 4n, 0n, 0n, 0xffff0ff0n, 0x400n],
  eventCallback: 10n, failsafeCallback: 11n, syscallCallback: 12n, vmAssist: 0x2dn, fsBase: 13n, gsBaseKernel: 14n, gsBaseUser: 15n,
}

describe('the bytes of a vCPU context', () => {
  const view = new DataView(new ArrayBuffer(8192))

  test('give back what was written', () => {
    encodeVcpuContext(context, view, 64)
    expect(decodeVcpuContext(view, 64)).toEqual(context)
  })

  // Offsets from docs of the stream format: edx@616, gdt_frames@4832, gdt_ents@4960, ctrlreg@4984.
  test('lie where the ABI has them', () => {
    encodeVcpuContext(context, view, 0)
    expect(view.getBigUint64(616, true)).toBe(4n)
    expect(view.getBigUint64(4832, true)).toBe(0x777n)
    expect(view.getBigUint64(4960, true)).toBe(600n)
    expect(view.getBigUint64(4984 + 8, true)).toBe((0x54321n << 12n) | 1n)
    expect(view.getBigUint64(4984 + 24, true)).toBe(0x12345n << 12n)
  })

  test('without a user table hold 0 in its slot', () => {
    encodeVcpuContext({ ...context, userTable: 0 }, view, 0)
    expect(view.getBigUint64(4984 + 8, true)).toBe(0n)
    expect(decodeVcpuContext(view, 0).userTable).toBe(0)
  })
})

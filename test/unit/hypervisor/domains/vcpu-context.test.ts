import { describe, expect, test } from 'vitest'
import { COMPAT, CompatVcpuGuestContext } from '../../../../src/abi/index.ts'
import type { VcpuContext } from '../../../../src/hypervisor/domains/vcpu-registers.ts'
import { decodeVcpuContext, encodeVcpuContext } from '../../../../src/hypervisor/domains/vcpu-context.ts'
import { vcpuContextCodec } from '../../../../src/hypervisor/domains/vcpu-context-codec.ts'

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

describe('the context of a 32-bit vCPU', () => {
  const codec = vcpuContextCodec(COMPAT)
  const narrow: VcpuContext = {
    ...context, userTable: 0, kernelTable: 0xfedc_b, eventCallbackCs: 0xe019, failsafeCallbackCs: 0xe021, syscallCallback: 0n,
    fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
    traps: [{ vector: 3, flags: 3, cs: 0xe019, address: 0xc010_1000n }, { vector: 255, flags: 4, cs: 0xe019, address: 5n }],
    kernelSp: 0xc002_0000n,
    user: { ...context.user, rsi: 0xffff_ffffn, rsp: 0xc001_0000n, rip: 0xc010_0000n, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n },
  }

  test('takes 2,800 bytes and comes back as it was', () => {
    const view = new DataView(new ArrayBuffer(codec.size + 8))
    codec.encode(narrow, view, 4)
    expect(codec.size).toBe(2800)
    expect(codec.decode(view, 4)).toEqual(narrow)
    expect([view.getUint32(0, true), view.getUint32(4 + 2800, true)]).toEqual([0, 0])
  })

  test('holds the table\'s frame with its upper bits in the lower ones of CR3', () => {
    const view = new DataView(new ArrayBuffer(codec.size))
    codec.encode({ ...narrow, kernelTable: 0xabc1_2345 }, view, 0)
    expect(view.getUint32(CompatVcpuGuestContext.ctrlreg.at(0, 3), true)).toBe(0x1234_5abc)
    expect(codec.decode(view, 0).kernelTable).toBe(0xabc1_2345)
  })
})

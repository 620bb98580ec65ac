import { describe, expect, test } from 'vitest'
import { MSR, SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { CodeGuest, PLACE } from '../../../../support/code-guest.ts'

const VISIBLE = 0x660n
const FSGSBASE = 1n << 16n
const context = (guest: CodeGuest) => guest.hypervisor.getVcpuContext(guest.domid, 0)
const movRax = (value: bigint): string => `movabs $${value},%rax;`
const movRcx = (value: number): string => `movabs $${value},%rcx;`
const setCr4 = (value: bigint): string => `${movRax(value)} mov %rax,%cr4;`

describe('CR4 of a PV guest', () => {
  test('shows what Xen shows of its own: PAE, MCE, OSFXSR, OSXMMEXCPT', () => {
    expect(new CodeGuest().run('mov %cr4,%rax').get('rax')).toBe(VISIBLE)
  })

  test.each([
    ['TSD, DE and FSGSBASE, which are the guest\'s to choose', 0x1000cn, VISIBLE | 0x1000cn],
    ['bits of the hypervisor\'s and unknown ones, which are dropped', 0xffff_ffff_fff0_0ff3n, VISIBLE],
    ['none at all', 0n, VISIBLE],
  ])('takes %s', (_, written, read) => {
    const guest = new CodeGuest().run(`${setCr4(written)} mov %cr4,%rax`)
    expect([guest.trapped, guest.get('rax'), context(guest).cr4]).toEqual([-1, read, read])
  })

  test('of a context is taken alike', () => {
    const guest = new CodeGuest({ context: { cr4: FSGSBASE | 0x80n } })
    expect(context(guest).cr4).toBe(VISIBLE | FSGSBASE)
  })
})

describe('bases that a guest writes without a hypercall', () => {
  const FS = 0x7fff_1234_5000n
  const GS = 0xffff_9234_5678_9000n
  const WRITE = `${movRax(FS)} wrfsbase %rax; ${movRax(GS)} wrgsbase %rax;`

  test('need CR4.FSGSBASE: without it the instructions do not exist', () => {
    expect(new CodeGuest().run(WRITE).trapped).toBe(VECTOR.UD)
  })

  test('are in the context of the kernel that wrote them, beside the user\'s own', () => {
    const guest = new CodeGuest({ context: { cr4: FSGSBASE, gsBaseUser: 0x1000n } }).run(WRITE)
    const { fsBase, gsBaseKernel, gsBaseUser } = context(guest)
    expect([guest.trapped, fsBase, gsBaseKernel, gsBaseUser]).toEqual([-1, FS, GS, 0x1000n])
  })

  test('of user mode are the user\'s, and are there again after a trap into the kernel', () => {
    const guest = new CodeGuest({ mode: 'user', context: { cr4: FSGSBASE, gsBaseKernel: 0x2000n } }).run(`${WRITE} ud2`)
    const { registers } = guest.processor
    expect(guest.trapped).toBe(VECTOR.UD)
    expect(registers.segment(SEGMENT.gs).baseLow).toBe(0x2000)
    const { fsBase, gsBaseKernel, gsBaseUser } = context(guest)
    expect([fsBase, gsBaseKernel, gsBaseUser]).toEqual([FS, 0x2000n, GS])
  })

  test('are what RDMSR reads, and what another vCPU context starts with', () => {
    const guest = new CodeGuest({ context: { cr4: FSGSBASE } }).run(`${WRITE} ${movRcx(MSR.FS_BASE)} rdmsr`)
    expect([guest.get('rax'), guest.get('rdx')]).toEqual([FS & 0xffff_ffffn, FS >> 32n])
    const moved = new CodeGuest({ context: { fsBase: FS, gsBaseKernel: GS, cr4: context(guest).cr4 } }).run('rdfsbase %rbx; rdgsbase %rcx')
    expect([moved.get('rbx'), moved.get('rcx')]).toEqual([FS, GS])
  })

  test.each([0x8000_0000_0000n, 0x7fff_ffff_ffff_ffffn])('are addresses: %x is #GP', (value) => {
    const guest = new CodeGuest({ context: { cr4: FSGSBASE } }).run(`${movRax(value)} wrfsbase %rax`)
    expect([guest.trapped, guest.stack(3)[2]]).toEqual([VECTOR.GP, 0n])
  })
})

describe('RDTSCP of a PV guest', () => {
  const TSD = 4n
  const writeAux = (low: number, high = 0): string => `mov $${MSR.TSC_AUX},%ecx; mov $${low},%eax; mov $${high},%edx; wrmsr;`

  test('reads what the kernel wrote into TSC_AUX, and so does RDMSR', () => {
    const guest = new CodeGuest().run(`${writeAux(0x1234_5678)} xor %eax,%eax; rdtscp; mov %ecx,%esi; mov $0xc0000103,%ecx; rdmsr`)
    expect([guest.trapped, guest.get('rsi'), guest.get('rax'), guest.get('rdx')]).toEqual([-1, 0x1234_5678n, 0x1234_5678n, 0n])
  })

  test('TSC_AUX has 32 bits: more are #GP', () => {
    expect(new CodeGuest().run(writeAux(0, 1)).trapped).toBe(VECTOR.GP)
  })

  test('with CR4.TSD only the kernel may, as RDTSC', () => {
    const kernel = new CodeGuest({ context: { cr4: TSD } }).run(`${writeAux(5)} rdtscp`)
    expect([kernel.trapped, kernel.get('rcx')]).toEqual([-1, 5n])
    const user = new CodeGuest({ mode: 'user', context: { cr4: TSD } }).run('rdtscp')
    expect([user.trapped, user.stack(4)[3]]).toEqual([VECTOR.GP, BigInt(PLACE.CODE)])
    expect(new CodeGuest({ mode: 'user' }).run('rdtscp').trapped).toBe(-1)
  })
})

import { describe, expect, test } from 'vitest'
import { CALLBACKOP, CALLBACKTYPE, COMPAT, COMPAT_FLAT, ERRNO, EVTCHNOP, VCPUOP, VMASST_TYPE } from '../../../../../src/abi/index.ts'
import { vcpuContextCodec } from '../../../../../src/hypervisor/domains/vcpu-context-codec.ts'
import { SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { BASE, M2P, PLACE, PaeGuest, REGISTERS, TABLES } from '../../../../support/pae-guest.ts'

const { KERNEL_CS, KERNEL_SS, USER_CS, USER_SS } = COMPAT_FLAT
const mask = (guest: PaeGuest): number => guest.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096 + 1
const view = (guest: PaeGuest): DataView => guest.host.machine.memory.view
/** IRET of the processor's own to ring 3. */
const toUser = (label: string): string => `push $${USER_SS}; push $${PLACE.USER_STACK}; pushf; push $${USER_CS}; push $${label}; iret`

describe('a 32-bit PV guest', () => {
  test('runs in ring 1, makes hypercalls and is given what it asks', { timeout: 60_000 }, () => {
    const guest = new PaeGuest()
    expect(guest.call('xen_version', 0)).toBeGreaterThan(0x40000)
    expect(guest.call('get_debugreg', 9)).toBe(-ERRNO.ENODEV)
    expect(guest.call('set_segment_base', 0, 0)).toBe(-ERRNO.ENOSYS)
    expect(guest.host.harm()).toEqual([])
  })

  test('finds the machine-to-physical table read-only at the hypervisor\'s place, from ring 1 alone', () => {
    const guest = new PaeGuest()
    const frame = guest.frames[5]!
    guest.run(`mov ${M2P + frame * 4 - 2 ** 32},%eax`)
    expect(guest.get('rax')).toBe(5)
    guest.run(`mov %eax,${M2P + frame * 4 - 2 ** 32}`)
    expect([guest.trapped, guest.stack(1)]).toEqual([VECTOR.PF, [3]])
    guest.run(`${toUser('user')}; user: mov $${USER_SS},%eax; mov %eax,%ds; mov ${M2P - 2 ** 32},%eax`)
    expect([guest.trapped, guest.stack(1)]).toEqual([VECTOR.PF, [5]])
    expect(guest.host.harm()).toEqual([])
  })

  test('a trap within the kernel comes on its own stack, one of a process with its stack above', () => {
    const guest = new PaeGuest()
    guest.run('ud2')
    expect([guest.trapped, guest.get('rsp')]).toEqual([VECTOR.UD, PLACE.KERNEL_STACK - 12])
    expect([guest.stack(2)[0], guest.stack(2)[1]! & 0xffff]).toEqual([PLACE.CODE, KERNEL_CS])
    guest.set('rsp', PLACE.KERNEL_STACK)
    guest.run(`${toUser('user')}; user: ud2`)
    expect([guest.trapped, guest.get('rsp')]).toEqual([VECTOR.UD, PLACE.KERNEL_STACK - 20])
    const [, cs, flags, esp, ss] = guest.stack(5)
    expect([cs, flags! & 0x200, esp, ss]).toEqual([USER_CS | 0x1_0000, 0, PLACE.USER_STACK, USER_SS])
    expect(guest.host.harm()).toEqual([])
  })

  test('a page fault tells its address in vcpu_info, and whose it was', () => {
    const guest = new PaeGuest()
    guest.run('mov 0x5000,%eax')
    expect([guest.trapped, guest.stack(1), view(guest).getUint32(mask(guest) - 1 + 8, true)]).toEqual([VECTOR.PF, [0], 0x5000])
  })

  test('a masked upcall shows in the frame, and a trap that masks events masks them', () => {
    const trap = { vector: VECTOR.UD, flags: 4, cs: KERNEL_CS, address: BigInt(PLACE.HANDLERS) }
    const guest = new PaeGuest({ context: { traps: [trap] } })
    view(guest).setUint8(mask(guest), 1)
    guest.run('ud2')
    expect(guest.stack(3)[1]).toBe(KERNEL_CS | 0x1_0000)
    expect(guest.stack(3)[2]! & 0x200).toBe(0)
    view(guest).setUint8(mask(guest), 0)
    guest.run('ud2')
    expect([guest.stack(3)[1], view(guest).getUint8(mask(guest))]).toEqual([KERNEL_CS, 1])
  })

  test('iret returns within ring 1, and to ring 3 with an empty DS where that was the kernel\'s', () => {
    const guest = new PaeGuest()
    guest.run(`push $0x246; push $${KERNEL_CS}; push $back; push $0x1234; mov $23,%eax; int $0x82; back: mov %esp,%ecx`)
    expect([guest.get('rax'), guest.get('rcx'), guest.trapped]).toEqual([0x1234, PLACE.KERNEL_STACK, -1])
    guest.run(`push $${USER_SS}; push $${PLACE.USER_STACK}; push $0; push $${USER_CS}; push $user; push $7; mov $23,%eax; int $0x82; user: push %ds; pop %ecx`)
    expect([guest.get('rax'), guest.get('rcx'), guest.get('rsp')]).toEqual([7, 0, PLACE.USER_STACK])
    expect(view(guest).getUint8(mask(guest))).toBe(1)
    expect(guest.host.harm()).toEqual([])
  })

  test.each([
    ['into the hypervisor\'s ring', 'push $0; push $0xe008; push $0; push $0; mov $23,%eax; int $0x82', 'crashed'],
    ['from a stack that is not there', 'mov $0x1000,%esp; mov $23,%eax; int $0x82', 'crashed'],
    ['to 64-bit code', 'push $0x202; push $0xe03b; push $0; push $0; mov $23,%eax; int $0x82', VECTOR.GP],
    ['to virtual-8086 mode', 'push $0x20202; push $0; push $0; push $0; mov $23,%eax; int $0x82', VECTOR.GP],
  ])('iret %s', (_what, code, outcome) => {
    const guest = new PaeGuest()
    guest.set('rsp', PLACE.KERNEL_STACK - 256)
    guest.run(code)
    if (outcome === 'crashed') expect(guest.hypervisor.domainInfo(guest.domid).shutdownReason).toBe(3)
    else expect(guest.trapped).toBe(outcome)
    expect(guest.host.harm()).toEqual([])
  })

  test('SYSCALL of a process goes to its handler, as from flat segments, and is a protection fault without one', () => {
    const guest = new PaeGuest()
    guest.run(`${toUser('user')}; user: syscall`)
    expect([guest.trapped, guest.stack(1)]).toEqual([VECTOR.GP, [0]])
    guest.set('rsp', PLACE.KERNEL_STACK)
    guest.words(PLACE.DATA, CALLBACKTYPE.syscall32 | 0x1_0000, 0xe018, PLACE.SYSCALL32)
    expect(guest.call('callback_op', CALLBACKOP.register, PLACE.DATA)).toBe(0)
    guest.run(`${toUser('user')}; user: syscall; here: nop`)
    expect(guest.processor.registers.rip()).toBe(PLACE.SYSCALL32)
    const [eip, cs, , esp, ss] = guest.stack(5)
    expect([eip, cs! & 0xffff, esp, ss]).toEqual([guest.get('rcx'), USER_CS, PLACE.USER_STACK, USER_SS])
    expect(guest.host.harm()).toEqual([])
  })

  test('a process makes no hypercalls, and int n as far as its kernel lets it', () => {
    const guest = new PaeGuest({ context: { traps: [0x80, VECTOR.GP].map((vector) => ({ vector, flags: vector === 0x80 ? 3 : 0, cs: KERNEL_CS, address: BigInt(PLACE.HANDLERS + (vector & 31) * 16) })) } })
    guest.run(`${toUser('user')}; user: mov $17,%eax; int $0x82`)
    expect([guest.trapped, guest.stack(1)]).toEqual([VECTOR.GP, [0x82 * 8 + 2]])
    guest.set('rsp', PLACE.KERNEL_STACK)
    guest.run(`${toUser('user')}; user: int $0x80`)
    expect(guest.processor.registers.rip()).toBe(PLACE.HANDLERS)
  })

  test('an event enters the callback in the segment that it names', () => {
    const guest = new PaeGuest()
    view(guest).setUint8(mask(guest), 0)
    const port = guest.hypervisor.port(guest.domid).bindIpi(0)
    expect(guest.call('event_channel_op', EVTCHNOP.send, guest.words(PLACE.DATA, port as number))).toBe(0)
    expect([guest.processor.registers.rip(), view(guest).getUint8(mask(guest))]).toEqual([PLACE.EVENT, 1])
  })

  test('the hypercall page is reached by call, and its iret by jump', () => {
    const guest = new PaeGuest()
    guest.hypervisor.writeHypercallPage(guest.domid, guest.frames[13]!)
    guest.run(`xor %ebx,%ebx; xor %ecx,%ecx; call ${BASE + 13 * 4096 + 17 * 32}`)
    expect(guest.get('rax')).toBeGreaterThan(0x40000)
    guest.run(`push $0x202; push $${KERNEL_CS}; push $back; mov $9,%eax; jmp ${BASE + 13 * 4096 + 23 * 32}; back: nop`)
    expect([guest.get('rax'), guest.get('rsp'), guest.trapped]).toEqual([9, PLACE.KERNEL_STACK, -1])
  })

  test('privileged instructions mean what they do for PV guests, without long mode', () => {
    const guest = new PaeGuest()
    guest.run('mov %cr3,%ecx; mov %cr0,%edx; mov $0x80000001,%eax; push %ecx; push %edx; cpuid; mov %edx,%esi; pop %edi; pop %ebp')
    expect(guest.get('rbp')).toBe((guest.frames[TABLES.l3]! << 12) >>> 0)
    expect(guest.get('rsi') & (1 << 29)).toBe(0)
    expect(guest.get('rdi') & 1).toBe(1)
    guest.run('mov $0xc0000080,%ecx; rdmsr')
    expect(guest.get('rax')).toBe(0x801)
    guest.run('mov $0xc0000100,%ecx; rdmsr')
    expect(guest.trapped).toBe(VECTOR.GP)
    guest.run('mov %cr3,%eax; mov %eax,%cr3')
    expect(guest.trapped).toBe(-1)
    guest.run('xor %eax,%eax; mov %eax,%cr3')
    expect(guest.trapped).toBe(VECTOR.GP)
    expect(guest.host.harm()).toEqual([])
  })

  test('a data segment that its context cannot have is told by the failsafe callback', () => {
    const guest = new PaeGuest({ context: { user: { ...REGISTERS, fs: 0x18, gs: 3 } } })
    guest.hypervisor.run({ instructions: 100 })
    expect(guest.processor.registers.rip()).toBe(PLACE.FAILSAFE)
    expect(guest.stack(7).slice(0, 6)).toEqual([KERNEL_SS, KERNEL_SS, 0, 3, PLACE.CODE, KERNEL_CS | 0x1_0000])
    expect(guest.host.harm()).toEqual([])
  })

  test('a second vCPU starts with the 2,800 bytes that the first gives it, on a table of level 4 of its own', () => {
    const guest = new PaeGuest()
    const codec = vcpuContextCodec(COMPAT)
    const bytes = new DataView(new ArrayBuffer(codec.size))
    const at = BASE + 21 * 4096 + 8
    codec.encode(guest.context({ user: { ...REGISTERS, rip: BigInt(PLACE.EVENT), rsp: BigInt(PLACE.USER_STACK) } }), bytes, 0)
    guest.write(at, new Uint8Array(bytes.buffer))
    expect([guest.call('vcpu_op', VCPUOP.initialise, 1, at), guest.call('vcpu_op', VCPUOP.initialise, 1, at)]).toEqual([0, -ERRNO.EEXIST])
    expect([guest.call('vcpu_op', VCPUOP.up, 1, 0), guest.call('vcpu_op', VCPUOP.is_up, 1, 0)]).toEqual([0, 1])
    guest.hypervisor.run({ instructions: 100 })
    const [first, second] = guest.host.processors
    expect(second!.registers.controlLow(3)).not.toBe(first!.registers.controlLow(3))
    expect(guest.hypervisor.getVcpuContext(guest.domid, 1)).toMatchObject({ kernelTable: guest.frames[TABLES.l3], user: { cs: KERNEL_CS } })
    expect(guest.host.harm()).toEqual([])
  })

  test('its context comes back as it was given', () => {
    const guest = new PaeGuest()
    guest.call('vm_assist', 0, VMASST_TYPE.writable_pagetables)
    guest.call('stack_switch', 0xe020, 0x12345)
    const context = guest.hypervisor.getVcpuContext(guest.domid, 0)
    expect(context).toMatchObject({
      kernelTable: guest.frames[TABLES.l3], kernelSs: 0xe021, kernelSp: 0x12345n, eventCallbackCs: KERNEL_CS, vmAssist: 4n,
      user: { cs: KERNEL_CS, ss: KERNEL_SS },
    })
    expect(guest.hypervisor.getVcpuContext(guest.domid, 0).traps).toHaveLength(32)
    guest.hypervisor.pauseDomain(guest.domid)
    guest.hypervisor.setVcpuContext(guest.domid, 0, context)
    expect(guest.hypervisor.getVcpuContext(guest.domid, 0)).toEqual(context)
    expect(guest.processor.registers.segment(SEGMENT.cs).selector).toBe(KERNEL_CS)
  })
})

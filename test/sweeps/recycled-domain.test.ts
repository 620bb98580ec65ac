/**
 * A domain with the number, the frames and the processors of one that is gone: everything that the hypervisor and the
 * processors hold of it, and all of its memory, equals that of the same domain on a host that has never had another.
 */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  EvtchnBindVirq, ERRNO, EVTCHNOP, EvtchnAllocUnbound, FLAT, MMUEXT, MmuextOp, SCHEDOP, SHUTDOWN, VCPUOP, VIRQ, VMASST_CMD, VMASST_TYPE,
} from '../../src/abi/index.ts'
import type { HypervisorParts } from '../../src/hypervisor/hypervisor-parts.ts'
import type { VirtualClock } from '../../src/hypervisor/index.ts'
import { EXIT } from '../../src/machine/index.ts'
import { PROCESSOR_BYTES } from '../../src/machine/memory/layout.ts'
import type { DomId } from '../../src/util/index.ts'
import { RFLAGS } from '../../src/x86/index.ts'
import type { Core } from '../../src/machine/cpu/core/core.ts'
import { flatten } from '../support/flatten.ts'
import { MachineHost } from '../support/machine-host.ts'
import { PAGE, TableGuest } from '../support/table-guest.ts'

/** The hypervisor's inside, which is what is looked at. */
const partsOf = (host: MachineHost): HypervisorParts => (host.hypervisor as unknown as { parts: HypervisorParts }).parts

/** What belongs to the host or the machine, and times that stand for no more than that somebody was there before. */
const HOSTS = new Set([
  'memory', 'physical', 'view', 'words', 'bytes', 'shorter', 'engine', 'active', 'running', 'interpreter', 'release', 'queue', 'host', 'parts', 'hub',
  'frames', 'flushedAt', 'sequence', 'kind', 'stackFaults',
])
/** The same, and the domain, which is looked at by itself. */
const SHARED = new Set([...HOSTS, 'domain'])

/** Everything that is kept of a domain, and what it is in memory. */
function whole(host: MachineHost, guest: TableGuest): Record<string, unknown> {
  const parts = partsOf(host)
  const { memory } = host.machine
  const domain = parts.domains.get(guest.domid)!
  const hash = (from: number, bytes: number): string =>
    createHash('sha256').update(memory.bytes.subarray(from, from + bytes)).digest('hex')
  const out: Record<string, unknown> = {
    ...flatten(domain, HOSTS, 'domain'),
    ...flatten(parts.events.of(guest.domid), SHARED, 'events'),
    ...flatten(parts.grants.of(guest.domid), SHARED, 'grants'),
    contexts: domain.vcpus.map((vcpu) => vcpu.guest?.context?.get() ?? ''),
  }
  for (const mfn of [domain.sharedInfoFrame, ...guest.frames]) {
    out[`frame ${mfn}`] = hash(mfn * 4096, 4096)
    const { owner, type, typeCount, references, pinned, validated } = host.hypervisor.frameInfo(mfn as never)
    out[`frame ${mfn} is`] = { owner, type, typeCount, references, pinned, validated }
    out[`entry ${mfn}`] = memory.view.getUint32(parts.machineToPhys.tableFrame * 4096 + mfn * 8, true)
  }
  return out
}

/** The area of its processor. Once that has run it names places in the cache of decoded code, which others have used. */
function area(host: MachineHost, guest: TableGuest): string {
  const { base } = (guest.processor as unknown as { core: Core }).core.registers
  return createHash('sha256').update(host.machine.memory.bytes.subarray(base, base + PROCESSOR_BYTES)).digest('hex')
}

/** What a domain may do to itself and the host, so that something is left of it somewhere. */
const LIVES: readonly (readonly [what: string, life: (guest: TableGuest) => void])[] = [
  ['has done nothing', () => {}],
  ['has run, and written its memory and tables', (g) => {
    g.set('rdi', g.entryAt(400))
    g.set('rax', g.frames[50]! * 4096 + 0x63)
    g.execute('mov %rax,(%rdi); mov $0x120000,%rdi; mov %rcx,(%rdi); movups (%rdi),%xmm0; movups %xmm0,0xf(%rdi); fldpi; 1: jmp 1b')
  }],
  ['has crashed in the middle of something', (g) => g.execute('mov $0,%rsp; ud2')],
  ['has bound ports and registered areas', (g) => {
    const { view } = g.host.machine.memory
    for (let i = 0; i < 5; i += 1) {
      EvtchnAllocUnbound.encode(view, g.place(1), { dom: 0x7ff0, remoteDom: 0x7ff0, port: 0 } as never)
      g.call('event_channel_op', EVTCHNOP.alloc_unbound, g.at(1))
    }
    EvtchnBindVirq.encode(view, g.place(1), { virq: VIRQ.TIMER, vcpu: 0, port: 0 } as never)
    g.call('event_channel_op', EVTCHNOP.bind_virq, g.at(1))
    view.setBigUint64(g.place(1), BigInt(g.at(2)), true)
    expect(g.call('vcpu_op', VCPUOP.register_runstate_memory_area, 0, g.at(1))).toBe(0)
    expect(g.call('vcpu_op', VCPUOP.register_vcpu_time_memory_area, 0, g.at(1))).toBe(0)
    view.setBigUint64(g.place(1), BigInt(g.frames[20]!), true)
    view.setBigUint64(g.place(1, 8), 64n, true)
    expect(g.call('vcpu_op', VCPUOP.register_vcpu_info, 0, g.at(1))).toBe(0)
  }],
  ['has set timers, and a watchdog', (g) => {
    const { view } = g.host.machine.memory
    view.setBigUint64(g.place(1), 2_000_000n, true)
    expect(g.call('vcpu_op', VCPUOP.set_periodic_timer, 0, g.at(1))).toBe(0)
    expect(g.call('set_timer_op', 1, 1)).toBe(0)
    view.setUint32(g.place(1), 0, true)
    view.setUint32(g.place(1, 4), 30, true)
    expect(g.call('sched_op', SCHEDOP.watchdog, g.at(1))).toBeGreaterThan(0)
  }],
  ['has set breakpoints, single step, I/O privilege and traps', (g) => {
    for (const [register, value] of [[0, 0x10_0000], [7, 0x000d_0003]] as const) expect(g.call('set_debugreg', register, value)).toBe(0)
    g.processor.registers.setFlags(RFLAGS.TF | RFLAGS.AC | RFLAGS.IF)
    g.host.machine.memory.view.setUint32(g.place(1), 3, true)
    g.call('physdev_op', 6, g.at(1))
    g.execute('nop; nop; nop; 1: jmp 1b')
  }],
  ['has descriptor tables, assists and an NMI', (g) => {
    const { view } = g.host.machine.memory
    expect(g.call('vm_assist', VMASST_CMD.enable, VMASST_TYPE.m2p_strict)).toBe(0)
    MmuextOp.encode(view, g.place(1), { cmd: MMUEXT.SET_LDT, mfn: BigInt(g.at(21)), nrEnts: 16 } as never)
    expect(g.call('mmuext_op', g.at(1), 1, 0, 0x7ff0)).toBe(0)
    expect(g.call('vcpu_op', VCPUOP.send_nmi, 0, 0)).toBe(0)
    expect(g.call('set_callbacks', 0, 0, 0)).toBe(0)
    g.call('stack_switch', FLAT.KERNEL_SS, g.at(25))
  }],
  ['was watched, traced, paused and shut down', (g) => {
    const { hypervisor } = g.host
    hypervisor.traceVcpu(g.domid, 0, { memory: () => {}, instruction: () => {} })
    g.execute('mov $0x120000,%rdi; mov %rcx,(%rdi); 1: jmp 1b', { instructions: 50 })
    hypervisor.pauseDomain(g.domid)
    hypervisor.shutdownDomain(g.domid, SHUTDOWN.suspend)
    hypervisor.setAffinity(g.domid, 0, { hard: [0] })
  }],
  ['has shared its memory', (g) => {
    expect(Array.isArray(g.host.hypervisor.port(g.domid).setupGrantTable(2))).toBe(true)
    g.host.hypervisor.setMaxPages(g.domid, 70)
  }],
  ['has asked for what is refused', (g) => {
    expect(g.call('mmuext_op', 5, 1, 0, 0x7ff0)).toBe(-ERRNO.EFAULT)
    expect(g.call('vcpu_op', VCPUOP.initialise, 1, g.at(1))).toBe(-ERRNO.EINVAL)
  }],
]

const NUMBER = 5 as DomId
/** Host time at which domains are compared: later than any life lasts. */
const LATER = 1_000_000_000
const make = (host: MachineHost): TableGuest => new TableGuest({ host, vcpus: 2, domid: NUMBER })

/** What a domain is when it has been made, and when it has run for a while. */
function history(host: MachineHost): readonly unknown[] {
  const clock = partsOf(host).clock as VirtualClock
  clock.set(LATER)
  const guest = make(host)
  const first = [guest.frames, whole(host, guest), area(host, guest), host.problems()]
  guest.set('rdi', guest.at(20))
  // mov ecx,9; L: inc eax; dec ecx; jnz L; mov [rdi],rax
  guest.execute('mov $9,%ecx; 1: inc %eax; dec %ecx; jne 1b; mov %rax,(%rdi); 2: jmp 2b', { instructions: 3000 })
  return [...first, whole(host, guest), host.problems()]
}

test('a vCPU that is given other registers does not take the trap that its old ones held back', () => {
  const host = new MachineHost()
  const guest = new TableGuest({ host })
  host.hypervisor.pauseDomain(guest.domid)
  const { registers } = guest.processor
  guest.host.machine.memory.view.setUint16(guest.place(20), FLAT.KERNEL_SS, true)
  for (const [register, value] of [[0, guest.at(20)], [7, 0x0003_0001]] as const) registers.setDebug(register, value, 0)
  guest.set('rdi', guest.at(20))
  // mov ss,[rdi], of which the breakpoint's trap waits for the next instruction
  guest.write(PAGE.code, 'mov (%rdi),%ss; nop; 1: jmp 1b')
  registers.setRip(guest.at(PAGE.code), 0)
  expect(guest.processor.run(1)).toBe(EXIT.BUDGET)
  expect(guest.processor.save()).toMatchObject({ shadow: 'ss', debugTrap: 1 })
  const context = host.hypervisor.getVcpuContext(guest.domid, 0)
  host.hypervisor.setVcpuContext(guest.domid, 0, { ...context, debug: context.debug.map((value, i) => (i === 7 ? 0n : value)) })
  host.hypervisor.unpauseDomain(guest.domid)
  guest.run(1000)
  expect(guest.state).toBe('+3')
})

describe('a domain in the place of one that', () => {
  let pristine: readonly unknown[] | undefined
  test.each(LIVES)('%s is as on a new host', (_, life) => {
    pristine ??= history(new MachineHost())
    const host = new MachineHost()
    life(make(host))
    host.hypervisor.destroyDomain(NUMBER)
    const found = history(host)
    // One by one, so that a difference is told by its path.
    pristine.forEach((one, i) => expect(found[i]).toEqual(one))
  })
})

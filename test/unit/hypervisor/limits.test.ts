/** What is limited, and what an error does that nobody has foreseen: the host goes on whatever a guest asks for. */
import { describe, expect, test } from 'vitest'
import { ERRNO, HYPERVISOR, SHUTDOWN, VCPUOP } from '../../../src/abi/index.ts'
import type { FrameTable } from '../../../src/hypervisor/frames/frame-table.ts'
import type { HypervisorEvent, VcpuRunner } from '../../../src/hypervisor/index.ts'
import { EXIT } from '../../../src/machine/index.ts'
import { highPart, lowPart } from '../../../src/util/index.ts'
import { GPR } from '../../../src/x86/index.ts'
import { TestGuest, TestHost, WRITE } from '../../support/hypervisor-host.ts'
import { MachineGuest, MachineHost } from '../../support/machine-host.ts'
import { PvGuest } from '../../support/pv-guest.ts'
import { ScriptedProcessor } from '../../../src/testing/index.ts'
import { PAGE, TableGuest } from '../../support/table-guest.ts'

/** Instructions of a guest in TypeScript that never ends, and where they are counted. */
const busy = (): VcpuRunner & { total: number } => ({
  total: 0,
  executed: 0,
  run(budget) {
    Object.assign(this, { executed: budget, total: this.total + budget })
    return { kind: 'budget' }
  },
  enter: () => true,
})

describe('processors', () => {
  const host = (processors: number): TestHost =>
    new TestHost({ processors, createProcessor: () => new ScriptedProcessor() })

  test('are kept for every vCPU of a domain when it is made, and free again when it is gone', () => {
    const { hypervisor, freeAtBoot } = host(8)
    const first = hypervisor.createDomain({ kind: 'pv', vcpus: 5 })
    expect(() => hypervisor.createDomain({ kind: 'pv', vcpus: 4 }))
      .toThrowError(expect.objectContaining({ code: 'OUT_OF_RESOURCES', details: { vcpus: 4, free: 3 } }))
    // A refused one leaves nothing, not even its number.
    const second = hypervisor.createDomain({ kind: 'pv', vcpus: 3 })
    expect(second).toBe(first + 1)
    hypervisor.destroyDomain(first)
    const third = hypervisor.createDomain({ kind: 'pv', vcpus: 5 })
    for (const domid of [second, third]) hypervisor.destroyDomain(domid)
    expect(hypervisor.hostInfo().freeFrames).toBe(freeAtBoot)
    for (let i = 0; i < 20; i += 1) hypervisor.destroyDomain(hypervisor.createDomain({ kind: 'pv', vcpus: 8 }))
  })

  test('are not needed by guests in TypeScript', () => {
    const { hypervisor } = host(0)
    hypervisor.createDomain({ kind: 'typescript', createRunner: busy, vcpus: 5 })
    expect(() => hypervisor.createDomain({ kind: 'pv' })).toThrowError(expect.objectContaining({ code: 'OUT_OF_RESOURCES' }))
  })

  test('of the machine that run out when a guest initialises its vCPUs are -ENOMEM to it, and nothing to anybody else', () => {
    // A machine with six processors under a hypervisor that has not been told.
    const host = new MachineHost()
    const guest = new TableGuest({ host, vcpus: 12 })
    const other = new TableGuest({ host })
    // Its context lies in page 4: the one that it was started with itself, but for the table, which another vCPU shares.
    guest.set('rbx', 1)
    guest.set('rbp', guest.at(20))
    guest.write(PAGE.code, `
      1:  mov $${VCPUOP.initialise},%edi
          mov %rbx,%rsi
          mov $${guest.at(4)},%edx
          mov $${HYPERVISOR.vcpu_op},%eax
          syscall
          mov %rax,(%rbp,%rbx,8)
          inc %rbx
          cmp $12,%ebx
          jne 1b
          jmp .`)
    const code = guest.at(PAGE.code)
    guest.processor.registers.setRip(lowPart(code), highPart(code))
    host.hypervisor.run({ instructions: 200_000 })
    const results = Array.from({ length: 11 }, (_, i) => Number(host.machine.memory.view.getBigInt64(guest.place(20, (i + 1) * 8), true)))
    // Two processors run, four are left; an empty context is none.
    expect(results).toEqual([...Array.from({ length: 4 }, () => -ERRNO.EINVAL), ...Array.from({ length: 7 }, () => -ERRNO.ENOMEM)])
    expect(guest.state).toMatch(/^\+/)
    const before = other.host.hypervisor.domainInfo(other.domid).cpuTime
    host.hypervisor.run({ instructions: 12_000_000 })
    expect(other.host.hypervisor.domainInfo(other.domid).cpuTime).toBeGreaterThan(before)
    expect(host.problems()).toEqual([])
    // What the guest held is free again with it.
    host.hypervisor.destroyDomain(guest.domid)
    for (let i = 0; i < 5; i += 1) new MachineGuest(host, { pages: 50 }).start(0, { start: 0x10_0000, trap: 0x10_0000, stack: 0x10_1000 })
  })
})

describe('what makes a domain is looked at when it is made', () => {
  const rows: readonly (readonly [what: string, options: { vcpus?: number; domid?: number }, code: string])[] = [
    ['no vCPU', { vcpus: 0 }, 'INVALID_ARGUMENT'],
    ['more vCPUs than a domain can have', { vcpus: 129 }, 'INVALID_ARGUMENT'],
    ['a part of a vCPU', { vcpus: 1.5 }, 'INVALID_ARGUMENT'],
    ['vCPUs that are no number', { vcpus: Number.NaN }, 'INVALID_ARGUMENT'],
    ['a negative number', { domid: -1 }, 'INVALID_ARGUMENT'],
    ['a number that is none', { domid: Number.NaN }, 'INVALID_ARGUMENT'],
    ['a number with a fraction', { domid: 1.5 }, 'INVALID_ARGUMENT'],
    ['a reserved number', { domid: 0x7ff0 }, 'OUT_OF_RESOURCES'],
  ]
  test.each(rows)('%s', (_, options, code) => {
    const { hypervisor, freeAtBoot } = new TestHost({ createProcessor: () => new ScriptedProcessor() })
    expect(() => hypervisor.createDomain({ kind: 'pv', ...(options as object) })).toThrowError(expect.objectContaining({ code }))
    expect(hypervisor.hostInfo().freeFrames).toBe(freeAtBoot)
    expect(hypervisor.listDomains()).toEqual([])
  })
})

describe('an error on behalf of a guest crashes its domain, and the host goes on', () => {
  /** Runs one guest that fails beside one that is busy. */
  function beside(runner: VcpuRunner): { host: TestHost; events: HypervisorEvent[]; failing: number; work: () => number } {
    const host = new TestHost()
    const events: HypervisorEvent[] = []
    host.hypervisor.events.on('internal-error', (event) => events.push(event))
    const other = busy()
    const guests = [host.guest({ runner, pages: 8 }), host.guest({ runner: other, pages: 8 })]
    for (const { domid } of guests) {
      host.hypervisor.startVcpu(domid, 0)
      host.hypervisor.unpauseDomain(domid)
    }
    return { host, events, failing: guests[0]!.domid, work: () => other.total }
  }

  test('one of its runner', () => {
    const error = new Error('a case that nobody has thought of')
    const { host, events, failing, work } = beside({
      executed: 0, enter: () => true,
      run: () => {
        throw error
      },
    })
    host.hypervisor.run({ instructions: 10_000_000 })
    expect(host.hypervisor.domainInfo(failing as never)).toMatchObject({ crashed: true, shutdownReason: SHUTDOWN.crash })
    expect(events).toMatchObject([{ domid: failing, vcpu: 0, error }])
    expect(work()).toBeGreaterThan(1_000_000)
    expect(host.problems()).toEqual([])
  })

  test('one of a hypercall', () => {
    const error = new RangeError('deeper than anybody has thought')
    const processor = new ScriptedProcessor()
    let made = 0
    const host = new TestHost({
      createProcessor: () => {
        made += 1
        if (made > 1) throw error
        return processor
      },
    })
    const { hypervisor } = host
    const events: HypervisorEvent[] = []
    hypervisor.events.on('internal-error', (event) => events.push(event))
    const domid = hypervisor.createDomain({ kind: 'pv', vcpus: 2, maxPages: 16 })
    const guest = new TestGuest(host, domid, hypervisor.populatePhysmap(domid, 16, 0))
    const { l4 } = guest.tables([[guest.take(), WRITE], [guest.take(), WRITE]])
    hypervisor.setVcpuContext(domid, 0, PvGuest.context(l4))
    hypervisor.unpauseDomain(domid)
    processor.script.push((registers) => {
      for (const [register, value] of [[GPR.rax, HYPERVISOR.vcpu_op], [GPR.rdi, VCPUOP.initialise], [GPR.rsi, 1], [GPR.rdx, 0]] as const) {
        registers.set(register, value, 0)
      }
      return { reason: EXIT.SYSCALL }
    })
    hypervisor.run({ instructions: 10_000 })
    expect(hypervisor.domainInfo(domid).crashed).toBe(true)
    expect(events).toMatchObject([{ domid, vcpu: 0, error }])
    expect(host.problems()).toEqual([])
    guest.destroy()
    expect(hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
  })

  test('unless it has left anything that does not add up: then the host stops, and says what', () => {
    const error = new Error('in the middle of something')
    const { host } = beside({
      executed: 0, enter: () => true,
      run: () => {
        // The hypervisor's inside is not part of its interface; the fault is planted there.
        const { frames } = (host.hypervisor as unknown as { parts: { frames: FrameTable } }).parts
        const mfn = frames.owner.indexOf(1)
        frames.rows.setReferences(mfn, frames.references[mfn]! + 1)
        throw error
      },
    })
    let thrown: unknown
    try {
      host.hypervisor.run({ instructions: 10_000_000 })
    } catch (caught) {
      thrown = caught
    }
    expect(thrown).toMatchObject({ message: expect.stringContaining('frame '), cause: error })
  })
})

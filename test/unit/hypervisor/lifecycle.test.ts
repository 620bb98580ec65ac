import { describe, expect, test } from 'vitest'
import { SHUTDOWN, VIRQ } from '../../../src/abi/index.ts'
import { FRAME_KIND, type HypervisorEvent, type VcpuRunner } from '../../../src/hypervisor/index.ts'
import { XenError, domId, grantRef, type DomId } from '../../../src/util/index.ts'
import { SLEEPER, TestHost } from '../../support/hypervisor-host.ts'
import { PvGuest } from '../../support/pv-guest.ts'
import { ScriptedProcessor } from '../../../src/testing/index.ts'

const failure = (body: () => unknown): string => {
  try {
    body()
    return 'nothing was thrown'
  } catch (error) {
    return XenError.is(error) ? error.code : String(error)
  }
}

describe('a domain', () => {
  test('starts paused, without memory, with the next number', () => {
    const { hypervisor } = new TestHost()
    const first = hypervisor.createDomain({ kind: 'typescript', createRunner: () => SLEEPER })
    const second = hypervisor.createDomain({ kind: 'typescript', createRunner: () => SLEEPER, vcpus: 3, maxPages: 9 })
    expect([first, second]).toEqual([0, 1])
    expect(hypervisor.domainInfo(second)).toMatchObject({
      paused: true, running: false, blocked: false, shutdown: false, totalPages: 0, maxPages: 9, maxVcpu: 2, onlineVcpus: 0,
    })
  })

  test('has a number that is given again when all others have had their turn; one that was asked for leaves the turn as it is', () => {
    const { hypervisor } = new TestHost()
    const create = (domid?: DomId): DomId => hypervisor.createDomain({ kind: 'pv', ...(domid === undefined ? {} : { domid }) })
    const [zero, one] = [create(), create()]
    hypervisor.destroyDomain(one)
    expect([zero, create(), create(domId(500)), create()]).toEqual([0, 2, 500, 3])
    // As after 32,740 more.
    const nearTheEnd = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
      if (Array.isArray(value)) return value.map(nearTheEnd)
      return Object.fromEntries(Object.entries(value).map(([name, own]) => [name, name === 'nextId' ? 0x7fee : nearTheEnd(own)]))
    }
    const saved = hypervisor.save()
    const later = new TestHost().hypervisor
    later.load(nearTheEnd(saved) as typeof saved)
    const next = (): DomId => later.createDomain({ kind: 'pv' })
    expect([next(), next(), next(), next()]).toEqual([0x7fee, 0x7fef, 1, 4])
  })

  test('leaves nothing behind, also when it is destroyed twice or in the middle of its life', () => {
    const host = new TestHost()
    for (let round = 0; round < 5; round += 1) {
      const guest = host.guest({ pages: 100, vcpus: 4 })
      const port = host.hypervisor.port(guest.domid)
      port.allocUnbound(guest.domid, domId(0))
      port.setupGrantTable(3)
      port.bindVirq(VIRQ.TIMER, 0)
      port.setTimer(1e9)
      host.hypervisor.startVcpu(guest.domid, 0)
      host.hypervisor.unpauseDomain(guest.domid)
      host.hypervisor.run({ instructions: 1000, until: host.clock.now() + 1000 })
      guest.destroy()
      expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
      expect(failure(() => guest.destroy())).toBe('DOMAIN_NOT_FOUND')
      expect(host.problems()).toEqual([])
    }
  })

  const refusals: [string, string, (host: TestHost) => unknown][] = [
    ['a number that is taken', 'DOMAIN_EXISTS', ({ hypervisor }) => {
      hypervisor.createDomain({ kind: 'pv', domid: domId(7) })
      hypervisor.createDomain({ kind: 'pv', domid: domId(7) })
    }],
    ['a reserved number', 'OUT_OF_RESOURCES', ({ hypervisor }) => hypervisor.createDomain({ kind: 'pv', domid: domId(0x7ff0) })],
    ['no vCPU', 'INVALID_ARGUMENT', ({ hypervisor }) => hypervisor.createDomain({ kind: 'pv', vcpus: 0 })],
    ['too many vCPUs', 'INVALID_ARGUMENT', ({ hypervisor }) => hypervisor.createDomain({ kind: 'pv', vcpus: 4096 })],
    ['a TypeScript guest without a runner', 'INVALID_ARGUMENT', ({ hypervisor }) => hypervisor.createDomain({ kind: 'typescript' })],
    ['more pages than the domain may have', 'OUT_OF_MEMORY', ({ hypervisor }) =>
      hypervisor.populatePhysmap(hypervisor.createDomain({ kind: 'pv', maxPages: 4 }), 5)],
    ['more pages than the host has', 'OUT_OF_MEMORY', ({ hypervisor }) =>
      hypervisor.populatePhysmap(hypervisor.createDomain({ kind: 'pv', maxPages: 1e9 }), 1e8)],
    ['registers for a TypeScript guest', 'INVALID_STATE', (host) =>
      host.hypervisor.setVcpuContext(host.guest().domid, 0, PvGuest.context(1))],
    ['registers on a host without processors', 'NOT_SUPPORTED', ({ hypervisor }) =>
      hypervisor.setVcpuContext(hypervisor.createDomain({ kind: 'pv' }), 0, PvGuest.context(1))],
    ['a vCPU that it has not', 'INVALID_ARGUMENT', (host) => host.hypervisor.startVcpu(host.guest().domid, 3)],
    ['bytes of a frame that is not its own', 'PERMISSION_DENIED', (host) => {
      const [a, b] = [host.guest(), host.guest()]
      host.hypervisor.frameBytes(a.domid, b.frames[0]!)
    }],
    ['resuming while it runs', 'INVALID_STATE', (host) => host.hypervisor.resumeDomain(host.guest().domid)],
    ['unpausing too often', 'INVALID_STATE', (host) => {
      const { domid } = host.guest()
      host.hypervisor.unpauseDomain(domid)
      host.hypervisor.unpauseDomain(domid)
    }],
    ['a grant beyond the table', 'INVALID_ARGUMENT', (host) => {
      const guest = host.guest()
      host.hypervisor.seedGrant(guest.domid, grantRef(100_000), { remote: domId(0), frame: guest.frames[0]! })
    }],
    ['anything of a domain that is not there', 'DOMAIN_NOT_FOUND', ({ hypervisor }) => hypervisor.domainInfo(domId(77))],
  ]
  test.each(refusals)('refuses %s: %s', (_name, code, attempt) => {
    const host = new TestHost()
    expect(failure(() => attempt(host))).toBe(code)
    for (const { domid } of host.hypervisor.listDomains()) host.hypervisor.destroyDomain(domid)
    expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
  })

  test('that the host has no room for leaves nothing', () => {
    const host = new TestHost({ frames: 128 })
    const made: DomId[] = []
    expect(failure(() => {
      for (;;) made.push(host.hypervisor.createDomain({ kind: 'pv' }))
    })).toBe('OUT_OF_MEMORY')
    for (const domid of made) host.hypervisor.destroyDomain(domid)
    expect(host.hypervisor.listDomains()).toEqual([])
    expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
  })
})

describe('pausing and shutting down', () => {
  /** Counts its runs. */
  const busy = (): VcpuRunner & { runs: number } => ({
    runs: 0, executed: 0,
    run(budget) {
      this.runs += 1
      Object.assign(this, { executed: Math.min(budget, 1000) })
      return { kind: 'budget' }
    },
    enter: () => true,
  })

  test('pauses are counted', () => {
    const host = new TestHost()
    const runner = busy()
    const { domid } = host.guest({ runner })
    const { hypervisor } = host
    hypervisor.startVcpu(domid, 0)
    hypervisor.pauseDomain(domid)
    hypervisor.unpauseDomain(domid)
    hypervisor.run({ instructions: 5000 })
    expect(runner.runs).toBe(0)
    hypervisor.unpauseDomain(domid)
    hypervisor.run({ instructions: 5000 })
    expect(runner.runs).toBeGreaterThan(0)
    hypervisor.pauseDomain(domid)
    const before = runner.runs
    hypervisor.run({ instructions: 5000, until: host.clock.now() + 5000 })
    expect(runner.runs).toBe(before)
  })

  test('a suspended domain goes on where it was when it is resumed', () => {
    const host = new TestHost()
    const runner = busy()
    const { domid } = host.guest({ runner })
    const { hypervisor } = host
    const events: HypervisorEvent['type'][] = []
    hypervisor.events.onAny(({ type }) => events.push(type))
    hypervisor.startVcpu(domid, 0)
    hypervisor.unpauseDomain(domid)
    hypervisor.port(domid).shutdown(SHUTDOWN.suspend)
    hypervisor.run({ instructions: 5000 })
    expect(runner.runs).toBe(0)
    expect(hypervisor.domainInfo(domid)).toMatchObject({ shutdown: true, shutdownReason: SHUTDOWN.suspend })
    hypervisor.resumeDomain(domid)
    hypervisor.run({ instructions: 5000 })
    expect(runner.runs).toBeGreaterThan(0)
    expect(hypervisor.domainInfo(domid)).toMatchObject({ shutdown: false, shutdownReason: undefined })
    expect(events.filter((type) => type.startsWith('domain-'))).toEqual(['domain-unpaused', 'domain-shutdown', 'domain-resumed'])
  })

  test('dom0 hears of a domain that has ended, and that it is being destroyed, through VIRQ_DOM_EXC', () => {
    const host = new TestHost()
    const { hypervisor } = host
    const dom0 = host.guest({ privileged: true })
    const other = host.guest()
    const bound = hypervisor.port(dom0.domid).bindVirq(VIRQ.DOM_EXC, 0)
    const words = hypervisor.domainInfo(dom0.domid).sharedInfoFrame * 4096 + 2048
    const heard = (): boolean => {
      const pending = host.memory.view.getUint32(words, true)
      host.memory.view.setUint32(words, 0, true)
      return (pending & (1 << bound)) !== 0
    }
    hypervisor.shutdownDomain(other.domid, SHUTDOWN.crash)
    expect(hypervisor.domainInfo(other.domid)).toMatchObject({ crashed: true, shutdown: false })
    expect(heard()).toBe(true)
    hypervisor.destroyDomain(other.domid)
    expect(heard()).toBe(true)
    expect(hypervisor.hasDomain(other.domid)).toBe(false)
  })
})

describe('a vCPU that is prepared', () => {
  test('has its processor, which it then runs on, and gives back with its domain', () => {
    const made: ScriptedProcessor[] = []
    const host = new TestHost({
      createProcessor: () => {
        made.push(new ScriptedProcessor())
        return made.at(-1)!
      },
    })
    const { hypervisor } = host
    const domid = hypervisor.createDomain({ kind: 'pv', maxPages: 8 })
    hypervisor.prepareVcpu(domid, 0)
    hypervisor.prepareVcpu(domid, 0)
    expect(made.length).toBe(1)
    expect(hypervisor.vcpuInfo(domid, 0).online).toBe(false)
    hypervisor.unpauseDomain(domid)
    expect(hypervisor.run({ instructions: 1000 }).kind).toBe('idle')
    const [table] = hypervisor.populatePhysmap(domid, 1, 0)
    hypervisor.setVcpuContext(domid, 0, PvGuest.context(table!))
    expect(made.length).toBe(1)
    hypervisor.destroyDomain(domid)
    expect(host.problems()).toEqual([])
  })

  test('needs a host with processors, and a guest for one', () => {
    const { hypervisor } = new TestHost()
    const binary = hypervisor.createDomain({ kind: 'pv' })
    const written = hypervisor.createDomain({ kind: 'typescript', createRunner: () => SLEEPER })
    expect([binary, written].map((domid) => failure(() => hypervisor.prepareVcpu(domid, 0)))).toEqual(
      ['NOT_SUPPORTED', 'INVALID_STATE'],
    )
    expect(failure(() => hypervisor.prepareVcpu(binary, 1))).toBe('INVALID_ARGUMENT')
  })
})

describe('log-dirty', () => {
  test('tells which pages were written since it was asked last', () => {
    const host = new TestHost()
    const guest = host.guest({ pages: 8 })
    const { hypervisor, memory } = host
    hypervisor.enableLogDirty(guest.domid)
    expect([...hypervisor.readLogDirty(guest.domid)]).toEqual([])
    memory.markWritten(guest.frames[3]!)
    memory.markWritten(guest.frames[6]!)
    expect([...hypervisor.readLogDirty(guest.domid)]).toEqual([3, 6])
    expect([...hypervisor.readLogDirty(guest.domid, { clear: true })]).toEqual([3, 6])
    expect([...hypervisor.readLogDirty(guest.domid)]).toEqual([])
    hypervisor.disableLogDirty(guest.domid)
    expect(failure(() => hypervisor.readLogDirty(guest.domid))).toBe('INVALID_STATE')
  })

  test('notes what hypercalls write for the guest', () => {
    const host = new TestHost()
    const guest = host.guest({ pages: 8 })
    host.hypervisor.enableLogDirty(guest.domid)
    expect(guest.call('xen_version', 1, guest.frames[5]! * 4096)).toBe(0)
    expect([...host.hypervisor.readLogDirty(guest.domid)]).toEqual([5])
  })

  test('passes over numbers that no domain can have, whatever the guest writes into its table', () => {
    const host = new TestHost()
    const guest = host.guest({ pages: 8 })
    const { hypervisor, memory } = host
    hypervisor.enableLogDirty(guest.domid)
    hypervisor.setMachineToPhys(guest.domid, guest.frames[2]!, 0xffff_fffe)
    memory.markWritten(guest.frames[2]!)
    memory.markWritten(guest.frames[4]!)
    const dirty = hypervisor.readLogDirty(guest.domid)
    expect([...dirty]).toEqual([4])
    expect(dirty.length).toBe(8)
  })
})

describe('many frames at once', () => {
  const frames = (...list: number[]): Uint32Array => Uint32Array.from(list)

  test('are told apart as one by one: memory, tables, pinned tables, and what is not the domain\'s', () => {
    const guest = PvGuest.boot()
    const other = guest.host.guest()
    const { hypervisor } = guest.host
    hypervisor.pinTable(guest.domid, guest.l4, 4)
    const all = hypervisor.domainFrames(guest.domid)
    const levels: Record<string, number> = { l1: 1, l2: 2, l3: 3, l4: 4 }
    const expected = all.map((frame) => {
      const { type, validated, pinned } = hypervisor.frameInfo(frame)
      const level = validated ? levels[type] ?? 0 : 0
      return level === 0 ? FRAME_KIND.MEMORY : level | (pinned ? FRAME_KIND.PINNED : 0)
    })
    expect([...hypervisor.frameKinds(guest.domid, frames(...all))]).toEqual(expected)
    expect(new Set(expected)).toEqual(new Set([0, 1, 2, 3, 4 | FRAME_KIND.PINNED]))
    expect([...hypervisor.frameKinds(guest.domid, frames(other.frames[0]!, 0, 0xffff_ffff))]).toEqual([15, 15, 15])
    expect(failure(() => hypervisor.frameKinds(domId(77), frames()))).toBe('DOMAIN_NOT_FOUND')
  })

  test('have the pseudo-physical numbers that they have one by one, and none where nobody gave them one', () => {
    const guest = PvGuest.boot()
    const other = guest.host.guest()
    const { hypervisor } = guest.host
    hypervisor.setMachineToPhys(guest.domid, guest.frames[2]!, 0xffff_fffe)
    const all = [...hypervisor.domainFrames(guest.domid), ...hypervisor.domainFrames(other.domid), hypervisor.domainInfo(guest.domid).sharedInfoFrame]
    const expected = all.map((frame) => hypervisor.machineToPhys(frame) ?? 0xffff_ffff)
    expect([...hypervisor.framePfns(frames(...all, 0xffff_ffff, 1 << 30))]).toEqual([...expected, 0xffff_ffff, 0xffff_ffff])
    expect(expected).toContain(0xffff_fffe)
    expect(expected.at(-1)).toBe(0xffff_ffff)
  })

  test('are read and written in any order, and what is written is noted', () => {
    const host = new TestHost()
    const { domid, frames: own } = host.guest({ pages: 8 })
    const { hypervisor, memory } = host
    const order = frames(own[5]!, own[6]!, own[2]!, own[3]!, own[1]!)
    const from = Uint8Array.from({ length: 5 * 4096 }, (_, i) => (i >>> 12) + 1)
    hypervisor.enableLogDirty(domid)
    hypervisor.writeFrames(domid, order, from)
    expect([...hypervisor.readLogDirty(domid)]).toEqual([1, 2, 3, 5, 6])
    expect([...order].map((mfn) => [memory.bytes[mfn * 4096], memory.bytes[mfn * 4096 + 4095]])).toEqual(
      [1, 2, 3, 4, 5].map((value) => [value, value]),
    )
    const into = new Uint8Array(from.length)
    hypervisor.readFrames(domid, order, into)
    expect(into).toEqual(from)
  })

  test('of which one is not the domain\'s are left alone altogether', () => {
    const host = new TestHost()
    const [guest, other] = [host.guest({ pages: 8 }), host.guest({ pages: 1 })]
    const { hypervisor, memory } = host
    const list = frames(guest.frames[0]!, other.frames[0]!)
    const bytes = new Uint8Array(2 * 4096).fill(9)
    expect(failure(() => hypervisor.writeFrames(guest.domid, list, bytes))).toBe('PERMISSION_DENIED')
    expect(failure(() => hypervisor.readFrames(guest.domid, list, bytes))).toBe('PERMISSION_DENIED')
    expect(failure(() => hypervisor.writeFrames(guest.domid, list.subarray(0, 1), bytes))).toBe('INVALID_ARGUMENT')
    expect(memory.bytes[guest.frames[0]! * 4096]).toBe(0)
    expect(bytes.every((byte) => byte === 9)).toBe(true)
  })
})

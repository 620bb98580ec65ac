import { describe, expect, test } from 'vitest'
import { SCHEDOP, SchedPoll, SchedWatchdog, VCPUOP, VIRQ } from '../../../../src/abi/index.ts'
import type { HostClock, VcpuExit, VcpuRunner } from '../../../../src/hypervisor/index.ts'
import { TestGuest, TestHost } from '../../../support/hypervisor-host.ts'

/** A runner that follows a list of exits, each after so many instructions, and then sleeps. */
class Scripted implements VcpuRunner {
  executed = 0
  readonly seen: number[] = []
  readonly entered: string[] = []
  private readonly script: { after: number; exit: VcpuExit }[]
  private readonly now: () => number
  onEnter: () => void = () => undefined
  /** Looks at what is pending, as every guest does before it sleeps. */
  takeEvents: () => void = () => undefined

  constructor(script: { after: number; exit: VcpuExit }[], now: () => number) {
    this.script = script
    this.now = now
  }

  run(budget: number): VcpuExit {
    this.seen.push(this.now())
    this.takeEvents()
    const next = this.script[0]
    if (next === undefined) {
      this.executed = 1
      return { kind: 'block' }
    }
    this.executed = Math.min(budget, next.after)
    next.after -= this.executed
    if (next.after > 0) return { kind: 'budget' }
    this.script.shift()
    return next.exit
  }

  enter(entry: { kind: string }): boolean {
    this.entered.push(entry.kind)
    this.onEnter()
    return true
  }
}

const SPIN: { after: number; exit: VcpuExit }[] = [{ after: 1e12, exit: { kind: 'budget' } }]

function start(host: TestHost, script: { after: number; exit: VcpuExit }[]) {
  const runner = new Scripted(script, () => host.clock.now())
  const guest = host.guest({ pages: 16, runner })
  host.hypervisor.startVcpu(guest.domid, 0)
  host.hypervisor.unpauseDomain(guest.domid)
  const info = host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096
  runner.takeEvents = () => host.memory.view.setUint8(info, 0)
  return { runner, guest, port: host.hypervisor.port(guest.domid) }
}

describe('time', () => {
  test.each([1, 2])('does not jump to where nanoseconds are no longer exact, with %i physical CPUs', (physicalCpus) => {
    const host = new TestHost({ physicalCpus })
    const guest = host.guest({ pages: 16 })
    const sleepUntil = (deadline: number): ReturnType<typeof host.hypervisor.run> => {
      host.memory.view.setBigUint64(guest.scratch, BigInt(deadline), true)
      host.memory.view.setUint32(guest.scratch + 8, 0, true)
      expect(guest.call('vcpu_op', VCPUOP.set_singleshot_timer, 0, guest.scratch)).toBe(0)
      return host.hypervisor.run({ instructions: 1000 })
    }
    for (let i = 0; i < 5; i += 1) expect(sleepUntil(host.clock.now() + 2 ** 50)).toEqual({ kind: 'idle' })
    expect(host.clock.now()).toBe(2 ** 52)
    expect(sleepUntil(2 ** 62)).toEqual({ kind: 'idle' })
    expect(host.clock.now()).toBe(2 ** 52)
  })

  const kinds: readonly [string, (guest: TestGuest, deadline: bigint) => number][] = [
    ['VCPUOP_set_singleshot_timer', (guest, deadline) => {
      guest.view.setBigUint64(guest.scratch, deadline, true)
      guest.view.setUint32(guest.scratch + 8, 0, true)
      return guest.call('vcpu_op', VCPUOP.set_singleshot_timer, 0, guest.scratch)
    }],
    ['SCHEDOP_poll', (guest, deadline) => {
      SchedPoll.encode(guest.view, guest.scratch, { ports: 0n, nrPorts: 0, timeout: deadline })
      return guest.call('sched_op', SCHEDOP.poll, guest.scratch)
    }],
    ['SCHEDOP_watchdog', (guest, deadline) => {
      SchedWatchdog.encode(guest.view, guest.scratch, { id: 0, timeout: Math.min(0xffff_ffff, Number(deadline / 1_000_000_000n)) })
      return guest.call('sched_op', SCHEDOP.watchdog, guest.scratch) - 1
    }],
    ['VCPUOP_set_periodic_timer', (guest, deadline) => {
      guest.view.setBigUint64(guest.scratch, deadline, true)
      return guest.call('vcpu_op', VCPUOP.set_periodic_timer, 0, guest.scratch)
    }],
  ]
  test.each(kinds)('an idle host does not go where only %s far ahead leads, and others keep their time', (_name, set) => {
    for (const deadline of [2n ** 52n - 1n, 2n ** 62n]) {
      const host = new TestHost()
      const guest = host.guest({ pages: 16 })
      host.hypervisor.startVcpu(guest.domid, 0)
      host.hypervisor.unpauseDomain(guest.domid)
      expect(set(guest, deadline)).toBe(0)
      expect(host.hypervisor.run()).toEqual({ kind: 'idle' })
      expect(host.clock.now()).toBeLessThan(1e6)
      const sleeper = start(host, [{ after: 10, exit: { kind: 'block' } }])
      sleeper.port.bindVirq(VIRQ.TIMER, 0)
      sleeper.port.setTimer(3_600_000_000_000)
      expect(host.hypervisor.run()).toEqual({ kind: 'idle' })
      expect(sleeper.runner.seen.at(-1)).toBe(3_600_000_000_000)
    }
  })

  test('who waits for a time far ahead is taken there, by way of every timer before it', () => {
    const host = new TestHost()
    const { runner, port } = start(host, [{ after: 10, exit: { kind: 'block' } }])
    port.bindVirq(VIRQ.TIMER, 0)
    const [timer, until] = [2 ** 51, 2 ** 51 + 1000]
    host.hypervisor.run()
    const guest = new TestGuest(host, port.domid, host.hypervisor.domainFrames(port.domid))
    kinds[0]![1](guest, BigInt(timer))
    for (let turns = 0; host.clock.now() < until && turns < 10; turns += 1) host.hypervisor.run({ until })
    expect(runner.seen.at(-1)).toBe(timer)
    expect(host.clock.now()).toBe(until)
  })

  test('sleeping guests take an idle host on by so much a run as it is told', () => {
    const host = new TestHost()
    const { runner, port } = start(host, [{ after: 10, exit: { kind: 'block' } }])
    port.bindVirq(VIRQ.TIMER, 0)
    port.setTimer(3_500_000_000)
    const steps = Array.from({ length: 4 }, () => {
      const { kind } = host.hypervisor.run({ idle: 1_000_000_000 })
      return [kind, Math.round(host.clock.now() / 1e8)]
    })
    expect(steps).toEqual([['limit', 10], ['limit', 20], ['limit', 30], ['idle', 35]])
    expect(runner.seen).toEqual([0, 3_500_000_000])
  })

  test('gives the host its turn also when nothing but timers of sleeping vCPUs is left', () => {
    const host = new TestHost()
    const guest = host.guest({ pages: 16, vcpus: 2 })
    host.memory.view.setBigUint64(guest.scratch, 1_000_000n, true)
    // A vCPU that was never brought up ticks: it wakes nobody, and nothing is executed.
    expect(guest.call('vcpu_op', VCPUOP.set_periodic_timer, 1, guest.scratch)).toBe(0)
    expect(host.hypervisor.run({ instructions: 10_000 })).toEqual({ kind: 'limit' })
    expect(host.clock.now()).toBeLessThan(1e9)
  })

  test('follows the instructions that are executed', () => {
    const host = new TestHost()
    const { guest } = start(host, [...SPIN])
    expect(host.hypervisor.run({ instructions: 250_000 })).toEqual({ kind: 'limit' })
    expect(host.clock.now()).toBe(250_000)
    expect(host.hypervisor.domainInfo(guest.domid).cpuTime).toBe(250_000)
  })

  test('jumps to the next timer when nothing can run, and the timer wakes its guest', () => {
    const host = new TestHost()
    const { runner, port } = start(host, [{ after: 10, exit: { kind: 'block' } }])
    port.bindVirq(VIRQ.TIMER, 0)
    port.setTimer(5_000_000)
    expect(host.hypervisor.run()).toEqual({ kind: 'idle' })
    expect(runner.seen).toEqual([0, 5_000_000])
    expect(host.clock.now()).toBeGreaterThanOrEqual(5_000_000)
  })

  test('does not go beyond what the caller allows', () => {
    const host = new TestHost()
    const { port } = start(host, [])
    port.bindVirq(VIRQ.TIMER, 0)
    port.setTimer(5_000_000)
    expect(host.hypervisor.run({ until: 1_000_000 })).toEqual({ kind: 'limit' })
    expect(host.clock.now()).toBe(1_000_000)
  })

  test('interrupts a running guest when a timer of another is due', () => {
    const host = new TestHost()
    const sleeper = start(host, [{ after: 10, exit: { kind: 'block' } }])
    const busy = start(host, [...SPIN])
    sleeper.port.bindVirq(VIRQ.TIMER, 0)
    sleeper.port.setTimer(300_000)
    host.hypervisor.run({ instructions: 5_000_000 })
    expect(busy.runner.seen.length).toBeGreaterThan(1)
    // The scheduler lets nobody be interrupted in his first millisecond.
    expect(sleeper.runner.seen.some((time) => time >= 300_000 && time < 2_000_000)).toBe(true)
  })

  test('waits for the wall when the clock cannot jump', () => {
    const clock: HostClock = {
      now: () => 100, charge: () => undefined, instructionsUntil: () => 1000, skipTo: () => false, set: () => undefined,
      save: () => ({ time: 100, rest: 0 }), load: () => undefined,
    }
    const host = new TestHost({ clock })
    const { port } = start(host, [])
    port.bindVirq(VIRQ.TIMER, 0)
    port.setTimer(5000)
    expect(host.hypervisor.run()).toEqual({ kind: 'wait', deadline: 5000 })
  })
})

describe('exits', () => {
  test('a turn comes back at once and is not lost', () => {
    const host = new TestHost()
    const { runner } = start(host, [{ after: 10, exit: { kind: 'turn' } }, { after: 10, exit: { kind: 'turn' } }])
    expect(host.hypervisor.run()).toEqual({ kind: 'turn' })
    expect(host.hypervisor.run()).toEqual({ kind: 'turn' })
    expect(host.hypervisor.run()).toEqual({ kind: 'idle' })
    expect(runner.seen.length).toBe(3)
  })

  test('an upcall is delivered as long as it is pending and not masked', () => {
    const host = new TestHost()
    const { runner, guest, port } = start(host, [...SPIN])
    const info = host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096
    runner.takeEvents = () => undefined
    runner.onEnter = () => host.memory.view.setUint8(info, 0)
    const own = port.bindIpi(0)
    port.sendEvent(own as never)
    host.hypervisor.run({ instructions: 100 })
    expect(runner.entered).toEqual([])
    host.memory.view.setUint8(info + 1, 0)
    host.hypervisor.run({ instructions: 100 })
    expect(runner.entered).toEqual(['event'])
  })

  test('a runner that does nothing cannot stop the clock', () => {
    const host = new TestHost()
    const idle: VcpuRunner = { executed: 0, run: () => ({ kind: 'budget' }), enter: () => true }
    const guest = host.guest({ runner: idle })
    host.hypervisor.startVcpu(guest.domid, 0)
    host.hypervisor.unpauseDomain(guest.domid)
    expect(host.hypervisor.run({ instructions: 500 })).toEqual({ kind: 'limit' })
    expect(host.clock.now()).toBe(500)
  })
})

describe('several physical CPUs', () => {
  test('run as many guests at the same time, and no guest twice as fast', () => {
    const host = new TestHost({ physicalCpus: 3 })
    const guests = [1, 2, 3].map(() => start(host, [...SPIN]))
    host.hypervisor.run({ instructions: 9_000_000 })
    const time = host.clock.now()
    expect(time).toBeGreaterThan(2_800_000)
    expect(time).toBeLessThan(3_200_000)
    for (const { guest } of guests) {
      const { cpuTime } = host.hypervisor.domainInfo(guest.domid)
      expect(Math.abs(cpuTime - 3_000_000)).toBeLessThan(200_000)
    }
  })

  test('share what there is when guests are more', () => {
    const host = new TestHost({ physicalCpus: 2 })
    const guests = [1, 2, 3].map(() => start(host, [...SPIN]))
    host.hypervisor.run({ instructions: 600_000_000 })
    const shares = guests.map(({ guest }) => host.hypervisor.domainInfo(guest.domid).cpuTime / host.clock.now())
    for (const share of shares) expect(Math.abs(share - 2 / 3)).toBeLessThan(0.1)
  })

  test('go on from an idle host when somebody is woken from outside', () => {
    const host = new TestHost({ physicalCpus: 2 })
    const { runner, port } = start(host, [{ after: 5, exit: { kind: 'block' } }])
    expect(host.hypervisor.run()).toEqual({ kind: 'idle' })
    const before = runner.seen.length
    port.sendEvent(port.bindIpi(0) as never)
    host.hypervisor.run({ instructions: 1000 })
    expect(runner.seen.length).toBeGreaterThan(before)
  })
})

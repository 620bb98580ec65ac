import { describe, expect, test } from 'vitest'
import { ApicRouting } from '../../../src/hypervisor/local-apic/apic-routing.ts'
import { LocalApic, localApicShape } from '../../../src/hypervisor/local-apic/local-apic.ts'
import { APIC } from '../../../src/hypervisor/local-apic/registers.ts'
import { TimerQueue } from '../../../src/hypervisor/time/timer-queue.ts'

const PAGE = 0xfee0_0000
const X2APIC_ON = 0xfee0_0d00

/** A domain's local APICs, their time, and what came of their interrupts. */
class Bench {
  now = 1000
  readonly timers = new TimerQueue()
  readonly apics: LocalApic[] = []
  readonly log: string[] = []
  /** vCPUs that wait for their start-up. */
  readonly waiting = new Set<number>()
  readonly routing = new ApicRouting(this.apics, {
    nmi: (vcpu) => void this.log.push(`nmi ${vcpu}`),
    initialise: (vcpu) => this.log.push(`init ${vcpu}`) > 0 && !this.waiting.has(vcpu),
    startUp: (vcpu, vector) => void this.log.push(`start ${vcpu} at ${vector.toString(16)}`),
    crash: () => void this.log.push('crash'),
  })

  constructor(count: number) {
    for (let vcpu = 0; vcpu < count; vcpu += 1) {
      const apic: LocalApic = new LocalApic({
        vcpu, timers: this.timers, now: () => this.now, wake: () => void this.log.push(`wake ${vcpu}`),
        send: (ipi) => this.routing.send(apic, ipi),
      })
      this.apics.push(apic)
    }
  }

  /** All of them in x2APIC mode and switched on, as Linux does. */
  x2apic(): this {
    for (const apic of this.apics) {
      expect(apic.writeMsr(0x1b, apic.vcpu === 0 ? X2APIC_ON : X2APIC_ON - 0x100, 0)).toBe(true)
      expect(apic.writeMsr(0x80f, 0x1ff, 0)).toBe(true)
    }
    return this
  }

  pass(nanoseconds: number): void {
    this.now += nanoseconds
    this.timers.run(this.now)
  }
}
const write = (apic: LocalApic, offset: number, value: number, size = 4): void => apic.write(PAGE + offset, size, value)
const read = (apic: LocalApic, offset: number, size = 4): number => apic.read(PAGE + offset, size)
const msr = (apic: LocalApic, register: number): number | undefined => apic.readMsr(register)?.[0]

describe('registers of xAPIC', () => {
  test('after power-on everything is masked and the identifier is twice the vCPU\'s number', () => {
    const { apics: [, apic] } = new Bench(2)
    expect([APIC.ID, APIC.LVR, APIC.DFR, APIC.SPIV, APIC.LVTT, APIC.LVT0].map((offset) => read(apic!, offset)))
      .toEqual([0x0200_0000, 0x0005_0014, 0xffff_ffff, 0xff, 0x1_0000, 0x1_0000])
    expect([apic!.isEnabled, apic!.hasPage, msr(apic!, 0x1b)]).toEqual([false, true, 0xfee0_0800])
    expect(new Bench(1).apics[0]!.readMsr(0x1b)).toEqual([0xfee0_0900, 0])
  })

  const writes: readonly [string, number, number, number][] = [
    ['TPR has eight bits', APIC.TPR, 0x1_23, 0x23], ['LDR its upper eight', APIC.LDR, 0x1234_5678, 0x1200_0000],
    ['DFR its upper four', APIC.DFR, 0x1000_0000, 0x1fff_ffff], ['the version is read-only', APIC.LVR, 0, 0x0005_0014],
    ['PPR is worked out', APIC.PPR, 0xff, 0], ['LVT0 keeps its bits, and is masked while it is off', APIC.LVT0, 0xffff_0700, 0x1_0700],
    ['the divisor has three bits', APIC.TDCR, 0xff, 0xb], ['SPIV has ten', APIC.SPIV, 0xffff_f2ff, 0x2ff], ['IRR is read-only', APIC.IRR, 1, 0],
  ]
  test.each(writes)('%s', (_, offset, value, expected) => {
    const apic = new Bench(1).apics[0]!
    write(apic, offset, value)
    expect(read(apic, offset)).toBe(expected)
  })

  test('parts of a register can be read and written, what lies across its end cannot', () => {
    const apic = new Bench(1).apics[0]!
    expect([read(apic, APIC.LVR, 1), read(apic, APIC.LVR + 2, 1), read(apic, APIC.LVR + 2, 2), read(apic, APIC.LVR + 2, 4), read(apic, APIC.LVR, 8)])
      .toEqual([0x14, 5, 5, 0, 0])
    write(apic, APIC.TPR, 0x40, 1)
    write(apic, APIC.LDR + 3, 0x12, 1)
    write(apic, APIC.LDR + 2, 0xffff_ffff, 4)
    expect([read(apic, APIC.TPR), read(apic, APIC.LDR), read(apic, 0xff0)]).toEqual([0x40, 0x1200_0000, 0])
  })
})

describe('registers of x2APIC', () => {
  test('identifier and logical identifier follow the vCPU, and are read-only', () => {
    const { apics } = new Bench(10).x2apic()
    expect(apics.map((apic) => msr(apic, 0x802))).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18])
    expect([0, 1, 9].map((i) => msr(apics[i]!, 0x80d))).toEqual([1, 4, 0x1_0004])
    expect(apics[0]!.writeMsr(0x802, 1, 0)).toBe(false)
    expect(apics[0]!.hasPage).toBe(false)
  })

  const faults: readonly [string, number, number, number][] = [
    ['reserved bits of TPR', 0x808, 0x100, 0], ['an EOI that is not 0', 0x80b, 1, 0], ['bits of the upper half', 0x808, 0, 1],
    ['reserved bits of ICR', 0x830, 0x1000, 0], ['DFR, which is not there', 0x80e, 0, 0], ['ICR2, which is not there', 0x831, 0, 0],
    ['a register behind the last', 0x8ff, 0, 0], ['the version', 0x803, 0, 0], ['reserved bits of a vector', 0x83f, 0x100, 0],
  ]
  test.each(faults)('%s: #GP', (_, register, low, high) => {
    expect(new Bench(1).x2apic().apics[0]!.writeMsr(register, low, high)).toBe(false)
  })

  test('nothing of it is there in xAPIC mode; modes change by way of off only, and the page does not move', () => {
    const apic = new Bench(1).apics[0]!
    expect([msr(apic, 0x802), apic.writeMsr(0x80b, 0, 0)]).toEqual([undefined, false])
    for (const value of [0xfee0_0400, 0xfee0_1900, 0xfee0_0901]) expect(apic.writeMsr(0x1b, value, 0)).toBe(false)
    expect(apic.writeMsr(0x1b, X2APIC_ON, 0)).toBe(true)
    expect(apic.writeMsr(0x1b, 0xfee0_0900, 0)).toBe(false)
    expect(apic.writeMsr(0x1b, 0xfee0_0100, 0)).toBe(true)
    expect(apic.writeMsr(0x1b, X2APIC_ON, 0)).toBe(false)
    expect(apic.writeMsr(0x1b, 0xfee0_0900, 0)).toBe(true)
    expect(read(apic, APIC.SPIV)).toBe(0xff)
    expect(apic.readMsr(0x833)).toBeUndefined()
  })
})

describe('interrupts', () => {
  test('the highest comes first, one in service holds back its class, EOI lets go', () => {
    const apic = new Bench(1).x2apic().apics[0]!
    for (const vector of [0x31, 0x52, 0x51]) apic.receive(vector)
    const taken: number[] = []
    const take = (): void => {
      const vector = apic.pending()
      if (vector >= 0) apic.acknowledge(vector)
      taken.push(vector)
    }
    take()
    take()
    expect(msr(apic, 0x80a)).toBe(0x50)
    apic.writeMsr(0x80b, 0, 0)
    take()
    apic.writeMsr(0x80b, 0, 0)
    apic.writeMsr(0x808, 0x30, 0)
    take()
    apic.taskPriority = 2
    take()
    expect(taken).toEqual([0x52, -1, 0x51, -1, 0x31])
    expect(msr(apic, 0x811)).toBe(1 << 17)
  })

  test('while it is off nothing is taken in; vectors below 16 are errors, told by LVTERR and ESR', () => {
    const b = new Bench(2).x2apic()
    const [one, two] = [b.apics[0]!, b.apics[1]!]
    two.writeMsr(0x80f, 0xff, 0)
    one.writeMsr(0x830, 0x40, 2)
    expect([two.pending(), msr(two, 0x822)]).toEqual([-1, 0])
    one.writeMsr(0x837, 0xfe, 0)
    one.writeMsr(0x830, 0x05, 2)
    expect(one.pending()).toBe(0xfe)
    expect(msr(one, 0x828)).toBe(0)
    one.writeMsr(0x828, 0, 0)
    expect(msr(one, 0x828)).toBe(0x20)
  })

  test('Linux\'s start of a second processor: INIT, its de-assertion, two start-ups', () => {
    const b = new Bench(2).x2apic()
    for (const command of [0xc500, 0x8500, 0x0699, 0x0699]) expect(b.apics[0]!.writeMsr(0x830, command, 2)).toBe(true)
    expect(b.log).toEqual(['init 1', 'start 1 at 99', 'start 1 at 99'])
    expect([b.apics[1]!.isX2apic, b.apics[1]!.isEnabled, msr(b.apics[1]!, 0x80d)]).toEqual([true, false, 4])
  })

  test('INIT keeps what has come for a processor that waits for its start-up already, and nothing of what another one had', () => {
    const b = new Bench(2).x2apic()
    const [first, second] = [b.apics[0]!, b.apics[1]!]
    b.waiting.add(1)
    second.receive(0xf3)
    first.writeMsr(0x830, 0xc500, 2)
    second.writeMsr(0x80f, 0x1ff, 0)
    expect(second.pending()).toBe(0xf3)
    b.waiting.clear()
    first.writeMsr(0x830, 0xc500, 2)
    second.writeMsr(0x80f, 0x1ff, 0)
    expect(second.pending()).toBe(-1)
  })

  const sent: readonly [string, number, number, readonly string[]][] = [
    ['one by its identifier', 0x40, 4, ['wake 2']], ['all by the broadcast identifier', 0x40, 0xffff_ffff, ['wake 0', 'wake 1', 'wake 2']],
    ['logically, several', 0x840, 0x11, ['wake 0', 'wake 2']], ['itself', 0x4_0040, 0, ['wake 0']], ['all', 0x8_0040, 0, ['wake 0', 'wake 1', 'wake 2']],
    ['the others', 0xc_0040, 0, ['wake 1', 'wake 2']], ['NMI', 0x400, 2, ['nmi 1']], ['nobody', 0x40, 3, []], ['SMI, which is ignored', 0x200, 2, []],
    ['a mode that is none', 0x700, 2, ['crash']], ['lowest priority, the next in turn', 0x8_0140, 0, ['wake 1']],
  ]
  test.each(sent)('to %s', (_, command, destination, log) => {
    const b = new Bench(3).x2apic()
    b.apics[0]!.writeMsr(0x830, command, destination)
    expect(b.log).toEqual(log)
  })

  test('by the page: destination in the upper byte, logical by clusters or flat', () => {
    const b = new Bench(2)
    for (const apic of b.apics) write(apic, APIC.SPIV, 0x1ff)
    write(b.apics[1]!, APIC.LDR, 0x2200_0000)
    write(b.apics[0]!, APIC.ICR2, 0x0200_0000)
    write(b.apics[0]!, APIC.ICR, 0x41)
    write(b.apics[0]!, APIC.ICR2, 0x2000_0000)
    write(b.apics[0]!, APIC.ICR, 0x842)
    write(b.apics[1]!, APIC.DFR, 0)
    write(b.apics[0]!, APIC.ICR2, 0x2200_0000)
    write(b.apics[0]!, APIC.ICR, 0x843)
    write(b.apics[0]!, APIC.ICR2, 0x2100_0000)
    write(b.apics[0]!, APIC.ICR, 0x844)
    expect(b.log).toEqual(['wake 1', 'wake 1', 'wake 1'])
  })
})

describe('timer', () => {
  const started = (lvtt: number, count: number, divide = 0xb): { b: Bench; apic: LocalApic } => {
    const b = new Bench(1).x2apic()
    const apic = b.apics[0]!
    apic.writeMsr(0x832, lvtt, 0)
    apic.writeMsr(0x83e, divide, 0)
    apic.writeMsr(0x838, count, 0)
    return { b, apic }
  }

  test('once: the count falls by one for 10 ns times the divisor', () => {
    const { b, apic } = started(0xec, 1000, 3)
    b.pass(16 * 10 * 400)
    expect([msr(apic, 0x839), apic.pending()]).toEqual([600, -1])
    b.pass(16 * 10 * 600)
    expect([msr(apic, 0x839), apic.pending()]).toEqual([0, 0xec])
    apic.acknowledge(0xec)
    b.pass(10_000_000)
    expect(msr(apic, 0x821 + 6)).toBe(0)
  })

  test('again and again, and never more often than every 100 us', () => {
    const { b, apic } = started(0x2_0050, 20_000)
    const times: number[] = []
    for (let i = 0; i < 40; i += 1) {
      b.pass(50_000)
      if (apic.pending() < 0) continue
      times.push(i)
      apic.acknowledge(0x50)
      apic.writeMsr(0x80b, 0, 0)
    }
    expect(times).toHaveLength(10)
    const fast = started(0x2_0050, 1)
    const { b: other } = fast
    other.now += 1_000_000
    expect(other.timers.run(other.now)).toBeLessThan(12)
  })

  test('a change of the divisor goes on with what is left, a masked one comes when it is no longer', () => {
    const { b, apic } = started(0x1_0050, 1000)
    b.pass(5000)
    apic.writeMsr(0x83e, 0, 0)
    expect(msr(apic, 0x839)).toBe(500)
    b.pass(9_999)
    expect(apic.save().tick).toBe(false)
    b.pass(1)
    expect([apic.pending(), apic.save().tick]).toEqual([-1, true])
    apic.writeMsr(0x832, 0x50, 0)
    expect(apic.pending()).toBe(0x50)
  })

  test('the mode of deadlines has no count', () => {
    const { apic } = started(0x4_0050, 1000)
    expect([msr(apic, 0x838), msr(apic, 0x839)]).toEqual([0, 0])
  })

  test('comes when its domain is shown that time, and where that changes by as much', () => {
    const timers = new TimerQueue()
    let now = 0
    let rate = 2
    const woken: number[] = []
    const apic = new LocalApic({
      vcpu: 0, timers, now: () => now * rate, hostTime: (shown) => shown / rate, wake: () => void woken.push(now), send: () => undefined,
    })
    apic.writeMsr(0x1b, X2APIC_ON, 0)
    apic.writeMsr(0x80f, 0x1ff, 0)
    apic.writeMsr(0x832, 0x50, 0)
    // 20 us of the domain's: bus cycles of 10 ns, two a step.
    apic.writeMsr(0x838, 1000, 0)
    const until = (time: number): void => {
      for (; now < time; now += 100) timers.run(now)
    }
    until(5000)
    expect(msr(apic, 0x839)).toBe(500)
    rate = 1
    apic.moveTimer((deadline) => deadline * 2)
    until(30_000)
    expect(woken).toEqual([20_000])
  })
})

test('state is plain data, and goes on from there', () => {
  const b = new Bench(1).x2apic()
  const apic = b.apics[0]!
  apic.writeMsr(0x832, 0x2_0050, 0)
  apic.writeMsr(0x838, 50_000, 0)
  apic.receive(0x61)
  b.pass(30_000)
  const state = apic.save()
  expect(localApicShape(state)).toBeUndefined()
  const copy = new Bench(1)
  copy.now = b.now
  copy.timers.load(b.timers.save())
  copy.apics[0]!.load(state)
  expect(copy.apics[0]!.save()).toEqual(state)
  for (const one of [b, copy]) one.pass(1_000_000)
  expect(copy.apics[0]!.save().registers).toEqual(apic.save().registers)
  expect(localApicShape({ ...state, registers: new Uint8Array(3) })).toBeDefined()
  expect(localApicShape({ ...state, timer: { ...state.timer, divisor: 0 } })).toBeDefined()
  expect(() => copy.apics[0]!.load({ ...state, base: 0xfee0_0400 })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
})

test('what Linux has left of its local APICs is what real Xen saved of them', () => {
  const b = new Bench(2).x2apic()
  b.apics.forEach((apic, vcpu) => {
    apic.writeMsr(0x808, 0x10, 0)
    apic.writeMsr(0x835, 0x1_0700, 0)
    apic.writeMsr(0x836, vcpu === 0 ? 0x400 : 0x1_0400, 0)
    apic.writeMsr(0x837, 0xfe, 0)
  })
  b.apics[0]!.writeMsr(0x830, 0x699, 2)
  const other = (offset: number): number => new DataView(b.apics[1]!.save().registers.buffer).getUint32(offset, true)
  const first = (offset: number): number => new DataView(b.apics[0]!.save().registers.buffer).getUint32(offset, true)
  expect([0x20, 0x30, 0x80, 0xd0, 0xe0, 0xf0, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370].map(first)).toEqual(
    [0, 0x50014, 0x10, 1, 0xffff_ffff, 0x1ff, 0x699, 2, 0x1_0000, 0x1_0000, 0x1_0000, 0x1_0700, 0x400, 0xfe])
  expect([0x20, 0xd0, 0x300, 0x360, 0x370].map(other)).toEqual([2, 4, 0, 0x1_0400, 0xfe])
})

/**
 * One vCPU's local APIC as Xen emulates it for guests with registers of a processor: the page of xAPIC, the MSRs of x2APIC,
 * priorities, end of interrupt, timer. Whom an interrupt of it reaches is in apic-routing.ts. There is no I/O APIC, so that
 * no interrupt is level-triggered, and no TSC deadline.
 * Reference: xen/arch/x86/hvm/vlapic.c; Intel SDM volume 3, chapter 10.
 */
import { type StateOf, type Stateful, badState, shape } from '../../util/index.ts'
import type { TimerQueue } from '../time/timer-queue.ts'
import { type ApicTime, ApicTimer, apicTimerShape } from './apic-timer.ts'
import { APIC, APIC_BYTES, ApicRegisters, ICR, SHORTHAND } from './registers.ts'

/** An interrupt that a local APIC sends: the command register's low half, and whom it is for. */
export interface Ipi {
  readonly command: number
  readonly destination: number
}

/** What a local APIC works on. */
export interface LocalApicParts extends ApicTime {
  readonly vcpu: number
  readonly timers: TimerQueue
  readonly send: (ipi: Ipi) => void
  /** An interrupt waits that has not before: the vCPU is to look. */
  readonly wake: () => void
  /** Software has switched it on: what could not be told while it was off is to be told now. */
  readonly enabled?: () => void
}

/** Where the page lies, and bits of APIC_BASE. */
export const APIC_PAGE = 0xfee0_0000
const BASE = { BOOT: 0x100, X2APIC: 0x400, ENABLED: 0x800 } as const
/** First MSR of x2APIC. */
export const X2APIC_FIRST = 0x800
const X2APIC_LAST = 0x8ff
const SOFTWARE_ENABLE = 0x100
/** Why an interrupt was none: bits of ESR. */
const ERROR = { SEND_VECTOR: 0x20, RECEIVED_VECTOR: 0x40 } as const
const VERSION = 0x0005_0014
const FIRST_VECTOR = 16

const LVT_BITS = ICR.MASKED | ICR.PENDING | ICR.VECTOR
const TIMER_MODE = 0x6_0000
const LINT_BITS = LVT_BITS | ICR.MODE | 0xe000
/** Bits of the local vector table that exist, by register. */
const LVT: ReadonlyMap<number, number> = /* @__PURE__ */ new Map<number, number>([
  [APIC.LVTT, LVT_BITS | TIMER_MODE], [APIC.LVTTHMR, LVT_BITS | ICR.MODE], [APIC.LVTPC, LVT_BITS | ICR.MODE],
  [APIC.LVT0, LINT_BITS], [APIC.LVT1, LINT_BITS], [APIC.LVTERR, LVT_BITS],
])
/** Bits that a write by MSR may set, by register; others fault, and so does what is not listed. */
const WRITABLE: ReadonlyMap<number, number> = /* @__PURE__ */ new Map<number, number>([
  ...LVT, [APIC.TPR, 0xff], [APIC.SPIV, 0x3ff], [APIC.TMICT, 0xffff_ffff], [APIC.TDCR, 0xb], [APIC.EOI, 0], [APIC.ESR, 0],
  [APIC.ICR, ICR.VECTOR | ICR.MODE | ICR.LOGICAL | ICR.ASSERT | ICR.LEVEL | ICR.SHORTHAND], [APIC.SELF_IPI, ICR.VECTOR],
])
const READABLE: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  APIC.ID, APIC.LVR, APIC.TPR, APIC.PPR, APIC.LDR, APIC.SPIV, APIC.ESR, APIC.ICR, APIC.CMCI, ...LVT.keys(), APIC.TMICT,
  APIC.TMCCT, APIC.TDCR, ...[APIC.ISR, APIC.TMR, APIC.IRR].flatMap((first) => Array.from({ length: 8 }, (_, i) => first + i * 16)),
])

/** A local APIC as plain data. */
export const localApicShape = /* @__PURE__ */ shape.record({
  base: shape.word, registers: /* @__PURE__ */ shape.array(Uint8Array, APIC_BYTES, APIC_BYTES), softwareDisabled: shape.flag,
  pendingError: shape.word, tick: shape.flag, timer: apicTimerShape,
})
type LocalApicState = StateOf<typeof localApicShape>

/** Local APIC of one vCPU; an InterruptSource of its processor. */
export class LocalApic implements Stateful<LocalApicState> {
  readonly registers = new ApicRegisters()
  readonly vcpu: number
  private readonly parts: LocalApicParts
  private readonly timer: ApicTimer
  private base = 0
  private softwareDisabled = true
  private pendingError = 0
  /** The timer has come due while its interrupt was masked. */
  private tick = false

  constructor(parts: LocalApicParts) {
    this.parts = parts
    this.vcpu = parts.vcpu
    this.timer = new ApicTimer({
      timers: parts.timers, now: parts.now, hostTime: parts.hostTime, fire: () => this.timerDue(),
      setting: () => this.timerSetting(this.registers.get(APIC.LVTT)),
    })
    this.reset()
  }

  /** Sets its timer to another host time. */
  moveTimer(change: (deadline: number) => number): void {
    this.timer.move(change)
  }

  /** As after power-on. */
  reset(): void {
    this.base = (APIC_PAGE | BASE.ENABLED | (this.vcpu === 0 ? BASE.BOOT : 0)) >>> 0
    this.registers.set(APIC.ID, (this.vcpu * 2) << 24)
    this.initialise()
  }

  /** As INIT leaves it: in x2APIC mode identifier and logical destination stay. */
  initialise(): void {
    const { registers } = this
    const kept = [APIC.ID, APIC.LDR].map((offset) => registers.get(offset))
    registers.bytes.fill(0)
    registers.set(APIC.ID, kept[0]!)
    if (this.isX2apic) registers.set(APIC.LDR, kept[1]!)
    registers.set(APIC.LVR, VERSION)
    registers.set(APIC.DFR, 0xffff_ffff)
    registers.set(APIC.SPIV, 0xff)
    for (const offset of LVT.keys()) registers.set(offset, ICR.MASKED)
    this.softwareDisabled = true
    this.tick = false
    this.timer.setDivide(0)
    this.timer.stop()
  }

  get isX2apic(): boolean {
    return (this.base & BASE.X2APIC) !== 0
  }

  /** It takes interrupts. */
  get isEnabled(): boolean {
    return (this.base & BASE.ENABLED) !== 0 && !this.softwareDisabled
  }

  /** Physical identifier: 2 for each vCPU before it. */
  get identifier(): number {
    return this.isX2apic ? this.registers.get(APIC.ID) : this.registers.get(APIC.ID) >>> 24
  }

  /** True while accesses to the page at APIC_PAGE are its registers'. */
  get hasPage(): boolean {
    return (this.base & (BASE.ENABLED | BASE.X2APIC)) === BASE.ENABLED
  }

  // What the processor takes.

  pending(): number {
    if (!this.isEnabled) return -1
    const vector = this.registers.highest(APIC.IRR)
    // The task's priority holds back classes of sixteen, as does an interrupt in service.
    return vector >= 0 && (vector & 0xf0) > (this.priority & 0xf0) ? vector : -1
  }

  acknowledge(vector: number): void {
    this.registers.remove(APIC.IRR, vector)
    this.registers.add(APIC.ISR, vector)
  }

  private get priority(): number {
    const task = this.registers.get(APIC.TPR) & 0xff
    const serviced = Math.max(this.registers.highest(APIC.ISR), 0)
    return (task & 0xf0) >= (serviced & 0xf0) ? task : serviced & 0xf0
  }

  /** Processor priority, by which interrupts of lowest priority find their vCPU. */
  get processorPriority(): number {
    return this.priority
  }

  /** TPR as CR8 has it. */
  get taskPriority(): number {
    return this.registers.get(APIC.TPR) >>> 4
  }

  set taskPriority(value: number) {
    this.registers.set(APIC.TPR, (value & 15) << 4)
  }

  /** Takes an interrupt in, edge-triggered; what is no vector is an error of reception. */
  receive(vector: number): void {
    if (vector < FIRST_VECTOR) {
      this.error(ERROR.RECEIVED_VECTOR)
      return
    }
    this.registers.remove(APIC.TMR, vector)
    if (this.registers.has(APIC.IRR, vector)) return
    this.registers.add(APIC.IRR, vector)
    this.parts.wake()
  }

  private error(bit: number): void {
    if ((this.pendingError & bit) !== 0) return
    this.pendingError |= bit
    const entry = this.registers.get(APIC.LVTERR)
    if ((entry & ICR.MASKED) !== 0) return
    if ((entry & ICR.VECTOR) >= FIRST_VECTOR) this.receive(entry & ICR.VECTOR)
    else this.pendingError |= ERROR.RECEIVED_VECTOR
  }

  /** Notes that an interrupt was to be sent with what is no vector. */
  refuseVector(): void {
    this.error(ERROR.SEND_VECTOR)
  }

  // The page of xAPIC.

  /** Value of up to four bytes within one register; 0 for any other access. */
  read(address: number, size: number): number {
    const [offset, at] = [address & 0xff0, address & 15]
    if (at + size > 4 || offset > APIC.TDCR) return 0
    const value = this.value(offset) >>> (at * 8)
    return size === 4 ? value : value & ((1 << (size * 8)) - 1)
  }

  /** The same for a write; less than a register keeps the rest of it. Any other goes nowhere. */
  write(address: number, size: number, value: number): void {
    const [offset, shift] = [address & 0xff0, (address & 15) * 8]
    if (shift / 8 + size > 4 || offset > APIC.TDCR) return
    const mask = size === 4 ? 0xffff_ffff : ((1 << (size * 8)) - 1) << shift
    this.set(offset, (((size === 4 ? 0 : this.value(offset)) & ~mask) | ((value << shift) & mask)) >>> 0)
  }

  // Its MSRs: undefined and false stand for #GP.

  /** APIC_BASE, or a register of x2APIC. */
  readMsr(register: number): readonly [low: number, high: number] | undefined {
    if (register === 0x1b) return [this.base, 0]
    const offset = (register - X2APIC_FIRST) * 16
    if (!this.isX2apic || register > X2APIC_LAST || !READABLE.has(offset)) return undefined
    return [this.value(offset), offset === APIC.ICR ? this.registers.get(APIC.ICR2) : 0]
  }

  writeMsr(register: number, low: number, high: number): boolean {
    if (register === 0x1b) return high === 0 && this.setBase(low)
    const offset = (register - X2APIC_FIRST) * 16
    const bits = WRITABLE.get(offset)
    if (!this.isX2apic || bits === undefined || (low & ~bits) !== 0 || (high !== 0 && offset !== APIC.ICR)) return false
    if (offset === APIC.ICR) this.registers.set(APIC.ICR2, high)
    if (offset === APIC.SELF_IPI) this.set(APIC.ICR, SHORTHAND.SELF | low)
    else this.set(offset, low)
    return true
  }

  /** Modes follow one another: off, xAPIC, x2APIC; back only by way of off. */
  private setBase(value: number): boolean {
    const [enabled, x2apic] = [(value & BASE.ENABLED) !== 0, (value & BASE.X2APIC) !== 0]
    if ((value & 0xfff & ~(BASE.BOOT | BASE.X2APIC | BASE.ENABLED)) !== 0) return false
    if (enabled && !x2apic && (value & ~0xfff) >>> 0 !== APIC_PAGE) return false
    const turns = ((this.base ^ value) & BASE.ENABLED) !== 0
    if (turns ? x2apic : x2apic !== this.isX2apic && !this.hasPage) return false
    if (turns && enabled) this.reset()
    this.base = value >>> 0
    if (x2apic) {
      const identifier = this.vcpu * 2
      this.registers.set(APIC.ID, identifier)
      this.registers.set(APIC.LDR, ((identifier & ~15) << 12) | (1 << (identifier & 15)))
    }
    return true
  }

  private value(offset: number): number {
    switch (offset) {
      case APIC.PPR: return this.priority
      case APIC.TMCCT: return this.counts ? this.timer.current() : 0
      case APIC.TMICT: return this.counts ? this.registers.get(offset) : 0
      default: return this.registers.get(offset)
    }
  }

  /** The timer counts by TMICT, whatever the mode but the deadline's. */
  private get counts(): boolean {
    return (this.registers.get(APIC.LVTT) & 0x4_0000) === 0
  }

  private set(offset: number, value: number): void {
    const { registers } = this
    const lvt = LVT.get(offset)
    if (lvt !== undefined) return this.setVector(offset, (this.softwareDisabled ? value | ICR.MASKED : value) & lvt)
    switch (offset) {
      case APIC.ID: return registers.set(offset, value)
      case APIC.TPR: return registers.set(offset, value & 0xff)
      case APIC.LDR: return registers.set(offset, value & 0xff00_0000)
      case APIC.DFR: return registers.set(offset, value | 0x0fff_ffff)
      case APIC.ICR2: return registers.set(offset, value & 0xff00_0000)
      case APIC.EOI: return this.endOfInterrupt()
      case APIC.ESR:
        registers.set(offset, this.pendingError)
        this.pendingError = 0
        return
      case APIC.SPIV: return this.setSpurious(value & 0x3ff)
      case APIC.ICR: return this.command(value & ~ICR.PENDING)
      case APIC.TMICT:
        if (!this.counts) return
        registers.set(offset, value)
        return this.timer.start(this.timerSetting(registers.get(APIC.LVTT)))
      case APIC.TDCR:
        registers.set(offset, value & 0xb)
        return this.timer.change(this.timerSetting(registers.get(APIC.LVTT)), registers.get(APIC.LVTT))
      default:
    }
  }

  private endOfInterrupt(): void {
    const vector = this.registers.highest(APIC.ISR)
    if (vector >= 0) this.registers.remove(APIC.ISR, vector)
  }

  private command(command: number): void {
    const { registers } = this
    const high = registers.get(APIC.ICR2)
    registers.set(APIC.ICR, command)
    this.parts.send({ command, destination: this.isX2apic ? high : high >>> 24 })
  }

  private setSpurious(value: number): void {
    const { registers, isEnabled } = this
    registers.set(APIC.SPIV, value)
    this.softwareDisabled = (value & SOFTWARE_ENABLE) === 0
    if (this.softwareDisabled) for (const offset of LVT.keys()) registers.set(offset, registers.get(offset) | ICR.MASKED)
    else this.tickAgain()
    if (!isEnabled && this.isEnabled) this.parts.enabled?.()
  }

  private setVector(offset: number, value: number): void {
    const { registers } = this
    if (offset === APIC.LVTT) {
      const before = registers.get(offset)
      if (((before ^ value) & 0x4_0000) !== 0) registers.set(APIC.TMICT, 0)
      this.timer.change(this.timerSetting(value), before)
    }
    registers.set(offset, value)
    if (offset === APIC.LVTT) this.tickAgain()
  }

  private timerSetting(lvtt: number): { lvtt: number; initial: number; divide: number } {
    return { lvtt, initial: this.registers.get(APIC.TMICT), divide: this.registers.get(APIC.TDCR) }
  }

  private timerDue(): void {
    this.tick = true
    this.tickAgain()
  }

  /** The timer's interrupt comes as soon as it is not masked. */
  private tickAgain(): void {
    const entry = this.registers.get(APIC.LVTT)
    if (!this.tick || !this.isEnabled || (entry & ICR.MASKED) !== 0) return
    this.tick = false
    this.receive(entry & ICR.VECTOR)
  }

  // What tools save and restore of it.

  /** What a saved domain has of it beside its registers. */
  get hidden(): { readonly base: number; readonly isEnabledByBase: boolean; readonly isSoftwareDisabled: boolean; readonly divisor: number } {
    return {
      base: this.base, isEnabledByBase: (this.base & BASE.ENABLED) !== 0, isSoftwareDisabled: this.softwareDisabled, divisor: this.timer.divisor,
    }
  }

  /** Whether APIC_BASE can hold a value: there is no x2APIC mode of a local APIC that is off. */
  mayHaveBase(base: number): boolean {
    return (base & (BASE.ENABLED | BASE.X2APIC)) !== BASE.X2APIC
  }

  /** Takes it back. */
  setHidden(base: number, isSoftwareDisabled: boolean): void {
    this.base = base
    this.softwareDisabled = isSoftwareDisabled
  }

  /** Takes registers back; a count that they hold begins anew. */
  setRegisters(bytes: Uint8Array): void {
    this.registers.bytes.set(bytes)
    this.pendingError = 0
    this.tick = false
    this.timer.setDivide(this.registers.get(APIC.TDCR))
    this.timer.start(this.timerSetting(this.registers.get(APIC.LVTT)))
  }

  save(): LocalApicState {
    const { base, softwareDisabled, pendingError, tick } = this
    return { base, softwareDisabled, pendingError, tick, registers: this.registers.bytes.slice(), timer: this.timer.save() }
  }

  load({ registers, timer, ...rest }: LocalApicState): void {
    if ((rest.base & (BASE.ENABLED | BASE.X2APIC)) === BASE.X2APIC) throw badState('a local APIC in x2APIC mode that is off')
    this.registers.bytes.set(registers)
    this.timer.load(timer)
    Object.assign(this, rest)
  }
}

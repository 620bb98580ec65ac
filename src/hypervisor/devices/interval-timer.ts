/**
 * Counter 2 of the machine's interval timer (an i8254), its gate and its output at port 0x61: what Xen lets the hardware domain have of
 * it. Counters 0 and 1 are the hypervisor's own: what is written for them is lost.
 * Reference: xen/arch/x86/time.c, hwdom_pit_access; xen/arch/x86/emul-i8254.c, pv_pit_handler; the 8254's data sheet.
 */
import { type Clock, type StateOf, type Stateful, sameFields, shape } from '../../util/index.ts'

/** Its crystal. */
const HERTZ = 1_193_182
const NS_PER_SECOND = 1e9
/** Of port 0x61: what may be written, memory's refresh that toggles, the counter's output. */
const [GATE, SPEAKER, REFRESH, OUTPUT] = [0x01, 0x03, 0x10, 0x20] as const
/** Nanoseconds between two refreshes of memory. */
const REFRESH_PERIOD = 15_085
/** Of a control word: the counter it is for, which bytes of it are read and written, mode, decimal digits. */
const [READ_BACK, COUNTER_2] = [3, 2] as const
const BYTES = { latch: 0, low: 1, high: 2, both: 3 } as const
/** Of a read-back command: which counters, what not to latch; of a status: the output. */
const [SELECTS_2, NO_COUNT, NO_STATUS, STATUS_OUTPUT] = [0x08, 0x20, 0x10, 0x80] as const
const NOTHING = -1

/** What a saved timer looks like. `since` is when it began to count, or -1 while its gate or its count keeps it from counting; `passed` is what it had counted before. */
export const intervalTimerShape = /* @__PURE__ */ shape.record({
  control: /* @__PURE__ */ shape.whole(0, 0x3f), reload: /* @__PURE__ */ shape.whole(0, 0x1_0000), written: /* @__PURE__ */ shape.whole(-1, 0xff),
  readsHigh: shape.flag, latched: /* @__PURE__ */ shape.whole(-1, 0xffff), status: /* @__PURE__ */ shape.whole(-1, 0xff),
  speaker: /* @__PURE__ */ shape.whole(0, 3), since: /* @__PURE__ */ shape.whole(NOTHING, Number.MAX_SAFE_INTEGER), passed: shape.time,
})

/** A timer as plain data. */
export type IntervalTimerState = StateOf<typeof intervalTimerShape>

const decimal = (value: number): number => Number.parseInt(value.toString(16), 10) || 0
const digits = (value: number): number => Number.parseInt(value.toString(), 16)

/** The counter. */
export class IntervalTimer implements Stateful<IntervalTimerState> {
  private readonly clock: Clock
  /** The last control word's bytes, mode and digits. */
  private control = 0x30
  /** What it counts down from; 0 while none was written. */
  private reload = 0
  /** The first byte of a count whose second one is awaited. */
  private written = NOTHING
  /** The next byte that is read of two is the high one. */
  private readsHigh = false
  private latched = NOTHING
  private status = NOTHING
  private speaker = 0
  private since = NOTHING
  private passed = 0

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Port 0x42. */
  readCount(): number {
    if (this.status !== NOTHING) {
      const { status } = this
      this.status = NOTHING
      return status
    }
    const value = this.latched === NOTHING ? this.count() : this.latched
    const { bytes } = this
    const isHigh = bytes === BYTES.high || (bytes === BYTES.both && this.readsHigh)
    this.readsHigh = bytes === BYTES.both && !this.readsHigh
    if (!this.readsHigh) this.latched = NOTHING
    return isHigh ? value >>> 8 : value & 0xff
  }

  /** Port 0x42. */
  writeCount(value: number): void {
    const { bytes } = this
    if (bytes === BYTES.both && this.written === NOTHING) {
      this.written = value
      // A one-shot stops for the second byte.
      if (this.mode === 0) this.stop()
      return
    }
    const raw = bytes === BYTES.both ? this.written | (value << 8) : bytes === BYTES.high ? value << 8 : value
    this.written = NOTHING
    this.reload = (this.isDecimal ? decimal(raw) : raw) || this.modulus
    if (this.isBegunByGate) this.stop()
    else this.start()
  }

  /** Port 0x43. */
  writeControl(value: number): void {
    const counter = value >>> 6
    if (counter === READ_BACK) this.readBack(value)
    if (counter !== COUNTER_2) return
    if (((value >>> 4) & 3) === BYTES.latch) return this.latch()
    this.control = value & 0x3f
    this.reload = 0
    this.written = NOTHING
    this.readsHigh = false
    this.latched = NOTHING
    this.status = NOTHING
    this.stop()
  }

  /** Port 0x61. */
  readSpeaker(): number {
    const refresh = Math.floor(this.clock.now() / REFRESH_PERIOD) % 2 === 0 ? 0 : REFRESH
    return this.speaker | refresh | (this.output ? OUTPUT : 0)
  }

  /** Port 0x61. */
  writeSpeaker(value: number): void {
    const changes = value ^ this.speaker
    const passed = this.counted()
    this.speaker = value & SPEAKER
    if ((changes & GATE) === 0) return
    if ((value & GATE) !== 0) this.gateRises()
    else this.gateFalls(passed)
  }

  save(): IntervalTimerState {
    const { control, reload, written, readsHigh, latched, status, speaker, since, passed } = this
    return { control, reload, written, readsHigh, latched, status, speaker, since, passed }
  }

  isAsSaved(state: IntervalTimerState): boolean {
    return sameFields(this, state)
  }

  load(state: IntervalTimerState): void {
    Object.assign(this, state)
  }

  private get bytes(): number {
    return this.control >>> 4
  }

  private get mode(): number {
    const mode = (this.control >>> 1) & 7
    // 6 and 7 are 2 and 3.
    return mode > 5 ? mode - 4 : mode
  }

  private get isDecimal(): boolean {
    return (this.control & 1) !== 0
  }

  private get modulus(): number {
    return this.isDecimal ? 10_000 : 0x1_0000
  }

  /** Its gate holds its count where it stands: interrupt on terminal count, and software's strobe. */
  private get isHeldByGate(): boolean {
    return this.mode === 0 || this.mode === 4
  }

  /** Its gate's edge begins its count: one-shots of the hardware's. */
  private get isBegunByGate(): boolean {
    return this.mode === 1 || this.mode === 5
  }

  private gateRises(): void {
    if (!this.isHeldByGate) this.start()
    else if (this.reload !== 0) this.since = this.clock.now()
  }

  private gateFalls(passed: number): void {
    if (this.isBegunByGate) return
    this.passed = this.isHeldByGate ? passed : 0
    this.since = NOTHING
  }

  private start(): void {
    this.passed = 0
    const waits = this.reload === 0 || ((this.speaker & GATE) === 0 && !this.isBegunByGate)
    this.since = waits ? NOTHING : this.clock.now()
  }

  private stop(): void {
    this.passed = 0
    this.since = NOTHING
  }

  /** Ticks since its count was taken. */
  private counted(): number {
    return this.passed + (this.since === NOTHING ? 0 : Math.floor(((this.clock.now() - this.since) * HERTZ) / NS_PER_SECOND))
  }

  /** What it stands at, as it is read. */
  private count(): number {
    const { reload, modulus, mode } = this
    const ticks = this.counted()
    const periodic = mode === 2 || mode === 3
    const step = mode === 3 ? 2 : 1
    const left = reload === 0 ? 0 : periodic ? reload - ((ticks * step) % reload) : (((reload - ticks) % modulus) + modulus) % modulus
    return this.isDecimal ? digits(left % modulus) : left & 0xffff
  }

  /** Its output. */
  private get output(): boolean {
    const { reload, mode } = this
    const ticks = this.counted()
    const isCounting = reload !== 0 && (this.since !== NOTHING || this.passed > 0)
    switch (mode) {
      case 0: return isCounting && ticks >= reload
      case 1: return !isCounting || ticks >= reload
      case 2: return !isCounting || ticks % reload !== reload - 1
      case 3: return !isCounting || (ticks * 2) % (reload * 2) < reload
      default: return !isCounting || ticks !== reload
    }
  }

  private latch(): void {
    if (this.latched === NOTHING) this.latched = this.count()
  }

  private readBack(value: number): void {
    if ((value & SELECTS_2) === 0) return
    if ((value & NO_COUNT) === 0) this.latch()
    if ((value & NO_STATUS) === 0 && this.status === NOTHING) {
      const isNull = this.reload === 0 || this.written !== NOTHING
      this.status = (this.output ? STATUS_OUTPUT : 0) | (isNull ? 0x40 : 0) | this.control
    }
  }
}

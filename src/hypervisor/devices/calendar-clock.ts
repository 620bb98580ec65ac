/**
 * The machine's calendar clock with its battery-backed bytes, an MC146818 behind ports 0x70 and 0x71. It keeps time from when the host
 * began, whatever the hypervisor is told about its wall clock, and can be set. It has no interrupt line and no alarm: register C is 0.
 *
 * Firmware has left it in decimal digits and hours from 1 to 12. So Linux, which would take line 8 for it where there is no ACPI, and
 * with that the number that its console's VIRQ has, leaves it alone ("only 24-hr supported"); it has its time from shared_info.
 * Reference: xen/arch/x86/pv/emul-priv-op.c, guest_io_read; the MC146818A's data sheet.
 */
import { type Clock, type Stateful, sameFields, shape } from '../../util/index.ts'

const NS_PER_SECOND = 1_000_000_000
/** Nanoseconds before a second ends in which it says that it is about to change. */
const ABOUT_TO_CHANGE = 244_000
/** Registers. */
const [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D] = [0, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13] as const
const FIELDS: readonly number[] = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR]
/** Of A: it changes, the divider and rate of a PC; of B: it is being set, plain numbers, hours up to 23; of D: its bytes are valid. */
const [CHANGING, PC_RATE] = [0x80, 0x26] as const
const [SETTING, BINARY, FULL_DAY] = [0x80, 0x04, 0x02] as const
const VALID = 0x80
const AFTERNOON = 0x80
const REGISTERS = 128
/** The last second of the year 9999: set from century to century, it stays where it is before it is beyond what a state may hold. */
const LAST_SECOND = 253_402_300_799
const MIDDAY = 12

/** What a saved clock looks like: the register that is selected, all that were written, and the second at which the host began, by it. */
export const calendarClockShape = /* @__PURE__ */ shape.record<CalendarClockState>({
  selected: /* @__PURE__ */ shape.whole(0, REGISTERS - 1), registers: /* @__PURE__ */ shape.array(Uint8Array, REGISTERS),
  seconds: /* @__PURE__ */ shape.whole(-(2 ** 40), 2 ** 40), nanoseconds: /* @__PURE__ */ shape.whole(0, NS_PER_SECOND - 1),
})

/** A clock as plain data. */
export interface CalendarClockState {
  readonly selected: number
  readonly registers: Uint8Array
  readonly seconds: number
  readonly nanoseconds: number
}

/** The clock. */
export class CalendarClock implements Stateful<CalendarClockState> {
  private readonly clock: Clock
  private readonly registers = new Uint8Array(REGISTERS)
  private selected = 0
  /** What it said when the host began. */
  private seconds: number
  private nanoseconds: number

  /** `began`: nanoseconds since 1970 at which the host did. */
  constructor(clock: Clock, began: bigint) {
    this.clock = clock
    this.seconds = Number(began / BigInt(NS_PER_SECOND))
    this.nanoseconds = Number(began % BigInt(NS_PER_SECOND))
    this.registers[A] = PC_RATE
  }

  /** Port 0x70: the register that the other port is. Its highest bit holds NMIs back, of which there are none. */
  select(register: number): void {
    this.selected = register % REGISTERS
  }

  /** Port 0x70 as Xen gives it back. */
  get selection(): number {
    return this.selected
  }

  /** Port 0x71. */
  read(): number {
    const { selected, registers } = this
    if (FIELDS.includes(selected) && !this.isBeingSet) return this.fields()[FIELDS.indexOf(selected)]!
    switch (selected) {
      case A: return registers[A]! | (!this.isBeingSet && this.now().rest >= NS_PER_SECOND - ABOUT_TO_CHANGE ? CHANGING : 0)
      case C: return 0
      case D: return VALID
      default: return registers[selected]!
    }
  }

  /** Port 0x71. */
  write(value: number): void {
    const { selected, registers } = this
    const wasBeingSet = this.isBeingSet
    if (selected === C || selected === D) return
    if (FIELDS.includes(selected) && !wasBeingSet) this.hold()
    if (selected === B && (value & SETTING) !== 0 && !wasBeingSet) this.hold()
    registers[selected] = selected === A ? value & ~CHANGING : value
    if (FIELDS.includes(selected) ? !wasBeingSet : selected === B && wasBeingSet && !this.isBeingSet) this.goOn()
  }

  save(): CalendarClockState {
    const { selected, seconds, nanoseconds } = this
    return { selected, registers: this.registers.slice(), seconds, nanoseconds }
  }

  isAsSaved(state: CalendarClockState): boolean {
    return sameFields(this, state)
  }

  load({ registers, ...own }: CalendarClockState): void {
    this.registers.set(registers)
    Object.assign(this, own)
  }

  private get isBeingSet(): boolean {
    return (this.registers[B]! & SETTING) !== 0
  }

  /** Whole seconds since 1970, and nanoseconds since the last one began. */
  private now(): { readonly whole: number; readonly rest: number } {
    const passed = this.nanoseconds + this.clock.now()
    return { whole: this.seconds + Math.floor(passed / NS_PER_SECOND), rest: passed % NS_PER_SECOND }
  }

  private written(value: number): number {
    return (this.registers[B]! & BINARY) !== 0 ? value : Math.floor(value / 10) * 16 + (value % 10)
  }

  private meant(value: number): number {
    return (this.registers[B]! & BINARY) !== 0 ? value : (value >>> 4) * 10 + (value & 0xf)
  }

  /** The time of day and the date as its registers show them, in their order. */
  private fields(): readonly number[] {
    const date = new Date(this.now().whole * 1000)
    const hours = date.getUTCHours()
    const shown = (this.registers[B]! & FULL_DAY) !== 0
      ? this.written(hours)
      : this.written(hours % MIDDAY === 0 ? MIDDAY : hours % MIDDAY) | (hours >= MIDDAY ? AFTERNOON : 0)
    const rest = [date.getUTCDay() + 1, date.getUTCDate(), date.getUTCMonth() + 1, date.getUTCFullYear() % 100]
    return [this.written(date.getUTCSeconds()), this.written(date.getUTCMinutes()), shown, ...rest.map((value) => this.written(value))]
  }

  /** Its registers are what it shows now, to be written one by one. */
  private hold(): void {
    this.fields().forEach((value, index) => { this.registers[FIELDS[index]!] = value })
  }

  /** It goes on from what its registers say, where that is a time from 1970 to 9999; a year is one of the century that it is in. */
  private goOn(): void {
    const { registers } = this
    const of = (register: number): number => this.meant(registers[register]!)
    const isFull = (registers[B]! & FULL_DAY) !== 0
    const hours = isFull ? of(HOURS) : (this.meant(registers[HOURS]! & ~AFTERNOON) % MIDDAY) + ((registers[HOURS]! & AFTERNOON) !== 0 ? MIDDAY : 0)
    const now = this.now()
    const century = Math.floor(new Date(now.whole * 1000).getUTCFullYear() / 100) * 100
    const set = Date.UTC(century + of(YEAR), of(MONTH) - 1, of(DAY), hours, of(MINUTES), of(SECONDS)) / 1000
    if (set >= 0 && set <= LAST_SECOND) this.seconds += set - now.whole
  }
}

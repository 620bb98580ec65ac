/**
 * What random kernels are put together of: frames, entries near valid ones, addresses at which entries are seen and
 * pages are mapped, places for arguments of calls.
 */
import type { SeededRandom } from '../../src/util/index.ts'
import { PTE } from '../../src/x86/index.ts'
import { type MachineGuest, TABLES, WINDOWS } from '../support/machine-host.ts'
import { Draws } from './draws.ts'

/** Frames of one vCPU, by number in the guest, from its first one on. */
export const PLACE = { trap: 0, code: 1, stack: 5, data: 6, privateA: 7, privateB: 8, user: 9, count: 10 } as const
/** Frames that attackers map, write, run and make tables of. */
export const PLAY = { first: 20, end: 40, looseFirst: 50 } as const
/** Slots of the window table that pieces use; the last ones show the table itself. */
export const SLOTS = 64
export const SELF = 60
/** Slot of the window table that a vCPU has for its own checks of code. */
export const privateSlot = (vcpu: number): number => 300 + vcpu
/** In the data page: where a fault goes on, errors that the guest itself has found, arguments. */
export const DATA = { resume: 0, wrong: 8, scratch: 512, arguments: 1024 } as const
/** What the pieces of a program are made for. */
export interface ProgramField {
  readonly guest: MachineGuest
  readonly vcpu: number
  /** Frames of others, which no entry may lead to. */
  readonly foreign: readonly number[]
  /** The domain that grants frames, and takes them. */
  readonly partner: number
}

const FLAGS = [PTE.PRESENT, PTE.WRITABLE, PTE.USER, PTE.ACCESSED, PTE.DIRTY, PTE.LARGE, PTE.GLOBAL, PTE.PCD]
const NX = 1n << 63n

/** Random values for one vCPU of a guest. */
export class Values extends Draws {
  protected readonly field: ProgramField
  /** The vCPU's first frame. */
  protected readonly first: number
  private nextArgument: number = DATA.arguments

  constructor(random: SeededRandom, field: ProgramField) {
    super(random)
    this.field = field
    this.first = field.vcpu * PLACE.count
  }

  protected data(offset: number): number {
    return this.field.guest.at(this.first + PLACE.data, offset)
  }

  /** Puts bytes into the data page for a call's arguments; their address. */
  protected argument(bytes: number, write: (view: DataView, at: number) => void): number {
    if (this.nextArgument + bytes > 4096) this.nextArgument = DATA.arguments
    const offset = this.nextArgument
    this.nextArgument += Math.ceil(bytes / 16) * 16
    const { memory } = this.field.guest.host.machine
    const at = this.field.guest.place(this.first + PLACE.data, offset)
    memory.bytes.fill(0, at, at + bytes)
    write(memory.view, at)
    memory.markWritten(at >>> 12)
    return this.data(offset)
  }

  /** A frame that the attackers share among themselves. */
  protected playFrame(): number {
    const { frames } = this.field.guest
    const number = this.chance(2) ? PLAY.first + this.below(PLAY.end - PLAY.first) : PLAY.looseFirst + this.below(frames.length - PLAY.looseFirst)
    return frames[number]!
  }

  protected tableFrame(): number {
    return this.field.guest.frames[this.pick(Object.values(TABLES))]!
  }

  protected anyFrame(): number {
    const kind = this.below(16)
    if (kind < 11) return this.playFrame()
    if (kind < 13) return this.tableFrame()
    if (kind < 15) return this.pick(this.field.foreign)
    return this.below(0x4000)
  }

  /** An entry near a valid one. */
  protected entry(frame = this.anyFrame()): bigint {
    let flags = this.pick([0, 1, 3, 0x63, 0x63, 0x63, 0x67, 0x67, 0x21, 0x25])
    if (this.chance(12)) flags ^= this.pick(FLAGS)
    return (BigInt(frame) << 12n) | BigInt(flags) | (this.chance(6) ? NX : 0n) | (this.chance(60) ? 1n << 45n : 0n)
  }

  /** Address at which the guest sees an entry of a level-1 table; through aliases too, now and then of a higher table. */
  protected entryAddress(): number {
    const { guest } = this.field
    const slot = this.chance(30) ? 511 : this.below(SLOTS)
    const kind = this.below(12)
    const skew = this.chance(8) ? this.below(8) : 0
    if (kind < 6) return guest.at(TABLES.window, slot * 8 + skew)
    if (kind < 10) return this.pick(WINDOWS) + (SELF + this.below(4)) * 4096 + slot * 8 + skew
    if (kind < 11) return guest.at(TABLES.user1, this.below(16) * 8 + skew)
    return guest.at(this.pick(Object.values(TABLES)), this.below(512) * 8)
  }

  /** Machine address of an entry that mmu_update may name. */
  protected entryPlace(): number {
    const { frames } = this.field.guest
    const kind = this.below(10)
    if (kind < 6) return frames[TABLES.window]! * 4096 + this.below(SLOTS) * 8
    if (kind < 7) return frames[TABLES.user1]! * 4096 + this.below(16) * 8
    if (kind < 8) return frames[TABLES.l2]! * 4096 + (1 + this.below(4)) * 8
    if (kind < 9) return this.playFrame() * 4096 + this.below(512) * 8
    return this.tableFrame() * 4096 + (16 + this.below(496)) * 8
  }

  protected windowPage(): number {
    return this.pick(WINDOWS) + this.below(SLOTS) * 4096
  }
}

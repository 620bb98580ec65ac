/**
 * What is known of the addresses that a basic block uses while it is written: each register's value is a root, which is what
 * it held where the block begins or where it was given something unknown, and a number of bytes from there. Accesses near to
 * each other from the same roots are a group, for which one look at the mapping does (windows.ts).
 */
import { GPR, PAGE_SIZE } from '../../../../x86/index.ts'
import { SLOT } from '../../layout/state.ts'
import { isWrite } from '../../uops/facts.ts'
import type { MicroFacts } from '../../uops/facts.ts'
import { STACK_POINTER } from '../form/micro-profiles.ts'
import type { MicroProfile, Steps } from '../form/micro-profiles.ts'
import type { RecordReader } from '../form/record-reader.ts'
import type { RecordUse } from './region-registers.ts'

/** Bytes from the first to behind the last of a group: with more of them pages' ends would too often lie in between. */
const MOST_SPAN = 128
const GENERAL_BYTES = 128
const REGISTERS = 16
/** Bits of a scale field. */
const SCALE = { SHIFT: 3, SEGMENT: 0xf8 } as const

/** The root of constants, and the absent index; registers are roots by their numbers, unknown values follow them. */
export const ROOT = { CONSTANT: -1, NONE: -2, FIRST_UNKNOWN: REGISTERS } as const

/** What an address is made of besides a number of bytes: roots of base and index, and the record's scale field. */
export interface AddressRoots {
  readonly base: number
  readonly index: number
  readonly scale: number
}

/** Accesses that one look at the mapping does for; bytes count from the roots' values. */
export interface AccessGroup extends AddressRoots {
  low: number
  high: number
  writes: boolean
  /** The first access, by its key, and how many there are. */
  readonly leader: number
  members: number
}

/** An access in its group. */
export interface GroupedAccess {
  readonly group: AccessGroup
  readonly offset: number
}

/** What is known of a block's values. */
export interface BlockValues {
  /** By accessKey. */
  readonly accesses: ReadonlyMap<number, GroupedAccess>
  /** Where the block ends, each register's root and bytes from there. */
  readonly roots: readonly number[]
  readonly offsets: readonly number[]
  /** Behind the last root in use. */
  readonly rootsEnd: number
}

/** Where an access is. */
interface Place extends AddressRoots {
  readonly low: number
}

const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE)

/** Names an access of a record. */
export const accessKey = (record: number, access: 'read' | 'write'): number => record * 2 + (access === 'write' ? 1 : 0)

/** How many bits an index is shifted by. */
export const shiftOf = (scale: number): number => scale & SCALE.SHIFT

/** Follows the values of one block, record by record. */
export class ValueTracker {
  private readonly reader: RecordReader
  private readonly mostSpan: number
  private readonly roots = Array.from({ length: REGISTERS }, (_, register) => register)
  private readonly offsets = Array.from({ length: REGISTERS }, () => 0)
  private readonly groups: AccessGroup[] = []
  private readonly accesses = new Map<number, GroupedAccess>()
  private rootsEnd: number = ROOT.FIRST_UNKNOWN

  constructor(reader: RecordReader, windows: 'wide' | 'narrow') {
    this.reader = reader
    this.mostSpan = windows === 'wide' ? MOST_SPAN : 0
  }

  /** What was found. */
  get result(): BlockValues {
    const { accesses, roots, offsets, rootsEnd } = this
    return { accesses, roots, offsets, rootsEnd }
  }

  /** Takes the access of the record at hand; several in one record are left alone, as they need not go by the same registers. */
  access({ facts, steps }: MicroProfile): void {
    const access = facts.memory[0]!
    if (facts.memory.length > 1 || access.bytes === 0) return
    const writes = isWrite(access)
    const place = access.through === 'operand' ? this.operand(facts) : access.through === 'stack' ? this.stack(facts, writes ? steps : undefined) : undefined
    if (place === undefined) return
    const key = accessKey(this.reader.at, writes ? 'write' : 'read')
    const group = this.groupOf(key, place, { high: place.low + access.bytes, writes })
    this.accesses.set(key, { group, offset: place.low })
  }

  /** LEAVE goes by the frame pointer; what writes below the stack pointer moves it. */
  private stack({ read }: MicroFacts, moves: Steps | undefined): Place | undefined {
    const stack = (read & (1 << GPR.rbp)) === 0 ? GPR.rsp : GPR.rbp
    if (moves !== undefined && moves.kind !== 'stack') return undefined
    return { base: this.roots[stack]!, index: ROOT.NONE, scale: SLOT.zero, low: this.offsets[stack]! + (moves?.by ?? 0) }
  }

  private operand({ address }: MicroFacts): Place | undefined {
    const { reader } = this
    const { root: base, offset } = this.valueOf(reader.small('base'))
    if (base === ROOT.NONE) return undefined
    const low = offset + reader.displacement
    if (address === 1) return { base, index: ROOT.NONE, scale: SLOT.zero, low }
    const index = reader.small('index')
    const scale = reader.small('scale')
    if (index === SLOT.zero) return { base, index: ROOT.NONE, scale: scale & SCALE.SEGMENT, low }
    if (index >= GENERAL_BYTES) return undefined
    return { base, index: this.roots[index >> 3]!, scale, low: low + this.offsets[index >> 3]! * 2 ** shiftOf(scale) }
  }

  /** The value of a slot; no root where nothing is known of it. */
  private valueOf(slot: number): { root: number; offset: number } {
    if (slot < GENERAL_BYTES) return { root: this.roots[slot >> 3]!, offset: this.offsets[slot >> 3]! }
    if (slot === SLOT.page) return { root: ROOT.CONSTANT, offset: this.reader.page }
    return { root: slot === SLOT.zero ? ROOT.CONSTANT : ROOT.NONE, offset: 0 }
  }

  private groupOf(leader: number, place: Place, { high, writes }: { high: number; writes: boolean }): AccessGroup {
    const { base, index, scale, low } = place
    for (const group of this.groups) {
      if (group.base !== base || group.index !== index || group.scale !== scale) continue
      const [from, to] = [Math.min(low, group.low), Math.max(high, group.high)]
      if (to - from > this.mostSpan || (base === ROOT.CONSTANT && pageOf(from) !== pageOf(to - 1))) continue
      group.low = from
      group.high = to
      group.writes ||= writes
      group.members += 1
      return group
    }
    const group = { base, index, scale, low, high, writes, leader, members: 1 }
    this.groups.push(group)
    return group
  }

  /** Takes what the record at hand does to the registers that it writes. */
  apply({ facts, steps }: MicroProfile, { written, writtenByName: named }: RecordUse): void {
    const { reader, offsets } = this
    if (steps.kind === 'stack') {
      this.forget(written & (named | ~STACK_POINTER))
      if ((named & STACK_POINTER) === 0) offsets[GPR.rsp]! += steps.by + (steps.hasMore ? reader.immediate : 0)
      return
    }
    const to = reader.small('destination') >> 3
    if (steps.kind === 'none' || written !== 1 << to) return this.forget(written)
    if (steps.kind === 'step') offsets[to]! += steps.by
    else if (steps.kind === 'immediate') offsets[to]! += steps.by * reader.immediate
    else if (steps.kind === 'copy') this.set(to, reader.small('source'), 0)
    else if (facts.address === 1 || (reader.small('index') === SLOT.zero && (reader.small('scale') & SCALE.SEGMENT) === SLOT.zero)) {
      this.set(to, reader.small('base'), reader.displacement)
    } else this.forget(written)
  }

  /** A register becomes a slot's value and some bytes. */
  private set(to: number, slot: number, bytes: number): void {
    const { root, offset } = this.valueOf(slot)
    if (root === ROOT.NONE) return this.forget(1 << to)
    this.roots[to] = root
    this.offsets[to] = offset + bytes
  }

  private forget(registers: number): void {
    for (let register = 0; register < REGISTERS; register += 1) {
      if (((registers >>> register) & 1) === 0) continue
      this.roots[register] = this.rootsEnd++
      this.offsets[register] = 0
    }
  }
}

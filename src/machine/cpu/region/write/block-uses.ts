/** What the basic blocks of a region use: one pass over their records. */
import { RECORD } from '../../layout/record.ts'
import { SLOT } from '../../layout/state.ts'
import { STACK_POINTER } from '../form/micro-profiles.ts'
import type { MicroProfile, MicroProfiles } from '../form/micro-profiles.ts'
import { RecordReader } from '../form/record-reader.ts'
import { ValueTracker } from './values.ts'
import type { BlockValues } from './values.ts'
import type { RecordUse, RegisterUse } from './region-registers.ts'
import type { RegionBlock, RegionInstruction } from '../form/region.ts'

/** Bytes that a register moves by at most to stay in a page for long. */
const SHORT = 256
/** Bound of numbers that are small beside a page. */
const SMALL = 1024
const GENERAL_BYTES = 128

/** A record that uses memory. */
export interface MemoryRecord {
  readonly instruction: RegionInstruction
  readonly at: number
  readonly profile: MicroProfile
  /** Registers that hold small numbers there, as bits. */
  readonly bounded: number
}

/** What a basic block uses. */
export interface BlockUse extends RegisterUse {
  /** Registers that it gives values that nothing is known of, as bits. */
  readonly wild: number
  readonly memory: readonly MemoryRecord[]
  readonly values: BlockValues
}

/** Bits of the registers that some fields of the record at hand name. */
function named(reader: RecordReader, fields: readonly number[]): number {
  let set = 0
  for (let i = 0; i < fields.length; i += 1) {
    const slot = reader.byte(fields[i]!)
    if (slot < GENERAL_BYTES) set |= 1 << (slot >> 3)
  }
  return set
}

/** The registers that the record at hand reads and writes; what is written is stored at every exit, also at those before it. */
export function recordUse(reader: RecordReader, profile: MicroProfile): RecordUse {
  const writtenByName = named(reader, profile.writtenFields)
  const written = profile.written | writtenByName
  return { used: profile.read | named(reader, profile.readFields) | written, written, writtenByName }
}

/** Those of the written ones that become anything: they are neither moved in small steps nor set to constants. */
function wildOf(reader: RecordReader, { movement }: MicroProfile, written: number): number {
  switch (movement) {
    case 'step':
      return 0
    case 'stack':
      return written & ~STACK_POINTER
    case 'by-immediate':
      return Math.abs(reader.immediate) <= SHORT ? 0 : written
    case 'by-displacement': {
      const isStep = reader.small('base') === reader.small('destination') && Math.abs(reader.displacement) <= SHORT
      return isStep && reader.small('index') === SLOT.zero ? 0 : written
    }
    default:
      return written
  }
}

/** Those that become a small number. */
function boundedOf(reader: RecordReader, { bounds }: MicroProfile): number {
  if (bounds === 'never') return 0
  const { immediate } = reader
  if (bounds === 'by-immediate' && (immediate < 0 || immediate >= SMALL)) return 0
  const slot = reader.small('destination')
  return slot < GENERAL_BYTES ? 1 << (slot >> 3) : 0
}

/** What a block uses. */
export function blockUse(
  reader: RecordReader, profiles: MicroProfiles, { instructions }: RegionBlock, windows: 'wide' | 'narrow' = 'wide',
): BlockUse {
  let [used, written, wild, bounded] = [0, 0, 0, 0]
  const memory: MemoryRecord[] = []
  const values = new ValueTracker(reader, windows)
  for (let i = 0; i < instructions.length; i += 1) {
    const instruction = instructions[i]!
    for (let at = instruction.first; at < instruction.end; at += RECORD.bytes) {
      reader.go(instruction, at)
      const profile = profiles.of(reader.number)
      const use = recordUse(reader, profile)
      if (profile.facts.memory.length > 0) {
        memory.push({ instruction, at, profile, bounded })
        values.access(profile)
      }
      used |= use.used
      written |= use.written
      if (use.written === 0) continue
      values.apply(profile, use)
      wild |= wildOf(reader, profile, use.written)
      bounded = (bounded & ~use.written) | boundedOf(reader, profile)
    }
  }
  return { used, written, wild, memory, values: values.result }
}

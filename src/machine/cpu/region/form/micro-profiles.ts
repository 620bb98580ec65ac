/**
 * What regions ask of micro-operations for every record, worked out of their facts once: whether a region carries one out
 * and how it ends a basic block, which registers it uses, and whether it moves them far.
 */
import { GPR } from '../../../../x86/index.ts'
import { ARITHMETIC_FLAGS } from '../../layout/flag-word.ts'
import { RECORD } from '../../layout/record.ts'
import type { MicroFacts } from '../../uops/facts.ts'
import type { Emit, Micro } from '../../uops/micro.ts'
import type { MicroTable } from '../../uops/micro-table.ts'
import type { BlockEnd } from './region.ts'

/** How a basic block ends behind a micro-operation, or that no region carries it out. */
export type Carriage = BlockEnd | 'refused'

/**
 * How it changes the general registers that it writes: by a step, or to a constant; by the immediate, by the displacement
 * of its own register; only the stack pointer by a step; or to anything.
 */
export type Movement = 'step' | 'by-immediate' | 'by-displacement' | 'stack' | 'anywhere'

/** How a micro-operation, or code, first meets the arithmetic flags. */
export type FlagNeed = 'none' | 'sets' | 'needs'

/**
 * What becomes of the 64 bits of its destination where that is known: they are moved by so much, or by so many times the
 * immediate; a copy of its source, or of its address. Of `stack` it is the stack pointer, which RET moves by the immediate too.
 */
export interface Steps {
  readonly kind: 'none' | 'stack' | 'step' | 'immediate' | 'copy' | 'address'
  readonly by: number
  readonly hasMore: boolean
}

/** Nothing is known. */
export const NO_STEPS: Steps = { kind: 'none', by: 0, hasMore: false }

/** The profile of a micro-operation; of a pair it is that of the first half, as the second one has a record of its own. */
export interface MicroProfile {
  readonly facts: MicroFacts
  readonly emit: Emit
  readonly carriage: Carriage
  /** What it does first with the arithmetic flags: leaves them alone, sets all of them, or needs what they were before. */
  readonly flags: FlagNeed
  /** It throws its result away. */
  readonly isComparison: boolean
  /** General registers known by number that it reads and writes, as bits; and where its record names others. */
  readonly read: number
  readonly written: number
  readonly readFields: readonly number[]
  readonly writtenFields: readonly number[]
  readonly movement: Movement
  readonly steps: Steps
  /** Its destination becomes a small number: always, or when the immediate is one. */
  readonly bounds: 'never' | 'always' | 'by-immediate'
}

/** Bits of the general registers in a set of slots. */
const GENERAL = 0xffff

/** Profiles by micro-operation's number. */
export class MicroProfiles {
  private readonly table: MicroTable
  private readonly known: (MicroProfile | undefined)[]

  constructor(table: MicroTable) {
    this.table = table
    this.known = new Array<MicroProfile | undefined>(table.count).fill(undefined)
  }

  /** The profile of a number. */
  of(number: number): MicroProfile {
    return (this.known[number] ??= profileOf(this.table.all[number]!))
  }
}

/** Works a profile out. */
export function profileOf(micro: Micro): MicroProfile {
  const single = micro.pair?.first ?? micro
  const { facts, emit, parts } = single
  const fields = (use: 'read' | 'write'): number[] =>
    facts.operands.filter((operand) => operand.file === 'general' && operand.use === use).map(({ field }) => RECORD[field])
  return {
    facts, emit, carriage: carriageOf(single), flags: flagNeed(facts), isComparison: parts[0] === 'cmp' || parts[0] === 'test',
    read: facts.read & GENERAL, written: facts.written & GENERAL, readFields: fields('read'), writtenFields: fields('write'),
    movement: movementOf(single), steps: stepsOf(single), bounds: boundsOf(single),
  }
}

const flagNeed = ({ flagsRead, flagsWritten, flagsOverwritten }: MicroFacts): FlagNeed =>
  ((flagsRead | flagsWritten) === 0 ? 'none' : flagsRead === 0 && flagsOverwritten === ARITHMETIC_FLAGS ? 'sets' : 'needs')

/** A call writes its return address, a return reads it. */
const stackUse = ({ memory }: MicroFacts): 'read' | 'write' | undefined => {
  const use = memory.find(({ through }) => through === 'stack')?.use
  return use === 'read' || use === 'write' ? use : undefined
}

function carriageOf({ facts, group }: Micro): Carriage {
  if (group === 'segmented' || facts.handler === 'always') return 'refused'
  switch (facts.ends) {
    case 'next':
    case 'repeat':
      return 'next'
    case 'conditional':
      return 'conditional'
    case 'branch':
      return stackUse(facts) === 'write' ? 'call' : 'branch'
    case 'jump':
      return stackUse(facts) === 'read' ? 'return' : 'indirect'
    default:
      return 'refused'
  }
}

function movementOf({ parts }: Micro): Movement {
  const [operation, , operands] = parts
  switch (operation) {
    case 'push':
    case 'pop':
    case 'call':
    case 'ret':
      return 'stack'
    case 'inc':
    case 'dec':
      return 'step'
    case 'add':
    case 'sub':
      return operands === 'ri' ? 'by-immediate' : 'anywhere'
    case 'mov':
      return operands === 'ri' || operands === 'rw' ? 'step' : 'anywhere'
    case 'lea':
      return 'by-displacement'
    default:
      return 'anywhere'
  }
}

function stepsOf({ parts: [operation, size, operands] }: Micro): Steps {
  const bytes = Number(size) / 8
  const isWide = size === 64
  const steps = (kind: Steps['kind'], by: number): Steps => ({ kind, by, hasMore: operation === 'ret' })
  switch (operation) {
    case 'push':
    case 'call':
      return steps('stack', -bytes)
    case 'pop':
    case 'ret':
      return steps('stack', bytes)
    case 'inc':
    case 'dec':
      return isWide ? steps('step', operation === 'inc' ? 1 : -1) : NO_STEPS
    case 'add':
    case 'sub':
      return isWide && operands === 'ri' ? steps('immediate', operation === 'add' ? 1 : -1) : NO_STEPS
    case 'mov':
      return isWide && operands === 'rr' ? steps('copy', 0) : NO_STEPS
    case 'lea':
      return isWide ? steps('address', 0) : NO_STEPS
    default:
      return NO_STEPS
  }
}

function boundsOf({ parts: [operation, size, operands] }: Micro): MicroProfile['bounds'] {
  if (operation === 'movzx') return operands === 8 ? 'always' : 'never'
  return operation === 'and' && operands === 'ri' && (size === 32 || size === 64) ? 'by-immediate' : 'never'
}

/** The stack pointer in a set of registers. */
export const STACK_POINTER = 1 << GPR.rsp

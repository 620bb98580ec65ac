/**
 * A processor's inside as TypeScript handlers see it, view by view: who carries out an instruction takes the views it
 * needs. Each view is a file of its own here and knows at most those above it in the list. What instructions do is in
 * handlers/.
 */
import type { InterruptSource, PhysicalSource } from '../../interface/sources.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import type { InterpreterExports } from '../interpreter/module.ts'
import { Attention } from './attention.ts'
import { DebugUnit } from './debug.ts'
import { EventUnit } from './events.ts'
import { Faults } from './faults.ts'
import { FloatUnits } from './float-units.ts'
import { GeneratedCode } from './generated-code.ts'
import { Outside } from './outside.ts'
import type { OutsideSources } from './outside.ts'
import { LinearMemory } from './linear-memory.ts'
import { Mode } from './mode.ts'
import { NestedMemory } from './nested-memory.ts'
import { Progress } from './progress.ts'
import { Records } from './records.ts'
import { RegisterFile } from './register-file.ts'
import { Segments } from './segments.ts'
import { Stack } from './stack.ts'
import { SystemRegisters } from './system-registers.ts'
import { type TableSwitch, Translations } from './translations.ts'

/** What a core is made of. */
export interface CoreParts {
  readonly memory: MachineMemory
  /** Where the processor's area begins. */
  readonly base: number
  readonly bare: boolean
  /** Innermost ring of its code. */
  readonly kernelRing: number
  readonly accounting: 'instructions' | 'work'
  readonly tableSwitch: TableSwitch
  readonly level: ProcessorLevel
  readonly sources: OutsideSources
  /** Of a processor whose physical memory its host translates. */
  readonly nested: PhysicalSource | undefined
  readonly interrupts: InterruptSource | undefined
  /** The generated interpreter for linear addresses of a width. */
  readonly interpreter: (width: 32 | 64) => InterpreterExports
}

/** One processor's views. */
export class Core {
  /** True for a processor that delivers its own interrupts, starting in ring 0. */
  readonly bare: boolean
  /** Innermost ring of its code. */
  readonly kernelRing: number
  /** What the processor has. */
  readonly level: ProcessorLevel
  readonly physical: MachineMemory
  /** Guest-physical memory, where a host translates it: then it also carries out what concerns more than the processor. */
  readonly nested: NestedMemory | undefined
  readonly registers: RegisterFile
  readonly system = new SystemRegisters()
  /** Soft-float with its scratch space. */
  readonly floats = new FloatUnits()
  readonly code: GeneratedCode
  readonly faults: Faults
  readonly records: Records
  readonly progress: Progress
  readonly translations: Translations
  readonly segments: Segments
  readonly memory: LinearMemory
  readonly stack: Stack
  readonly debug: DebugUnit
  readonly events: EventUnit
  readonly attention: Attention
  readonly mode: Mode
  readonly outside: Outside

  constructor(parts: CoreParts) {
    const { bare, memory: physical } = parts
    const registers = new RegisterFile(physical, parts.base, bare)
    const code = new GeneratedCode(parts.interpreter)
    const faults = new Faults(registers)
    const translations = new Translations(physical, registers, parts.tableSwitch)
    const segments = new Segments(registers, code)
    const memory = new LinearMemory(registers, code)
    const debug = new DebugUnit({ registers, faults, translations })
    const events = new EventUnit(registers, parts.interrupts)
    this.bare = bare
    this.kernelRing = parts.kernelRing
    this.level = parts.level
    this.physical = physical
    this.nested = parts.nested && new NestedMemory(physical, registers, parts.nested)
    this.registers = registers
    this.code = code
    this.faults = faults
    this.records = new Records(registers)
    this.progress = new Progress(registers, code, parts.accounting)
    this.translations = translations
    this.segments = segments
    this.memory = memory
    this.stack = new Stack({ registers, memory, segments })
    this.debug = debug
    this.events = events
    this.attention = new Attention(debug, events)
    this.mode = new Mode({ bare, isNested: parts.nested !== undefined, registers, code, segments, translations, debug, descriptors: parts.sources.descriptors })
    this.outside = new Outside(parts.sources, this.records)
  }
}

/** Some of a core's views: what a function that takes it may use. */
export type Views<K extends keyof Core> = Pick<Core, K>

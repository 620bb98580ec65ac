/**
 * What a micro-operation is: facts as data and one function that writes its WebAssembly. Its name is put together from
 * the parts that identify it and is for people: nothing takes it apart again. Parts are an operation, sizes, and what the
 * operands are: r is a register, i the immediate, m memory, in the two forms of an address.
 */
import type { AddressForm, Binder, FlagSource } from '../emit/binder.ts'
import type { Condition } from '../../../x86/index.ts'
import { factsOf, outlineOf } from './facts.ts'
import type { Effect, MicroFacts, Outline } from './facts.ts'

/** Writes a micro-operation's meaning; `before` tells what the one just before it left in flags. */
export type Emit = (b: Binder, before?: FlagSource) => FlagSource | void

/** Groups whose functions are a module of their own, generated when one of them is met. */
export const LATER_GROUPS = ['vector', 'avx'] as const
/** One of {@link LATER_GROUPS}. */
export type LaterGroup = (typeof LATER_GROUPS)[number]

/**
 * Which module holds the function that executes a record outside the loop: vector operations, and those of AVX, come when one is met,
 * those of `segmented`, for code whose segments are not flat, only where there are such segments.
 */
export type MicroGroup = 'common' | 'segmented' | LaterGroup

/** What identifies a micro-operation beside its address's form. */
export type Parts = readonly [operation: string, ...rest: readonly (string | number)[]]

/** Two micro-operations in consecutive records that are dispatched once. */
export interface Pair {
  /** Its first half, by which its record is executed outside the loop. */
  readonly first: Micro
  readonly second: Emit
  /** Those that may be its second half. */
  readonly seconds: readonly Micro[]
  /** The condition is in the jump's record. */
  readonly isSelected: boolean
}

/** One micro-operation, or a pair, whose facts are those of its first half. */
export interface Micro {
  readonly parts: Parts
  /** Form of the record's address where it is defined in both. */
  readonly form: 0 | AddressForm
  readonly name: string
  /** Summed up when they are first asked for. */
  readonly facts: MicroFacts
  readonly outline: Outline
  readonly emit: Emit
  readonly group: MicroGroup
  /** Whether the shorter form of an address exists also outside of the loop. */
  readonly isKept: boolean
  readonly pair: Pair | undefined
  /** What it is the twin of, for code whose segments are not flat. */
  readonly twinOf: Micro | undefined
}

/** What a micro-operation with an address is, by the address's form. */
export interface BothForms {
  readonly parts: Parts
  readonly facts: (form: AddressForm) => readonly Effect[]
  readonly emit: (b: Binder, form: AddressForm) => FlagSource | void
  /** The shorter form is worth its code only in the loop. */
  readonly isShortOnlyInLoop?: true
}

const SEGMENTED = 'segmented.'

/** A micro-operation whose facts are worked out by `sum`, once. */
class LazyMicro implements Micro {
  readonly parts: Parts
  readonly form: 0 | AddressForm
  readonly name: string
  readonly outline: Outline
  readonly emit: Emit
  readonly group: MicroGroup
  readonly isKept: boolean
  readonly pair: Pair | undefined
  readonly twinOf: Micro | undefined
  private sum: (() => MicroFacts) | undefined
  private known: MicroFacts | undefined

  constructor({ parts, form, name, outline, emit, group, isKept, pair, twinOf }: Omit<Micro, 'facts'>, sum: () => MicroFacts) {
    this.parts = parts
    this.form = form
    this.name = name
    this.outline = outline
    this.emit = emit
    this.group = group
    this.isKept = isKept
    this.pair = pair
    this.twinOf = twinOf
    this.sum = sum
  }

  get facts(): MicroFacts {
    if (this.known === undefined) {
      this.known = this.sum!()
      this.sum = undefined
    }
    return this.known
  }
}

/** Collects micro-operations. */
export class MicroList {
  readonly all: Micro[] = []
  /** Conditional jumps by condition. */
  readonly jumps = new Map<Condition, Micro>()
  /** Where those that are added now belong. */
  group: MicroGroup = 'common'

  private push(micro: Pick<Micro, 'parts' | 'outline' | 'emit'> & Partial<Omit<Micro, 'facts'>>, facts: () => MicroFacts): Micro {
    const { parts, form = 0, group = this.group } = micro
    const name = `${parts.join('.')}${form === 0 ? '' : form}`
    const made = new LazyMicro({ isKept: true, pair: undefined, twinOf: undefined, name, ...micro, form, group }, facts)
    this.all.push(made)
    return made
  }

  /** Adds one. */
  add(parts: Parts, facts: readonly Effect[], emit: Emit): Micro {
    return this.push({ parts, outline: outlineOf(facts), emit }, () => factsOf(facts))
  }

  /** Adds one that uses the record's address, in the longer form only. */
  addLong(parts: Parts, facts: readonly Effect[], emit: Emit): void {
    this.push({ parts, outline: outlineOf(facts), emit, form: 2 }, () => factsOf(facts))
  }

  /** Adds some that use the record's address, in both forms. */
  addForms(...rows: readonly BothForms[]): void {
    for (const form of [1, 2] as const) {
      for (const { parts, facts, emit, isShortOnlyInLoop } of rows) {
        const isKept = form === 2 || isShortOnlyInLoop === undefined
        const effects = facts(form)
        this.push({ parts, form, outline: outlineOf(effects), emit: (b) => emit(b, form), isKept }, () => factsOf(effects))
      }
    }
  }

  /** Adds one that does with memory, stack and control what another does; its facts are worked out when they are asked for. */
  addLike({ outline }: Micro, { parts, facts, emit }: { readonly parts: Parts; readonly facts: () => MicroFacts; readonly emit: Emit }): void {
    this.push({ parts, outline, emit }, facts)
  }

  /** Adds the same for code whose segments are not flat. */
  addTwin(twinOf: Micro, facts: (usual: MicroFacts) => MicroFacts): void {
    const { parts, form, emit, outline } = twinOf
    this.push({ parts, form, emit, outline, twinOf, name: SEGMENTED + twinOf.name }, () => facts(twinOf.facts))
  }

  /** Adds a pair, whose name ends by that of its second half. */
  addPair(pair: Pair, suffix: string): void {
    const { parts, form, emit, group, outline, name } = pair.first
    this.push({ parts, form, emit, group, outline, pair, name: `${name}+${suffix}` }, () => pair.first.facts)
  }
}

/** Alternatives for each part. */
export type Pattern = readonly (string | number | readonly (string | number)[])[]

/** True when a micro-operation's parts, and the form of its address, are among the alternatives. */
export function isAmong({ parts, form }: Pick<Micro, 'parts' | 'form'>, pattern: Pattern, forms: readonly number[] = [0]): boolean {
  if (parts.length !== pattern.length || !forms.includes(form)) return false
  for (let index = 0; index < parts.length; index += 1) {
    const choice = pattern[index]!
    if (typeof choice === 'object' ? !choice.includes(parts[index]!) : choice !== parts[index]) return false
  }
  return true
}

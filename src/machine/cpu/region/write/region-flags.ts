/**
 * Arithmetic flags of a region under construction: the operands of what set them last, in locals, with a kind known while
 * code is written; behind a join a kind number in a local. The three words (emit/flags.ts) are worked out only where
 * somebody needs them, and at exits.
 */
import type { Code } from '../../../../wasm/index.ts'
import { typeOf } from '../../emit/binder.ts'
import type { Binder, FlagSource } from '../../emit/binder.ts'
import { pushFlagPart, setFlagPart } from '../../emit/flag-words.ts'
import type { FlagLocals, FlagRead, FlagWrite } from '../../emit/flag-words.ts'
import { pushCarry, storeFlags } from '../../emit/flags.ts'
import { State } from '../../layout/state.ts'
import { MERGED } from '../form/exit-word.ts'
import { FIRST_STEP, FROM_LEFT, keptKind, kindNumber } from './flag-kinds.ts'
import type { KeptKind } from './flag-kinds.ts'

/** Flags by their operands, and how those are kept where ways join. */
interface KnownFlags {
  readonly source: FlagSource
  readonly kind: KeptKind
}

/** What tells the flags at a point of the code: their words, operands, or what a local says at run time. */
export type FlagState = 'words' | 'merged' | KnownFlags

/** Functions that a region calls for flags of a kind known at run time, see flag-helpers.ts. */
export interface FlagFunctions {
  /** (base, kind, first, second, carry): stores the words. */
  readonly storeFlags: number
  /** (kind, first, second, carry) -> CF. */
  readonly carryOf: number
}

/** The flags of one region. */
export class RegionFlags {
  /** What tells the flags now; whoever writes several ways in turn puts it back. */
  state: FlagState = 'words'
  private readonly code: Code
  private readonly functions: FlagFunctions
  private readonly words: FlagLocals
  /** Operands of a kind known now, by their type. */
  private readonly operands: Readonly<Record<'i32' | 'i64', { left: number; right: number; result: number }>>
  /** CF where the kind is INC or DEC, carry in where it is ADC or SBB. */
  private readonly carry: number
  /** Operands and kind behind a join. */
  private readonly first: number
  private readonly second: number
  private readonly kind: number

  constructor(code: Code, functions: FlagFunctions) {
    this.code = code
    this.functions = functions
    const [i32, i64] = [(): number => code.local('i32'), (): number => code.local('i64')]
    this.words = { result: i64(), low: i32(), high: i32() }
    this.operands = {
      i32: { left: i32(), right: i32(), result: i32() }, i64: { left: i64(), right: i64(), result: i64() },
    }
    this.carry = i32()
    this.first = i64()
    this.second = i64()
    this.kind = i32()
  }

  /** Takes the words out of the state. */
  load(base: number): void {
    this.loadWords(base)
    this.state = 'words'
  }

  private loadWords(base: number): void {
    const c = this.code
    const load = (name: 'i32.load' | 'i64.load', offset: number, local: number): void => {
      c.get(base)
      c.memory(name, offset)
      c.set(local)
    }
    load('i64.load', State.flagResult.offset, this.words.result)
    load('i32.load', State.flagLow.offset, this.words.low)
    load('i32.load', State.flagHigh.offset, this.words.high)
  }

  /** Number of the kind that holds now: of 0 the words do, MERGED where a local tells it. */
  get number(): number {
    const { state } = this
    if (state === 'merged') return MERGED
    return state === 'words' ? 0 : kindNumber(state.kind, state.source.size)
  }

  /** Puts flags into the state whose number is on the stack. */
  spill(base: number): void {
    const c = this.code
    const number = c.local('i32')
    c.set(number)
    c.get(this.kind)
    c.get(number)
    c.get(number)
    c.i32(MERGED)
    c.op('i32.eq', 'select')
    c.tee(this.kind)
    c.release('i32', number)
    c.if()
    this.callStore(base)
    c.else()
    this.storeWords(base)
    c.end()
  }

  private storeWords(base: number): void {
    const c = this.code
    const store = (name: 'i32.store' | 'i64.store', offset: number, local: number): void => {
      c.get(base)
      c.get(local)
      c.memory(name, offset)
    }
    store('i64.store', State.flagResult.offset, this.words.result)
    store('i32.store', State.flagLow.offset, this.words.low)
    store('i32.store', State.flagHigh.offset, this.words.high)
  }

  /** Puts flags into the state in the midst of a region. */
  store(b: Binder): void {
    this.settle(b)
    this.storeWords(b.base)
  }

  private callStore(base: number): void {
    this.code.get(base)
    this.pushMerged()
    this.code.call(this.functions.storeFlags)
  }

  private pushMerged(): void {
    for (const local of [this.kind, this.first, this.second, this.carry]) this.code.get(local)
  }

  /** Remembers the operands of what sets the flags; `isCompared` when nobody keeps the result. */
  keep(b: Binder, source: FlagSource, isCompared: boolean): void {
    const c = this.code
    const { kind, size } = source
    if (kind === 'inc' || kind === 'dec') this.keepCarry(b)
    const to = this.operands[typeOf(size)]
    const copy = (from: number, local: number): void => {
      c.get(from)
      c.set(local)
    }
    if (kind !== 'logic') {
      copy(source.left, to.left)
      copy(source.right, to.right)
    }
    copy(source.result, to.result)
    const kept = kind === 'logic' ? { left: to.result, right: to.result, result: to.result } : to
    this.remember({ source: { kind, size, ...kept, carry: this.carry }, kind: keptKind(source, isCompared) })
  }

  /** Keeps CF beside the operands that come. */
  private keepCarry(b: Binder): void {
    const c = this.code
    if (this.state !== 'merged') {
      pushCarry(b)
      return c.set(this.carry)
    }
    c.get(this.kind)
    c.i32(FIRST_STEP)
    c.op('i32.lt_u')
    c.if()
    c.get(this.kind)
    c.if('i32')
    this.pushMerged()
    c.call(this.functions.carryOf)
    c.else()
    c.get(this.words.high)
    c.i32(31)
    c.op('i32.shr_u')
    c.end()
    c.set(this.carry)
    c.end()
  }

  /** What is remembered. */
  known(): FlagSource | undefined {
    return typeof this.state === 'object' ? this.state.source : undefined
  }

  /** From here on the words tell the flags. */
  settle(b: Binder): void {
    const { state, code: c } = this
    if (state === 'words') return
    this.state = 'words'
    if (state !== 'merged') return storeFlags(b, state.source)
    c.get(this.kind)
    c.if()
    this.callStore(b.base)
    this.loadWords(b.base)
    c.end()
  }

  /** All words are stored next. */
  renew(): void {
    this.state = 'words'
  }

  /** Pushes a part of the words. */
  push(b: Binder, part: FlagRead): void {
    this.settle(b)
    pushFlagPart(this.code, this.words, part)
  }

  /** Sets a part of the words. */
  set(b: Binder, part: FlagWrite, push: () => void): void {
    this.settle(b)
    setFlagPart(this.code, this.words, part, push)
  }

  /** Leaves the flags as code that does not know how they came about takes them; does not change what is known here. */
  merge(): void {
    if (this.state === 'merged') return
    this.code.i32(this.number)
    this.code.set(this.kind)
  }

  /** Keeps what tells the flags also for an exit or a join, so that those have little to say. */
  private remember(known: KnownFlags): void {
    const c = this.code
    const { source, kind } = known
    const { size, left, right, result } = source
    const push = (from: number): void => {
      c.get(from)
      if (size !== 64) c.op('i64.extend_i32_u')
    }
    push(FROM_LEFT.has(kind) ? left : result)
    c.set(this.first)
    // Nothing is kept alive that no exit asks for.
    if (kind === 'logic' || kind === 'inc' || kind === 'dec') c.i64(0)
    else push(right)
    c.set(this.second)
    if (kind === 'adc' || kind === 'sbb') this.carryIn(source)
    this.state = known
  }

  /** Carry in: what the operands alone do not make the result. */
  private carryIn({ kind, size, left, right, result }: FlagSource): void {
    const c = this.code
    const t = typeOf(size)
    const [whole, one, other] = kind === 'adc' ? [result, left, right] : [left, right, result]
    c.get(whole)
    c.get(one)
    c.op(`${t}.sub`)
    c.get(other)
    c.op(`${t}.sub`)
    if (size === 64) c.op('i32.wrap_i64')
    c.i32(1)
    c.op('i32.and')
    c.set(this.carry)
  }
}

/**
 * Micro-operations reach general registers, temporaries, flags and prepared writes through the binder only: here is one
 * that keeps none of them in the processor's state, and code that notes whoever looks for them there.
 */
import { describe, expect, test } from 'vitest'
import { constant } from '../../../../../src/machine/cpu/emit/binder.ts'
import type { AddressForm, FlagKind, FlagSource, Place, RegisterField, Size } from '../../../../../src/machine/cpu/emit/binder.ts'
import { FLAG_READS } from '../../../../../src/machine/cpu/emit/flag-words.ts'
import type { FlagRead, FlagWrite } from '../../../../../src/machine/cpu/emit/flag-words.ts'
import { FullBinder } from '../../../../../src/machine/cpu/emit/full-binder.ts'
import { pushCarry, replaceCarry } from '../../../../../src/machine/cpu/emit/flags.ts'
import { microTable } from '../../../../../src/machine/cpu/interpreter/compiled.ts'
import { SLOT, STATUS, State } from '../../../../../src/machine/cpu/layout/state.ts'
import { STRINGS } from '../../../../../src/machine/cpu/runtime/strings.ts'
import { MicroList } from '../../../../../src/machine/cpu/uops/micro.ts'
import type { Emit, Micro } from '../../../../../src/machine/cpu/uops/micro.ts'
import type { Label, ValueType } from '../../../../../src/wasm/index.ts'
import { TracingCode } from '../../../../support/tracing-code.ts'

const CALLED = { forRead: 1, forWrite: 2, commit: 3, checkSegment: 4, handler: 5 }
const RUNTIME: ReadonlyMap<string, number> = new Map(STRINGS.map((name, index) => [name, 6 + index]))

/** Code that also tells whether it stands in an arm of an `if`. */
class ArmedCode extends TracingCode {
  private readonly opened: ('arm' | 'block')[] = []

  get isInArm(): boolean {
    return this.opened.includes('arm')
  }

  override if(result?: ValueType): Label {
    this.opened.push('arm')
    return super.if(result)
  }

  override block(result?: ValueType): Label {
    this.opened.push('block')
    return super.block(result)
  }

  override loop(result?: ValueType): Label {
    this.opened.push('block')
    return super.loop(result)
  }

  override end(): void {
    this.opened.pop()
    super.end()
  }
}

/** The binder without a state: values come from nowhere and go nowhere. */
class Stateless extends FullBinder {
  /** What coverage counts is nobody's state. */
  override countBlock(): void {}

  readonly offered: FlagKind[] = []
  /** Flags touched in one arm of an `if` while something may be remembered of them. */
  readonly astray: string[] = []
  private isSettled = false
  private readonly armed: ArmedCode

  constructor(code: ArmedCode, segmented: boolean) {
    const functions = { ...CALLED, runtime: RUNTIME, runtimeInSegments: RUNTIME }
    super(code, { base: 0, record: 1, status: code.local('i32'), width: segmented ? 32 : 64, segmented, functions })
    this.armed = code
  }

  private take(type: ValueType, push: () => void): void {
    const local = this.code.local(type)
    push()
    this.code.set(local)
    this.code.release(type, local)
  }

  private nowhere(size: Size): Place {
    return {
      get: () => constant(this.code, size, 1),
      set: (push) => this.take(size === 64 ? 'i64' : 'i32', push),
    }
  }

  override get(_field: RegisterField, size: Size): void {
    constant(this.code, size, 1)
  }

  override place(_field: RegisterField, size: Size): Place {
    return this.nowhere(size)
  }

  override slot(_offset: number, size: Size): Place {
    return this.nowhere(size)
  }

  override address(_form: AddressForm): void {
    this.code.i64(1)
  }

  override holdHost(host: number): void {
    this.take('i32', () => this.code.get(host))
  }

  override heldHost(): void {
    const address = this.code.local('i64')
    this.hostForWrite(address, 1)
    this.code.release('i64', address)
  }

  private touch(what: string): void {
    if (this.armed.isInArm && !this.isSettled) this.astray.push(what)
  }

  override flagGet(part: FlagRead): void {
    this.touch(part)
    if (part === 'result') this.code.i64(1)
    else this.code.i32(1)
  }

  override flagSet(part: FlagWrite, push: () => void): void {
    this.touch(part)
    this.take(part === 'result' || part === 'carries' ? 'i64' : 'i32', push)
  }

  override keepFlags({ kind }: FlagSource): boolean {
    this.offered.push(kind)
    if (this.armed.isInArm) this.astray.push(kind)
    return false
  }

  override knownFlags(): FlagSource | undefined {
    this.touch('known')
    return undefined
  }

  override settleFlags(): void {
    if (this.armed.isInArm) this.astray.push('settle')
    this.isSettled = true
  }
}

function written(micro: Micro): { code: ArmedCode; binder: Stateless } {
  const code = new ArmedCode({ called: CALLED, ignored: [STATUS.FAULT], prepared: State.host.offset })
  const binder = new Stateless(code, micro.group === 'segmented')
  micro.emit(binder)
  return { code, binder }
}

/** Places of the state that are the binder's. */
const isBinders = (at: number): boolean => at < SLOT.zero || (at >= SLOT.t0 && at < SLOT.page) || at === SLOT.t3 ||
  (at >= State.flagResult.offset && at < State.rip.offset) || at === State.host.offset

const singles = microTable().all.filter(({ pair }) => pair === undefined)

function pastBinder(micro: Micro): string[] {
  const { code } = written(micro)
  return [...code.reads.values(), ...code.writes.values()]
    .filter(({ kind, at }) => kind === 'general' || (kind === 'state' && isBinders(at)))
    .map(({ kind, at }) => `${micro.name}: ${kind} ${at}`)
}

/** One more micro-operation, as it should not be. */
const planted = (emit: Emit): Micro => new MicroList().add(['planted'], [], emit)

describe('micro-operations and the state', () => {
  test('none reaches a general register, a temporary, flags or a prepared write past the binder', () => {
    expect(singles.flatMap(pastBinder)).toEqual([])
  })

  test('none reads or sets flags in one arm of an if, unless they are settled before', () => {
    expect(singles.flatMap((micro) => written(micro).binder.astray.map((what) => `${micro.name}: ${what}`))).toEqual([])
  })

  test('one that did would be noted', () => {
    const past = planted((b) => {
      b.code.get(b.base)
      b.code.get(b.base)
      b.code.memory('i64.load', SLOT.t0)
      b.code.memory('i32.store', State.flagHigh.offset)
      b.code.get(b.base)
      b.small('destination')
      b.code.op('i32.add')
      b.code.memory('i64.load')
      b.code.set(b.code.local('i64'))
    })
    const noted = pastBinder(past)
    expect(noted.map((line) => line.replace('planted: ', '')).sort()).toEqual(['general 2', 'state 136', 'state 236'])
    const inArm = planted((b) => {
      pushCarry(b)
      b.code.if()
      replaceCarry(b, b.code.local('i32'))
      b.code.end()
    })
    expect(written(inArm).binder.astray).toEqual(['known', 'high', 'high'])
  })

  test('what leaves its operands for a condition offers them to the binder, and says so in its facts', () => {
    const untold = singles.filter((micro) => {
      const { offered } = written(micro).binder
      const { flagSource } = micro.facts
      // CMPXCHG and XADD go by one that their facts do not name, for no pair begins with them.
      return flagSource !== undefined && (offered.length !== 1 || offered[0] !== flagSource)
    })
    expect(untold.map(({ name }) => name)).toEqual([])
  })
})

test('parts of the flag words that can be read lie in their words', () => {
  const words = { result: State.flagResult.offset, low: State.flagLow.offset, high: State.flagHigh.offset }
  for (const { word, offset, shift } of Object.values(FLAG_READS)) expect(offset).toBe(words[word] + shift / 8)
})

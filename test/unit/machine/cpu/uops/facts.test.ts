/** The facts that micro-operations declare, against what the code that they emit does. */
import { describe, expect, test } from 'vitest'
import type { FlagKind, FlagSource } from '../../../../../src/machine/cpu/emit/binder.ts'
import { FullBinder } from '../../../../../src/machine/cpu/emit/full-binder.ts'
import { FastBinder } from '../../../../../src/machine/cpu/emit/fast-binder.ts'
import { microTable } from '../../../../../src/machine/cpu/interpreter/compiled.ts'
import { RECORD } from '../../../../../src/machine/cpu/layout/record.ts'
import { STATUS, State } from '../../../../../src/machine/cpu/layout/state.ts'
import { defineStrings, STRINGS } from '../../../../../src/machine/cpu/runtime/strings.ts'
import { UNIT, fieldBit, usesStack } from '../../../../../src/machine/cpu/uops/facts.ts'
import type { MemoryAccess, MicroFacts } from '../../../../../src/machine/cpu/uops/facts.ts'
import type { Micro } from '../../../../../src/machine/cpu/uops/micro.ts'
import type { ModuleWriter } from '../../../../../src/wasm/index.ts'
import { GPR, RFLAGS, SEGMENT } from '../../../../../src/x86/index.ts'
import { TracingCode, keyOf } from '../../../../support/tracing-code.ts'
import type { GuestAccess, PlaceAccess } from '../../../../support/tracing-code.ts'

const CALLED = { forRead: 1, forWrite: 2, commit: 3, checkSegment: 4, handler: 5 }
const RUNTIME: ReadonlyMap<string, number> = new Map(STRINGS.map((name, index) => [name, 6 + index]))
const newCode = (): TracingCode => new TracingCode({ called: CALLED, ignored: [STATUS.FAULT], prepared: State.host.offset })

/** Bytes of the record by fields, of which one name stands for all that lie at its place. */
const FIELD_BYTES = {
  destination: [RECORD.destination, 1], source: [RECORD.source, 1], index: [RECORD.index, 1], scale: [RECORD.scale, 1],
  ip: [RECORD.ip, 2], displacement: [RECORD.displacement, 4], immediate: [RECORD.immediate, 4],
} as const
const FIELD_NAMES = Object.keys(FIELD_BYTES) as (keyof typeof FIELD_BYTES)[]
/** Bytes of the state by the names of their units. */
const UNIT_OFFSETS: Readonly<Record<keyof typeof UNIT, number>> = {
  rip: State.rip.offset, host: State.host.offset, systemFlags: State.systemFlags.offset, stackMask: State.stackMask.offset,
  mxcsr: State.mxcsr.offset, x87Status: State.x87Status.offset, x87Tags: State.x87Tags.offset, xmm0: State.xmm.offset,
  ...Object.fromEntries(Object.entries(SEGMENT).map(([name, segment]) => [name, State.selectors.at(0, segment)])) as Record<keyof typeof SEGMENT, number>,
  uppers: State.ymmHigh.offset, vectors: State.xmm.offset,
}
/** Bytes of those units that are longer than one number. */
const UNIT_BYTES: Readonly<Partial<Record<keyof typeof UNIT, number>>> = { uppers: 256, vectors: 256 }
/** All vectors are written sixteen bytes by sixteen bytes; XMM0 alone is read as a mask. */
const isAt = ([name, offset]: [string, number], { at }: PlaceAccess): boolean => {
  const bytes = UNIT_BYTES[name as keyof typeof UNIT]
  return bytes === undefined ? offset === at : at >= offset && at < offset + bytes
}
/** What binders and the runtime keep for themselves, and how faults are told. */
const OWN = new Set([State.budget.offset, State.watch.offset, State.constantSelectors.offset, State.returnPrice.offset])
const FAULT = new Set([State.faultVector.offset, State.faultCode.offset])
const SLOT_BYTES = 224

/** Which flags each part of the lazy flags tells, see emit/flags.ts. */
const FLAG_WORDS = {
  result: RFLAGS.ZF | RFLAGS.SF | RFLAGS.PF, low: RFLAGS.AF | RFLAGS.SF | RFLAGS.PF, high: RFLAGS.CF | RFLAGS.OF,
} as const

/** What a micro-operation does, as lines that can be compared. */
interface Deeds {
  readonly fields: string[]
  readonly operands: string[]
  readonly slots: string[]
  readonly units: string[]
  readonly flags: string[]
  readonly memory: string[]
  readonly handler: MicroFacts['handler']
  readonly raises: boolean
  readonly flagSource: FlagKind | undefined
}

const sorted = (lines: Iterable<string>): string[] => [...new Set(lines)].sort()
const bitsOf = <K extends string>(names: Readonly<Record<K, number>>, set: number): K[] =>
  (Object.keys(names) as K[]).filter((name) => (set & names[name]) !== 0)
const slotsOf = (set: number): number[] => Array.from({ length: 32 }, (_, slot) => slot).filter((slot) => ((set >>> slot) & 1) === 1)

/** Parts of the lazy flags that a set of flags needs; those that are written with others of their part are kept by reading. */
function wordsOf(flags: number): string[] {
  return Object.entries(FLAG_WORDS).filter(([, held]) => (held & flags) !== 0).map(([word]) => word)
}
function keptWith(flags: number): number {
  return Object.values(FLAG_WORDS).filter((held) => (held & flags) !== 0).reduce((kept, held) => kept | held, 0) & ~flags
}

function declared({ facts, pair }: Micro): Deeds {
  const { operands } = facts
  const lines = operands.map(({ field, file, use, from, bytes, sometimes }) =>
    `${file} ${nameOfByte(RECORD[field])} ${use} ${from}+${bytes}${sometimes ? ' sometimes' : ''}`)
  if (facts.address === 2) lines.push('general scale read 0+8')
  const slot = (set: number, use: string): string[] => slotsOf(set).map((number) => `${number * 8} ${use}`)
  return {
    fields: sorted(FIELD_NAMES.filter((name) => (facts.fields & fieldBit(name)) !== 0)),
    operands: sorted(lines),
    slots: sorted([...slot(facts.read, 'read'), ...slot(facts.written, 'written'), ...slot(facts.overwritten, 'overwritten')]),
    units: sorted([...bitsOf(UNIT, facts.unitsRead).map((name) => `${name} read`), ...bitsOf(UNIT, facts.unitsWritten).map((name) => `${name} written`)]),
    flags: sorted([
      ...wordsOf(facts.flagsRead | keptWith(facts.flagsWritten)).map((word) => `${word} read`),
      ...wordsOf(facts.flagsWritten).map((word) => `${word} written`),
      ...wordsOf(facts.flagsOverwritten).map((word) => `${word} overwritten`),
    ]),
    memory: facts.memory.map(({ through, use, bytes, align }: MemoryAccess) => `${through} ${use} ${bytes} ${align}`).sort(),
    handler: facts.handler, raises: facts.raises, flagSource: pair === undefined ? facts.flagSource : undefined,
  }
}

/** The binder of single records, which tells of demands for alignment. */
class Traced extends FullBinder {
  /** What coverage counts is nobody's state. */
  override countBlock(): void {}

  align = 1
  readonly tracing: TracingCode

  constructor(code: TracingCode, segmented: boolean) {
    const functions = { ...CALLED, runtime: RUNTIME, runtimeInSegments: RUNTIME }
    super(code, { base: 0, record: 1, status: code.local('i32'), width: segmented ? 32 : 64, segmented, functions })
    this.tracing = code
  }

  override requireAligned(address: number, bytes: number): void {
    this.align = bytes
    super.requireAligned(address, bytes)
  }
}

/** The binder of the loop, whose way to memory is taken as told. */
class TracedFast extends FastBinder {
  /** What coverage counts is nobody's state. */
  override countBlock(): void {}

  override hostForRead(address: number, bytes: number): void {
    this.toHost(CALLED.forRead, address, bytes)
  }

  override hostForWrite(address: number, bytes: number): void {
    this.toHost(CALLED.forWrite, address, bytes)
  }

  private toHost(func: number, address: number, bytes: number): void {
    this.code.get(this.base)
    this.code.get(address)
    this.code.i32(bytes)
    this.code.call(func)
  }
}

function useOf({ isWrite, loads, stores, origins }: GuestAccess): MemoryAccess['use'] {
  if (origins.has('prepared')) return 'finish'
  if (!isWrite) return loads > 0 ? 'read' : 'probe-read'
  if (stores === 0) return loads > 0 ? 'prepare' : 'probe-write'
  return loads > 0 ? 'update' : 'write'
}

function throughOf({ origins }: GuestAccess): MemoryAccess['through'] {
  if (origins.has('prepared')) return 'prepared'
  if (origins.has(`field ${RECORD.displacement}`)) return 'operand'
  if (origins.has(`state ${GPR.rsp * 8}`) || origins.has(`state ${GPR.rbp * 8}`)) return 'stack'
  if (origins.has(`state ${GPR.rsi * 8}`) || origins.has(`state ${GPR.rdi * 8}`)) return 'string'
  throw new Error('an address of unknown origin')
}

const nameOfByte = (at: number): string => Object.entries(FIELD_BYTES).find(([, [first, bytes]]) => at >= first && at < first + bytes)![0]

/** Parts of the lazy flags that bytes of the state lie in. */
const WORD_BYTES = [['result', State.flagResult.offset, 8], ['low', State.flagLow.offset, 4], ['high', State.flagHigh.offset, 4]] as const
const wordsAt = ({ at, bytes }: PlaceAccess): string[] =>
  WORD_BYTES.filter(([, first, size]) => at < first + size && first < at + bytes).map(([word]) => word)

function placeLines(code: TracingCode): Pick<Deeds, 'operands' | 'slots' | 'units' | 'flags' | 'raises'> {
  const sure = code.surelyWritten()
  const [operands, slots, units, flags]: [string[], string[], string[], string[]] = [[], [], [], []]
  let raises = code.calls.some(({ name }) => name === 'checkSegment')
  const note = (place: PlaceAccess, use: 'read' | 'write'): void => {
    const isSure = sure.has(keyOf(place))
    const suffix = use === 'read' ? 'read' : 'written'
    if (place.kind !== 'state') {
      const file = place.kind === 'general' ? 'general' : 'vector'
      operands.push(`${file} ${nameOfByte(place.at)} ${use} ${place.from}+${place.bytes}${use === 'write' && !isSure ? ' sometimes' : ''}`)
    } else if (place.at < SLOT_BYTES) {
      slots.push(`${place.at & ~7} ${suffix}`)
      if (use === 'write' && isSure && place.bytes === 8) slots.push(`${place.at & ~7} overwritten`)
    } else if (wordsAt(place).length > 0) {
      for (const word of wordsAt(place)) {
        flags.push(`${word} ${suffix}`)
        if (use === 'write' && isSure) flags.push(`${word} overwritten`)
      }
    } else if (FAULT.has(place.at)) raises = true
    else if (!OWN.has(place.at)) {
      const found = Object.entries(UNIT_OFFSETS).filter((unit) => isAt(unit, place) && !(use === 'read' && unit[0] === 'vectors'))
      if (found.length === 0) throw new Error(`nobody knows byte ${place.at} of the state`)
      units.push(...found.map(([name]) => `${name} ${suffix}`))
    }
  }
  for (const place of code.reads.values()) note(place, 'read')
  for (const place of code.writes.values()) note(place, 'write')
  return { operands: sorted(operands), slots: sorted(slots), units: sorted(units), flags: sorted(flags), raises }
}

const bytesOf = (access: GuestAccess): number => (access.origins.has('prepared') ? access.storedBytes : access.bytes ?? 0)

function deedsOf(code: TracingCode, more: { align: number; source: FlagSource | undefined }): Deeds {
  const fields = new Set([...code.fieldBytes].map(nameOfByte))
  const handlerCalls = code.calls.filter(({ name }) => name === 'handler')
  // The handler's number is read by who calls it.
  if (handlerCalls.length > 0) fields.add('immediate')
  return {
    fields: sorted(fields),
    ...placeLines(code),
    memory: code.accesses.map((access) => `${throughOf(access)} ${useOf(access)} ${bytesOf(access)} ${more.align}`).sort(),
    handler: handlerCalls.length === 0 ? 'never' : handlerCalls.some(({ isCertain }) => isCertain) ? 'always' : 'perhaps',
    flagSource: more.source?.kind,
  }
}

/** Fields that the loop reads: a branch's link to its block among them. */
function fieldsInLoop({ emit, facts, group }: Micro): string[] {
  if (group !== 'common' || facts.handler !== 'never' || facts.raises) return []
  const code = newCode()
  const [target, budget] = [code.local('i64'), code.local('i32')]
  emit(new TracedFast(code, { base: 0, record: 1, target, budget, width: 64, labels: { slow: 0, lookUp: 0, enter: 0, follow: 0 } }))
  return [...code.fieldBytes].map(nameOfByte)
}

/** What a single record's code does. */
function observed(micro: Micro): Deeds {
  const { emit, group } = micro
  if (micro.facts.ends === 'repeat') return observedString(micro)
  const code = newCode()
  const b = new Traced(code, group === 'segmented')
  const source = emit(b) ?? undefined
  const deeds = deedsOf(code, { align: b.align, source })
  return { ...deeds, fields: sorted([...deeds.fields, ...fieldsInLoop(micro)]) }
}

/** The runtime's string functions, by name, followed as they are written. */
function followStrings(isSegmented: boolean): ReadonlyMap<string, TracingCode> {
  const codes: TracingCode[] = []
  const module = {
    function: () => {
      const code = newCode()
      codes.push(code)
      return { index: codes.length - 1, code }
    },
  }
  const { forRead, forWrite, commit, checkSegment } = CALLED
  // Only `function` of a module is asked for.
  const made = defineStrings(module as unknown as ModuleWriter, { forRead, forWrite, commit }, isSegmented ? checkSegment : -1)
  return new Map([...made].map(([name, index]) => [name, codes[index]!]))
}
const STRING_CODE = { flat: followStrings(false), segmented: followStrings(true) }

function observedString({ parts, group }: Micro): Deeds {
  const code = STRING_CODE[group === 'segmented' ? 'segmented' : 'flat'].get(String(parts[1]))!
  return deedsOf(code, { align: 1, source: undefined })
}

const { all } = microTable()
const singles = all.filter(({ pair }) => pair === undefined)

describe('what a micro-operation declares is what its code does', () => {
  test.each([...new Set(singles.map(({ parts }) => parts[0]))])('%s', (operation) => {
    for (const micro of singles.filter(({ parts }) => parts[0] === operation)) expect({ name: micro.name, ...observed(micro) }).toEqual({ name: micro.name, ...declared(micro) })
  })
})

test('an outline says what the facts say', () => {
  const told = microTable().all.map(({ name, facts }) => ({ name, ends: facts.ends, width: facts.width, usesStack: usesStack(facts) }))
  expect(microTable().all.map(({ name, outline }) => ({ name, ...outline }))).toEqual(told)
})

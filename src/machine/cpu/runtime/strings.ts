/**
 * String instructions: MOVS STOS LODS SCAS CMPS, alone and repeated, forwards and backwards, element by element or page
 * by page. Registers hold the progress after every step, so that a fault in the middle restarts exactly there. Each
 * repetition counts as one instruction of the budget; when that is spent the instruction stops half-way and is entered
 * again later.
 *
 * Record: SHAPES.string; the address size is in bits. Where segments are not flat every element is checked; displacement is
 * then the source's segment.
 */
import { GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import type { Code, ModuleWriter } from '../../../wasm/index.ts'
import { RECORD } from '../layout/record.ts'
import type { SHAPES } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import type { AccessFunctions } from './access.ts'
import { SEGMENT_USE, segmentAccess } from '../layout/segment-access.ts'
import { bySize, copyBulk, fillBulk, measure, pushIsScratch, storeElement } from './string-bulk.ts'
import type { Work } from './string-bulk.ts'
import { compareFlags } from './string-flags.ts'

/** The instructions by name. */
export const STRINGS = ['movs', 'stos', 'lods', 'scas', 'cmps'] as const
/** One of them. */
export type StringName = (typeof STRINGS)[number]

/** Which of the two places in memory each uses: the source at rSI, the target at rDI. */
export const STRING_PARTS = {
  movs: { usesSource: true, usesTarget: true, writesTarget: true, compares: false },
  stos: { usesSource: false, usesTarget: true, writesTarget: true, compares: false },
  lods: { usesSource: true, usesTarget: false, writesTarget: false, compares: false },
  scas: { usesSource: false, usesTarget: true, writesTarget: false, compares: true },
  cmps: { usesSource: true, usesTarget: true, writesTarget: false, compares: true },
} as const

/** Kinds of repetition. */
export const REPEAT = { none: 0, whileEqual: 1, whileNotEqual: 2 } as const

/** Adds the functions, each (base, record) -> status; with `checkSegment` those for segments that are not flat. */
export function defineStrings(
  module: ModuleWriter, functions: AccessFunctions, checkSegment = -1,
): Map<string, number> {
  return new Map(STRINGS.map((name) => {
    const { index, code } = module.function(['i32', 'i32'], ['i32'])
    writeString(name, code, { functions, checkSegment })
    return [name, index]
  }))
}

const usesSource = (name: StringName): boolean => STRING_PARTS[name].usesSource
const usesTarget = (name: StringName): boolean => STRING_PARTS[name].usesTarget
const writesTarget = (name: StringName): boolean => STRING_PARTS[name].writesTarget
const compares = (name: StringName): boolean => STRING_PARTS[name].compares

function writeString(
  name: StringName, c: Code, options: { functions: AccessFunctions; checkSegment: number },
): void {
  const i32 = (): number => c.local('i32')
  const i64 = (): number => c.local('i64')
  const w: Work = {
    code: c, ...options, base: 0, record: 1, shift: i32(), repeat: i32(), count: i64(), source: i64(), target: i64(),
    hostSource: i32(), hostTarget: i32(), elements: i32(), step: i32(), status: i32(), value: i64(), other: i64(),
  }
  start(w)
  const again = c.loop()
  pushRegister(w, GPR.rcx)
  c.set(w.count)
  c.get(w.repeat)
  c.get(w.count)
  c.op('i64.eqz', 'i32.and')
  c.if()
  c.i32(STATUS.NEXT)
  c.op('return')
  c.end()
  outOfBudget(w)
  locate(name, w)
  measure(name, w)
  perform(name, w)
  progress(name, w)
  finishIfDone(name, w)
  c.br(again)
  c.end()
  c.op('unreachable')
}

const small = (w: Work, field: keyof (typeof SHAPES)['string']): void => {
  w.code.get(w.record)
  w.code.memory('i32.load8_u', RECORD[field])
}

function start(w: Work): void {
  const c = w.code
  small(w, 'element')
  c.set(w.shift)
  small(w, 'repeat')
  c.i32(0)
  c.op('i32.ne')
  c.set(w.repeat)
  c.i32(1)
  c.get(w.shift)
  c.op('i32.shl')
  c.set(w.step)
  // Backwards: the same with a negative step.
  c.get(w.base)
  c.memory('i32.load', State.systemFlags.offset)
  c.i32(RFLAGS.DF)
  c.op('i32.and')
  c.if()
  c.i32(0)
  c.get(w.step)
  c.op('i32.sub')
  c.set(w.step)
  c.end()
}

/** Pushes a register as wide as addresses are. */
function pushRegister(w: Work, register: number): void {
  const c = w.code
  c.get(w.base)
  c.memory('i64.load', register * 8)
  maskAddress(w)
}

/** Cuts the i64 on the stack to the address size. */
function maskAddress(w: Work): void {
  const c = w.code
  c.i64(-1)
  c.i32(64)
  small(w, 'addressSize')
  c.op('i32.sub', 'i64.extend_i32_u', 'i64.shr_u', 'i64.and')
}

/** Stops half-way when no repetition is left in the budget; the instruction itself has been paid for on entry. */
function outOfBudget(w: Work): void {
  const c = w.code
  c.get(w.repeat)
  c.get(w.base)
  c.memory('i32.load', State.budget.offset)
  c.i32(0)
  c.op('i32.lt_s', 'i32.and')
  c.if()
  c.i32(STATUS.PARTIAL)
  c.op('return')
  c.end()
}

/** Works out linear and host addresses; returns on a fault. */
function locate(name: StringName, w: Work): void {
  const c = w.code
  const host = (target: number, func: number, address: number): void => {
    c.get(w.base)
    c.get(address)
    c.i32(1)
    c.get(w.shift)
    c.op('i32.shl')
    c.call(func)
    c.tee(target)
    c.op('i32.eqz')
    c.if()
    c.i32(STATUS.FAULT)
    c.op('return')
    c.end()
  }
  const target = (func: number): void => {
    pushRegister(w, GPR.rdi)
    c.set(w.target)
    const use = writesTarget(name) ? SEGMENT_USE.WRITE : SEGMENT_USE.READ
    inSegment(w, w.target, () => c.i32(segmentAccess(SEGMENT.es, use, 0)))
    linear(w, w.target, () => {
      c.get(w.base)
      c.memory('i64.load', SLOT.es)
    })
    host(w.hostTarget, func, w.target)
  }
  // Of the two operands of CMPS the second faults first.
  if (name === 'cmps') target(w.functions.forRead)
  if (usesSource(name)) {
    pushRegister(w, GPR.rsi)
    c.set(w.source)
    inSegment(w, w.source, () => {
      c.get(w.record)
      c.memory('i32.load', RECORD.displacement)
    })
    linear(w, w.source, () => {
      c.get(w.base)
      small(w, 'segmentBase')
      c.op('i32.add')
      c.memory('i64.load')
    })
    host(w.hostSource, w.functions.forRead, w.source)
    if (name === 'movs' || name === 'cmps') {
      // A source that was put together in the scratch area has to be taken out before the target uses it.
      c.get(w.hostSource)
      loadElement(w)
      c.set(w.value)
    }
  }
  if (usesTarget(name)) target(writesTarget(name) ? w.functions.forWrite : w.functions.forRead)
}

/** Looks at the segment of an element at the offset in a local; returns on a fault. */
function inSegment(w: Work, offset: number, pushSegment: () => void): void {
  if (w.checkSegment < 0) return
  const c = w.code
  c.get(w.base)
  c.get(offset)
  c.op('i32.wrap_i64')
  pushSegment()
  c.i32(segmentAccess(0, SEGMENT_USE.READ, 1))
  c.get(w.shift)
  c.op('i32.shl', 'i32.or')
  c.call(w.checkSegment)
  c.op('i32.eqz')
  c.if()
  c.i32(STATUS.FAULT)
  c.op('return')
  c.end()
}

/** Adds a segment's base to the offset in a local. */
function linear(w: Work, offset: number, pushBase: () => void): void {
  const c = w.code
  c.get(offset)
  pushBase()
  c.op('i64.add')
  if (w.checkSegment >= 0) {
    c.i64(-1, 0)
    c.op('i64.and')
  }
  c.set(offset)
}

/** Loads an element of the run-time size from the host address on the stack, zero-extended. */
function loadElement(w: Work): void {
  const c = w.code
  const host = c.local('i32')
  c.set(host)
  const sizes = ['i64.load8_u', 'i64.load16_u', 'i64.load32_u', 'i64.load'] as const
  bySize(w, 'i64', (log) => {
    c.get(host)
    c.memory(sizes[log]!)
  })
  c.release('i32', host)
}

function perform(name: StringName, w: Work): void {
  const c = w.code
  if (name === 'lods') {
    c.get(w.hostSource)
    loadElement(w)
    c.set(w.value)
    storeAccumulator(w)
    return
  }
  if (name === 'scas' || name === 'cmps') {
    c.get(w.hostTarget)
    loadElement(w)
    c.set(w.other)
    if (name === 'scas') {
      c.get(w.base)
      loadElement(w)
      c.set(w.value)
    }
    return compareFlags(c, { base: w.base, left: w.value, right: w.other, shift: w.shift })
  }
  c.get(w.elements)
  c.i32(1)
  c.op('i32.gt_u')
  c.if()
  if (name === 'movs') copyBulk(w)
  else fillBulk(w)
  c.else()
  if (name === 'stos') {
    c.get(w.base)
    c.memory('i64.load', GPR.rax * 8)
    c.set(w.value)
  }
  storeElement(w)
  finishWrite(w)
  c.end()
}

/** Stores the value in the accumulator; a 32-bit one clears the upper half. */
function storeAccumulator(w: Work): void {
  const c = w.code
  const sizes = ['i64.store8', 'i64.store16', 'i64.store', 'i64.store'] as const
  bySize(w, undefined, (log) => {
    c.get(w.base)
    c.get(w.value)
    c.memory(sizes[log]!, GPR.rax * 8)
  })
}

/** Carries out a write that went to the scratch area. */
function finishWrite(w: Work): void {
  const c = w.code
  c.i32(STATUS.NEXT)
  c.set(w.status)
  pushIsScratch(w, w.hostTarget)
  c.if()
  c.get(w.base)
  c.call(w.functions.commit)
  c.set(w.status)
  c.end()
}

/** Moves the registers on, and for a repetition takes it from count and budget. */
function progress(name: StringName, w: Work): void {
  const c = w.code
  const move = (register: number, push: () => void): void => {
    pushRegister(w, register)
    push()
    c.op('i64.add')
    c.set(w.other)
    // 16 bits leave the rest of the register alone, 32 clear the upper half.
    small(w, 'addressSize')
    c.i32(16)
    c.op('i32.eq')
    c.if()
    c.get(w.base)
    c.get(w.other)
    c.memory('i64.store16', register * 8)
    c.else()
    c.get(w.base)
    c.get(w.other)
    maskAddress(w)
    c.memory('i64.store', register * 8)
    c.end()
  }
  const distance = (): void => {
    c.get(w.elements)
    c.get(w.step)
    c.op('i32.mul', 'i64.extend_i32_s')
  }
  if (usesSource(name)) move(GPR.rsi, distance)
  if (usesTarget(name)) move(GPR.rdi, distance)
  c.get(w.repeat)
  c.if()
  move(GPR.rcx, () => {
    c.i64(0)
    c.get(w.elements)
    c.op('i64.extend_i32_u', 'i64.sub')
  })
  addBudget(w, () => {
    c.i32(0)
    c.get(w.elements)
    c.op('i32.sub')
  })
  c.end()
}

function addBudget(w: Work, push: () => void): void {
  const c = w.code
  c.get(w.base)
  c.get(w.base)
  c.memory('i32.load', State.budget.offset)
  push()
  c.op('i32.add')
  c.memory('i32.store', State.budget.offset)
}

/** Returns when nothing is left to do, or when the write changed decoded code. */
function finishIfDone(name: StringName, w: Work): void {
  const c = w.code
  const reload = (): void => {
    if (writesTarget(name)) c.get(w.status)
    else c.i32(STATUS.NEXT)
  }
  c.get(w.repeat)
  c.op('i32.eqz')
  c.if()
  reload()
  c.op('return')
  c.end()
  pushRegister(w, GPR.rcx)
  c.op('i64.eqz')
  if (compares(name)) {
    // Stops when ZF is not what the repetition goes on with.
    c.get(w.base)
    c.memory('i64.load', State.flagResult.offset)
    c.op('i64.eqz')
    small(w, 'repeat')
    c.i32(REPEAT.whileEqual)
    c.op('i32.eq', 'i32.ne', 'i32.or')
  }
  c.if()
  // The last repetition is the one that was paid for on entry.
  addBudget(w, () => c.i32(1))
  reload()
  c.op('return')
  c.end()
  if (!writesTarget(name)) return
  c.get(w.status)
  c.if()
  c.i32(STATUS.NEXT)
  c.set(w.status)
  c.i32(STATUS.PARTIAL)
  c.op('return')
  c.end()
}

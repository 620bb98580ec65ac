/**
 * Lifters of control transfers, the stack, string instructions, and everything that a TypeScript handler carries out.
 */
import { CONDITIONS, GPR, SEGMENT } from '../../../x86/index.ts'
import { SELECTOR } from '../emit/conditions.ts'
import { REPEAT, STRINGS } from '../runtime/strings.ts'
import { SEGMENT_SLOT, SLOT } from '../layout/state.ts'
import { reads, writes } from './access.ts'
import type { Lift, Lifter } from './lifter.ts'
import { sizedNames } from './names.ts'

const PUSH = /* @__PURE__ */ sizedNames('push', 'r')
const PUSH_IMMEDIATE = /* @__PURE__ */ sizedNames('push', 'i')
const POP = /* @__PURE__ */ sizedNames('pop', 'r')

const push: Lift = (l) => {
  const { operands: [code], kinds } = l.instruction.row
  const { place } = kinds[0]!
  const size = l.instruction.operandSize
  if (place === 'immediate') {
    l.fields.immediate = l.instruction.passedImmediate
    return l.emit(PUSH_IMMEDIATE.of(size))
  }
  if (place === 'opcode') l.fields.register = l.opcodeSlot(size)
  else if (place === 'rm') l.fields.register = l.source(size)
  else {
    l.fields.destination = SLOT.t0
    l.emit(`selector.${SEGMENT_NUMBER[code!]!}`)
  }
  l.emit(PUSH.of(size))
}

const SEGMENT_NUMBER: Readonly<Record<string, number>> = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 }

const pop: Lift = (l) => {
  const { operands: [code], kinds } = l.instruction.row
  const { place } = kinds[0]!
  const size = l.instruction.operandSize
  if (place === 'rm' && l.instruction.isMemory) {
    const i = l.instruction
    // The address is that behind the pop; one that is cut short is worked out before it.
    const early = i.addressSize < l.codeSize || l.isChecked(l.segmentOf(SEGMENT.ss))
    if (early && i.base === GPR.rsp) i.displacement += size / 8
    // The stack is read first; with odd segments that decides which of two faults comes.
    if (l.segmented) l.emit(`peek.${size}`)
    return l.emitMemory(`pop.${size}.m`)
  }
  const segment = SEGMENT_NUMBER[code!]
  if (segment !== undefined) {
    l.fields.destination = SLOT.t0
    l.fields.segment = segment
    return l.finalHandler(`pop-segment.${size}`)
  }
  l.fields.destination = place === 'opcode' ? l.opcodeSlot(size) : l.rmSlot(size)
  l.emit(POP.of(size))
}

/** Branches of 64-bit code whose targets are cut to 16 bits. */
function shortBranch(l: Lifter): void {
  const { row, opcode, immediate, addressSize } = l.instruction
  const isOperand = row.kinds[0]?.place === 'rm'
  if (isOperand) l.fields.register = l.source(16)
  l.fields.condition = opcode & 15
  l.fields.isRegister = isOperand ? 1 : 0
  l.fields.addressSize = addressSize
  l.fields.displacement = isOperand ? 0 : immediate
  l.finalHandler(`short-${row.name}`)
}

const isShort = (l: Lifter): boolean => l.codeSize === 64 && l.instruction.operandSize === 16
/** A near branch: the usual one, or cut short. */
const near = (usual: Lift): Lift => (l) => (isShort(l) ? shortBranch(l) : usual(l))

/** CALL and JMP, near. */
function transfer(name: 'call' | 'jmp'): Lift {
  const [direct, indirect] = [sizedNames(name), sizedNames(name, 'r')]
  return (l) => {
    const { names } = l.instruction.row.kinds[0]!
    const size = l.instruction.operandSize
    if (names === 'far') return farPointer(l, name)
    if (names === 'target') {
      l.fields.register = 0
      l.fields.displacement = l.instruction.passedImmediate
      l.fields.immediate = 0
      l.emitRelative(name === 'call' ? direct.of(size) : 'jmp')
    } else {
      l.fields.register = l.source(size)
      l.emit(indirect.of(size))
    }
    l.ended = true
  }
}

function farPointer(l: Lifter, name: 'call' | 'jmp'): void {
  l.fields.displacement = l.instruction.immediate
  l.fields.destination = SLOT.t0
  l.fields.source = SLOT.t1
  const { immediate2 } = l.instruction
  l.fields.immediate = 0
  l.emit('mov.64.rw')
  l.fields.destination = SLOT.t1
  l.fields.immediate = immediate2
  l.emit('mov.32.ri')
  l.fields.destination = SLOT.t0
  l.finalHandler(`far-${name}.${l.instruction.operandSize}`)
}

/** CALL and JMP through a far pointer in memory: offset into t0, selector into t1. */
const farMemory = (name: 'call' | 'jmp'): Lift => (l) => {
  loadFarPointer(l)
  // What CALL keeps on the stack is as wide as REX.W says.
  l.finalHandler(`far-${name}.${l.instruction.operandSize}`)
}

/**
 * Size of a far pointer's offset: of 32 bits at most, as AMD's processors pay no heed to REX.W there. Intel's know 64.
 * Reference: AMD64 APM volume 3, JMP (far), CALL (far), LSS.
 */
const farSize = (l: Lifter): 16 | 32 => (l.instruction.operandSize === 16 ? 16 : 32)

/** Loads offset (t0) and selector (t1) of a far pointer, in the order of their addresses. */
function loadFarPointer(l: Lifter): void {
  const size = farSize(l)
  const form = l.memory(reads(size / 8 + 2))
  l.fields.destination = SLOT.t0
  l.emit(`mov.${size}.rm${form}`)
  l.fields.displacement += size / 8
  l.fields.destination = SLOT.t1
  l.emit(`movzx.32.16.rm${form}`)
  l.fields.displacement = 0
  l.fields.source = SLOT.t1
}

/** LSS, LFS, LGS and their kin. */
const farLoad = (segment: number): Lift => (l) => {
  const size = farSize(l)
  loadFarPointer(l)
  l.fields.register = SLOT.t1
  l.fields.target = l.regSlot(size)
  l.fields.segment = segment
  l.fields.size = size / 8
  l.finalHandler('load-far')
}

const RETURN = /* @__PURE__ */ sizedNames('ret')
const LEAVE = /* @__PURE__ */ sizedNames('leave')

const ret: Lift = (l) => {
  l.fields.immediate = l.instruction.immediate
  l.emit(RETURN.of(l.instruction.operandSize))
  l.ended = true
}

const JUMPS = /* @__PURE__ */ CONDITIONS.map((condition) => ({ name: `j${condition}`, selector: SELECTOR[condition] }))

const conditionalJump: Lift = (l) => {
  const { name, selector } = JUMPS[l.instruction.opcode & 15]!
  l.branch(name, selector)
}

const looping = (name: string): Lift => (l) => l.branch(`${name}.${l.instruction.addressSize}`)

const string = (name: string): Lift => {
  const micro = `string.${name}`
  const readsSource = name === 'movs' || name === 'lods' || name === 'cmps'
  return (l) => repeatable(l, micro, readsSource)
}

function repeatable(l: Lifter, micro: string, readsSource: boolean): void {
  const i = l.instruction
  const byte = (i.opcode & 1) === 0
  l.fields.element = byte ? 0 : i.operandSize === 16 ? 1 : i.operandSize === 32 ? 2 : 3
  l.fields.repeat = i.repeat === 0 ? REPEAT.none : i.repeat === 0xf3 ? REPEAT.whileEqual : REPEAT.whileNotEqual
  const segment = l.segmentOf(SEGMENT.ds)
  l.fields.segmentBase = l.segmentSlot(SEGMENT.ds)
  l.fields.addressSize = i.addressSize
  l.fields.displacement = segment
  if (l.segmented || (readsSource && l.isChecked(segment))) l.emitTwin(micro)
  else l.emit(micro)
  // A repetition pays for itself beyond the first: it has to be the last of its block.
  if (i.repeat !== 0) l.ended = true
}

const enter: Lift = (l) => {
  const { operandSize, immediate, immediate2 } = l.instruction
  l.fields.immediate = immediate
  if ((immediate2 & 31) === 0) return l.emit(`enter.${operandSize}`)
  l.fields.displacement = immediate
  l.fields.level = immediate2 & 31
  l.handler(`enter.${operandSize}`)
}

/** An instruction that a handler of the same name carries out and that ends the block. */
const final = (name: string): Lift => (l) => l.finalHandler(name)

/** IN and OUT. */
const port = (direction: 'in' | 'out'): Lift => (l) => {
  const { operands } = l.instruction.row
  const byte = (l.instruction.opcode & 1) === 0
  l.fields.size = byte ? 1 : l.instruction.operandSize === 16 ? 2 : 4
  // A port that is not in DX is in the displacement.
  l.fields.isInDx = operands.includes('dx') ? 1 : 0
  l.fields.displacement = l.instruction.immediate
  l.finalHandler(direction)
}

const stringPort = (direction: 'ins' | 'outs'): Lift => (l) => {
  const byte = (l.instruction.opcode & 1) === 0
  l.fields.size = byte ? 1 : l.instruction.operandSize === 16 ? 2 : 4
  l.fields.isRepeated = l.instruction.repeat === 0 ? 0 : 1
  l.fields.segmentSlot = l.segmentSlot(3)
  l.fields.addressBits = l.instruction.addressSize
  l.finalHandler(direction)
}

/** MOV to and from control and debug registers, by their numbers. */
const special = (name: 'control' | 'debug'): Lift => (l) => {
  l.fields.general = l.instruction.rm
  l.fields.special = l.instruction.reg
  l.fields.isWrite = (l.instruction.opcode & 2) === 0 ? 0 : 1
  l.finalHandler(name)
}

/** Handlers that get the address of their memory operand in t3; INVLPG only looks at the address. */
const withAddress = (name: string, use: 'read' | 'write' = 'read'): Lift => (l) => {
  const { operandSize } = l.instruction
  const table = l.codeSize === 64 ? 10 : 6
  // Who may not execute it does not get as far as a segment's limit.
  if (l.segmented && PRIVILEGED.has(name)) l.handler(`first-${name}`)
  const bytes = name === 'bound' ? operandSize / 4 : table
  l.addressInto(SLOT.t3, use === 'write' ? writes(bytes) : reads(bytes))
  l.fields.register = l.regSlot(operandSize)
  l.fields.operandBytes = operandSize / 8
  l.finalHandler(name)
}

/** Handlers that get the E operand's value in `register`; who may not execute them does not get as far as reading it. */
const withSource = (name: string): Lift => (l) => {
  if (PRIVILEGED.has(name)) l.handler(`first-${name}`)
  l.fields.register = l.source(16)
  l.finalHandler(name)
}

/** Handlers that leave a value in t0, which goes to the E operand. */
const intoOperand = (name: string): Lift => (l) => {
  l.fields.destination = SLOT.t0
  l.partHandler(name)
  l.store(l.instruction.isMemory ? 16 : l.instruction.operandSize, SLOT.t0)
}

/** RDRAND and RDSEED: into a register, whole. With a repetition prefix they are other instructions. */
const random: Lift = (l) => {
  if (l.instruction.repeat !== 0) return l.undefined()
  const size = l.instruction.operandSize
  l.partHandler('random')
  l.fields.destination = l.rmSlot(size)
  l.fields.source = SLOT.t0
  l.emit(`mov.${size}.rr`)
}

/** RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE. */
const segmentBase = (name: 'read-base' | 'write-base', segment: 4 | 5): Lift => (l) => {
  const size = l.instruction.operandSize === 64 ? 64 : 32
  l.fields.register = l.rmSlot(size)
  l.fields.segmentSlot = SEGMENT_SLOT[segment]
  l.fields.size = size / 8
  l.handler(name)
}

/** LAR and LSL: the register has the selector. */
const describe = (name: 'lar' | 'lsl'): Lift => (l) => {
  l.fields.register = l.source(16)
  l.fields.target = l.regSlot(l.instruction.operandSize)
  l.fields.operandBytes = l.instruction.operandSize / 8
  l.handler(name)
}

const pushFlags: Lift = (l) => l.emit(`pushf.${l.instruction.operandSize}`)
const popFlags: Lift = (l) => {
  l.fields.operandBytes = l.instruction.operandSize / 8
  l.finalHandler('popf', `pop-handler.${l.instruction.operandSize}`)
}

const sized = (name: string): Lift => (l) => {
  l.fields.operandBytes = l.instruction.operandSize / 8
  l.fields.displacement = l.instruction.immediate
  l.finalHandler(name)
}

const interruptReturn: Lift = (l) => {
  const { operandSize } = l.instruction
  l.fields.operandBytes = operandSize / 8
  l.finalHandler('iret', operandSize === 64 ? 'iret.64' : 'handler')
}

const PRIVILEGED = new Set(['lldt', 'ltr', 'lmsw', 'lgdt', 'lidt', 'invlpg'])
const FINAL = [
  'syscall', 'sysenter', 'vmcall', 'vmmcall', 'hlt', 'cli', 'sti', 'cpuid', 'rdmsr', 'wrmsr', 'rdtsc', 'rdtscp', 'rdpmc',
  'clts', 'invd', 'wbinvd', 'swapgs', 'into', 'rsm', 'daa', 'das', 'aaa', 'aas',
] as const

/** Lifters by name of instruction. */
export const CONTROL_LIFTERS: Readonly<Record<string, Lift>> = {
  ...Object.fromEntries(FINAL.map((name) => [name, final(name)])),
  ...Object.fromEntries(STRINGS.map((name) => [name, string(name)])),
  push, pop, call: near(transfer('call')), jmp: near(transfer('jmp')), callf: farMemory('call'), jmpf: farMemory('jmp'),
  ret: near(ret),
  lss: farLoad(2), lfs: farLoad(4), lgs: farLoad(5), les: farLoad(0), lds: farLoad(3),
  jCC: near(conditionalJump), loop: near(looping('loop')), loope: near(looping('loope')),
  loopne: near(looping('loopne')), jcxz: near(looping('jcxz')),
  leave: (l) => l.emit(LEAVE.of(l.instruction.operandSize)), enter,
  pushf: pushFlags, popf: popFlags, iret: interruptReturn, retf: sized('retf'),
  sysret: sized('sysret'), sysexit: sized('sysexit'),
  int: (l) => interrupt(l, l.instruction.immediate), int3: (l) => interrupt(l, 3), int1: final('int1'),
  in: port('in'), out: port('out'), ins: stringPort('ins'), outs: stringPort('outs'),
  movcr: special('control'), movdr: special('debug'),
  invlpg: withAddress('invlpg'), sgdt: withAddress('sgdt', 'write'), sidt: withAddress('sidt', 'write'), lgdt: withAddress('lgdt'),
  lidt: withAddress('lidt'), bound: withAddress('bound'), pusha: sized('pusha'), popa: sized('popa'),
  lldt: withSource('lldt'), ltr: withSource('ltr'), verr: withSource('verr'), verw: withSource('verw'),
  lmsw: withSource('lmsw'), sldt: intoOperand('sldt'), str: intoOperand('str'), smsw: intoOperand('smsw'),
  rdfsbase: segmentBase('read-base', SEGMENT.fs), rdgsbase: segmentBase('read-base', SEGMENT.gs),
  wrfsbase: segmentBase('write-base', SEGMENT.fs), wrgsbase: segmentBase('write-base', SEGMENT.gs),
  lar: describe('lar'), lsl: describe('lsl'), rdrand: random, rdseed: random,
  ud2: (l) => l.undefined(), ud1: (l) => l.undefined(), ud0: (l) => l.undefined(),
  aam: adjust('aam'), aad: adjust('aad'),
  arpl,
}

function arpl(l: Lifter): void {
  const { isMemory, base } = l.instruction
  if (isMemory) {
    l.addressInto(SLOT.t3, reads(2))
    // A register has none, whatever was decoded before.
    l.fields.segment = l.segmentOf(base === GPR.rsp || base === GPR.rbp ? SEGMENT.ss : SEGMENT.ds)
  }
  l.fields.destination = isMemory ? SLOT.t0 : l.rmSlot(16)
  l.fields.source = l.regSlot(16)
  l.handler(isMemory ? 'arpl-memory' : 'arpl')
}

function adjust(name: 'aam' | 'aad'): Lift {
  return (l) => {
    l.fields.displacement = l.instruction.immediate
    l.handler(name)
  }
}

function interrupt(l: Lifter, vector: number): void {
  l.fields.displacement = vector
  l.fields.isBreakpoint = l.instruction.opcode === 0xcc ? 1 : 0
  l.finalHandler('int')
}

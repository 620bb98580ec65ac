/**
 * Lifters of SSE and MMX instructions. A memory operand is loaded into a temporary first, so that every operation
 * needs only its register form; instructions without a micro-operation of their own go to the handler of their name.
 *
 * Records: SHAPES.operands and SHAPES.float; operands are units, or slots of general registers.
 */
import { operandKind } from '../decode/operand-codes.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { MODE, SLOT } from '../layout/state.ts'
import { XSAVE } from '../layout/xsave-area.ts'
import { MMX_OPERATIONS, XMM_OPERATIONS } from '../uops/sse-integer.ts'
import { VECTOR_UNIT } from '../uops/sse-place.ts'
import { reads, writes } from './access.ts'
import type { Lift, Lifter } from './lifter.ts'
import { X87_LIFTERS } from './x87.ts'

const TEMPORARY = VECTOR_UNIT.temporary
const isMmx = (code: string): boolean => operandKind(code).names === 'mmx'
/** True for the operand in ModRM.rm, which may be memory. */
const isRm = (code: string): boolean => operandKind(code).place === 'rm'

const xmm = (number: number): number => VECTOR_UNIT.xmm + number
const mmx = (number: number): number => VECTOR_UNIT.mmx + (number & 7)
/** Unit of a register by the operand's code. */
const unit = (code: string, number: number): number => (isMmx(code) ? mmx(number) : xmm(number))

/** Kind of load by the size letters of an operand's code. */
const LOAD: Readonly<Record<string, string>> = { dq: '128a', q: '64z', d: '32z', w: '16z', b: '8z' }

/** Unit of the operand in ModRM.rm as a source: a register, or the temporary loaded from memory. */
function source(l: Lifter, code: string): number {
  if (!l.instruction.isMemory) return unit(code, l.instruction.rm)
  const size = code.slice(1)
  const kind = size === 'dq' && l.instruction.row.unaligned ? '128' : LOAD[size]!
  l.fields.destination = TEMPORARY
  l.emitMemory(`vload.${kind}.m`)
  return TEMPORARY
}

/** Raises what keeps an SSE or MMX instruction from being executed; true when it did. */
function refused(l: Lifter, uses: 'sse' | 'mmx'): boolean {
  const sse = uses === 'sse'
  if ((l.floatUnit & MODE.EMULATED) !== 0 || (sse && (l.floatUnit & MODE.NO_SSE) !== 0)) l.undefined()
  else if ((l.floatUnit & MODE.SWITCHED) !== 0) l.finalHandler('nm')
  else {
    if (!sse) l.emit('x87-check')
    return false
  }
  return true
}

/** Lifts with the checks before it: those of the register files that its operands name. */
const checked = (lift: Lift): Lift => (l) => {
  if (!refused(l, l.instruction.row.operands.some(isMmx) ? 'mmx' : 'sse')) lift(l)
}

/** The same for CVTPI2PS and CVTPI2PD, which are SSE instructions like any other where they read memory. */
const checkedAsRead = (lift: Lift): Lift => (l) => {
  if (!refused(l, l.instruction.isMemory ? 'sse' : 'mmx')) lift(l)
}

/** first := first op second, for both register files. */
function operation(name: string): Lift {
  const names = { vv: `${name}.vv`, vi: `${name}.vi`, mmx: `${name}.mmx`, mmxImmediate: `${name}.mmx.i` }
  return (l) => {
    const [first, second] = l.instruction.row.operands as [string, string]
    if (second === 'Ib') {
      l.fields.destination = unit(first, l.instruction.rm)
      l.fields.control = l.instruction.immediate
      return l.emit(isMmx(first) ? names.mmxImmediate : names.vi)
    }
    const from = source(l, second)
    l.fields.destination = unit(first, l.instruction.reg)
    l.fields.source = from
    l.emit(isMmx(first) ? names.mmx : names.vv)
  }
}

/** An operation with an immediate, cut to `most` where larger ones do the same. */
const withImmediate = (name: string, most = 255): Lift => (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  const from = source(l, second)
  l.fields.destination = unit(first, l.instruction.reg)
  l.fields.source = from
  l.fields.control = Math.min(l.instruction.immediate, most)
  l.emit(isMmx(first) ? `${name}.mmx.i` : `${name}.vvi`)
}

/** PSLLDQ and PSRLDQ. */
const byteShift = (name: string): Lift => (l) => {
  l.fields.destination = xmm(l.instruction.rm)
  l.fields.control = Math.min(l.instruction.immediate, 16)
  l.emit(`${name}.vi`)
}

/** Arithmetic with a fast path in WebAssembly and a handler behind it, or the handler alone. */
const float = (name: string, fast = `${name}.vv`): Lift => (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  const from = source(l, second)
  l.fields.destination = unit(first, l.instruction.reg)
  l.fields.source = from
  l.fields.operandBits = l.instruction.operandSize
  l.fields.control = l.instruction.immediate & 0xff
  l.handler(name, l.has(fast) ? fast : 'handler')
}

/** Conversions from a general register or memory. */
const fromInteger = (name: string): Lift => (l) => {
  const size = l.size('Ey')
  const slot = l.source(size)
  l.fields.destination = xmm(l.instruction.reg)
  l.fields.source = slot
  l.handler(`${name}.${size}`, `${name}.${size}.vr`)
}

/** Conversions to a general register. */
const toInteger = (name: string): Lift => (l) => {
  const size = l.size('Gy')
  const from = source(l, l.instruction.row.operands[1]!)
  l.fields.destination = l.regSlot(size)
  l.fields.source = from
  l.handler(`${name}.${size}`, `${name}.${size}.rv`)
}

/** What a plain move does between registers, as a load and as a store. */
function move(register: string, load: string, store: string): Lift {
  const names = { register: `vmov.${register}`, load: `vload.${load}.m`, store: `vstore.${store}.m` }
  return (l) => {
    const [first, second] = l.instruction.row.operands as [string, string]
    const i = l.instruction
    const toRm = isRm(first)
    if (!i.isMemory) {
      l.fields.destination = xmm(toRm ? i.rm : i.reg)
      l.fields.source = xmm(toRm ? i.reg : i.rm)
      return l.emit(names.register)
    }
    l.fields.register = unit(toRm ? second : first, i.reg)
    l.emitMemory(toRm ? names.store : names.load)
  }
}

const moveBetweenVectors = /* @__PURE__ */ move('64z', '64z', '64')

/** MOVQ in all its forms. */
const moveQuadword: Lift = (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  if (!isMmx(first)) return moveBetweenVectors(l)
  const toRm = isRm(first)
  if (toRm && l.instruction.isMemory) return storeMmx(l, '64')
  const from = toRm ? mmx(l.instruction.reg) : source(l, second)
  l.fields.destination = mmx(toRm ? l.instruction.rm : l.instruction.reg)
  l.fields.source = from
  l.emit('movq.mmx')
}

/** Stores an MMX register. The store comes first: it may fault, and the unit's state changes only when it does not. */
function storeMmx(l: Lifter, kind: string): void {
  l.fields.register = mmx(l.instruction.reg)
  l.emitMemory(`vstore.${kind}.m`)
  l.emit('mmx')
}

/** MOVD and MOVQ between a general register or memory and a vector. */
const moveDoubleword: Lift = (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  const size = l.size('Ey')
  if (second === 'Ey') return intoVector(l, first, size)
  if (l.instruction.isMemory) {
    if (isMmx(second)) return storeMmx(l, String(size))
    l.fields.register = xmm(l.instruction.reg)
    return l.emitMemory(`vstore.${size}.m`)
  }
  if (isMmx(second)) l.emit('mmx')
  l.fields.destination = l.rmSlot(size)
  l.fields.source = unit(second, l.instruction.reg)
  l.emit(`vmov.${size}.rv`)
}

function intoVector(l: Lifter, code: string, size: number): void {
  const wide = size === 64 ? 64 : 32
  if (isMmx(code)) {
    const slot = l.source(wide)
    l.fields.destination = mmx(l.instruction.reg)
    l.fields.source = slot
    return l.emit(`movd.${wide}.mmx.r`)
  }
  l.fields.destination = xmm(l.instruction.reg)
  if (l.instruction.isMemory) return l.emitMemory(`vload.${wide}z.m`)
  l.fields.source = l.rmSlot(wide)
  l.emit(`vmov.${wide}.vr`)
}

/** MOVLPS, MOVHPS, MOVHLPS, MOVLHPS and their double forms. */
const moveHalf = (half: '64' | '64h', register: string): Lift => move(register, half, half)

const nonTemporal: Lift = (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  if (isMmx(second)) return storeMmx(l, '64')
  l.fields.register = xmm(l.instruction.reg)
  l.emitMemory(first === 'Mdq' ? 'vstore.128a.m' : 'vstore.64.m')
}

/** Sign masks: a general register from a vector register. */
const mask = (name: string): Lift => (l) => {
  const code = l.instruction.row.operands[1]!
  l.fields.destination = l.regSlot(32)
  l.fields.source = unit(code, l.instruction.rm)
  l.emit(isMmx(code) ? `${name}.mmx` : `${name}.rv`)
}

/** PINSRB, PINSRW, PINSRD: from a general register or memory into one lane. */
const insert = (size: 8 | 16 | 32): Lift => (l) => {
  const code = l.instruction.row.operands[0]!
  const wide = size === 32 ? (l.size('Ey') === 64 ? 64 : 32) : size
  const slot = l.instruction.isMemory ? l.source(wide) : l.slot(l.instruction.rm, 32)
  l.fields.destination = unit(code, l.instruction.reg)
  l.fields.source = slot
  l.fields.control = l.instruction.immediate & (isMmx(code) ? 3 : 128 / wide - 1)
  l.emit(isMmx(code) ? 'pinsr.mmx' : `pinsr.${wide}.vr`)
}

/** PEXTRW of 0F C5, into a general register, and of 0F 3A 15. */
const extractWord: Lift = (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  if (isRm(first)) return extract(16)(l)
  l.fields.destination = l.regSlot(32)
  l.fields.source = unit(second, l.instruction.rm)
  l.fields.control = l.instruction.immediate & (isMmx(second) ? 3 : 7)
  l.emit(isMmx(second) ? 'pextr.mmx' : 'pextr.16.rv')
}

/** PEXTRB, PEXTRW, PEXTRD, EXTRACTPS: from one lane to a general register, zero-extended, or to memory. */
const extract = (size: 8 | 16 | 32 | 'operand'): Lift => (l) => {
  const i = l.instruction
  const wide = size === 'operand' ? (l.size('Ey') === 64 ? 64 : 32) : size
  l.fields.destination = i.isMemory ? SLOT.t0 : l.slot(i.rm, 32)
  l.fields.source = xmm(i.reg)
  l.fields.control = i.immediate & (128 / wide - 1)
  l.emit(`pextr.${wide}.rv`)
  if (i.isMemory) l.emitMemory(`mov.${wide}.mr`)
}

const insertSingle: Lift = (l) => {
  const { immediate, isMemory } = l.instruction
  if (isMemory) l.source(32)
  else {
    l.fields.destination = SLOT.t0
    l.fields.source = xmm(l.instruction.rm)
    l.fields.control = immediate >> 6
    l.emit('pextr.32.rv')
  }
  l.fields.destination = xmm(l.instruction.reg)
  l.fields.source = SLOT.t0
  l.fields.control = immediate & 0x3f
  l.emit('insertps.vr')
}

/** MOVQ2DQ and MOVDQ2Q. */
const betweenFiles = (to: 'xmm' | 'mmx'): Lift => (l) => {
  const { reg, rm } = l.instruction
  if (to === 'xmm') l.emit('mmx')
  l.fields.destination = to === 'xmm' ? xmm(reg) : mmx(reg)
  l.fields.source = to === 'xmm' ? mmx(rm) : xmm(rm)
  l.emit(to === 'xmm' ? 'vmov.64z' : 'movq.mmx')
}

/** MASKMOVQ and MASKMOVDQU write at DS:rDI; their handler gets the address in t3. */
const maskedStore: Lift = (l) => {
  const [first, second] = l.instruction.row.operands as [string, string]
  const { reg, rm, addressSize } = l.instruction
  l.fields.destination = SLOT.t3
  l.fields.base = 7 * 8
  l.fields.index = SLOT.zero
  l.fields.scale = SLOT.zero
  l.fields.displacement = 0
  l.emit(addressSize === 16 ? 'offset.16.2' : `lea.${addressSize}.2`)
  l.fields.source = SLOT.t3
  if (l.codeSize === 64) {
    l.fields.addend = l.segmentSlot(SEGMENT.ds)
    l.emit('segment')
  } else {
    // The unit is in MMX mode by the time that the access faults.
    if (isMmx(first) && l.isChecked(l.segmentOf(SEGMENT.ds))) l.emit('mmx')
    l.through(l.segmentOf(SEGMENT.ds), writes(isMmx(first) ? 8 : 16))
  }
  l.fields.destination = unit(first, reg)
  l.fields.source = unit(second, rm)
  l.fields.operandBytes = isMmx(first) ? 8 : 16
  l.finalHandler('maskmov')
}

/** CRC32. */
const checksum: Lift = (l) => {
  const size = l.size(l.instruction.row.operands[1]!)
  const slot = l.source(size)
  l.fields.destination = l.regSlot(32)
  l.fields.source = slot
  l.emit(`crc32.${size}`)
}

/** LDMXCSR and STMXCSR. */
const loadControl: Lift = (l) => {
  l.source(32)
  l.handler('load-mxcsr')
}
const storeControl: Lift = (l) => {
  l.fields.destination = SLOT.t0
  l.emit('mxcsr')
  l.emitMemory('mov.32.mr')
}

/** FXSAVE and FXRSTOR: the address in t3. EM and TS count, OSFXSR does not. */
const wholeState = (name: string): Lift => (l) => {
  if ((l.floatUnit & (MODE.EMULATED | MODE.SWITCHED)) !== 0) return l.finalHandler('nm')
  l.addressInto(SLOT.t3, name === 'fxsave' ? writes(512) : reads(512))
  l.handler(name)
}

/** XSAVE and its like: the address in t3. Whether CR4.OSXSAVE is set and CR0.TS is not comes before all else. */
const extendedState = (name: string): Lift => (l) => {
  if (l.codeSize !== 64) l.partHandler('xsave-check')
  l.addressInto(SLOT.t3, name === 'xrstor' ? reads(XSAVE.avx) : writes(XSAVE.avx))
  l.handler(name)
}

/** Names that go to a handler or its fast path with (destination, source, immediate). */
export const FLOATS: readonly string[] = [
  ...['add', 'sub', 'mul', 'div', 'min', 'max', 'sqrt', 'cmp'].flatMap((name) =>
    ['ss', 'sd', 'ps', 'pd'].map((kind) => name + kind)),
  'rcpss', 'rcpps', 'rsqrtss', 'rsqrtps', 'roundss', 'roundsd', 'roundps', 'roundpd', 'haddps', 'haddpd', 'hsubps',
  'hsubpd', 'addsubps', 'addsubpd', 'dpps', 'dppd', 'ucomiss', 'ucomisd', 'comiss', 'comisd', 'cvtss2sd', 'cvtsd2ss',
  'cvtps2pd', 'cvtpd2ps', 'cvtdq2ps', 'cvtdq2pd', 'cvtps2dq', 'cvttps2dq', 'cvtpd2dq', 'cvttpd2dq', 'cvtps2pi',
  'cvttps2pi', 'cvtpd2pi', 'cvttpd2pi', 'mpsadbw', 'phminposuw', 'pcmpestrm', 'pcmpestri', 'pcmpistrm', 'pcmpistri',
]
/** Extensions of lanes. */
export const EXTENSIONS: readonly string[] = ['pmovsx', 'pmovzx'].flatMap((name) =>
  ['bw', 'bd', 'bq', 'wd', 'wq', 'dq'].map((sizes) => name + sizes))

/** Lifters without the checks before them. */
export const SSE_LIFTS: Readonly<Record<string, Lift>> = {
  ...Object.fromEntries([...Object.keys(XMM_OPERATIONS), ...Object.keys(MMX_OPERATIONS), ...EXTENSIONS]
    .map((name) => [name, operation(name)])),
  ...Object.fromEntries(FLOATS.map((name) => [name, float(name)])),
  ...Object.fromEntries(['movups', 'movupd', 'movdqu', 'lddqu'].map((name) => [name, move('128', '128', '128')])),
  ...Object.fromEntries(['movaps', 'movapd', 'movdqa', 'movntdqa'].map((name) => [name, move('128', '128a', '128a')])),
  movss: move('32', '32z', '32'), movsd: move('64', '64z', '64'), movq: moveQuadword, movd: moveDoubleword,
  movlps: moveHalf('64', ''), movlpd: moveHalf('64', ''), movhps: moveHalf('64h', ''), movhpd: moveHalf('64h', ''),
  movhlps: moveHalf('64', '64.lh'), movlhps: moveHalf('64', '64.hl'),
  movntps: nonTemporal, movntpd: nonTemporal, movntdq: nonTemporal, movntq: nonTemporal,
  pshufd: withImmediate('pshufd'), pshuflw: withImmediate('pshuflw'), pshufhw: withImmediate('pshufhw'),
  pshufw: withImmediate('pshufw'), shufps: withImmediate('shufps'), shufpd: withImmediate('shufpd'),
  palignr: withImmediate('palignr', 32), blendps: withImmediate('blendps'), blendpd: withImmediate('blendpd'),
  pblendw: withImmediate('pblendw'), pslldq: byteShift('pslldq'), psrldq: byteShift('psrldq'),
  blendvps: operation('blendvps'), blendvpd: operation('blendvpd'), pblendvb: operation('pblendvb'),
  ptest: operation('ptest'),
  movmskps: mask('movmskps'), movmskpd: mask('movmskpd'), pmovmskb: mask('pmovmskb'),
  pinsrb: insert(8), pinsrw: insert(16), pinsrd: insert(32), insertps: insertSingle,
  pextrb: extract(8), pextrw: extractWord, pextrd: extract('operand'), extractps: extract(32),
  movq2dq: betweenFiles('xmm'), movdq2q: betweenFiles('mmx'), maskmovq: maskedStore, maskmovdqu: maskedStore,
  cvtsi2ss: fromInteger('cvtsi2ss'), cvtsi2sd: fromInteger('cvtsi2sd'),
  ...Object.fromEntries(['cvtss2si', 'cvttss2si', 'cvtsd2si', 'cvttsd2si'].map((name) => [name, toInteger(name)])),
  ldmxcsr: loadControl, stmxcsr: storeControl,
}

/** Lifters by name of instruction. */
export const VECTOR_LIFTERS: Readonly<Record<string, Lift>> = {
  ...Object.fromEntries(Object.entries(SSE_LIFTS).map(([name, lift]) => [name, checked(lift)])),
  ...Object.fromEntries(['cvtpi2ps', 'cvtpi2pd'].map((name) => [name, checkedAsRead(float(name))])),
  ...X87_LIFTERS,
  crc32: checksum, fxsave: wholeState('fxsave'), fxrstor: wholeState('fxrstor'),
  xsave: extendedState('xsave'), xsaveopt: extendedState('xsaveopt'), xsavec: extendedState('xsavec'), xrstor: extendedState('xrstor'),
  xgetbv: (l) => l.handler('xgetbv'), xsetbv: (l) => l.finalHandler('xsetbv'),
  emms: (l) => {
    if (!refused(l, 'mmx')) l.emit('emms')
  },
}

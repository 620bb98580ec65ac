/**
 * Lifters of AVX, AVX2, F16C and FMA. Most are derived from the micro-operations and handlers of SSE (uops/vex.ts) and have
 * their names with `v` before; a memory operand is loaded into a temporary first.
 *
 * Records: SHAPES.operands, with the first operand in `addend` and the second in `source`; the displacement tells handlers of
 * 256 bits.
 */
import { LANE_ACCESS } from '../layout/lane-access.ts'
import { FMA_CONTROL } from '../layout/fma-control.ts'
import { MODE, SEGMENT_SLOT, SLOT, UPPER_HALF } from '../layout/state.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { XMM_OPERATIONS } from '../uops/sse-integer.ts'
import { VECTOR_UNIT } from '../uops/sse-place.ts'
import { writes } from './access.ts'
import type { Lift, Lifter } from './lifter.ts'
import { EXTENSIONS, FLOATS, SSE_LIFTS } from './vector.ts'

const TEMPORARY = VECTOR_UNIT.temporary
/** Units from a register's lower half to its upper one. */
const UPPER = UPPER_HALF / 16
const register = (number: number): number => VECTOR_UNIT.xmm + number

/** Whether the instruction's registers are of 256 bits; of scalars VEX.L says nothing. */
const isLong = ({ instruction: { row, vexLength } }: Lifter): boolean => vexLength === 1 && row.vex!.usesLength
/** The length in a micro-operation's name. */
const lengthOf = (l: Lifter): 128 | 256 => (isLong(l) ? 256 : 128)

/** Kind of load by the size letters of an operand's code. */
const LOAD: Readonly<Record<string, readonly [short: string, long: string]>> = {
  x: ['128', '256'], h: ['64z', '128'], f: ['32z', '64z'], e: ['16z', '32z'], dq: ['128', '128'], qq: ['256', '256'],
  q: ['64z', '64z'], d: ['32z', '32z'], w: ['16z', '16z'], b: ['8z', '8z'],
}

const loadOf = (l: Lifter, code: string): string => {
  const kind = LOAD[code.slice(1)]![l.instruction.vexLength]!
  return l.instruction.row.unaligned ? kind : `${kind}a`
}

/** Unit of the operand in ModRM.rm as a source: a register, or the temporary loaded from memory. */
function source(l: Lifter, code: string): number {
  if (!l.instruction.isMemory) return register(l.instruction.rm)
  l.fields.destination = TEMPORARY
  l.emitMemory(`vload.${loadOf(l, code)}.m`)
  return TEMPORARY
}

/** Lifts with the checks of AVX before it: the kernel has to keep its state, CR0.EM means nothing. */
const checked = (lift: Lift): Lift => (l) => {
  if ((l.floatUnit & MODE.NO_AVX) !== 0) l.undefined()
  else if ((l.floatUnit & MODE.SWITCHED) !== 0) l.finalHandler('nm')
  else lift(l)
}

/** Sets destination, first and second operand as the row names them; without a first one it is the second too. */
function setOperands(l: Lifter): void {
  const { operands, kinds } = l.instruction.row
  const isShift = kinds[0]!.place === 'vvvv'
  const from = source(l, operands[kinds.findIndex(({ place }) => place === 'rm')]!)
  l.fields.destination = register(isShift ? l.instruction.vvvv : l.instruction.reg)
  l.fields.source = from
  l.fields.addend = !isShift && l.instruction.row.vex!.usesSecond ? register(l.instruction.vvvv) : from
}

/** An operation that cannot trap; `kind` says what operands its micro-operation has, an immediate is cut to `most`. */
const operation = (name: string, kind: 'vv' | 'vvi' | 'vi', most = 255): Lift => (l) => {
  setOperands(l)
  if (kind !== 'vv') l.fields.control = Math.min(l.instruction.immediate, most)
  l.emit(`v${name}.${kind}.${lengthOf(l)}`)
}

/** Arithmetic with a fast path in WebAssembly and a handler behind it, or the handler alone. */
const float = (name: string): Lift => (l) => {
  setOperands(l)
  l.fields.control = l.instruction.immediate & 0xff
  l.fields.displacement = isLong(l) ? 1 : 0
  const fast = `v${name}.vv.${lengthOf(l)}`
  l.handler(`v${name}`, l.has(fast) ? fast : 'handler')
}

const fromInteger = (name: string): Lift => (l) => {
  const size = l.size('Ey')
  const slot = l.source(size)
  l.fields.destination = register(l.instruction.reg)
  l.fields.source = slot
  l.fields.addend = register(l.instruction.vvvv)
  l.handler(`v${name}.${size}`, `v${name}.${size}.vr.128`)
}

/** Makes a register of two units. */
function halves(l: Lifter, destination: number, low: number, high: number): void {
  l.fields.destination = destination
  l.fields.source = low
  l.fields.addend = high
  l.emit('halves.vv')
}

/** Copies a register of the instruction's length; above 128 bits becomes zero where that is all. */
const copy = (l: Lifter, to: number, from: number): void => halves(l, to, from, isLong(l) ? from + UPPER : VECTOR_UNIT.zero)

/** VMOVAPS and its like: whole registers, aligned in memory or not. */
const move: Lift = (l) => {
  const i = l.instruction
  const toRm = i.row.kinds[0]!.place === 'rm'
  if (!i.isMemory) return copy(l, register(toRm ? i.rm : i.reg), register(toRm ? i.reg : i.rm))
  const kind = loadOf(l, i.row.operands[toRm ? 0 : 1]!)
  l.fields.register = register(i.reg)
  l.emitMemory(toRm ? `vstore.${kind}.m` : isLong(l) ? `vload.${kind}.m` : `vvload.${kind}.m`)
}

/** VMOVSS and VMOVSD: a load clears the rest, a move between registers takes it from the first operand. */
const moveScalar = (size: 32 | 64): Lift => (l) => {
  const i = l.instruction
  const toRm = i.row.kinds[0]!.place === 'rm'
  if (i.isMemory) {
    l.fields.register = register(i.reg)
    return l.emitMemory(toRm ? `vstore.${size}.m` : `vvload.${size}z.m`)
  }
  l.fields.destination = register(toRm ? i.rm : i.reg)
  l.fields.source = register(toRm ? i.reg : i.rm)
  l.fields.addend = register(i.vvvv)
  l.emit(`vvmov.${size}.128`)
}

/** VMOVLPS and its like; `store` is what a store takes, `part` the move of a half beside the first operand's other half. */
const moveHalf = (store: '64' | '64h', part: string): Lift => (l) => {
  const i = l.instruction
  if (i.row.operands[0] === 'Mq') {
    l.fields.register = register(i.reg)
    return l.emitMemory(`vstore.${store}.m`)
  }
  const from = i.isMemory ? source(l, 'Mq') : register(i.rm)
  l.fields.destination = register(i.reg)
  l.fields.source = from
  l.fields.addend = register(i.vvvv)
  l.emit(`vvmov.${part}.128`)
}

/** VMOVQ between vectors and memory. */
const moveQuadword: Lift = (l) => {
  const i = l.instruction
  const toRm = i.row.operands[0] === 'Wq'
  l.fields.register = register(i.reg)
  if (i.isMemory) return l.emitMemory(toRm ? 'vstore.64.m' : 'vvload.64z.m')
  l.fields.destination = register(toRm ? i.rm : i.reg)
  l.fields.source = register(toRm ? i.reg : i.rm)
  l.emit('vvmov.64z.128')
}

/** VMOVD and VMOVQ with a general register or memory. */
const moveDoubleword: Lift = (l) => {
  const i = l.instruction
  if (i.row.operands[0] === 'Ey') return SSE_LIFTS['movd']!(l)
  const size = l.size('Ey')
  l.fields.destination = register(i.reg)
  if (i.isMemory) return l.emitMemory(`vvload.${size}z.m`)
  l.fields.source = l.rmSlot(size)
  l.emit(`vvmov.${size}.vr.128`)
}

/** An instruction that changes its first operand in place, on a copy in the temporary. */
function onCopy(l: Lifter, change: () => void): void {
  l.fields.destination = TEMPORARY
  l.fields.source = register(l.instruction.vvvv)
  l.emit('vmov.128')
  l.fields.destination = TEMPORARY
  change()
  halves(l, register(l.instruction.reg), TEMPORARY, VECTOR_UNIT.zero)
}

/** VPINSRB, VPINSRW, VPINSRD. */
const insert = (size: 8 | 16 | 32): Lift => (l) => {
  const wide = size === 32 ? (l.size('Ey') === 64 ? 64 : 32) : size
  const slot = l.instruction.isMemory ? l.source(wide) : l.slot(l.instruction.rm, 32)
  onCopy(l, () => {
    l.fields.source = slot
    l.fields.control = l.instruction.immediate & (128 / wide - 1)
    l.emit(`pinsr.${wide}.vr`)
  })
}

const insertSingle: Lift = (l) => {
  const { immediate, isMemory } = l.instruction
  if (isMemory) l.source(32)
  else {
    l.fields.destination = SLOT.t0
    l.fields.source = register(l.instruction.rm)
    l.fields.control = immediate >> 6
    l.emit('pextr.32.rv')
  }
  onCopy(l, () => {
    l.fields.source = SLOT.t0
    l.fields.control = immediate & 0x3f
    l.emit('insertps.vr')
  })
}

/** One value in all lanes. */
const broadcast = (size: 8 | 16 | 32 | 64): Lift => (l) => {
  const from = source(l, l.instruction.row.operands[1]!)
  l.fields.destination = register(l.instruction.reg)
  l.fields.source = from
  l.emit(`broadcast.${size}.v.${lengthOf(l)}`)
}

const broadcastHalf: Lift = (l) => {
  const from = source(l, 'Mdq')
  halves(l, register(l.instruction.reg), from, from)
}

const insertHalf: Lift = (l) => {
  const from = source(l, 'Wdq')
  const first = register(l.instruction.vvvv)
  const toUpper = (l.instruction.immediate & 1) !== 0
  halves(l, register(l.instruction.reg), toUpper ? first : from, toUpper ? from : first + UPPER)
}

const extractHalf: Lift = (l) => {
  const i = l.instruction
  const half = register(i.reg) + (i.immediate & 1) * UPPER
  if (!i.isMemory) return halves(l, register(i.rm), half, VECTOR_UNIT.zero)
  l.fields.register = half
  l.emitMemory('vstore.128.m')
}

/** VPERM2F128: each half of the result by four bits: one of four halves, or zero. */
const permuteHalves: Lift = (l) => {
  const second = source(l, 'Wqq')
  const first = register(l.instruction.vvvv)
  const all = [first, first + UPPER, second, second + UPPER]
  const pick = (bits: number): number => ((bits & 8) !== 0 ? VECTOR_UNIT.zero : all[bits & 3]!)
  const { immediate, reg } = l.instruction
  halves(l, register(reg), pick(immediate & 15), pick(immediate >> 4 & 15))
}

/** A blend by the register in the immediate's upper half. */
const blendBy = (name: string): Lift => (l) => {
  setOperands(l)
  l.fields.chooser = register((l.instruction.immediate >> 4) & (l.codeSize === 64 ? 15 : 7))
  l.emit(`${name}.vv.${lengthOf(l)}`)
}

/** An operation of AVX alone: its micro-operation has the instruction's name. */
const own = (name: string, kind: 'vv' | 'vvi' = 'vv'): Lift => (l) => {
  setOperands(l)
  if (kind === 'vvi') l.fields.control = l.instruction.immediate
  l.emit(`${name}.${kind}.${lengthOf(l)}`)
}

const mask = (name: string): Lift => (l) => {
  l.fields.destination = l.regSlot(32)
  l.fields.source = register(l.instruction.rm)
  l.emit(isLong(l) ? `${name}.rv.256` : `${name}.rv`)
}

/** Leaves the operand's offset, without an index that is no general register, in t3, and says how lanes are reached from there. */
function laneAccess(l: Lifter, o: { dataBytes: 4 | 8; indexBytes: 4 | 8 }): number {
  const i = l.instruction
  const { base, scale, addressSize } = i
  const fallback = base === 4 || base === 5 ? SEGMENT.ss : SEGMENT.ds
  const isGather = i.row.vex!.indices !== undefined
  if (isGather) {
    i.index = -1
    i.scale = 0
  }
  const form = l.memory()
  l.fields.destination = SLOT.t3
  l.emit(`lea.64.${form}`)
  const slot = l.codeSize === 64 ? l.segmentSlot(fallback) : SEGMENT_SLOT[l.segmentOf(fallback)]!
  return (o.dataBytes === 8 ? LANE_ACCESS.wideData : 0) | (o.indexBytes === 8 ? LANE_ACCESS.wideIndex : 0) |
    (addressSize === 64 ? 0 : LANE_ACCESS.shortAddress) | ((isGather ? scale : 0) << LANE_ACCESS.scale) |
    (isLong(l) ? LANE_ACCESS.long : 0) | (slot << LANE_ACCESS.slot) | (l.segmentOf(fallback) << LANE_ACCESS.segment)
}

/** VMASKMOVPS, VPMASKMOVD and their like: lanes of so many bytes. */
const masked = (dataBytes: 4 | 8): Lift => (l) => {
  const access = laneAccess(l, { dataBytes, indexBytes: 4 })
  l.fields.destination = l.fields.source = register(l.instruction.reg)
  l.fields.addend = register(l.instruction.vvvv)
  l.fields.displacement = access
  l.handler(l.instruction.row.kinds[0]!.place === 'rm' ? 'masked-store' : 'masked-load')
}

/** Gathers: elements and indices of so many bytes. */
const gather = (dataBytes: 4 | 8, indexBytes: 4 | 8): Lift => (l) => {
  const { reg: to, index: indices, vvvv: chosen } = l.instruction
  if (to === indices || to === chosen || indices === chosen) return l.undefined()
  const access = laneAccess(l, { dataBytes, indexBytes })
  l.fields.destination = register(to)
  l.fields.source = register(indices)
  l.fields.addend = register(chosen)
  l.fields.control = (isLong(l) ? 32 : 16) / Math.max(dataBytes, indexBytes)
  l.fields.displacement = access
  l.handler('gather')
}

const FUSED_KINDS = ['ps', 'pd', 'ss', 'sd'] as const

/** VFMADD132PS and all its kin: order, signs and kind in control. */
function* fusedLifts(): Generator<readonly [string, Lift]> {
  const operations = [
    ['vfmadd', 0, 0], ['vfmsub', 0, 1], ['vfnmadd', 1, 0], ['vfnmsub', 1, 1], ['vfmaddsub', 0, 2], ['vfmsubadd', 0, 3],
  ] as const
  for (const [operation, negated, addend] of operations) {
    for (const [order, digits] of ['132', '213', '231'].entries()) {
      for (const [number, kind] of FUSED_KINDS.entries()) {
        if (addend > 1 && number > 1) continue
        const control = order | (negated << FMA_CONTROL.negatesProduct) | (addend << FMA_CONTROL.addend) | (number << FMA_CONTROL.kind)
        yield [`${operation}${digits}${kind}`, (l) => {
          setOperands(l)
          l.fields.control = control
          l.fields.displacement = isLong(l) ? 1 : 0
          l.handler('fma')
        }]
      }
    }
  }
}

const toHalves: Lift = (l) => {
  const i = l.instruction
  if (i.isMemory) l.addressInto(SLOT.t3, writes(isLong(l) ? 16 : 8))
  l.fields.destination = i.isMemory ? TEMPORARY : register(i.rm)
  l.fields.source = l.fields.addend = register(i.reg)
  l.fields.control = i.immediate
  l.fields.displacement = isLong(l) ? 1 : 0
  l.handler(i.isMemory ? 'cvtps2ph-store' : 'vcvtps2ph')
}

/** A handler of SSE's whose result's upper half has to go. */
const clearing = (name: string, unit: (l: Lifter) => number): Lift => (l) => {
  SSE_LIFTS[name]!(l)
  l.fields.destination = unit(l)
  l.emit('zero-upper.v')
}

const intoReg = (l: Lifter): number => register(l.instruction.reg)
const named = (names: readonly string[], lift: (name: string) => Lift): Record<string, Lift> =>
  Object.fromEntries(names.map((name) => [`v${name}`, lift(name)]))

/** SSE's operations, which have no masks in XMM0 and shift by an immediate too. */
const integer = (name: string): Lift => {
  const [byVector, byNumber] = [operation(name, 'vv'), operation(name, 'vi')]
  return (l) => (l.instruction.row.immediates.length > 0 ? byNumber : byVector)(l)
}

const FLOATS_OF_SSE_ONLY = new Set([
  'cvtpi2ps', 'cvtpi2pd', 'cvtps2pi', 'cvttps2pi', 'cvtpd2pi', 'cvttpd2pi', 'mpsadbw', 'phminposuw', 'pcmpestrm', 'pcmpestri', 'pcmpistrm',
  'pcmpistri', 'cvtdq2pd', 'comiss', 'comisd', 'ucomiss', 'ucomisd',
])

const lifters: Readonly<Record<string, Lift>> = {
  ...named(Object.keys(XMM_OPERATIONS), integer),
  ...named([...EXTENSIONS, 'cvtdq2pd'], (name) => operation(name, 'vv')),
  ...named(FLOATS.filter((name) => !FLOATS_OF_SSE_ONLY.has(name)), float),
  ...named(['mpsadbw', 'cvtph2ps'], float),
  ...named(['movups', 'movupd', 'movdqu', 'lddqu', 'movaps', 'movapd', 'movdqa', 'movntdqa', 'movntps', 'movntpd', 'movntdq'], () => move),
  vmovss: moveScalar(32), vmovsd: moveScalar(64), vmovq: moveQuadword, vmovd: moveDoubleword,
  vmovlps: moveHalf('64', '64'), vmovlpd: moveHalf('64', '64'), vmovhps: moveHalf('64h', '64.hl'), vmovhpd: moveHalf('64h', '64.hl'),
  vmovhlps: moveHalf('64', '64.lh'), vmovlhps: moveHalf('64', '64.hl'),
  ...named(['pshufd', 'pshuflw', 'pshufhw', 'shufps', 'shufpd', 'blendps', 'blendpd', 'pblendw'], (name) => operation(name, 'vvi')),
  vpblendd: operation('blendps', 'vvi'), vpalignr: operation('palignr', 'vvi', 32),
  vpslldq: operation('pslldq', 'vi', 16), vpsrldq: operation('psrldq', 'vi', 16),
  vpermilps: (l) => (l.instruction.row.immediates.length > 0 ? operation('pshufd', 'vvi') : own('vpermilps'))(l),
  vpermilpd: (l) => (l.instruction.row.immediates.length > 0 ? operation('shufpd', 'vvi') : own('vpermilpd'))(l),
  vpermd: own('vpermd'), vpermps: own('vpermd'), vpermq: own('vpermq', 'vvi'), vpermpd: own('vpermq', 'vvi'),
  vperm2f128: permuteHalves, vperm2i128: permuteHalves, vinsertf128: insertHalf, vinserti128: insertHalf,
  vextractf128: extractHalf, vextracti128: extractHalf, vbroadcastf128: broadcastHalf, vbroadcasti128: broadcastHalf,
  vbroadcastss: broadcast(32), vbroadcastsd: broadcast(64),
  vpbroadcastb: broadcast(8), vpbroadcastw: broadcast(16), vpbroadcastd: broadcast(32), vpbroadcastq: broadcast(64),
  vblendvps: blendBy('vblendvps'), vblendvpd: blendBy('vblendvpd'), vpblendvb: blendBy('vpblendvb'),
  ...Object.fromEntries(['vpsllvd', 'vpsllvq', 'vpsrlvd', 'vpsrlvq', 'vpsravd', 'vptest', 'vtestps', 'vtestpd'].map((name) => [name, own(name)])),
  ...named(['movmskps', 'movmskpd', 'pmovmskb'], mask),
  vpinsrb: insert(8), vpinsrw: insert(16), vpinsrd: insert(32), vinsertps: insertSingle,
  ...named(['pextrb', 'pextrw', 'pextrd', 'extractps', 'comiss', 'comisd', 'ucomiss', 'ucomisd', 'cvtss2si', 'cvttss2si', 'cvtsd2si', 'cvttsd2si',
    'ldmxcsr', 'stmxcsr', 'maskmovdqu', 'pcmpestri', 'pcmpistri'], (name) => SSE_LIFTS[name]!),
  ...named(['pcmpestrm', 'pcmpistrm'], (name) => clearing(name, () => VECTOR_UNIT.xmm)), vphminposuw: clearing('phminposuw', intoReg),
  ...named(['cvtsi2ss', 'cvtsi2sd'], fromInteger), vcvtps2ph: toHalves,
  vmaskmovps: masked(4), vmaskmovpd: masked(8), vpmaskmovd: masked(4), vpmaskmovq: masked(8),
  vpgatherdd: gather(4, 4), vpgatherdq: gather(8, 4), vpgatherqd: gather(4, 8), vpgatherqq: gather(8, 8),
  vgatherdps: gather(4, 4), vgatherdpd: gather(8, 4), vgatherqps: gather(4, 8), vgatherqpd: gather(8, 8),
  ...Object.fromEntries(fusedLifts()),
  vzeroupper: (l) => l.emit('vzeroupper'), vzeroall: (l) => l.emit('vzeroall'),
}

/** Lifters by name of instruction. */
export const AVX_LIFTERS: Readonly<Record<string, Lift>> =
  Object.fromEntries(Object.entries(lifters).map(([name, lift]) => [name, checked(lift)]))

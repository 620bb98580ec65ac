/**
 * The registers that GDB is told of, in its order and by its names, out of a vCPU's context and into one: general registers, segments, x87 and
 * SSE of the FXSAVE image, and the bases of FS and GS. The description of the target is made of the same rows.
 * Reference: GDB, features/i386/64bit-core.xml, 32bit-core.xml, 64bit-sse.xml and 64bit-segments.xml; Intel SDM volume 1, FXSAVE.
 */
import { VGCF } from '../../abi/index.ts'
import type { VcpuContext, VcpuUserRegisters } from '../../hypervisor/index.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'

/** A register as GDB knows it. */
export interface DebugRegister {
  readonly name: string
  readonly bits: number
  /** Its type in the description. */
  readonly type: string
  read(context: ThreadContext): bigint
  /** Undefined where it cannot be changed. */
  write(context: ThreadContext, value: bigint): ThreadContext | undefined
}

/** Registers of one feature of GDB's. */
export interface RegisterFeature {
  readonly name: string
  readonly types: string
  readonly registers: readonly DebugRegister[]
}

type UserName = Exclude<keyof VcpuUserRegisters, 'savedUpcallMask'>

const mask = (bits: number): bigint => (1n << BigInt(bits)) - 1n

/** A register of user mode, 64 bits or a selector. */
const user = (name: UserName, bits: number, type: string, shown: string = name): DebugRegister => ({
  name: shown, bits, type,
  read: (context) => BigInt(context.user[name]) & mask(bits),
  write: (context, value) => ({ ...context, user: { ...context.user, [name]: typeof context.user[name] === 'number' ? Number(value & 0xffffn) : value } }),
})

/** A piece of the FXSAVE image. */
const saved = (name: string, { at, bytes, bits = 8 * bytes, type }: { readonly at: number; readonly bytes: number; readonly bits?: number; readonly type: string }): DebugRegister => ({
  name, bits, type,
  read: ({ fpu }) => fpu.subarray(at, at + bytes).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n),
  write: (context, value) => {
    const fpu = context.fpu.slice()
    for (let i = 0; i < bytes; i += 1) fpu[at + i] = Number((value >> BigInt(8 * i)) & 0xffn)
    return { ...context, fpu }
  },
})

/** Whether each register of x87 is empty, in two bits each as FSTENV writes it, out of the one bit that FXSAVE has. */
const tags: DebugRegister = {
  name: 'ftag', bits: 32, type: 'int',
  read: ({ fpu }) => BigInt(Array.from({ length: 8 }, (_, i) => ((fpu[4]! >> i) & 1 ? 0 : 3 << (2 * i))).reduce((all, one) => all | one)),
  write: (context, value) => {
    const fpu = context.fpu.slice()
    fpu[4] = Array.from({ length: 8 }, (_, i) => (((Number(value) >> (2 * i)) & 3) === 3 ? 0 : 1 << i)).reduce((all, one) => all | one)
    return { ...context, fpu }
  },
}

const x87: readonly DebugRegister[] = [
  ...Array.from({ length: 8 }, (_, i) => saved(`st${i}`, { at: 32 + 16 * i, bytes: 10, type: 'i387_ext' })),
  saved('fctrl', { at: 0, bytes: 2, bits: 32, type: 'int' }), saved('fstat', { at: 2, bytes: 2, bits: 32, type: 'int' }), tags,
  saved('fiseg', { at: 12, bytes: 2, bits: 32, type: 'int' }), saved('fioff', { at: 8, bytes: 4, type: 'int' }),
  saved('foseg', { at: 20, bytes: 2, bits: 32, type: 'int' }), saved('fooff', { at: 16, bytes: 4, type: 'int' }),
  saved('fop', { at: 6, bytes: 2, bits: 32, type: 'int' }),
]

const SELECTORS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const
const selectors = SELECTORS.map((name) => user(name, 32, 'int32'))

const FLAGS = [['CF', 0], ['PF', 2], ['AF', 4], ['ZF', 6], ['SF', 7], ['TF', 8], ['IF', 9], ['DF', 10], ['OF', 11], ['NT', 14], ['RF', 16], ['VM', 17], ['AC', 18], ['ID', 21]] as const
const flagTypes = `<flags id="i386_eflags" size="4">${FLAGS.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`).join('')}</flags>`

const vectorTypes = [['v4_float', 'ieee_single', 4], ['v2_double', 'ieee_double', 2], ['v16_int8', 'int8', 16], ['v8_int16', 'int16', 8], ['v4_int32', 'int32', 4], ['v2_int64', 'int64', 2]]
  .map(([id, type, count]) => `<vector id="${id}" type="${type}" count="${count}"/>`).join('')
const sseTypes = `${vectorTypes}<union id="vec128">${['v4_float', 'v2_double', 'v16_int8', 'v8_int16', 'v4_int32', 'v2_int64'].map((id) => `<field name="${id}" type="${id}"/>`).join('')}<field name="uint128" type="uint128"/></union>`

const sse = (count: number): RegisterFeature => ({
  name: 'org.gnu.gdb.i386.sse', types: sseTypes,
  registers: [...Array.from({ length: count }, (_, i) => saved(`xmm${i}`, { at: 160 + 16 * i, bytes: 16, type: 'vec128' })), saved('mxcsr', { at: 24, bytes: 4, type: 'int32' })],
})

type BaseField = 'fsBase' | 'gsBaseKernel' | 'gsBaseUser'

const base = (name: string, field: (context: VcpuContext) => BaseField): DebugRegister => ({
  name, bits: 64, type: 'data_ptr', read: (context) => context[field(context)], write: (context, value) => ({ ...context, [field(context)]: value }),
})

/** The base of GS in force in a PV guest: the kernel's own within it, else the process's. */
const gsOfPv = ({ flags }: VcpuContext): BaseField => ((flags & VGCF.in_kernel) !== 0 ? 'gsBaseKernel' : 'gsBaseUser')

/** Where XSAVE's state has the upper halves of AVX's registers, which parts it has, and what was ever enabled: behind XCR0. */
const AVX = { bit: 4, everAt: 8, presentAt: 16 + 512, at: 16 + 576, bytes: 16 } as const

const upperHalf = (i: number): DebugRegister => ({
  name: `ymm${i}h`, bits: 128, type: 'uint128',
  read: ({ extended }) => {
    const isThere = extended !== undefined && extended.length >= AVX.at + 16 * AVX.bytes && (extended[AVX.presentAt]! & AVX.bit) !== 0
    return isThere ? valueOf(extended.subarray(AVX.at + i * AVX.bytes, AVX.at + (i + 1) * AVX.bytes)) : 0n
  },
  write: (context, value) => {
    // Without AVX switched on there is nothing to be written.
    if (context.extended === undefined || context.extended.length < AVX.at + 16 * AVX.bytes) return undefined
    const extended = context.extended.slice()
    if ((extended[AVX.presentAt]! & AVX.bit) === 0) extended.fill(0, AVX.at, AVX.at + 16 * AVX.bytes)
    extended[AVX.presentAt]! |= AVX.bit
    extended[AVX.everAt]! |= AVX.bit
    extended.set(littleEndian(value, 128), AVX.at + i * AVX.bytes)
    return { ...context, extended }
  },
})

const avx = (count: number): RegisterFeature => ({ name: 'org.gnu.gdb.i386.avx', types: '', registers: Array.from({ length: count }, (_, i) => upperHalf(i)) })

/** Control registers are to be looked at: what they are changed into is the kernel's own affair, and the hypervisor's. */
const control = (name: string, read: (context: ThreadContext) => bigint): DebugRegister => ({ name, bits: 64, type: 'int64', read, write: (context, value) => (value === read(context) ? context : undefined) })
const CONTROL: RegisterFeature = {
  name: 'org.paravirt.control', types: '',
  registers: [control('cr0', ({ cr0 }) => cr0), control('cr3', ({ kernelTable }) => BigInt(kernelTable) << 12n), control('cr4', ({ cr4 }) => cr4)],
}

const GENERAL_64 = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
const GENERAL_32 = [['rax', 'eax'], ['rcx', 'ecx'], ['rdx', 'edx'], ['rbx', 'ebx'], ['rsp', 'esp'], ['rbp', 'ebp'], ['rsi', 'esi'], ['rdi', 'edi']] as const

const pointerType = (name: string): string => (/bp$|sp$/.test(name) ? 'data_ptr' : name.startsWith('r') ? 'int64' : 'int32')

/** What decides which registers a guest has. */
export interface TargetFacts {
  /** Bits of its kernel's machine word. */
  readonly width: 32 | 64
  /** It has ring 0: the base of GS in force is then the one that a context calls the user's, in whichever mode it is. */
  readonly translated: boolean
  /** It may use AVX. */
  readonly hasAvx?: boolean
  /** What is debugged is a program, which may be in a system call. */
  readonly isProgram?: boolean
}

const features64 = (gs: (context: VcpuContext) => BaseField): readonly RegisterFeature[] => [
  {
    name: 'org.gnu.gdb.i386.core', types: flagTypes,
    registers: [...GENERAL_64.map((name) => user(name, 64, pointerType(name))), user('rip', 64, 'code_ptr'), user('rflags', 32, 'i386_eflags', 'eflags'), ...selectors, ...x87],
  },
  sse(16),
  { name: 'org.gnu.gdb.i386.segments', types: '', registers: [base('fs_base', () => 'fsBase'), base('gs_base', gs)] },
]

const OF_PV = features64(gsOfPv)
const OF_PVH = features64(() => 'gsBaseUser')
/** What GDB wants of a Linux program besides: the number of the system call that it is in, -1 for none. In the order that GDB takes for granted where it has asked for no description. */
const [PROGRAM_CORE, PROGRAM_SSE, ...PROGRAM_BASES] = OF_PVH
const OF_PROGRAMS: readonly RegisterFeature[] = [PROGRAM_CORE!, PROGRAM_SSE!, {
  name: 'org.gnu.gdb.i386.linux', types: '',
  registers: [{ name: 'orig_rax', bits: 64, type: 'int', read: ({ systemCall }) => systemCall ?? mask(64), write: (context, value) => ({ ...context, systemCall: value }) }],
}, ...PROGRAM_BASES]
const OF_32_BITS: readonly RegisterFeature[] = [
  {
    name: 'org.gnu.gdb.i386.core', types: flagTypes,
    registers: [...GENERAL_32.map(([name, shown]) => user(name, 32, pointerType(shown), shown)), user('rip', 32, 'code_ptr', 'eip'), user('rflags', 32, 'i386_eflags', 'eflags'), ...selectors, ...x87],
  },
  sse(8),
]

const AVX_OF = { 32: avx(8), 64: avx(16) } as const

function featuresOf({ width, translated, hasAvx, isProgram }: TargetFacts): readonly RegisterFeature[] {
  if (isProgram === true) return OF_PROGRAMS
  const features = width === 32 ? OF_32_BITS : translated ? OF_PVH : OF_PV
  return [...features, CONTROL, ...(hasAvx === true ? [AVX_OF[width]] : [])]
}

/** All registers of a guest, in GDB's order. */
export const registersOf = (facts: TargetFacts): readonly DebugRegister[] => featuresOf(facts).flatMap(({ registers }) => registers)

/**
 * Those that `g` and `G` carry: general registers, x87 and SSE. GDB asks for others one by one; of an inferior that it has asked no description of it would refuse a longer answer than it
 * takes for granted.
 */
export const packetRegistersOf = (facts: TargetFacts): readonly DebugRegister[] => featuresOf(facts).slice(0, 2).flatMap(({ registers }) => registers)

/** What GDB reads as target.xml. */
export function targetDescription(facts: TargetFacts): string {
  const rows = (registers: readonly DebugRegister[]): string => registers.map(({ name, bits, type }) => `<reg name="${name}" bitsize="${bits}" type="${type}"/>`).join('')
  const features = featuresOf(facts).map(({ name, types, registers }) => `<feature name="${name}">${types}${rows(registers)}</feature>`)
  const architecture = facts.width === 64 ? 'i386:x86-64' : 'i386'
  return `<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0"><architecture>${architecture}</architecture>${features.join('')}</target>`
}

/** What GDB reads as memory map: addresses that may be memory; which of them are mapped changes with page tables, and is answered when it is asked for. */
export function memoryMap({ width }: TargetFacts): string {
  const halves = width === 32 ? [[0n, 1n << 32n]] : [[0n, 1n << 47n], [(1n << 64n) - (1n << 47n), 1n << 47n]]
  const rows = halves.map(([start = 0n, length = 0n]) => `<memory type="ram" start="0x${start.toString(16)}" length="0x${length.toString(16)}"/>`)
  return `<?xml version="1.0"?><!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" "http://sourceware.org/gdb/gdb-memory-map.dtd"><memory-map>${rows.join('')}</memory-map>`
}

/** A value as GDB sends it: bytes, the lowest first. */
export const littleEndian = (value: bigint, bits: number): Uint8Array => Uint8Array.from({ length: bits / 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn))

/** The value of such bytes. */
export const valueOf = (bytes: Uint8Array): bigint => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)

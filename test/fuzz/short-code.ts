/**
 * Machine code that means the same in 32- and in 64-bit code, for fuzzers of kernels that run in either: no REX prefixes,
 * addresses below 4 GiB. By hand on purpose, as in machine-code.ts.
 * Reference: Intel SDM volume 2.
 */
import type { SeededRandom } from '../../src/util/index.ts'
import { littleEndian } from './machine-code.ts'

/** General registers as encodings number them. */
const REGISTER = { eax: 0, ecx: 1, edx: 2, ebx: 3, esp: 4, ebp: 5, esi: 6, edi: 7 } as const
export type ShortRegister = keyof typeof REGISTER

/** How a kernel makes hypercalls: registers of the arguments, the instruction. */
export type Convention = 'compat, int' | 'compat, vmcall' | 'native, vmcall'
const ARGUMENTS = ['ebx', 'ecx', 'edx', 'esi', 'edi', 'ebp'] as const

/** Bytes at an address. */
export class ShortAssembler {
  readonly bytes: number[] = []
  readonly origin: number
  readonly convention: Convention

  constructor(origin: number, convention: Convention) {
    this.origin = origin
    this.convention = convention
  }

  /** Address of the next byte. */
  get here(): number {
    return this.origin + this.bytes.length
  }

  raw(...bytes: readonly number[]): this {
    this.bytes.push(...bytes)
    return this
  }

  /** mov register, value */
  set(register: ShortRegister, value: number): this {
    return this.raw(0xb8 + REGISTER[register], ...littleEndian(value >>> 0, 4))
  }

  /** mov edi, address; mov dword [edi], value: for addresses above 2 GiB, which 64-bit code does not take as they are. */
  putHigh(address: number, value: number): this {
    return this.set('edi', address).raw(0xc7, 0x07, ...littleEndian(value >>> 0, 4))
  }

  /** mov dword [address below 2 GiB], value */
  put(address: number, value: number): this {
    return this.raw(0xc7, 0x04, 0x25, ...littleEndian(address, 4), ...littleEndian(value >>> 0, 4))
  }

  /** mov eax, [address] */
  load(address: number): this {
    return this.raw(0x8b, 0x04, 0x25, ...littleEndian(address, 4))
  }

  /** mov [address], eax */
  store(address: number): this {
    return this.raw(0x89, 0x04, 0x25, ...littleEndian(address, 4))
  }

  /** jmp [address]: of the width of the code. */
  jumpThrough(address: number): this {
    return this.raw(0xff, 0x24, 0x25, ...littleEndian(address, 4))
  }

  /** A far return to a selector and an address, by the stack: 32 bits each in 32-bit code, 64 in 64-bit code with `wide`. */
  farReturn(selector: number, address: number, wide: boolean): this {
    this.raw(0x68, ...littleEndian(selector, 4), 0x68, ...littleEndian(address >>> 0, 4))
    return wide ? this.raw(0x48, 0xcb) : this.raw(0xcb)
  }

  /** A hypercall with up to five arguments below 4 GiB. */
  hypercall(number: number, ...args: readonly number[]): this {
    if (this.convention === 'native, vmcall') {
      const registers = [[0xbf], [0xbe], [0xba], [0x41, 0xba], [0x41, 0xb8]]
      args.forEach((value, i) => this.raw(...registers[i]!, ...littleEndian(value >>> 0, 4)))
    } else args.forEach((value, i) => this.set(ARGUMENTS[i]!, value))
    this.set('eax', number)
    return this.convention === 'compat, int' ? this.raw(0xcd, 0x82) : this.raw(0x0f, 0x01, 0xc1)
  }
}

/** Brings a value of 32 bits to an address; what is beside it is changed as well by some. */
export type ShortStore = (a: ShortAssembler, place: { readonly address: number; readonly value: number; readonly scratch: number }) => void

/** Bytes with the address in edi and the value in eax. */
const plain = (...bytes: readonly number[]): ShortStore => (a, { address, value }) => {
  a.set('edi', address).set('eax', value).raw(...bytes)
}

/** The value in the scratch area twice, whose address is in esi; the target in edi. */
const copied = (...bytes: readonly number[]): ShortStore => (a, { address, value, scratch }) => {
  a.put(scratch, value).put(scratch + 4, value).set('esi', scratch).set('edi', address).raw(...bytes)
}

/** The value in xmm0 four times. */
const vector = (...bytes: readonly number[]): ShortStore => (a, { address, value }) => {
  a.set('edi', address).set('eax', value).raw(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x70, 0xc0, 0x00, ...bytes)
}

/** Onto a stack whose top is behind the target. */
const pushed = (...bytes: readonly number[]): ShortStore => (a, { address, value }) => {
  a.set('eax', value).set('esp', address + 4).raw(...bytes)
}

/** Stores by name. Those of the stack leave its pointer at the target. */
export const SHORT_STORES: Readonly<Record<string, ShortStore>> = {
  'mov.8': plain(0x88, 0x07), 'mov.16': plain(0x66, 0x89, 0x07), 'mov.32': plain(0x89, 0x07), 'mov.segment': plain(0x8c, 0x1f),
  'stos.8': plain(0xaa), 'stos.16': plain(0x66, 0xab), 'stos.32': plain(0xab), movnti: plain(0x0f, 0xc3, 0x07), setcc: plain(0x0f, 0x94, 0x07),
  'rep stos.8': plain(0xb9, 9, 0, 0, 0, 0xf3, 0xaa), 'rep stos.32': plain(0xb9, 3, 0, 0, 0, 0xf3, 0xab),
  'rep stos.32 down': plain(0xb9, 2, 0, 0, 0, 0xfd, 0xf3, 0xab, 0xfc),
  'movs.8': copied(0xa4), 'movs.16': copied(0x66, 0xa5), 'movs.32': copied(0xa5), 'rep movs.8': copied(0xb9, 8, 0, 0, 0, 0xf3, 0xa4),
  'rep movs.32': copied(0xb9, 2, 0, 0, 0, 0xf3, 0xa5),
  'xchg.8': plain(0x86, 0x07), 'xchg.16': plain(0x66, 0x87, 0x07), 'xchg.32': plain(0x87, 0x07),
  'cmpxchg.32': (a, { address, value }) => { a.set('edi', address).set('ecx', value).raw(0x8b, 0x07, 0xf0, 0x0f, 0xb1, 0x0f) },
  'cmpxchg wrong': (a, { address, value }) => { a.set('edi', address).set('ecx', value).set('eax', ~value).raw(0x0f, 0xb1, 0x0f) },
  cmpxchg8b: (a, { address, value }) => {
    a.set('edi', address).set('ebx', value).set('ecx', 0).raw(0x8b, 0x07, 0x8b, 0x57, 0x04, 0xf0, 0x0f, 0xc7, 0x0f)
  },
  xadd: (a, { address, value }) => { a.set('edi', address).set('eax', value).raw(0x8b, 0x0f, 0x29, 0xc8, 0xf0, 0x0f, 0xc1, 0x07) },
  'fstp.64': copied(0xdd, 0x06, 0xdd, 0x1f), 'fst.32': copied(0xd9, 0x06, 0xd9, 0x1f), 'fstp.80': copied(0xdf, 0x2e, 0xdb, 0x3f),
  fnstcw: plain(0xd9, 0x3f), fnsave: plain(0xdd, 0x37), fbstp: copied(0xdf, 0x2e, 0xdf, 0x37),
  'movq.xmm': vector(0x66, 0x0f, 0xd6, 0x07), movups: vector(0x0f, 0x11, 0x07), movaps: vector(0x0f, 0x29, 0x07),
  movss: vector(0xf3, 0x0f, 0x11, 0x07), movntdq: vector(0x66, 0x0f, 0xe7, 0x07), 'movd.xmm': vector(0x66, 0x0f, 0x7e, 0x07),
  maskmovdqu: vector(0x66, 0x0f, 0x76, 0xc9, 0x66, 0x0f, 0xf7, 0xc1), stmxcsr: plain(0x0f, 0xae, 0x1f),
  or: plain(0x09, 0x07), and: plain(0x21, 0x07), xor: plain(0xf0, 0x31, 0x07), add: plain(0x01, 0x07), 'or.8': plain(0x80, 0x0f, 0x02),
  'and.8': plain(0x80, 0x27, 0xfd), not: plain(0xf0, 0xf7, 0x17), shl: plain(0xd1, 0x27), rol: plain(0xc1, 0x07, 0x05),
  bts: plain(0xf0, 0x0f, 0xba, 0x2f, 0x01), btr: plain(0x0f, 0xba, 0x37, 0x01), btc: plain(0x0f, 0xba, 0x3f, 0x05),
  push: pushed(0x50), 'push.16': pushed(0x66, 0x50), call: pushed(0xe8, 0, 0, 0, 0), pushf: pushed(0x9c), enter: pushed(0xc8, 0, 0, 0),
}

/** Bytes that no table was asked for: noise, which now and then is an instruction of its own kind. */
export function noise(random: SeededRandom, count: number): number[] {
  const interesting = [0x0f, 0x66, 0xf2, 0xf3, 0x67, 0x48, 0xf0, 0x2e, 0x64, 0xcd, 0xcf, 0xe4, 0x8e, 0x01, 0x00, 0x30, 0x32, 0xae, 0xc7]
  return Array.from({ length: count }, () => {
    const value = random.next() >>> 0
    return (value & 0x300) === 0 ? interesting[(value >>> 16) % interesting.length]! : value & 0xff
  })
}

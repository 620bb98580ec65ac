/**
 * Machine code for the fuzzer of hostile kernels: a tiny assembler, and every way to store that it knows, each a few
 * instructions that bring a value to an address. By hand on purpose: what is wanted are encodings, not a language.
 * Reference: Intel SDM volume 2.
 */

/** General registers as encodings number them. */
export const REGISTER = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const
const ARGUMENTS = ['rdi', 'rsi', 'rdx'] as const

/** Little-endian bytes of a value. */
export function littleEndian(value: number | bigint, bytes: number): number[] {
  const whole = BigInt.asUintN(64, BigInt(value))
  return Array.from({ length: bytes }, (_, i) => Number((whole >> BigInt(8 * i)) & 0xffn))
}

/** Bytes at an address. */
export class Assembler {
  readonly bytes: number[] = []
  private readonly origin: number

  constructor(origin: number) {
    this.origin = origin
  }

  /** Address of the next byte. */
  get here(): number {
    return this.origin + this.bytes.length
  }

  raw(...bytes: readonly number[]): this {
    this.bytes.push(...bytes)
    return this
  }

  /** mov register, 64-bit value */
  set(register: keyof typeof REGISTER, value: number | bigint): this {
    return this.raw(0x48, 0xb8 + REGISTER[register], ...littleEndian(value, 8))
  }

  /** mov qword [address below 2 GiB], 32-bit value */
  put(address: number, value: number): this {
    return this.raw(0x48, 0xc7, 0x04, 0x25, ...littleEndian(address, 4), ...littleEndian(value, 4))
  }

  /** A hypercall with up to four arguments. */
  hypercall(number: number, ...args: readonly (number | bigint)[]): this {
    args.slice(0, 3).forEach((value, i) => this.set(ARGUMENTS[i]!, value))
    if (args.length > 3) this.raw(0x49, 0xba, ...littleEndian(args[3]!, 8))
    return this.raw(0xb8, ...littleEndian(number, 4), 0x0f, 0x05)
  }
}

/** Where a store may put what it needs: 512 bytes that are the program's own, aligned to 16. */
export interface StorePlace {
  readonly address: number
  readonly value: bigint
  readonly scratch: number
  /** Another address of the same entry, for what an instruction reads besides. */
  readonly alias: number
  /** A small number that varies what the store does. */
  readonly variant: number
}

/** Brings a value to an address; rsp may be left anywhere. */
export type Store = (a: Assembler, place: StorePlace) => void

/** Bytes with the address in rdi and the value in rax. */
const plain = (...bytes: readonly number[]): Store => (a, { address, value }) => {
  a.set('rdi', address).set('rax', value).raw(...bytes)
}

/** The value in the scratch area, whose address is in rsi; the target in rdi. */
const copied = (...bytes: readonly number[]): Store => (a, { address, value, scratch }) => {
  a.set('rsi', scratch).set('rax', value).raw(0x48, 0x89, 0x06, 0x48, 0x89, 0x46, 0x08).set('rdi', address).raw(...bytes)
}

/** From another address of the place itself, whatever stands there. */
const fromAlias = (...bytes: readonly number[]): Store => (a, { address, alias }) => {
  a.set('rsi', alias).set('rdi', address).raw(...bytes)
}

/** The value in xmm0 and mm0 and rax. */
const vector = (...bytes: readonly number[]): Store => (a, { address, value }) => {
  a.set('rdi', address).set('rax', value).raw(0x66, 0x48, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x6c, 0xc0, ...bytes)
}

/** Onto a stack whose top is behind the target. */
const pushed = (...bytes: readonly number[]): Store => (a, { address, value, scratch }) => {
  a.set('rsi', scratch).set('rax', value).raw(0x48, 0x89, 0x06).set('rsp', address + 8).raw(...bytes)
}

/**
 * ENTER: pushes rbp, with levels copies a display through rbp, which may lead to an alias of the target, and then looks
 * at the stack's new end: in the page that the stored entry maps, where that is near enough.
 */
const entered = (level: number): Store => (a, { address, value, scratch, alias, variant }) => {
  const display = [scratch + 64, address + 0x40, alias + 0x40, alias][variant & 3]!
  const mapped = Math.floor(address / 0x20_0000) * 0x20_0000 + ((address & 0xfff) >> 3) * 4096 + 8
  const near = address - mapped
  const size = near > 0 && near < 0x1_0000 && variant < 56 ? near : (variant & 4) === 0 ? 0 : 4096
  a.set('rsp', address + 8).set('rbp', level === 0 || variant > 40 ? value : display).raw(0xc8, ...littleEndian(size, 2), level)
}

/** Stores that leave the stack's pointer at the target: a fault behind them finds no stack and ends the domain. */
export const STACK_STORES: Readonly<Record<string, Store>> = {
  'push.64': pushed(0x50), 'push.16': pushed(0x66, 0x50), 'push.memory': pushed(0xff, 0x36), pushf: pushed(0x9c),
  'push.alias': (a, { address, alias }) => { a.set('rsi', alias).set('rsp', address + 8).raw(0xff, 0x36) },
  'push.imm': (a, { address, value }) => { a.set('rsp', address + 8).raw(0x68, ...littleEndian(value & 0x7fff_ffffn, 4)) },
  call: pushed(0xe8, 0, 0, 0, 0), 'call.memory': pushed(0x48, 0x8d, 0x05, 6, 0, 0, 0, 0x48, 0x89, 0x06, 0xff, 0x16, 0x90),
  enter: entered(0), 'enter.1': entered(1), 'enter.2': entered(2), 'enter.5': entered(5),
}

/** Every other kind of store by name. */
export const STORES: Readonly<Record<string, Store>> = {
  'mov.8': plain(0x88, 0x07), 'mov.16': plain(0x66, 0x89, 0x07), 'mov.32': plain(0x89, 0x07), 'mov.64': plain(0x48, 0x89, 0x07),
  'mov.imm': (a, { address, value }) => {
    a.set('rdi', address).raw(0x48, 0xc7, 0x07, ...littleEndian(value & 0x7fff_ffffn, 4))
  },
  'mov.imm8': (a, { address, value }) => { a.set('rdi', address).raw(0xc6, 0x07, ...littleEndian(value, 1)) },
  'mov.segment': plain(0x8c, 0x1f), movnti: plain(0x48, 0x0f, 0xc3, 0x07), setcc: plain(0x0f, 0x94, 0x07),
  'stos.8': plain(0xaa), 'stos.16': plain(0x66, 0xab), 'stos.32': plain(0xab), 'stos.64': plain(0x48, 0xab),
  'rep stos.64': (a, { address, value, variant }) => {
    a.set('rdi', address).set('rax', value).set('rcx', 1 + (variant & 3)).raw(0xf3, 0x48, 0xab)
  },
  'rep stos.8': (a, { address, value, variant }) => {
    a.set('rdi', address).set('rax', value).set('rcx', 1 + (variant & 15)).raw(0xf3, 0xaa)
  },
  'rep stos.64 down': (a, { address, value }) => {
    a.set('rdi', address).set('rax', value).set('rcx', 2).raw(0xfd, 0xf3, 0x48, 0xab, 0xfc)
  },
  'movs.8': copied(0xa4), 'movs.16': copied(0x66, 0xa5), 'movs.32': copied(0xa5), 'movs.64': copied(0x48, 0xa5),
  'movs.64 alias': fromAlias(0x48, 0xa5), 'movs.8 alias': fromAlias(0xa4), 'rep movs.64 alias': fromAlias(0xb9, 2, 0, 0, 0, 0xf3, 0x48, 0xa5),
  'rep movs.8': copied(0xb9, 8, 0, 0, 0, 0xf3, 0xa4),
  'rep movs.64': copied(0xb9, 2, 0, 0, 0, 0xf3, 0x48, 0xa5),
  'xchg.8': plain(0x86, 0x07), 'xchg.16': plain(0x66, 0x87, 0x07), 'xchg.32': plain(0x87, 0x07), 'xchg.64': plain(0x48, 0x87, 0x07),
  'cmpxchg.64': (a, { address, value }) => {
    a.set('rdi', address).set('rcx', value).raw(0x48, 0x8b, 0x07, 0xf0, 0x48, 0x0f, 0xb1, 0x0f)
  },
  'cmpxchg.32': (a, { address, value }) => {
    a.set('rdi', address).set('rcx', value).raw(0x8b, 0x07, 0x0f, 0xb1, 0x0f)
  },
  'cmpxchg wrong': (a, { address, value }) => {
    a.set('rdi', address).set('rcx', value).set('rax', ~value).raw(0xf0, 0x48, 0x0f, 0xb1, 0x0f)
  },
  cmpxchg8b: (a, { address, value }) => {
    a.set('rdi', address).set('rbx', value & 0xffff_ffffn).set('rcx', value >> 32n)
    a.raw(0x8b, 0x07, 0x8b, 0x57, 0x04, 0xf0, 0x0f, 0xc7, 0x0f)
  },
  cmpxchg16b: (a, { address, value }) => {
    a.set('rdi', Math.floor(address / 16) * 16).set('rbx', value).set('rcx', value)
    a.raw(0x48, 0x8b, 0x07, 0x48, 0x8b, 0x57, 0x08, 0xf0, 0x48, 0x0f, 0xc7, 0x0f)
  },
  xadd: (a, { address, value }) => {
    a.set('rdi', address).set('rax', value).raw(0x48, 0x8b, 0x0f, 0x48, 0x29, 0xc8, 0xf0, 0x48, 0x0f, 0xc1, 0x07)
  },
  'pop.alias': (a, { address, alias }) => { a.set('rsp', alias).set('rdi', address).raw(0x8f, 0x07) },
  'pop.memory': (a, { address, value, scratch }) => {
    a.set('rsp', scratch).set('rax', value).raw(0x48, 0x89, 0x04, 0x24).set('rdi', address).raw(0x8f, 0x07)
  },
  'fstp.64': copied(0xdd, 0x06, 0xdd, 0x1f), 'fistp.64': copied(0xdf, 0x2e, 0xdf, 0x3f), 'fst.32': copied(0xdd, 0x06, 0xd9, 0x1f),
  'fstp.80': copied(0xdf, 0x2e, 0xdb, 0x3f), fnstcw: plain(0xd9, 0x3f), fnstsw: plain(0xdd, 0x3f), fnstenv: plain(0xd9, 0x37),
  fnsave: plain(0xdd, 0x37), fbstp: copied(0xdf, 0x2e, 0xdf, 0x37),
  'movq.xmm': vector(0x66, 0x0f, 0xd6, 0x07), movups: vector(0x0f, 0x11, 0x07), movaps: vector(0x0f, 0x29, 0x07),
  movdqa: vector(0x66, 0x0f, 0x7f, 0x07), movdqu: vector(0xf3, 0x0f, 0x7f, 0x07), movntdq: vector(0x66, 0x0f, 0xe7, 0x07),
  movss: vector(0xf3, 0x0f, 0x11, 0x07), movsd: vector(0xf2, 0x0f, 0x11, 0x07), movhps: vector(0x0f, 0x17, 0x07),
  'movd.xmm': vector(0x66, 0x0f, 0x7e, 0x07), pextrq: vector(0x66, 0x48, 0x0f, 0x3a, 0x16, 0x07, 0x00),
  pextrb: vector(0x66, 0x0f, 0x3a, 0x14, 0x07, 0x00), maskmovdqu: vector(0x66, 0x0f, 0x76, 0xc9, 0x66, 0x0f, 0xf7, 0xc1),
  'movq.mmx': plain(0x48, 0x0f, 0x6e, 0xc0, 0x0f, 0x7f, 0x07, 0x0f, 0x77), movntq: plain(0x48, 0x0f, 0x6e, 0xc0, 0x0f, 0xe7, 0x07, 0x0f, 0x77),
  fxsave: (a, place) => plain(0x0f, 0xae, 0x07)(a, { ...place, address: Math.floor(place.address / 16) * 16 }),
  stmxcsr: plain(0x0f, 0xae, 0x1f),
  or: plain(0x48, 0x09, 0x07), and: plain(0x48, 0x21, 0x07), xor: plain(0xf0, 0x48, 0x31, 0x07), add: plain(0x48, 0x01, 0x07),
  sub: plain(0x48, 0x29, 0x07), 'or.8': plain(0x80, 0x0f, 0x02), 'and.8': plain(0x80, 0x27, 0xfd), inc: plain(0x48, 0xff, 0x07),
  dec: plain(0x48, 0xff, 0x0f), not: plain(0xf0, 0x48, 0xf7, 0x17), neg: plain(0x48, 0xf7, 0x1f), shl: plain(0x48, 0xd1, 0x27),
  rol: plain(0x48, 0xc1, 0x07, 0x05), shld: plain(0x48, 0x0f, 0xa4, 0x07, 0x03),
  bts: (a, { address, variant }) => { a.set('rdi', address).raw(0xf0, 0x48, 0x0f, 0xba, 0x2f, variant) },
  btr: (a, { address, variant }) => { a.set('rdi', address).raw(0x48, 0x0f, 0xba, 0x37, variant) },
  btc: (a, { address, variant }) => { a.set('rdi', address).raw(0x48, 0x0f, 0xba, 0x3f, variant) },
  'bts far': (a, { address, variant }) => {
    a.set('rdi', address - variant * 8).set('rax', variant * 64 + 1).raw(0x48, 0x0f, 0xab, 0x07)
  },
}

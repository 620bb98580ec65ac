/**
 * Where a Linux kernel says by itself how its stack is unwound: the tables of ORC, out of its memory. For each stretch of code they tell where the caller's stack pointer is, and what
 * stands there. Of modules there are none here. The tables are a stranger's: whoever follows them bounds his steps.
 * Reference: Linux, arch/x86/kernel/unwind_orc.c (unwind_next_frame), arch/x86/include/asm/orc_types.h.
 */
import type { BtfPlace } from '../btf/btf.ts'
import type { LinuxView } from '../linux/linux-view.ts'

/** What the next stack pointer is reckoned from. */
const BASE = { BP: 4, SP: 5, BP_INDIRECT: 8, SP_INDIRECT: 9 } as const
/** Where the caller's frame pointer is. */
const SAVED_BP = { PREV_SP: 1, BP: 4 } as const
/** Places in struct pt_regs. */
const REGS = { bp: 32n, ip: 128n, sp: 152n } as const
const MOST_ENTRIES = 1 << 22
const ENTRY_BYTES = 6
/** Bits of an entry in front of its flags. */
const FLAGS_AT = 32

/** Registers that stacks are unwound by. */
export interface UnwindState {
  readonly ip: bigint
  readonly sp: bigint
  readonly bp: bigint
  /** The instruction is about to be executed or was interrupted, and no call returns to it. */
  readonly isExact: boolean
}

/** What is read of an entry. */
interface Entry {
  readonly spOffset: bigint
  readonly bpOffset: bigint
  readonly spBase: number
  readonly bpBase: number
  readonly kind: EntryKind
}

type EntryKind = 'call' | 'regs' | 'partial' | 'end'
/** Kinds by number: up to 6.3, where the end is a mark of its own, and from 6.4 on. */
const KINDS: { readonly marked: readonly EntryKind[]; readonly plain: readonly EntryKind[] } = { marked: ['call', 'regs', 'partial'], plain: ['end', 'end', 'call', 'regs', 'partial'] }

const word = (view: LinuxView, address: bigint): bigint | undefined => {
  const bytes = view.memory.read(address, 8)
  return bytes.length < 8 ? undefined : new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
}
const add = (one: bigint, other: bigint): bigint => BigInt.asUintN(64, one + other)

/** A kernel's tables. */
export class OrcTables {
  private readonly view: LinuxView
  private readonly addresses: bigint
  private readonly entries: bigint
  private readonly count: number
  /** Where the kind is among an entry's bits, and the mark of an end where there is one. */
  private readonly type: BtfPlace | undefined
  private readonly end: BtfPlace | undefined

  private constructor(view: LinuxView, places: { readonly addresses: bigint; readonly entries: bigint; readonly count: number }) {
    this.view = view
    this.addresses = places.addresses
    this.entries = places.entries
    this.count = places.count
    const entry = view.btf.find('orc_entry')
    this.type = entry === undefined ? undefined : view.btf.member(entry, 'type')
    this.end = entry === undefined ? undefined : view.btf.member(entry, 'end')
  }

  /** The tables of a kernel; undefined where it has none. */
  static of(view: LinuxView): OrcTables | undefined {
    const [ips, end, entries] = ['__start_orc_unwind_ip', '__stop_orc_unwind_ip', '__start_orc_unwind'].map((name) => view.addressOf(name))
    if (ips === undefined || end === undefined || entries === undefined) return undefined
    const count = Math.floor((end - ips) / 4)
    if (count < 1 || count > MOST_ENTRIES) return undefined
    return new OrcTables(view, { addresses: BigInt(ips), entries: BigInt(entries), count })
  }

  /** The state of whoever called; `'end'` at the end of the stack, undefined where the tables do not tell. */
  next(state: UnwindState): UnwindState | 'end' | undefined {
    const entry = this.entryAt(state.isExact ? state.ip : state.ip - 1n)
    if (entry === undefined) return undefined
    if (entry.kind === 'end') return 'end'
    const base = this.stackOf(entry, state)
    if (base === undefined) return undefined
    if (entry.kind !== 'call') return this.interrupted(entry.kind === 'regs' ? base : add(base, -REGS.ip), { state, isPartial: entry.kind === 'partial' })
    const ip = word(this.view, add(base, -8n))
    const bp = this.frameOf(entry, { state, base })
    return ip === undefined || bp === undefined ? undefined : { ip, sp: base, bp, isExact: false }
  }

  private stackOf({ spBase, spOffset }: Entry, { sp, bp }: UnwindState): bigint | undefined {
    switch (spBase) {
      case BASE.SP: return add(sp, spOffset)
      case BASE.BP: return add(bp, spOffset)
      case BASE.BP_INDIRECT: return word(this.view, add(bp, spOffset))
      case BASE.SP_INDIRECT: {
        const found = word(this.view, sp)
        return found === undefined ? undefined : add(found, spOffset)
      }
      default: return undefined
    }
  }

  private frameOf({ bpBase, bpOffset }: Entry, { state, base }: { readonly state: UnwindState; readonly base: bigint }): bigint | undefined {
    if (bpBase === SAVED_BP.PREV_SP) return word(this.view, add(base, bpOffset))
    return bpBase === SAVED_BP.BP ? word(this.view, add(state.bp, bpOffset)) : state.bp
  }

  /** An exception or interrupt has left registers. */
  private interrupted(regs: bigint, { state, isPartial }: { readonly state: UnwindState; readonly isPartial: boolean }): UnwindState | undefined {
    const [ip, sp, bp] = [REGS.ip, REGS.sp, REGS.bp].map((at) => word(this.view, add(regs, at)))
    if (ip === undefined || sp === undefined) return undefined
    return { ip, sp, bp: isPartial ? state.bp : bp ?? state.bp, isExact: true }
  }

  /** The last entry that begins at the address or before it. */
  private entryAt(address: bigint): Entry | undefined {
    const target = BigInt.asIntN(64, address)
    let [low, high] = [0, this.count]
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = this.addressAt(middle)
      if (at === undefined) return undefined
      if (at <= target) low = middle + 1
      else high = middle
    }
    return low === 0 ? undefined : this.read(low - 1)
  }

  private addressAt(index: number): bigint | undefined {
    const at = this.addresses + BigInt(4 * index)
    const bytes = this.view.memory.read(at, 4)
    return bytes.length < 4 ? undefined : at + BigInt(new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true))
  }

  private read(index: number): Entry | undefined {
    const bytes = this.view.memory.read(this.entries + BigInt(ENTRY_BYTES * index), ENTRY_BYTES)
    if (bytes.length < ENTRY_BYTES) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    const flags = view.getUint16(4, true)
    const bits = (place: BtfPlace | undefined): number => (place === undefined ? 0 : (flags >> (place.offset - FLAGS_AT)) & ((1 << place.bits) - 1))
    const kind = bits(this.end) === 1 ? 'end' : KINDS[this.end === undefined ? 'plain' : 'marked'][bits(this.type)]
    return kind && { spOffset: BigInt(view.getInt16(0, true)), bpOffset: BigInt(view.getInt16(2, true)), spBase: flags & 15, bpBase: (flags >> 4) & 15, kind }
  }
}

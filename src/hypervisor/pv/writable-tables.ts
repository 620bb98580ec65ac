/**
 * Writable page tables: a guest that has asked for it may write into its level-1 tables as if they were writable. The
 * write faults, the one instruction is executed with the page made writable for its duration, and what it has changed
 * is taken back and made again entry by entry through the checks. If any entry is refused, registers and table are as
 * they were before the instruction, and the guest gets its page fault.
 * Reference: xen/arch/x86/pv/ro-page-fault.c, ptwr_emulated_update, for the rules.
 */
import { VMASST_TYPE } from '../../abi/index.ts'
import { GPR, PAGE_FAULT, PTE } from '../../x86/index.ts'
import { FRAME_TYPE, type FrameTable } from '../frames/frame-table.ts'
import type { GuestMemory } from '../guest-memory.ts'
import type { Vcpu } from '../vcpu.ts'
import { EXIT } from './processor-exits.ts'
import { entryFrame } from './page-entries.ts'
import type { PageTypes } from './page-types.ts'
import { PageUpdates } from './page-updates.ts'
import type { PvVcpu } from './pv-vcpu.ts'
import { findLeaf, isGuestAddress } from './virtual-access.ts'

/** What the processor itself may have set in an entry meanwhile. */
const USED = PTE.ACCESSED | PTE.DIRTY
/** Words of a page table. */
const TABLE_WORDS = 1024
/** General registers, two halves each, then rip (2) and flags. */
const SAVED_REGISTERS = 16

/** What this part works on. */
export interface WritableTableParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly pageTypes: PageTypes
}

/** How an attempt ended. */
export type WriteOutcome =
  /** Not a write to a level-1 table: an ordinary fault. */
  | 'other'
  /** Done; the guest goes on behind the instruction. */
  | 'done'
  /** The instruction itself met an exit of another kind before it wrote; the processor's exit describes it. */
  | 'exit'

/** Carries out such writes. One object serves all vCPUs. */
export class WritableTables {
  private readonly parts: WritableTableParts
  private readonly updates: PageUpdates
  private readonly before = new Uint32Array(TABLE_WORDS)
  private readonly after = new Uint32Array(TABLE_WORDS)
  private readonly registers = new Uint32Array(SAVED_REGISTERS * 2)

  constructor(parts: WritableTableParts) {
    this.parts = parts
    this.updates = new PageUpdates(parts.pageTypes)
  }

  /** Tries to carry out the instruction that faulted at `address`. */
  attempt(vcpu: Vcpu, errorCode: number, address: number): WriteOutcome {
    const { pv } = vcpu
    if (pv === undefined || !isPlainWrite(vcpu, pv, errorCode) || !isGuestAddress(address)) return 'other'
    const { words } = this.parts.memory
    const leaf = findLeaf(words, pv.kernelTable, address)
    if (leaf < 0 || (words[leaf]! & (PTE.PRESENT | PTE.WRITABLE)) !== PTE.PRESENT) return 'other'
    const table = entryFrame(words[leaf]!, words[leaf + 1]!)
    if (!this.isOwnTable(vcpu, table)) return 'other'
    return this.execute(vcpu, pv, { leaf, table, address })
  }

  private isOwnTable(vcpu: Vcpu, mfn: number): boolean {
    const { frames } = this.parts
    return frames.isValid(mfn) && frames.owner[mfn] === vcpu.domain && frames.typeCount[mfn] !== 0
      && frames.type[mfn] === FRAME_TYPE.L1
  }

  private execute(
    vcpu: Vcpu,
    pv: PvVcpu,
    place: { readonly leaf: number; readonly table: number; readonly address: number },
  ): WriteOutcome {
    const { words } = this.parts.memory
    const { leaf, table, address } = place
    const base = table << 10
    const { processor } = pv
    const rip = processor.registers.rip()
    const flags = processor.registers.flags()
    this.saveRegisters(pv)
    this.before.set(words.subarray(base, base + TABLE_WORDS))
    const mapping = words[leaf]!
    words[leaf] = mapping | PTE.WRITABLE
    processor.flushPage(address)
    const reason = processor.run(1)
    // Unless the instruction has replaced the very entry that maps the table, that is as it was.
    if (((words[leaf]! ^ mapping) & ~(PTE.WRITABLE | USED)) === 0) words[leaf] = mapping | (words[leaf]! & PTE.ACCESSED)
    processor.flushPage(address)
    this.after.set(words.subarray(base, base + TABLE_WORDS))
    words.set(this.before, base)
    if (this.apply(vcpu, base)) return reason === EXIT.BUDGET ? 'done' : 'exit'
    this.restoreRegisters(pv, rip, flags)
    return 'other'
  }

  /** Makes the changes that the instruction has made, one by one; false when one is refused. */
  private apply(vcpu: Vcpu, base: number): boolean {
    const { before, after } = this
    const options = { table: vcpu.domain, frame: vcpu.domain, preserve: false }
    for (let i = 0; i < TABLE_WORDS; i += 2) {
      if (before[i] === after[i] && before[i + 1] === after[i + 1]) continue
      if (this.updates.changeLeaf(base + i, after[i]!, after[i + 1]!, options) < 0) return false
    }
    return true
  }

  private saveRegisters(pv: PvVcpu): void {
    const { registers } = pv.processor
    for (let i = 0; i < SAVED_REGISTERS; i += 1) {
      this.registers[i * 2] = registers.low(i)
      this.registers[i * 2 + 1] = registers.high(i)
    }
  }

  private restoreRegisters(pv: PvVcpu, rip: number, flags: number): void {
    const { registers } = pv.processor
    for (let i: number = GPR.rax; i < SAVED_REGISTERS; i += 1) {
      registers.set(i, this.registers[i * 2]!, this.registers[i * 2 + 1]!)
    }
    registers.setRip(rip >>> 0, Math.floor(rip / 0x1_0000_0000) >>> 0)
    registers.setFlags(flags)
  }
}

/** A write by the guest's kernel to a page that is present, in a domain that has asked for writable tables. */
function isPlainWrite(vcpu: Vcpu, pv: PvVcpu, errorCode: number): boolean {
  const wanted = PAGE_FAULT.PRESENT | PAGE_FAULT.WRITE
  const relevant = wanted | PAGE_FAULT.RESERVED | PAGE_FAULT.FETCH
  return pv.inKernel && (errorCode & relevant) === wanted && vcpu.owner.hasAssist(VMASST_TYPE.writable_pagetables)
}

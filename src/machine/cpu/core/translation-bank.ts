/**
 * The translations that a processor has made by one top-level table: a bank of the TLB, and the log of its entries in use,
 * by which they are found again. While it is not in force its counts are kept here, and nothing looks anything up in it.
 */
import { ENTRIES_PER_TABLE, PAGE_SHIFT } from '../../../x86/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { NO_TAG, State, TLB, TLB_LOG } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** Words of a TLB entry. */
const ENTRY_WORDS = TLB.entryBytes / 4
/** Words of an entry at which its three tags begin. */
const TAGS = [TLB.read / 4, TLB.write / 4, TLB.execute / 4] as const
/** Word of an entry at which the tag for writing begins. */
const WRITE_TAG = TLB.write / 4
/** Place of a bank's owner that there is not. */
export const NO_ROOT = -1

/** Where a bank lies in its processor's area: entries, how many bytes of them, and the log. */
export interface BankPlace {
  readonly entries: number
  readonly bytes: number
  readonly log: number
}

/** What checks are told of a bank: addresses, and how many entries its log has. */
export interface BankFacts {
  readonly root: number
  readonly entries: number
  readonly bytes: number
  readonly log: number
  readonly count: number
  readonly generation: number
}

/** One bank. */
export class TranslationBank {
  /** Physical address of the top-level table that it is filled from; NO_ROOT where that is not known. */
  root = NO_ROOT
  /** When it was in force last, by its processor's count of switches. */
  usedAt = 0
  /** What its jumps are keyed by; 0: none of them holds any more. */
  generation = 0
  private logCount = 0
  private largePages = 0
  private readonly physical: MachineMemory
  private readonly registers: RegisterFile
  private readonly place: BankPlace

  constructor(physical: MachineMemory, registers: RegisterFile, place: BankPlace) {
    this.physical = physical
    this.registers = registers
    this.place = place
  }

  /** Address of its entries. */
  get address(): number {
    return this.registers.base + this.place.entries
  }

  facts(count = this.logCount): BankFacts {
    const { root, generation, place: { bytes } } = this
    return { root, generation, bytes, count, entries: this.address, log: this.registers.base + this.place.log }
  }

  /** Comes into force: generated code finds and fills it from now on. */
  enter(): void {
    const { view, base } = this.registers
    State.logCount.set(view, base, this.logCount)
    State.largePages.set(view, base, this.largePages)
    State.log.set(view, base, base + this.place.log)
    State.bank.set(view, base, this.address)
  }

  /** Goes out of force, with what it holds. */
  leave(): void {
    const { view, base } = this.registers
    this.logCount = State.logCount.get(view, base)
    this.largePages = State.largePages.get(view, base)
  }

  /** Drops what it holds, out of force. */
  forget(): void {
    this.dropLogged(this.logCount)
    this.logCount = 0
    this.largePages = 0
    this.generation = 0
    this.usedAt = 0
    this.root = NO_ROOT
  }

  /** Drops what it holds, in force. */
  drop(): void {
    const { view, base } = this.registers
    this.dropLogged(State.logCount.get(view, base))
    State.logCount.set(view, base, 0)
    State.largePages.set(view, base, 0)
  }

  /** Drops the entries that have been logged first to last, all of them where the log has overflowed. */
  private dropLogged(count: number): void {
    if (count < TLB_LOG.entries) this.dropBetween(0, count)
    else this.clear()
  }

  /** Drops the entries that have been logged from one number to another. */
  dropBetween(from: number, to: number): void {
    const { view, base } = this.registers
    const log = base + this.place.log
    for (let i = from; i < to; i += 1) clearEntry(this.physical, view.getUint32(log + i * 4, true))
  }

  /** Marks every entry as empty. */
  clear(): void {
    clearWords(this.physical, this.address, this.place.bytes)
  }

  /** Drops the translation of a page by its number, in each half of the bank that has one. */
  dropPage(page: number): void {
    const index = ((page % TLB.entries) + TLB.entries) % TLB.entries
    for (let half = 0; half < this.place.bytes; half += TLB.bankBytes) clearEntry(this.physical, this.address + half + index * TLB.entryBytes)
  }

  /**
   * Drops all translations that can have come from one entry of a level-1 table, wherever in the guest's memory that table is
   * mapped: the entry's index is the lowest bits of each such page's number.
   */
  dropIndex(index: number): void {
    for (let page = index; page < TLB.entries; page += ENTRIES_PER_TABLE) this.dropPage(page)
  }

  /** Takes away write permission for a frame, by the log where that has not overflowed. */
  protect(mfn: number, count = this.logCount): void {
    const { view, base } = this.registers
    const log = base + this.place.log
    if (count < TLB_LOG.entries) {
      for (let i = 0; i < count; i += 1) protectEntry(this.physical, view.getUint32(log + i * 4, true) >> 2, mfn)
      return
    }
    const first = this.address >> 2
    for (let i = first; i < first + this.place.bytes / 4; i += ENTRY_WORDS) protectEntry(this.physical, i, mfn)
  }
}

/** Takes away write permission from an entry, told by its first word, where it is of that frame. */
function protectEntry({ words }: MachineMemory, entry: number, mfn: number): void {
  const tag = words[entry + WRITE_TAG]!
  if (tag === NO_TAG || ((words[entry + TLB.delta / 4]! + tag) >>> PAGE_SHIFT) !== mfn) return
  words[entry + WRITE_TAG] = NO_TAG
  words[entry + WRITE_TAG + 1] = 0
}

function clearEntry({ words }: MachineMemory, entry: number): void {
  for (const tag of TAGS) words[(entry >> 2) + tag] = NO_TAG
}

/** Empties the entries in so many bytes from an address on. */
export function clearWords({ words }: MachineMemory, address: number, bytes: number): void {
  const first = address >> 2
  for (let i = first; i < first + bytes / 4; i += ENTRY_WORDS) {
    words[i] = NO_TAG
    words[i + 2] = NO_TAG
    words[i + 4] = NO_TAG
  }
}

/**
 * A processor's translations as the host drops them: all, those of one page, or the right to write one frame; and the jump
 * cache, whose entries are keyed by linear address too. Filling them is generated code's work (runtime/tlb.ts).
 *
 * Where the host tells of each change of page tables, those of the last few top-level tables are kept, each in a bank of its
 * own with jumps under a number of its own, and come into force again with their table. What is kept is always what a walk
 * would give: a change takes from the banks out of force what it may concern, at once. The bank in force may go on with
 * what was changed behind its back, as on any processor, until its table is left or loaded anew: such changes are noted
 * and carried out then. Whatever else drops translations (a flush, other rights) drops what is kept as well.
 */
import { ENTRIES_PER_TABLE, PAGE_SIZE, PTE_HIGH_NX } from '../../../x86/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { CONTEXT, JUMP, KEPT_TLB, PERMISSION, State, TLB, TLB_LOG } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'
import { type BankFacts, NO_ROOT, TranslationBank, clearWords } from './translation-bank.ts'

/** Generations of the jump cache, before they begin anew. */
const GENERATIONS = 1 << (32 - CONTEXT.GENERATION)
/** The usual bank: with the one for system code behind it, whose entries are in the same log. */
const USUAL = { entries: TLB.offset, bytes: 2 * TLB.bankBytes, log: TLB_LOG.offset } as const

/** What becomes of translations when another top-level table is loaded: they are dropped, or kept for when it is loaded again. */
export type TableSwitch = 'drop' | 'keep'

/** What checks are told. */
export interface TranslationFacts {
  readonly generation: number
  readonly current: BankFacts
  /** `isNoted`: whether the translation of an address goes when these tables are left. */
  readonly kept: readonly (BankFacts & { readonly isNoted: (address: number) => boolean })[]
}

/** Index of an address in its level-1 table. */
function indexOf(address: number): number {
  const index = Math.floor(address / PAGE_SIZE) % ENTRIES_PER_TABLE
  return index < 0 ? index + ENTRIES_PER_TABLE : index
}

/** Changes of the tables in force that are to be carried out when they are left. */
class NotedChanges {
  /** A bit for each index of a level-1 entry. */
  private readonly indexes = new Uint32Array(ENTRIES_PER_TABLE / 32)
  private isAny = false
  /** Not only entries of level-1 tables. */
  isAll = false
  /** Code may have been concerned. */
  isCode = false

  add(index: number): void {
    this.indexes[index >>> 5]! |= 1 << (index & 31)
    this.isAny = true
  }

  addAll(): void {
    this.isAll = true
    this.isAny = true
  }

  /** Takes them all: the indexes, ascending. */
  take(each: (index: number) => void): void {
    if (!this.isAny) return
    for (const [at, word] of this.indexes.entries()) {
      for (let bits = word; bits !== 0; bits &= bits - 1) each(at * 32 + 31 - Math.clz32(bits & -bits))
    }
    this.forget()
  }

  forget(): void {
    if (this.isAny) this.indexes.fill(0)
    this.isAny = false
    this.isAll = false
    this.isCode = false
  }

  has(index: number): boolean {
    return this.isAll || (this.indexes[index >>> 5]! >>> (index & 31) & 1) === 1
  }
}

/** Translations and remembered jumps of one processor. */
export class Translations {
  private readonly physical: MachineMemory
  private readonly registers: RegisterFile
  private readonly how: TableSwitch
  private generation = 0
  private onContextsAnew: () => void = () => {}
  /** The first is the usual one; others come with the second table that is loaded. */
  private banks: TranslationBank[]
  private current: TranslationBank
  private switches = 0
  private readonly noted = new NotedChanges()

  constructor(physical: MachineMemory, registers: RegisterFile, how: TableSwitch) {
    this.physical = physical
    this.registers = registers
    this.how = how
    this.current = new TranslationBank(physical, registers, USUAL)
    this.banks = [this.current]
  }

  /** Sets who keys something by State.context: it has to forget that when contexts come again. */
  whenContextsBeginAnew(listener: () => void): void {
    this.onContextsAnew = listener
  }

  /** Address of the bank in force for code of processes. */
  get bank(): number {
    return this.current.address
  }

  /** Another top-level table is in force from now on, or the same is loaded anew; `control` is the low half of CR3. */
  enterTable(control: number): void {
    if (this.how === 'drop') return this.flush()
    const root = (control & -PAGE_SIZE) >>> 0
    if (this.current.root === NO_ROOT) this.flush()
    else this.settle()
    this.switches += 1
    if (root !== this.current.root && this.current.root !== NO_ROOT) this.switchTo(this.bankOf(root))
    this.current.root = root
    this.current.usedAt = this.switches
  }

  /** The bank of a table: one that holds translations of it, or one that is empty. */
  private bankOf(root: number): TranslationBank {
    const { banks } = this
    const kept = banks.find((one) => one.root === root)
    if (kept !== undefined) return kept
    if (banks.length <= KEPT_TLB.banks) return this.addBank()
    const oldest = banks.filter((one) => one !== this.current).reduce((one, other) => (other.usedAt < one.usedAt ? other : one))
    oldest.forget()
    return oldest
  }

  private addBank(): TranslationBank {
    const index = this.banks.length - 1
    const place = { entries: KEPT_TLB.offset + index * TLB.bankBytes, bytes: TLB.bankBytes, log: KEPT_TLB.logs + index * KEPT_TLB.logBytes }
    const bank = new TranslationBank(this.physical, this.registers, place)
    bank.clear()
    this.banks.push(bank)
    return bank
  }

  private switchTo(bank: TranslationBank): void {
    this.current.leave()
    this.current = bank
    bank.enter()
    if (bank.generation === 0) this.renewJumps()
    else this.updateContext()
  }

  /** Makes the bank in force what a walk would give. */
  private settle(): void {
    const { noted, current } = this
    const { isAll, isCode } = noted
    if (isAll) current.drop()
    noted.take((index) => current.dropIndex(index))
    noted.forget()
    if (isAll || isCode) this.renewJumps()
  }

  /** An entry of a level-1 table that was present has changed: its index in its table, and the high half of what it was. */
  entryChanged(index: number, highBefore: number): void {
    if (this.how === 'drop') return
    const isCode = (highBefore & PTE_HIGH_NX) === 0
    this.noted.add(index)
    if (isCode) this.noted.isCode = true
    for (const bank of this.banks) {
      if (bank === this.current || bank.root === NO_ROOT) continue
      bank.dropIndex(index)
      if (isCode) bank.generation = 0
    }
  }

  /** Anything may have changed in the tables under one root, by its physical address, or under all. */
  tablesChanged(root?: number): void {
    if (this.how === 'drop') return
    for (const bank of this.banks) {
      if (bank.root === NO_ROOT || (root !== undefined && bank.root !== root)) continue
      if (bank === this.current) this.noted.addAll()
      else bank.forget()
    }
  }

  /** Drops all translations and everything keyed by linear address. */
  flush(): void {
    this.drop()
    this.forgetJumps()
  }

  /** Drops the translations of the page that holds an address, by the tables in force; all of them while large pages are among them. */
  flushPage(address: number): void {
    if (State.largePages.get(this.physical.view, this.registers.base) !== 0) this.drop()
    else this.current.dropPage(Math.floor(address / PAGE_SIZE))
    this.renewJumps()
  }

  /** Has no remembered jump hold any more, by new generations. Those of older ones are looked at once more before they are taken. */
  forgetJumps(): void {
    for (const bank of this.banks) bank.generation = 0
    this.renewJumps()
  }

  /** The same for the tables in force. */
  private renewJumps(): void {
    this.generation = (this.generation + 1) & (GENERATIONS - 1)
    if (this.generation === 0) {
      this.emptyJumps()
      this.generation = 1
      for (const bank of this.banks) bank.generation = 0
      this.onContextsAnew()
    }
    this.current.generation = this.generation
    this.updateContext()
  }

  /** Forgets where remembered jumps led, too: other code comes to stand there, or is to be found in place of it. */
  eraseJumps(): void {
    this.emptyJumps()
    this.forgetJumps()
  }

  private emptyJumps(): void {
    const start = this.registers.base + JUMP.offset
    this.physical.bytes.fill(0, start, start + JUMP.entries * JUMP.entryBytes)
  }

  /** Works out what the jump cache keys its entries by, from generation, rights and mode. */
  updateContext(): void {
    const { view, base } = this.registers
    const user = (State.permissions.get(view, base) & PERMISSION.USER) !== 0 ? CONTEXT.USER : 0
    State.context.set(view, base, ((this.current.generation << CONTEXT.GENERATION) | user | State.mode.get(view, base)) >>> 0)
  }

  /** Drops all translations, by the logs of entries in use where those have not overflowed. */
  drop(): void {
    this.noted.forget()
    this.current.drop()
    for (const bank of this.banks) if (bank !== this.current && bank.root !== NO_ROOT) bank.forget()
  }

  /** Entries in use, as the log of the tables in force counts them. */
  get count(): number {
    return State.logCount.get(this.physical.view, this.registers.base)
  }

  /**
   * Drops the translations that have been made since the log held `count` entries. The caller has seen to it that they are
   * all in the bank for system code, which is emptied as a whole where the log has overflowed.
   */
  dropNewer(count: number): void {
    const { view, base } = this.registers
    const now = State.logCount.get(view, base)
    // A flush in between has begun a new log.
    const start = now < count ? 0 : count
    this.current.dropBetween(start, now)
    State.logCount.set(view, base, start)
    if (now >= TLB_LOG.entries) clearWords(this.physical, base + TLB.offset + TLB.bankBytes, TLB.bankBytes)
  }

  /** Begins anew in an area that is all zero: every entry is marked as empty. */
  clear(): void {
    this.begin()
    this.current.clear()
  }

  /** Drops all, and is as at its beginning: no table is known. */
  restart(): void {
    this.drop()
    this.release()
    this.begin()
    this.forgetJumps()
  }

  private begin(): void {
    this.noted.forget()
    this.switches = 0
    this.current = new TranslationBank(this.physical, this.registers, USUAL)
    this.banks = [this.current]
    this.current.enter()
  }

  /** Leaves nothing in banks that not every processor has: an area is given back as all zero there. */
  release(): void {
    if (this.banks.length === 1) return
    const { base } = this.registers
    this.physical.bytes.fill(0, base + KEPT_TLB.offset, base + KEPT_TLB.end)
  }

  /** Takes away write permission for a frame from all translations. */
  protectFrame(mfn: number): void {
    for (const bank of this.banks) {
      if (bank === this.current) bank.protect(mfn, this.count)
      else if (bank.root !== NO_ROOT) bank.protect(mfn)
    }
  }

  /** For checks: generations that have been, where the bank in force is, and what outlives a switch of tables. */
  facts(): TranslationFacts {
    const { generation, current, noted } = this
    const all = this.how === 'keep' ? this.banks.filter(({ root }) => root !== NO_ROOT) : []
    return {
      generation, current: current.facts(this.count),
      kept: all.map((bank) => {
        if (bank !== current) return { ...bank.facts(), isNoted: () => false }
        const facts = bank.facts(this.count)
        return { ...facts, generation: noted.isAll || noted.isCode ? 0 : facts.generation, isNoted: (address) => noted.has(indexOf(address)) }
      }),
    }
  }
}

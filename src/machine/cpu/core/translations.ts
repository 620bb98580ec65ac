/**
 * A processor's translations as the host drops them: all, those of one page, or the right to write one frame; and the jump
 * cache, whose entries are keyed by linear address too. Filling them is generated code's work (runtime/tlb.ts).
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { CONTEXT, JUMP, NO_TAG, PERMISSION, State, TLB, TLB_LOG } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** Words of a TLB entry, and of all banks together. */
const ENTRY_WORDS = TLB.entryBytes / 4
const ALL_WORDS = (2 * TLB.bankBytes) / 4
/** Words of an entry at which its three tags begin. */
const TAGS = [TLB.read / 4, TLB.write / 4, TLB.execute / 4] as const
/** Word of an entry at which the tag for writing begins. */
const WRITE_TAG = TLB.write / 4
/** Generations of the jump cache, before they begin anew. */
const GENERATIONS = 1 << (32 - CONTEXT.GENERATION)

/** Translations and remembered jumps of one processor. */
export class Translations {
  private readonly physical: MachineMemory
  private readonly registers: RegisterFile
  private generation = 0
  private onContextsAnew: () => void = () => {}

  constructor(physical: MachineMemory, registers: RegisterFile) {
    this.physical = physical
    this.registers = registers
  }

  /** Sets who keys something by State.context: it has to forget that when contexts come again. */
  whenContextsBeginAnew(listener: () => void): void {
    this.onContextsAnew = listener
  }

  /** Drops all translations and everything keyed by linear address. */
  flush(): void {
    this.drop()
    this.forgetJumps()
  }

  /** Drops the translations of the page that holds an address; all of them while large pages are among them. */
  flushPage(address: number): void {
    if (State.largePages.get(this.physical.view, this.registers.base) !== 0) this.drop()
    else this.dropPage(address)
    this.forgetJumps()
  }

  /** Has no remembered jump hold any more, by taking a new generation. Those of older ones are looked at once more before they are taken. */
  forgetJumps(): void {
    this.generation = (this.generation + 1) & (GENERATIONS - 1)
    if (this.generation === 0) {
      this.emptyJumps()
      this.generation = 1
      this.onContextsAnew()
    }
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
    State.context.set(view, base, ((this.generation << CONTEXT.GENERATION) | user | State.mode.get(view, base)) >>> 0)
  }

  /** Drops all translations, by the log of entries in use where that has not overflowed. */
  drop(): void {
    const { physical } = this
    const { view, base } = this.registers
    const count = State.logCount.get(view, base)
    if (count < TLB_LOG.entries) {
      for (let i = 0; i < count; i += 1) clearEntry(physical, view.getUint32(base + TLB_LOG.offset + i * 4, true))
    } else this.clear()
    State.logCount.set(view, base, 0)
    State.largePages.set(view, base, 0)
  }

  private dropPage(address: number): void {
    const page = Math.floor(address / PAGE_SIZE)
    const index = ((page % TLB.entries) + TLB.entries) % TLB.entries
    for (let bank = 0; bank < 2; bank += 1) {
      clearEntry(this.physical, this.registers.base + TLB.offset + bank * TLB.bankBytes + index * TLB.entryBytes)
    }
  }

  /** Entries in use, as the log counts them. */
  get count(): number {
    return State.logCount.get(this.physical.view, this.registers.base)
  }

  /**
   * Drops the translations that have been made since the log held `count` entries. The caller has seen to it that they are
   * all in the bank for system code, which is emptied as a whole where the log has overflowed.
   */
  dropNewer(count: number): void {
    const { physical } = this
    const { view, base } = this.registers
    const now = State.logCount.get(view, base)
    // A flush in between has begun a new log.
    const start = now < count ? 0 : count
    for (let i = start; i < now; i += 1) clearEntry(physical, view.getUint32(base + TLB_LOG.offset + i * 4, true))
    State.logCount.set(view, base, start)
    if (now >= TLB_LOG.entries) clearWords(physical, (base + TLB.offset + TLB.bankBytes) >> 2, TLB.bankBytes / 4)
  }

  /** Marks every entry as empty. */
  clear(): void {
    clearWords(this.physical, (this.registers.base + TLB.offset) >> 2, ALL_WORDS)
  }

  /** Takes away write permission for a frame from all translations, by the log where that has not overflowed. */
  protectFrame(mfn: number): void {
    const { view, base } = this.registers
    const count = State.logCount.get(view, base)
    if (count < TLB_LOG.entries) {
      for (let i = 0; i < count; i += 1) protectEntry(this.physical, view.getUint32(base + TLB_LOG.offset + i * 4, true) >> 2, mfn)
      return
    }
    const first = (base + TLB.offset) >> 2
    for (let i = first; i < first + ALL_WORDS; i += ENTRY_WORDS) protectEntry(this.physical, i, mfn)
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

function clearWords({ words }: MachineMemory, first: number, count: number): void {
  for (let i = first; i < first + count; i += ENTRY_WORDS) {
    words[i] = NO_TAG
    words[i + 2] = NO_TAG
    words[i + 4] = NO_TAG
  }
}

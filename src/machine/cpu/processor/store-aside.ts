/**
 * One instruction whose store goes aside: the host wants to know what an instruction would store in eight bytes that
 * the guest may not write, and memory is to stay as it is. While it runs every data access passes the slow path
 * (State.watch), which asks here: the one store that is allowed is handed the address of a private copy of the eight
 * bytes, any other is refused, which makes the instruction fault. So no page walk ever finds the place writable, no
 * translation that the instruction leaves behind allows a write, and there is nothing in memory to be rolled back.
 *
 * It runs over the bank of translations of the other ring, which is empty before and emptied behind it: a right to write
 * that is remembered elsewhere cannot let a second store pass. A processor whose code stays in ring 3 never uses that of
 * system code; one that uses both drops all translations first.
 *
 * Not here: which places may be written and what becomes of the bytes (the host's); interrupts, breakpoints, single
 * step and traces, which do not see an instruction that the host carries out.
 * Reference: xen/arch/x86/pv/ro-page-fault.c, ptwr_emulated_update, for what a store has to be.
 */
import { RFLAGS } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { STORE_ASIDE, State, TLB, WATCH } from '../layout/state.ts'
import type { AccessTarget } from '../core/debug.ts'

/** Parts of the state that an instruction with a store can change: registers, rip and flags; vectors; x87. */
const SAVED = [[0, 512], [State.mxcsr.offset, 1024]] as const

/** Executes such instructions on one core. */
export class StoreAside implements AccessTarget {
  private readonly core: Core
  /** Those parts in memory, and what they were before. */
  private readonly parts: readonly { readonly now: Uint8Array; readonly before: Uint8Array }[]
  private totalExecuted = 0
  private lastExecuted = 0
  private address = 0
  /** First byte and bytes of the store that was made; no bytes before it. */
  private first = 0
  private bytes = 0

  constructor(core: Core) {
    this.core = core
    const { bytes, base } = core.registers
    this.parts = SAVED.map(([from, to]) => ({
      now: bytes.subarray(base + from, base + to), before: new Uint8Array(to - from),
    }))
  }

  /**
   * Has `run` execute one instruction; true when it is done and has stored within the eight bytes at `address`. `entry`
   * gives and takes their two words. False leaves all registers as they were.
   */
  execute(address: number, entry: Uint32Array, run: () => boolean): boolean {
    const { core } = this
    const { view, base } = core.registers
    const { words } = core.physical
    const place = (base + STORE_ASIDE.offset) >> 2
    this.address = address
    this.bytes = 0
    this.save()
    words.set(entry, place)
    const isUser = core.registers.cpl === 3
    if (core.kernelRing !== 3) core.translations.drop()
    const { count } = core.translations
    core.debug.aside = this
    State.watch.set(view, base, State.watch.get(view, base) | WATCH.ASIDE)
    State.bank.set(view, base, base + TLB.offset + (isUser ? TLB.bankBytes : 0))
    let isDone = false
    try {
      isDone = run() && this.bytes !== 0
    } finally {
      core.debug.aside = undefined
      // Gives back the usual bank, and the watching that others ask for.
      core.mode.updatePermissions()
      if (core.kernelRing === 3) core.translations.dropNewer(count)
      else core.translations.drop()
    }
    if (!isDone) {
      this.undo()
      return false
    }
    entry[0] = words[place]!
    entry[1] = words[place + 1]!
    State.systemFlags.set(view, base, State.systemFlags.get(view, base) & ~RFLAGS.RF)
    return true
  }

  /**
   * Looks at a data access: 1 to let a load go on, 0 to refuse it, or where in memory it goes instead. A store has to lie
   * within the eight bytes and to be naturally aligned, so that it cannot cross; an instruction that asks twice for the
   * same place (a check, then the store) stores once.
   */
  access(address: number, bytes: number, isWrite: boolean): number {
    if (!isWrite) return 1
    const offset = address - this.address
    const isNatural = bytes === 1 || bytes === 2 || bytes === 4 || bytes === 8
    if (!isNatural || offset < 0 || offset >= 8 || offset % bytes !== 0) return 0
    if (this.bytes !== 0 && (this.first !== offset || this.bytes !== bytes)) return 0
    this.first = offset
    this.bytes = bytes
    return this.core.registers.base + STORE_ASIDE.offset + offset
  }

  /** Takes back what the last instruction has done to the registers. */
  undo(): void {
    const { core } = this
    for (const { now, before } of this.parts) now.set(before)
    core.progress.totalExecuted = this.totalExecuted
    core.progress.lastExecuted = this.lastExecuted
  }

  private save(): void {
    const { core } = this
    for (const { now, before } of this.parts) before.set(now)
    this.totalExecuted = core.progress.totalExecuted
    this.lastExecuted = core.progress.lastExecuted
  }
}

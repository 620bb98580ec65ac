/**
 * A hostile PV guest beside a victim that lies still: short forms of the calls that attacks are made of, and the proof
 * that an attack did nothing. Arguments of calls lie in pages 1 and 2 of the guest.
 */
import { createHash } from 'node:crypto'
import { DOMID, GrantEntryV1, type HYPERVISOR, MMUEXT, MmuextOp, XENMEM, XenMemoryReservation } from '../../src/abi/index.ts'
import { PTE } from '../../src/x86/index.ts'
import type { TestGuest, TestHost } from './hypervisor-host.ts'
import { READ } from './hypervisor-host.ts'
import { PvGuest } from './pv-guest.ts'

/** Slot of the top-level table that holds a recursive map, once {@link Attack.mapRecursively} has made it. */
const RECURSIVE = 510
const ARGUMENTS = 1

/** One attacker, one victim, one host. */
export class Attack {
  readonly guest: PvGuest
  readonly host: TestHost
  readonly victim: TestGuest
  private before: string

  constructor() {
    this.guest = PvGuest.boot()
    this.host = this.guest.host
    this.victim = this.host.guest()
    for (const mfn of this.victim.frames) this.host.memory.bytes.fill(0x5a, mfn * 4096, mfn * 4096 + 4096)
    this.before = this.victimState()
  }

  /** Where the arguments of calls lie: as the guest passes it, and in host memory. */
  readonly at = (offset = 0): number => this.guest.at(ARGUMENTS, offset)
  readonly place = (offset = 0): number => this.guest.place(ARGUMENTS, offset)

  get view(): DataView {
    return this.host.memory.view
  }

  call(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    return this.guest.call(name, ...args)
  }

  /** mmu_update with one request. */
  update(pointer: number, low: number, options: { high?: number; owner?: number } = {}): number {
    this.view.setBigUint64(this.place(), BigInt(pointer), true)
    this.view.setUint32(this.place(8), low >>> 0, true)
    this.view.setUint32(this.place(12), options.high ?? 0, true)
    return this.call('mmu_update', this.at(), 1, 0, options.owner ?? DOMID.SELF)
  }

  /** update_va_mapping of one of the guest's pages. */
  map(page: number, frame: number, flags: number): number {
    return this.call('update_va_mapping', this.guest.at(page), ((frame << 12) | flags) >>> 0, 0)
  }

  /** mmuext_op with one operation. */
  extended(command: number, mfn: number, options: { owner?: number; source?: number } = {}): number {
    MmuextOp.cmd.set(this.view, this.place(), command)
    MmuextOp.mfn.setNumber(this.view, this.place(), mfn)
    MmuextOp.srcMfn.setNumber(this.view, this.place(), options.source ?? 0)
    return this.call('mmuext_op', this.at(), 1, 0, options.owner ?? DOMID.SELF)
  }

  pin(level: 1 | 2 | 3 | 4, mfn: number): number {
    return this.extended(MMUEXT.PIN_L1_TABLE + level - 1, mfn)
  }

  /** A frame of the guest's that nothing maps, zeroed; `fill` writes into it as the guest's own code would. */
  loose(index: number, fill?: (word: (slot: number, low: number, high?: number) => void) => void): number {
    const mfn = this.guest.frames[50 + index]!
    this.host.memory.words.fill(0, mfn * 1024, mfn * 1024 + 1024)
    fill?.((slot, low, high = 0) => {
      this.host.memory.words[mfn * 1024 + slot * 2] = low >>> 0
      this.host.memory.words[mfn * 1024 + slot * 2 + 1] = high >>> 0
    })
    return mfn
  }

  /** decrease_reservation of these frames; how many went. */
  release(...frames: number[]): number {
    XenMemoryReservation.encode(this.view, this.place(), {
      extentStart: BigInt(this.at(256)), nrExtents: BigInt(frames.length), extentOrder: 0, memFlags: 0, domid: DOMID.SELF,
    })
    frames.forEach((mfn, i) => this.view.setBigUint64(this.place(256 + i * 8), BigInt(mfn), true))
    return this.call('memory_op', XENMEM.decrease_reservation, this.at())
  }

  /** Maps the top-level table into itself, read-only, as some kernels do; the result of mmu_update. */
  mapRecursively(flags: number = READ | PTE.USER): number {
    return this.update(this.guest.l4 * 4096 + RECURSIVE * 8, (this.guest.l4 << 12) | flags)
  }

  /** Address at which the recursive map shows entry 0 of a table: the guest's L3 (its frame stands in L4[0]), or L4. */
  recursive(table: 'l3' | 'l4', offset = 0): number {
    const last = table === 'l4' ? RECURSIVE : 0
    return (RECURSIVE * 2 ** 39 + RECURSIVE * 2 ** 30 + RECURSIVE * 2 ** 21 + last * 4096) - 2 ** 48 + offset
  }

  /** The victim grants one of its frames to the guest; how it grants is part of what it was before. */
  victimGrants(ref: number, frame: number, flags = 1): void {
    this.write(this.victim, ref, { flags, domid: this.guest.domid, frame })
    this.before = this.victimState()
  }

  /** The guest grants a frame of its own, or of anybody's. */
  grants(ref: number, frame: number, options: { flags?: number; domid?: number } = {}): void {
    this.write(this.guest, ref, { flags: options.flags ?? 1, domid: options.domid ?? this.victim.domid, frame })
  }

  /** Frames of the guest's grant table. */
  grantFrames(): readonly number[] {
    const frames = this.host.hypervisor.port(this.guest.domid).setupGrantTable(1)
    if (typeof frames === 'number') throw new Error('no grant table')
    return frames
  }

  /** One word for all that the victim is: memory, frames, what it shares, and how it stands. */
  victimState(): string {
    const { hypervisor, memory } = this.host
    const hash = createHash('sha256')
    const { sharedInfoFrame, totalPages, shutdown, crashed, dying } = hypervisor.domainInfo(this.victim.domid)
    for (const mfn of [...hypervisor.domainFrames(this.victim.domid), sharedInfoFrame]) {
      hash.update(memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096))
      const { owner, type, typeCount, references, pinned } = hypervisor.frameInfo(mfn)
      // The type of a frame without uses is what it was last: a trace, but no state.
      hash.update(JSON.stringify([owner, typeCount === 0 ? '' : type, typeCount, references, pinned]))
    }
    return `${hash.digest('hex')} ${totalPages} ${shutdown} ${crashed} ${dying}`
  }

  /** What does not hold: everything adds up, the victim is as it was, and nothing is left once both are gone. */
  harm(): string[] {
    const { hypervisor } = this.host
    const found = this.host.problems()
    if (hypervisor.hasDomain(this.guest.domid)) this.guest.destroy()
    found.push(...this.host.problems())
    if (hypervisor.hasDomain(this.victim.domid)) {
      if (this.victimState() !== this.before) found.push('the victim has changed')
      this.victim.destroy()
    }
    const { freeFrames } = hypervisor.hostInfo()
    if (freeFrames !== this.host.freeAtBoot) found.push(`${this.host.freeAtBoot - freeFrames} frames are lost`)
    return found
  }

  private write(owner: TestGuest, ref: number, entry: { flags: number; domid: number; frame: number }): void {
    const table = this.host.hypervisor.port(owner.domid).setupGrantTable(1)
    if (typeof table === 'number') throw new Error('no grant table')
    GrantEntryV1.encode(this.view, table[0]! * 4096 + ref * GrantEntryV1.size, {
      flags: entry.flags, domid: entry.domid, frame: entry.frame,
    })
  }
}

/**
 * What the hypercall fuzzer builds arguments with: frames, pointers, entries and grants that are near valid ones, and
 * now and then far from them.
 */
import { DOMID, GTF, GrantEntryV1, GrantEntryV2, type HYPERVISOR } from '../../src/abi/index.ts'
import { type SeededRandom, below, type DomId, type Mfn } from '../../src/util/index.ts'
import { PTE } from '../../src/x86/index.ts'
import { BASE, MAPPED } from '../support/pv-guest.ts'
import type { TestGuest, TestHost } from '../support/hypervisor-host.ts'

/** One hostile party: how it passes pointers, and where its argument frame lies in host memory. */
export interface Attacker {
  readonly guest: TestGuest
  /** vCPUs that make its hypercalls. */
  readonly vcpus: number
  /** Frames that it owns now, but for the one that holds its arguments. */
  frames: readonly Mfn[]
  /** Frames that the hypervisor shares with it: shared_info, grant table. */
  shared: readonly number[]
  /** What hypercalls are given as a pointer to byte `offset` of the argument frame. */
  pointer(offset: number): number
}

/** A hypercall by name, with its arguments. */
export type Call = [keyof typeof HYPERVISOR, ...number[]]

/** Everybody on the host. */
export interface Field {
  readonly host: TestHost
  readonly attacker: Attacker
  readonly attackers: readonly Attacker[]
  readonly victim: TestGuest
}

const FLAGS = [PTE.PRESENT, PTE.WRITABLE, PTE.USER, PTE.ACCESSED, PTE.DIRTY, PTE.LARGE, PTE.GLOBAL, PTE.PCD]
/** Slot of top-level tables at which the attackers like to map a table into itself. */
export const RECURSIVE = 510

/** One attacker's tools. */
export class Tools {
  readonly random: SeededRandom
  private readonly field: Field

  constructor(random: SeededRandom, field: Field) {
    this.random = random
    this.field = field
  }

  get view(): DataView {
    return this.field.host.memory.view
  }

  /** Host address of byte `offset` of the argument frame. */
  at(offset: number): number {
    return this.field.attacker.guest.scratch + offset
  }

  /** The same as the caller passes it; now and then something else. */
  pointer(offset: number): number {
    return this.chance(40) ? this.wildPointer() : this.field.attacker.pointer(offset)
  }

  below(limit: number): number {
    return below(this.random, limit)
  }

  /** True once in `odds` times. */
  chance(odds: number): boolean {
    return this.below(odds) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  /** A frame: mostly the caller's, else anybody's, the hypervisor's, or none. */
  frame(): number {
    const { attacker, attackers, victim, host } = this.field
    const own = attacker.frames
    if (own.length === 0) return this.below(host.memory.endFrame)
    switch (this.below(9)) {
      case 0: return this.pick(victim.frames)
      case 1: return this.pick(this.pick(attackers).frames) ?? 0
      case 2: return this.below(host.memory.endFrame + 16)
      case 3: return this.pick([0, 0xfffff, 0xffff_ffff, host.memory.firstFrame, host.memory.endFrame])
      case 4: return this.pick(this.pick(attackers).shared) ?? 0
      // A few frames are used again and again, so that tables come about.
      case 5: case 6: case 7: return own[this.below(Math.min(14, own.length))]!
      default: return this.pick(own)
    }
  }

  /** Low half of an entry. */
  entry(): number {
    let flags: number = PTE.PRESENT
    for (const flag of FLAGS) if (this.chance(flag === PTE.WRITABLE || flag === PTE.USER ? 2 : 6)) flags ^= flag
    return ((this.frame() << 12) | flags) >>> 0
  }

  /** Writes some entries into a frame of the caller's, as its own code may while it is no table; returns the frame. */
  plant(): number {
    const { attacker, host } = this.field
    const mfn = this.pick(attacker.frames) ?? 0
    const info = host.hypervisor.frameInfo(mfn)
    if (info.owner !== attacker.guest.domid || (info.typeCount !== 0 && info.type !== 'writable')) return mfn
    const keep = this.chance(2)
    if (!keep) host.memory.words.fill(0, mfn * 1024, mfn * 1024 + 1024)
    for (let i = this.below(4); i > 0; i -= 1) {
      const at = mfn * 1024 + this.below(this.chance(3) ? 512 : 8) * 2
      host.memory.words[at] = this.chance(5) ? this.entry() : ((this.pick(attacker.frames) << 12) | this.pick([0x21, 0x27, 0x67, 0x63])) >>> 0
      host.memory.words[at + 1] = 0
    }
    return mfn
  }

  /** Writes garbage where the guest may write: its own frames that are no tables, and those that are shared with it. */
  scribble(): void {
    const { attacker, host } = this.field
    const shared = this.chance(2)
    const mfn = this.pick<number>(shared ? attacker.shared : attacker.frames) ?? 0
    const info = host.hypervisor.frameInfo(mfn as Mfn)
    if (info.owner !== attacker.guest.domid || (info.typeCount !== 0 && info.type !== 'writable')) return
    for (let i = this.below(8); i > 0; i -= 1) host.memory.words[mfn * 1024 + this.below(1024)] = this.chance(2) ? this.random.next() : this.below(64)
  }

  domid(): number {
    const { attackers, victim, attacker } = this.field
    return this.pick([DOMID.SELF, DOMID.SELF, DOMID.SELF, attacker.guest.domid, victim.domid, this.pick(attackers).guest.domid, DOMID.IO, DOMID.XEN, 999])
  }

  /** Another attacker's number. */
  peer(): DomId {
    return this.pick(this.field.attackers).guest.domid
  }

  /** Sets one grant entry of the caller's table, as it may at any time; in the form of either version. */
  grant(ref: number): void {
    const table = this.pick(this.field.attacker.shared.slice(1))
    if (table === undefined || this.field.host.hypervisor.frameInfo(table as Mfn).owner !== this.field.attacker.guest.domid) return
    const flags = this.pick([0, 1, 1, 1, 2, 5, 0x19])
    if (this.chance(2)) {
      GrantEntryV1.encode(this.view, table * 4096 + ref * GrantEntryV1.size, { flags, domid: this.peer(), frame: this.frame() >>> 0 })
      return
    }
    const at = table * 4096 + ref * GrantEntryV2.size
    const kind = this.below(4)
    this.view.setUint16(at, kind === 0 ? GTF.transitive : kind === 1 ? flags | GTF.sub_page : flags, true)
    this.view.setUint16(at + 2, this.peer(), true)
    if (kind === 0) {
      this.view.setUint16(at + 4, this.peer(), true)
      this.view.setUint32(at + 8, this.below(32), true)
      return
    }
    this.view.setUint16(at + 4, this.below(4200), true)
    this.view.setUint16(at + 6, this.below(4200), true)
    this.view.setBigUint64(at + 8, BigInt(this.frame()), true)
  }

  /** Nothing, the hypervisor's range, the end of what is mapped, what no processor takes; or a recursive map. */
  wildPointer(): number {
    if (this.chance(2)) return this.pick([0, -1, -0x8000_0000_0000, 0x1000, BASE + MAPPED * 4096 - 4, BASE + (MAPPED + 3) * 4096, 2 ** 47])
    const slots = Array.from({ length: 4 }, () => this.pick([RECURSIVE, RECURSIVE, 0, 256]))
    const address = slots.reduce((sum, slot) => sum * 512 + slot, 0) * 4096 + this.pick([0, RECURSIVE * 8, this.below(512) * 8])
    return address >= 2 ** 47 ? address - 2 ** 48 : address
  }
}

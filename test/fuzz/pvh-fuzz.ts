/**
 * A seeded fuzzer of hostile machine code in PVH guests: two vCPUs, each in a mode of its own, run random programs that write page
 * tables, change modes, use the local APIC, real mode and ring 3, and have frames come and go under running code; then another
 * domain takes its place. After each slice the world's promises are checked, the guest's context is taken and given back, and
 * after slices that left page tables alone all that processors remember is held against them, by a walk of the test's own.
 */
import { HVM_SAVE_CODE, HvmSaveDescriptor } from '../../src/abi/index.ts'
import { below } from '../../src/util/index.ts'
import { PIECES, type SliceKind, live, revive, takeTurns } from './machine-life.ts'
import { type FuzzOptions, World } from './machine-world.ts'
import { MODES, type Mode, PVH_MEMORY, PVH_TABLES, PVH_WINDOWS, PvhFuzzGuest, isWide } from './pvh-guest.ts'
import { PVH_HOSTILE, PVH_QUIET, type PvhField, PvhProgram } from './pvh-program.ts'
import { paging, walk } from './pvh-walk.ts'
import { SHORT_DATA, ownSlot } from './short-program.ts'

const SLICE = 20_000
const FLAGS = [0, 1, 3, 3, 3, 7, 7, 0x63, 0x67, 0x103, 0x83, 0x13] as const

/** One case: one host. */
export class PvhFuzzer {
  private readonly world: World
  /** What the vCPUs run. */
  private readonly programs: PvhProgram[] = []

  constructor(seed: number, options: FuzzOptions = {}) {
    this.world = new World(seed, { ...options, logs: 'all' })
  }

  /** Runs the case; throws where a promise is broken. */
  run(): void {
    live(this.world, () => this.makeAttacker(), (guest, kind) => this.slice(guest, kind))
  }

  private makeAttacker(): PvhFuzzGuest {
    const { world } = this
    const guest = new PvhFuzzGuest(world.host)
    this.program(guest, 'quiet')
    const granted = [guest.first(0) + 10, guest.first(0) + 11, guest.first(1) + 10, guest.first(1) + 11, 44, 45, 46, 47]
    world.exchangeGrants(guest.domid, (i) => granted[i]!)
    return guest
  }

  private slice(guest: PvhFuzzGuest, kind: SliceKind): void {
    const { world } = this
    world.startSlice()
    if (kind === 'hostile') world.writeByGrant(guest.domid)
    revive(world, guest)
    this.program(guest, kind)
    if (kind === 'quiet') for (const processor of world.processors) processor.flushTlb()
    const window = this.tables(guest)
    const before = kind === 'quiet' ? this.digests(guest) : undefined
    takeTurns(world, guest, { kind, instructions: SLICE })
    const now = this.tables(guest)
    world.report.changed += now.filter((word, i) => word !== window[i]).length
    world.check()
    if (before !== undefined) this.checkExactly(guest, before)
    this.checkGuest(guest)
    world.checkLog(guest.domid)
  }

  /** Words of the tables that programs write most, without what the processor sets. */
  private tables(guest: PvhFuzzGuest): (number | undefined)[] {
    return [PVH_TABLES.window, PVH_TABLES.shortWindow].flatMap((gfn) => {
      const words = this.words(guest, gfn)
      return words === undefined ? [undefined] : Array.from(words, unmarked)
    })
  }

  /** One number for each page of the guest's, any of which may have become a table; without what the processor sets. */
  private digests(guest: PvhFuzzGuest): (number | undefined)[] {
    return Array.from({ length: PVH_MEMORY.most }, (_, gfn) => this.words(guest, gfn)?.reduce((sum, word) => (Math.imul(sum, 31) + unmarked(word)) | 0, 0))
  }

  private words({ domid }: PvhFuzzGuest, gfn: number): Uint32Array | undefined {
    const mfn = this.world.host.hypervisor.frameOfGfn(domid, gfn)
    return mfn === undefined ? undefined : this.world.host.machine.memory.words.subarray(mfn * 1024, mfn * 1024 + 1024)
  }

  /** New programs for both vCPUs, each in some mode. */
  private program(guest: PvhFuzzGuest, kind: SliceKind): void {
    const { world } = this
    const modes = [world.pick(MODES), world.pick(MODES)] as const
    for (const vcpu of [0, 1]) {
      const program = new PvhProgram(world.random, this.field(guest, vcpu, modes[vcpu]!)).fill(PIECES, kind === 'hostile' ? PVH_HOSTILE : PVH_QUIET)
      this.programs[vcpu] = program
      const bytes = program.finish()
      for (let at = 0; at < bytes.length; at += 4096) guest.write(guest.at(vcpu, 'code', at), bytes.slice(at, at + 4096))
      world.report.attempts += program.attempts
    }
    world.host.hypervisor.setHvmContext(guest.domid, guest.context(modes, world.chance(4)))
  }

  private field(guest: PvhFuzzGuest, vcpu: number, mode: Mode): PvhField {
    const { world } = this
    const window = isWide(mode) ? PVH_TABLES.window : PVH_TABLES.shortWindow
    const playFrame = (): number => PVH_MEMORY.play + below(world.random, PVH_MEMORY.pages - PVH_MEMORY.play)
    const anyFrame = (): number => world.pick([playFrame, playFrame, playFrame, () => below(world.random, PVH_TABLES.l4), () => world.pick(Object.values(PVH_TABLES)), () => PVH_MEMORY.pages + below(world.random, PVH_MEMORY.most - PVH_MEMORY.pages), () => PVH_MEMORY.onDemand + below(world.random, 16),
      () => 0xfee00, () => below(world.random, 2 ** 20), () => 2 ** 20 + below(world.random, 4), () => world.pick(world.victim.frames) as number])()
    return {
      guest, mode, vcpu, playFrame, anyFrame, convention: guest.convention(mode), abi: guest.abi(mode), partner: world.partner,
      code: guest.at(vcpu, 'code'), stack: guest.at(vcpu, 'stack', 4096), data: guest.at(vcpu, 'data'),
      windows: mode === 'flat' ? [PVH_MEMORY.play * 4096] : PVH_WINDOWS, table: window * 4096,
      ownPage: mode === 'flat' ? guest.at(vcpu, 'ownA') : PVH_WINDOWS[0] + ownSlot(vcpu) * 4096,
      own: [guest.first(vcpu) + 10, guest.first(vcpu) + 11],
      write: (address, bytes) => guest.write(address, bytes), whole: (frame) => BigInt(frame * 4096 + 3),
      entry: () => BigInt(anyFrame() * 4096 + world.pick(FLAGS)) | (world.chance(6) ? 1n << 63n : 0n) | (world.chance(30) ? 1n << world.pick([33n, 39n, 40n, 45n]) : 0n),
    }
  }

  private checkGuest(guest: PvhFuzzGuest): void {
    const { world } = this
    const { hypervisor } = world.host
    world.countCaches()
    for (const vcpu of [0, 1]) {
      if (this.programs[vcpu]!.hasFailed(guest.read(guest.at(vcpu, 'data', SHORT_DATA.wrong)))) throw new Error(`${world.where}: vCPU ${vcpu} has run other code than it had written`)
    }
    // Whatever state a guest gets into, it can be saved, and what was saved is taken as it is.
    const context = hypervisor.getHvmContext(guest.domid)
    hypervisor.setHvmContext(guest.domid, context)
    const again = hypervisor.getHvmContext(guest.domid)
    const at = context.findIndex((byte, i) => byte !== again[i])
    if (at >= 0) throw new Error(`${world.where}: its context is another one when it has been taken back: ${recordAt(context, at)}`)
  }

  /** Where no page table on the way has changed since the last flush, what processors remember is what the tables say, no more. */
  private checkExactly(guest: PvhFuzzGuest, before: readonly (number | undefined)[]): void {
    const { hypervisor } = this.world.host
    const now = this.digests(guest)
    this.world.processors.forEach((processor, vcpu) => {
      const { registers } = processor
      const tables = paging({ cr0: registers.controlLow(0), cr3: registers.controlLow(3), cr4: registers.controlLow(4), efer: processor.save().system!.efer })
      const { translations, jumps } = processor.inspect()
      for (const { address, frame, write, execute } of [...translations, ...jumps]) {
        const passed = new Set<number>()
        const leaf = walk(tables, address, (physical) => {
          passed.add(Math.floor(physical / 4096))
          return guest.read(physical)
        })
        // Others' frames may be tables too: what stands in them is not known here.
        if ([...passed].some((gfn) => now[gfn] === undefined || now[gfn] !== before[gfn])) continue
        const mfn = leaf === undefined ? undefined : hypervisor.frameOfGfn(guest.domid, Math.floor(leaf.physical / 4096))
        const mayWrite = leaf !== undefined && (leaf.writable || !tables.protectsWrites) && leaf.dirty
        // Of others' frames the physical map does not tell here; the world's checks do.
        const isThere = leaf !== undefined && (mfn === undefined || mfn === frame)
        if (isThere && (!write || mayWrite) && (!execute || leaf.executable)) continue
        throw new Error(`${this.world.where}: vCPU ${vcpu} remembers 0x${address.toString(16)} as frame ${frame}`
          + `${write ? ', writable' : ''}${execute ? ', executable' : ''}; the tables say ${JSON.stringify(leaf)}, frame ${mfn}`)
      }
    })
  }
}

/** A word without accessed and dirty bits. */
const unmarked = (word: number): number => word & ~0x60

/** The record of a context that a byte belongs to. */
function recordAt(context: Uint8Array, byte: number): string {
  const view = new DataView(context.buffer, context.byteOffset)
  const names = Object.entries(HVM_SAVE_CODE)
  for (let at = 0; at < context.length;) {
    const end = at + HvmSaveDescriptor.size + HvmSaveDescriptor.length.get(view, at)
    const code = HvmSaveDescriptor.typecode.get(view, at)
    if (byte < end) return `${names.find(([, number]) => number === code)?.[0] ?? code} of ${HvmSaveDescriptor.instance.get(view, at)}, byte ${byte - at - HvmSaveDescriptor.size}`
    at = end
  }
  return `byte ${byte}`
}

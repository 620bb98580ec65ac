/**
 * A seeded fuzzer of hostile machine code in 32-bit PV guests: PAE tables, segments, compat hypercalls, rings 1 and 3. What lives
 * beside them and what must hold is in machine-world.ts.
 */
import { COMPAT } from '../../src/abi/index.ts'
import { look } from '../../src/hypervisor/guests/direct-paging/look.ts'
import { below } from '../../src/util/index.ts'
import { WINDOWS } from '../support/machine-host.ts'
import { PIECES, type SliceKind, live, replaceLost, revive, takeTurns } from './machine-life.ts'
import { PLACE, PLAY } from './machine-values.ts'
import { type FuzzOptions, World } from './machine-world.ts'
import { LOOSE_FIRST, PV32_TABLES, Pv32FuzzGuest } from './pv32-guest.ts'
import { PV32_HOSTILE, PV32_QUIET, type Pv32Field, Pv32Program } from './pv32-program.ts'
import { SHORT_DATA, ownSlot } from './short-program.ts'

const SLICE = 20_000
const FLAGS = [0, 1, 3, 0x63, 0x63, 0x63, 0x67, 0x67, 0x21, 0x25, 0x83, 0x163] as const

/** One case: one host. */
export class Pv32Fuzzer {
  private readonly world: World
  /** What the vCPUs run. */
  private readonly programs: Pv32Program[] = []

  constructor(seed: number, options: FuzzOptions = {}) {
    this.world = new World(seed, { ...options, logs: 'all but bits of entries' })
  }

  /** Runs the case; throws where a promise is broken. */
  run(): void {
    live(this.world, () => this.makeAttacker(), (guest, kind) => this.slice(guest, kind))
  }

  private makeAttacker(): Pv32FuzzGuest {
    const { world } = this
    const guest = new Pv32FuzzGuest(world.host)
    for (const vcpu of [0, 1]) world.host.hypervisor.setVcpuContext(guest.domid, vcpu, guest.context(vcpu))
    const granted = [PLACE.privateA, PLACE.privateB, PLACE.count + PLACE.privateA, PLACE.count + PLACE.privateB, 20, 21, 22, 23]
    world.exchangeGrants(guest.domid, (i) => guest.frames[granted[i]!]!)
    return guest
  }

  private slice(guest: Pv32FuzzGuest, kind: SliceKind): void {
    const { world } = this
    world.startSlice()
    if (kind === 'hostile') world.writeByGrant(guest.domid)
    revive(world, guest)
    replaceLost(world, guest)
    for (const vcpu of [0, 1]) this.program(guest, vcpu, kind)
    if (kind === 'quiet') for (const processor of world.processors) processor.flushTlb()
    const [window, all] = [this.tables(guest, 'window'), this.tables(guest, 'all')]
    takeTurns(world, guest, { kind, instructions: SLICE })
    world.report.changed += differences(this.tables(guest, 'window'), window)
    world.check()
    world.countCaches()
    for (const vcpu of [0, 1]) {
      const wrong = world.host.machine.memory.view.getUint32(guest.place(vcpu * PLACE.count + PLACE.data, SHORT_DATA.wrong), true)
      if (this.programs[vcpu]!.hasFailed(wrong)) throw new Error(`${world.where}: vCPU ${vcpu} has run other code than it had written`)
    }
    this.checkTables(guest)
    world.checkLog(guest.domid)
    if (kind === 'quiet' && differences(this.tables(guest, 'all'), all) === 0) this.checkExactly(guest)
  }

  /** What the rules of 32-bit guests ask of tables in use, and that no segment or gate of the guest's is of ring 0. */
  private checkTables(guest: Pv32FuzzGuest): void {
    const { where, host: { hypervisor, machine: { memory: { words } } } } = this.world
    for (const mfn of hypervisor.domainFrames(guest.domid)) {
      const { type, typeCount, validated } = hypervisor.frameInfo(mfn)
      if (typeCount === 0 || !validated) continue
      const table = words.subarray(mfn * 1024, mfn * 1024 + 1024)
      if (type === 'l3' && table.subarray(8).some((word) => word !== 0)) throw new Error(`${where}: table ${mfn} of level 3 has entries behind the fourth`)
      for (let at = 0; type === 'segdesc' && at < 1024; at += 2) {
        const high = table[at + 1]!
        const [isPresent, isSegment, ring] = [(high & 0x8000) !== 0, (high & 0x1000) !== 0, (high >>> 13) & 3]
        const leadsInside = isSegment ? ring === 0 : (high & 0xf00) !== 0 && ((table[at]! >>> 16) & 3) === 0
        if (isPresent && leadsInside) throw new Error(`${where}: descriptor ${at / 2} of frame ${mfn} is for ring 0`)
      }
    }
  }

  /** Words of the table that programs write most, or of all, without what the processor sets. */
  private tables(guest: Pv32FuzzGuest, which: 'window' | 'all'): number[] {
    const { hypervisor, machine: { memory: { words } } } = this.world.host
    const frames = which === 'window' ? [guest.frames[PV32_TABLES.window]!] : hypervisor.domainFrames(guest.domid).filter((mfn) => {
      const { type, typeCount } = hypervisor.frameInfo(mfn)
      return typeCount > 0 && type.startsWith('l')
    })
    return frames.flatMap((mfn) => Array.from(words.subarray(mfn * 1024, mfn * 1024 + 1024), (word) => word & ~0x60))
  }

  private program(guest: Pv32FuzzGuest, vcpu: number, kind: SliceKind): void {
    const { random, report, host: { hypervisor } } = this.world
    const program = new Pv32Program(random, this.field(guest, vcpu)).fill(PIECES, kind === 'hostile' ? PV32_HOSTILE : PV32_QUIET)
    this.programs[vcpu] = program
    const bytes = program.finish()
    for (let at = 0; at < bytes.length; at += 4096) guest.load(vcpu * PLACE.count + PLACE.code + at / 4096, bytes.slice(at, at + 4096))
    report.attempts += program.attempts
    hypervisor.setVcpuContext(guest.domid, vcpu, guest.context(vcpu, hypervisor.getVcpuContext(guest.domid, vcpu).kernelTable as never))
  }

  private field(guest: Pv32FuzzGuest, vcpu: number): Pv32Field {
    const { world } = this
    const { random, partner, partnerFrames, victim } = world
    const first = vcpu * PLACE.count
    const playFrame = (): number => guest.frames[world.chance(2) ? PLAY.first + below(random, PLAY.end - PLAY.first) : LOOSE_FIRST + below(random, guest.frames.length - LOOSE_FIRST)]!
    const tableFrame = (): number => guest.frames[world.pick(Object.values(PV32_TABLES))]!
    const anyFrame = (): number => world.pick([playFrame, playFrame, playFrame, playFrame, tableFrame, () => world.pick(victim.frames) as number, () => world.pick(partnerFrames) as number, () => below(random, 0x4000)])()
    return {
      guest, vcpu, partner, playFrame, anyFrame, tableFrame, convention: 'compat, int', abi: COMPAT,
      code: guest.at(first + PLACE.code), stack: guest.at(first + PLACE.stack + 1), data: guest.at(first + PLACE.data),
      windows: WINDOWS, table: guest.at(PV32_TABLES.window), ownPage: WINDOWS[0] + ownSlot(vcpu) * 4096,
      own: [guest.frames[first + PLACE.privateA]!, guest.frames[first + PLACE.privateB]!],
      write: (address, bytes) => guest.load((address - guest.at(0)) >>> 12, bytes, address & 4095),
      whole: (frame) => BigInt(frame * 4096 + 0x63),
      entry: () => BigInt(anyFrame() * 4096 + world.pick(FLAGS)) | (world.chance(6) ? 1n << 63n : 0n) | (world.chance(60) ? 1n << 45n : 0n),
    }
  }

  /** No page table has changed since the last flush: what processors remember is what the tables say, no more. */
  private checkExactly(guest: Pv32FuzzGuest): void {
    const { words } = this.world.host.machine.memory
    for (const processor of this.world.processors) {
      const { translations, jumps, root } = processor.inspect()
      for (const { address, frame, write, execute } of [...translations, ...jumps]) {
        const leaf = look(words, root, address)
        const isGiven = leaf?.frame === frame && (!write || (leaf.writable && leaf.dirty)) && (!execute || leaf.executable)
        if (isGiven) continue
        throw new Error(`${this.world.where}: domain ${guest.domid} remembers 0x${address.toString(16)} as frame ${frame}`
          + `${write ? ', writable' : ''}${execute ? ', executable' : ''}; the tables say ${JSON.stringify(leaf)}`)
      }
    }
  }
}

const differences = (now: readonly number[], before: readonly number[]): number => now.filter((word, i) => word !== before[i]).length

/**
 * A seeded fuzzer of hostile machine code in 64-bit PV guests on the real processor: a kernel on two vCPUs runs random
 * programs that write page tables by every means, remap, and run what they wrote; then another domain takes its place, and
 * its frames and processors. Who lives beside it and what must hold is in machine-world.ts. A case is repeated by its seed.
 */
import { look } from '../../src/hypervisor/guests/direct-paging/look.ts'
import type { Mfn } from '../../src/util/index.ts'
import { READ, WRITE } from '../support/hypervisor-host.ts'
import { type Library, MachineGuest, TABLES } from '../support/machine-host.ts'
import { PIECES, type SliceKind, live, replaceLost, revive, takeTurns } from './machine-life.ts'
import { Program } from './machine-program.ts'
import { DATA, PLACE, PLAY, SELF } from './machine-values.ts'
import { FuzzReport, type FuzzOptions, World } from './machine-world.ts'

const PAGES = 96
/** Instructions of a slice. */
const SLICE = 45_000

/** One case: one host. */
export class MachineFuzzer {
  private readonly world: World

  constructor(seed: number, options: FuzzOptions = {}) {
    this.world = new World(seed, { ...options, logs: 'all but bits of entries' })
  }

  /** Runs the case; throws where a promise is broken. */
  run(): void {
    live(this.world, () => this.makeAttacker(), (guest, kind) => this.slice(guest, kind))
  }

  private makeAttacker(): MachineGuest {
    const { world } = this
    const guest = new MachineGuest(world.host, { pages: PAGES, vcpus: 2, maxPages: PAGES })
    const frame = (number: number): Mfn => guest.frames[number]!
    for (let i = 0; i < PLAY.end - PLAY.first; i += 1) guest.poke(frame(TABLES.window), i, frame(PLAY.first + i), WRITE)
    const shown = [TABLES.window, TABLES.window, TABLES.user1, TABLES.l1]
    shown.forEach((table, i) => guest.poke(frame(TABLES.window), SELF + i, frame(table), READ))
    for (let i = 0; i < 14; i += 1) guest.poke(frame(TABLES.user1), 2 + i, frame(PLAY.first + i), WRITE)
    for (const vcpu of [0, 1]) guest.poke(frame(TABLES.user1), vcpu, frame(vcpu * PLACE.count + PLACE.user), WRITE)
    for (const vcpu of [0, 1]) {
      guest.load(vcpu * PLACE.count + PLACE.trap, Program.handler({ guest, vcpu }))
      guest.start(vcpu, this.entries(guest, vcpu))
    }
    const granted = [PLACE.privateA, PLACE.privateB, PLACE.count + PLACE.privateA, PLACE.count + PLACE.privateB, 20, 21, 22, 23]
    world.exchangeGrants(guest.domid, (i) => guest.frames[granted[i]!]!)
    return guest
  }

  private entries(guest: MachineGuest, vcpu: number): { start: number; trap: number; stack: number } {
    const first = vcpu * PLACE.count
    return { start: guest.at(first + PLACE.code), trap: guest.at(first + PLACE.trap), stack: guest.at(first + PLACE.stack + 1) }
  }

  private slice(guest: MachineGuest, kind: SliceKind): void {
    const { world } = this
    world.startSlice()
    if (kind === 'hostile') world.writeByGrant(guest.domid)
    revive(world, guest)
    replaceLost(world, guest)
    for (const vcpu of [0, 1]) this.program(guest, vcpu, kind)
    if (kind === 'quiet') for (const processor of world.processors) processor.flushTlb()
    const tables = this.tables(guest)
    const before = this.digestOfTables(guest)
    takeTurns(world, guest, { kind, instructions: SLICE, behind: () => { world.report.changed += this.tables(guest, tables) } })
    world.check()
    this.checkGuest(guest)
    world.checkLog(guest.domid)
    // A store into ordinary memory may have met a page table.
    if (kind === 'quiet' && this.digestOfTables(guest) === before) this.checkExactly(guest)
  }

  private program(guest: MachineGuest, vcpu: number, kind: SliceKind): void {
    const { random, victim, partner, partnerFrames, report, host: { hypervisor, machine: { memory } } } = this.world
    const foreign = [this.world.pick(victim.frames), this.world.pick(partnerFrames), memory.firstFrame, 3]
    const program = new Program(random, { guest, vcpu, foreign, partner }).fill(PIECES, kind)
    const bytes = program.finish()
    for (let at = 0; at < bytes.length; at += 4096) {
      guest.load(vcpu * PLACE.count + PLACE.code + at / 4096, bytes.slice(at, at + 4096))
    }
    report.attempts += program.attempts
    const now = hypervisor.getVcpuContext(guest.domid, vcpu)
    hypervisor.setVcpuContext(guest.domid, vcpu, {
      ...guest.context(this.entries(guest, vcpu)), kernelTable: now.kernelTable, userTable: now.userTable,
    })
  }

  /** Entries of the tables that programs write most, without what the processor sets; how many differ from `before`. */
  private tables(guest: MachineGuest): Uint32Array
  private tables(guest: MachineGuest, before: Uint32Array): number
  private tables(guest: MachineGuest, before?: Uint32Array): Uint32Array | number {
    const { words } = this.world.host.machine.memory
    const at = guest.frames[TABLES.window]! * 1024
    if (before === undefined) return words.slice(at, at + 1024)
    let changed = 0
    for (let i = 0; i < 1024; i += 2) {
      if (((words[at + i]! ^ before[i]!) & ~0x60) !== 0 || words[at + i + 1] !== before[i + 1]) changed += 1
      before[i] = words[at + i]!
      before[i + 1] = words[at + i + 1]!
    }
    return changed
  }

  private checkGuest(guest: MachineGuest): void {
    const { world } = this
    world.countCaches()
    for (const vcpu of [0, 1]) {
      const wrong = world.host.machine.memory.view.getBigUint64(guest.place(vcpu * PLACE.count + PLACE.data, DATA.wrong), true)
      if (wrong !== 0n) throw new Error(`${world.where}: vCPU ${vcpu} has run other code than it had written`)
    }
  }

  /** No page table has changed since the last flush: what processors remember is what the tables say, no more. */
  private checkExactly(guest: MachineGuest): void {
    const { words } = this.world.host.machine.memory
    for (const processor of this.world.processors) {
      const { translations, jumps, root } = processor.inspect()
      for (const { address, frame, write, execute } of [...translations, ...jumps]) {
        const leaf = look(words, root, address)
        const isGiven = leaf?.frame === frame && leaf.user && (!write || (leaf.writable && leaf.dirty)) && (!execute || leaf.executable)
        if (isGiven) continue
        throw new Error(`${this.world.where}: domain ${guest.domid} remembers 0x${address.toString(16)} as frame ${frame}`
          + `${write ? ', writable' : ''}${execute ? ', executable' : ''}; the tables say ${JSON.stringify(leaf)}`)
      }
    }
  }

  private digestOfTables(guest: MachineGuest): number {
    const { hypervisor } = this.world.host
    return this.world.digest(hypervisor.domainFrames(guest.domid).filter((mfn) => {
      const { type, typeCount } = hypervisor.frameInfo(mfn)
      return typeCount > 0 && type.startsWith('l')
    }))
  }
}

/** Kinds of guests, each with its fuzzer. */
export interface CaseKind {
  new(seed: number, options: FuzzOptions): { run(): void }
}

/** Runs cases from a seed on; what they did. Throws at the first broken promise. */
export function fuzzMachine(
  options: { readonly seed: number; readonly cases: number; readonly library?: Library; readonly kind?: CaseKind },
): FuzzReport {
  const report = new FuzzReport()
  const Kind = options.kind ?? MachineFuzzer
  for (let i = 0; i < options.cases; i += 1) {
    new Kind(options.seed * 1_000_000 + i, { report, ...options.library === undefined ? {} : { library: options.library } }).run()
  }
  return report
}

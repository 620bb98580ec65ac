/**
 * A seeded fuzzer of hostile machine code on the real processor: a kernel on two vCPUs runs random programs that write
 * page tables by every means, remap, and run what they wrote; then another domain takes its place, and its frames and
 * processors. Beside them a victim runs its own code, a partner shares frames by grants, and an heir takes whatever
 * frame gets free. After each slice the invariants are checked, what processors remember among them; nothing of the
 * victim's and the heir's may have changed. A case is repeated by its seed.
 */
import { GTF, GrantEntryV1 } from '../../src/abi/index.ts'
import { look } from '../../src/hypervisor/guests/direct-paging/look.ts'
import { XEN_SLOTS } from '../../src/hypervisor/guests/direct-paging/table-slots.ts'
import { SeededRandom, below, type DomId, type Mfn } from '../../src/util/index.ts'
import { READ, SLEEPER, WRITE } from '../support/hypervisor-host.ts'
import { type Library, MachineGuest, MachineHost, SOURCE, TABLES } from '../support/machine-host.ts'
import { Program } from './machine-program.ts'
import { DATA, PLACE, PLAY, SELF } from './machine-values.ts'

/** What cases did, added up. */
export class FuzzReport {
  cases = 0
  domains = 0
  slices = 0
  instructions = 0
  /** Pieces of programs that try to change page tables, and entries of two tables seen to have changed. */
  attempts = 0
  changed = 0
  translations = 0
  jumps = 0
  blocks = 0
  crashes = 0

  toString(): string {
    const { cases, domains, slices, instructions, attempts, changed, translations, jumps, blocks, crashes } = this
    return `${cases} cases, ${domains} domains (${crashes} crashes), ${slices} slices, ${instructions} instructions | page tables: `
      + `${attempts} changes attempted, ${changed} entries changed | checked: ${translations} translations, ${jumps} jumps, ${blocks} blocks`
  }
}

const PAGES = 96
const LIFETIMES = 4
const SLICES = 6
const PIECES = 14
/** Instructions of a slice, and limits of its turns: the two vCPUs meet at any place. */
const SLICE = 45_000
const TURNS = [200, 2000, 8000] as const
/** One of so many slices leaves page tables alone: then every translation must be exactly what they say. */
const QUIET_EVERY = 4
/** A turn of a processor that counts work is so much longer: most of it is paid for decoding. */
const WORK_SCALE = 6
/** Portions after which hypercalls pause, by case: what is half done then meets what the guest does next. */
const PORTIONS: readonly { readonly portion?: number }[] = [{}, { portion: 1 }, {}, { portion: 700 }, {}]
/** References that partner and attacker grant each other. */
const REFS = { first: 8, end: 16 } as const

/** One case: one host. */
export class MachineFuzzer {
  private readonly random: SeededRandom
  private readonly host: MachineHost
  private readonly victim: MachineGuest
  private readonly partner: DomId
  private readonly partnerFrames: readonly Mfn[]
  private readonly heir: DomId
  private readonly report: FuzzReport
  private readonly where: string
  private readonly digests = new Map<DomId, number>()
  private slices = 0
  /** How much longer turns are than in instructions alone. */
  private readonly scale: number
  /** While the attacker's writes are logged: its frames' numbers and contents when the log was last emptied. */
  private readonly logged = new Map<Mfn, { readonly pfn: number; readonly digest: number }>()

  constructor(seed: number, options: { readonly library?: Library; readonly report?: FuzzReport } = {}) {
    this.random = new SeededRandom(seed)
    this.where = `seed ${seed}`
    this.report = options.report ?? new FuzzReport()
    const accounting = seed % 3 === 2 ? 'work' : 'instructions'
    this.scale = accounting === 'work' ? WORK_SCALE : 1
    this.host = new MachineHost(options.library ?? SOURCE, { physicalCpus: 3, accounting, ...PORTIONS[seed % PORTIONS.length] })
    this.victim = this.makeVictim()
    const { hypervisor } = this.host
    const still = { kind: 'typescript', createRunner: () => SLEEPER } as const
    this.partner = hypervisor.createDomain({ ...still, maxPages: 16 })
    this.partnerFrames = hypervisor.populatePhysmap(this.partner, 16, 0)
    this.heir = hypervisor.createDomain({ ...still, maxPages: 4096 })
  }

  /** Runs the case; throws where a promise is broken. */
  run(): void {
    const { hypervisor } = this.host
    for (let life = 0; life < LIFETIMES; life += 1) {
      const guest = this.makeAttacker()
      this.check(undefined)
      for (let i = 0; i < SLICES; i += 1) this.slice(guest, below(this.random, QUIET_EVERY) === 0 ? 'quiet' : 'hostile')
      hypervisor.destroyDomain(guest.domid)
      this.check(undefined)
    }
    this.proveVictimRuns()
    this.report.cases += 1
    this.report.instructions += this.host.executed
    this.report.blocks += this.host.processors[0]!.inspectCode().blocks
  }

  /** Code that counts, and memory that nobody else may touch. */
  private makeVictim(): MachineGuest {
    const victim = new MachineGuest(this.host)
    const { view } = this.host.machine.memory
    for (let i = PLAY.first; i < PLAY.end; i += 1) {
      for (let at = 0; at < 4096; at += 4) view.setUint32(victim.place(i, at), this.random.next(), true)
    }
    // inc qword [counter]; mov rax, [a page]; jmp
    const [counter, page] = [victim.at(PLACE.data), victim.at(PLAY.first)].map((address) => [...new Uint8Array(new Uint32Array([address]).buffer)])
    victim.load(PLACE.code, [0x48, 0xff, 0x04, 0x25, ...counter!, 0x48, 0x8b, 0x04, 0x25, ...page!, 0xeb, 0xee])
    victim.start(0, { start: victim.at(PLACE.code), trap: victim.at(PLACE.trap), stack: victim.at(PLACE.stack + 1) })
    this.host.hypervisor.unpauseDomain(victim.domid)
    this.host.hypervisor.run({ instructions: 1000 * this.scale * 4 })
    this.digests.set(victim.domid, this.digest(victim.frames.filter((_, i) => i !== PLACE.data)))
    return victim
  }

  private get counter(): bigint {
    return this.host.machine.memory.view.getBigUint64(this.victim.place(PLACE.data), true)
  }

  private proveVictimRuns(): void {
    const before = this.counter
    this.host.hypervisor.run({ instructions: 3000 * this.scale * 4 })
    if (this.counter <= before) throw new Error(`${this.where}: the victim does not run any more`)
  }

  private makeAttacker(): MachineGuest {
    const guest = new MachineGuest(this.host, { pages: PAGES, vcpus: 2, maxPages: PAGES })
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
    this.exchangeGrants(guest)
    this.host.hypervisor.unpauseDomain(guest.domid)
    this.report.domains += 1
    return guest
  }

  private entries(guest: MachineGuest, vcpu: number): { start: number; trap: number; stack: number } {
    const first = vcpu * PLACE.count
    return { start: guest.at(first + PLACE.code), trap: guest.at(first + PLACE.trap), stack: guest.at(first + PLACE.stack + 1) }
  }

  /** Each grants the other some frames. */
  private exchangeGrants(guest: MachineGuest): void {
    const { hypervisor, machine: { memory: { view } } } = this.host
    const grant = (from: DomId, to: DomId, frameOf: (i: number) => Mfn): void => {
      const table = hypervisor.port(from).setupGrantTable(1)
      if (typeof table === 'number') throw new Error(`${this.where}: no grant table: ${table}`)
      for (let i = 0; i < REFS.end - REFS.first; i += 1) {
        GrantEntryV1.encode(view, table[0]! * 4096 + (REFS.first + i) * GrantEntryV1.size, { flags: GTF.permit_access, domid: to, frame: frameOf(i) })
      }
    }
    grant(this.partner, guest.domid, (i) => this.partnerFrames[i]!)
    const shown = [PLACE.privateA, PLACE.privateB, PLACE.count + PLACE.privateA, PLACE.count + PLACE.privateB, 20, 21, 22, 23]
    grant(guest.domid, this.partner, (i) => guest.frames[shown[i]!]!)
  }

  private slice(guest: MachineGuest, kind: 'hostile' | 'quiet'): void {
    this.slices += 1
    this.report.slices += 1
    const { hypervisor } = this.host
    if (kind === 'hostile') this.writeByGrant(guest)
    this.revive(guest)
    const processors = this.host.processors.slice(-2)
    for (const vcpu of [0, 1]) this.program(guest, vcpu, kind)
    if (kind === 'quiet') for (const processor of processors) processor.flushTlb()
    this.logged.clear()
    const tables = this.tables(guest)
    const before = this.digestOfTables(guest)
    let changesHands = kind === 'hostile'
    for (let left = SLICE; left > 0;) {
      const turn = 1 + below(this.random, this.pick(TURNS))
      hypervisor.run({ instructions: turn * this.scale })
      left -= turn
      this.report.changed += this.tables(guest, tables)
      if (!changesHands || left > SLICE / 2) continue
      changesHands = false
      this.inherit()
      if (below(this.random, 3) === 0) this.logWrites(guest)
    }
    this.check(guest)
    this.checkLog(guest)
    // A store into ordinary memory may have met a page table.
    if (kind === 'quiet' && this.digestOfTables(guest) === before) this.checkExactly(guest)
  }

  private program(guest: MachineGuest, vcpu: number, kind: 'hostile' | 'quiet'): void {
    const { hypervisor, machine: { memory } } = this.host
    const foreign = [this.pick(this.victim.frames), this.pick(this.partnerFrames), memory.firstFrame, 3]
    const program = new Program(this.random, { guest, vcpu, foreign, partner: this.partner }).fill(PIECES, kind)
    const bytes = program.finish()
    for (let at = 0; at < bytes.length; at += 4096) {
      guest.load(vcpu * PLACE.count + PLACE.code + at / 4096, bytes.slice(at, at + 4096))
    }
    this.report.attempts += program.attempts
    const now = hypervisor.getVcpuContext(guest.domid, vcpu)
    hypervisor.setVcpuContext(guest.domid, vcpu, {
      ...guest.context(this.entries(guest, vcpu)), kernelTable: now.kernelTable, userTable: now.userTable,
    })
  }

  /** A guest that has crashed goes on; frames that it has lost are replaced by those it has got. */
  private revive(guest: MachineGuest): void {
    const { hypervisor } = this.host
    const { shutdown, crashed } = hypervisor.domainInfo(guest.domid)
    if (shutdown || crashed) {
      this.report.crashes += 1
      hypervisor.resumeDomain(guest.domid)
    }
    const owned = new Set(hypervisor.domainFrames(guest.domid))
    const fresh = [...owned].filter((mfn) => !guest.frames.includes(mfn))
    guest.frames.forEach((mfn, i) => {
      const next = owned.has(mfn) ? undefined : fresh.pop()
      if (next !== undefined) guest.frames[i] = next
    })
  }

  /** Another domain takes frames that are free, or gives its own back, while the attacker runs. */
  private inherit(): void {
    const { hypervisor, machine: { memory } } = this.host
    const held = hypervisor.domainFrames(this.heir)
    if (held.length > 0 && below(this.random, 3) === 0) hypervisor.releaseFrames(this.heir, held)
    for (const mfn of hypervisor.populatePhysmap(this.heir, below(this.random, 6))) {
      memory.words.fill(this.random.next() >>> 0, mfn * 1024, mfn * 1024 + 1024)
      memory.markWritten(mfn)
    }
    this.digests.set(this.heir, this.digest(hypervisor.domainFrames(this.heir)))
  }

  /** The partner writes into frames that it was granted; code that the attacker runs may be there. */
  private writeByGrant(guest: MachineGuest): void {
    const { hypervisor, machine: { memory } } = this.host
    const count = below(this.random, 4)
    for (let i = 0; i < count; i += 1) {
      const [frame, ref] = [this.pick(this.partnerFrames), REFS.first + below(this.random, REFS.end - REFS.first)]
      const offset = this.pick([0, 1, 0x40, 0x42, 4092])
      memory.view.setUint32(frame * 4096 + offset, this.random.next() >>> 0, true)
      hypervisor.port(this.partner).copyGrants([{
        source: { frame, offset }, destination: { domid: guest.domid, ref: ref as never, offset }, length: 4,
      }])
    }
  }

  /** Entries of the tables that programs write most, without what the processor sets; how many differ from `before`. */
  private tables(guest: MachineGuest): Uint32Array
  private tables(guest: MachineGuest, before: Uint32Array): number
  private tables(guest: MachineGuest, before?: Uint32Array): Uint32Array | number {
    const { words } = this.host.machine.memory
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

  private check(guest: MachineGuest | undefined): void {
    const where = `${this.where}, slice ${this.slices}`
    const problems = this.host.problems()
    if (problems.length > 0) throw new Error(`${where}: ${problems.slice(0, 4).join('; ')}`)
    const { hypervisor, machine: { memory: { view } } } = this.host
    const still = this.victim.frames.filter((_, i) => i !== PLACE.data)
    if (this.digest(still) !== this.digests.get(this.victim.domid)) throw new Error(`${where}: the victim's memory has changed`)
    const inherited = hypervisor.domainFrames(this.heir)
    if (this.digest(inherited) !== (this.digests.get(this.heir) ?? this.digest([]))) {
      throw new Error(`${where}: memory that another domain has inherited has changed`)
    }
    if (guest === undefined) return
    for (const processor of this.host.processors.slice(-2)) {
      const { translations, jumps } = processor.inspect()
      this.report.translations += translations.length
      this.report.jumps += jumps.length
    }
    for (const vcpu of [0, 1]) {
      const wrong = view.getBigUint64(guest.place(vcpu * PLACE.count + PLACE.data, DATA.wrong), true)
      if (wrong !== 0n) throw new Error(`${where}: vCPU ${vcpu} has run other code than it had written`)
    }
  }

  /** Has the attacker's writes logged from now on, as while a domain migrates. */
  private logWrites(guest: MachineGuest): void {
    const { hypervisor } = this.host
    hypervisor.enableLogDirty(guest.domid)
    for (const mfn of hypervisor.domainFrames(guest.domid)) {
      const pfn = hypervisor.machineToPhys(mfn)
      // An attacker may give its frames numbers that no log covers.
      if (pfn !== undefined && pfn < 2 ** 16) this.logged.set(mfn, { pfn, digest: this.digestOfLogged(mfn) })
    }
  }

  /** Whatever has changed meanwhile is in the log. */
  private checkLog(guest: MachineGuest): void {
    if (this.logged.size === 0) return
    const { hypervisor } = this.host
    const dirty = hypervisor.readLogDirty(guest.domid)
    hypervisor.disableLogDirty(guest.domid)
    const owned = new Set(hypervisor.domainFrames(guest.domid))
    for (const [mfn, { pfn, digest }] of this.logged) {
      if (!owned.has(mfn) || hypervisor.machineToPhys(mfn) !== pfn || dirty.has(pfn)) continue
      if (this.digestOfLogged(mfn) === digest) continue
      throw new Error(`${this.where}, slice ${this.slices}: frame ${mfn} has been written, which the log does not say`)
    }
  }

  /** No page table has changed since the last flush: what processors remember is what the tables say, no more. */
  private checkExactly(guest: MachineGuest): void {
    const { words } = this.host.machine.memory
    for (const processor of this.host.processors.slice(-2)) {
      const { translations, jumps, root } = processor.inspect()
      for (const { address, frame, write, execute } of [...translations, ...jumps]) {
        const leaf = look(words, root, address)
        const isGiven = leaf?.frame === frame && leaf.user && (!write || (leaf.writable && leaf.dirty)) && (!execute || leaf.executable)
        if (isGiven) continue
        throw new Error(`${this.where}, slice ${this.slices}: domain ${guest.domid} remembers 0x${address.toString(16)} as frame ${frame}`
          + `${write ? ', writable' : ''}${execute ? ', executable' : ''}; the tables say ${JSON.stringify(leaf)}`)
      }
    }
  }

  private digestOfTables(guest: MachineGuest): number {
    const { hypervisor } = this.host
    return this.digest(hypervisor.domainFrames(guest.domid).filter((mfn) => {
      const { type, typeCount } = hypervisor.frameInfo(mfn)
      return typeCount > 0 && type.startsWith('l')
    }))
  }

  /** One number for the contents of frames; what the processor sets in entries of page tables is left out. */
  private digest(frames: readonly number[]): number {
    let digest = 0
    for (const mfn of frames) {
      const isTable = this.host.hypervisor.frameInfo(mfn as Mfn).type.startsWith('l')
      digest = (Math.imul(digest, 31) + this.digestOfFrame(mfn, isTable ? ~0x60 : ~0)) | 0
    }
    return digest
  }

  /**
   * What the log has to tell of, of a frame that may be a table now or then: not the bits that the processor sets in
   * entries, not the hypervisor's own slots of a top-level table.
   */
  private digestOfLogged(mfn: number): number {
    const { words } = this.host.machine.memory
    const [first, end] = [mfn * 1024 + XEN_SLOTS.first * 2, mfn * 1024 + (XEN_SLOTS.last + 1) * 2]
    let digest = 0
    for (let i = mfn * 1024; i < mfn * 1024 + 1024; i += 1) {
      if (i < first || i >= end) digest = (Math.imul(digest, 31) + (words[i]! & ~0x60)) | 0
    }
    return digest
  }

  private digestOfFrame(mfn: number, mask: number): number {
    const { words } = this.host.machine.memory
    let digest = 0
    for (let i = mfn * 1024; i < mfn * 1024 + 1024; i += 1) digest = (Math.imul(digest, 31) + (words[i]! & mask)) | 0
    return digest
  }

  private pick<T>(list: readonly T[]): T {
    return list[below(this.random, list.length)]!
  }
}

/** Runs cases from a seed on; what they did. Throws at the first broken promise. */
export function fuzzMachine(options: { readonly seed: number; readonly cases: number; readonly library?: Library }): FuzzReport {
  const report = new FuzzReport()
  for (let i = 0; i < options.cases; i += 1) {
    new MachineFuzzer(options.seed * 1_000_000 + i, { report, ...options.library === undefined ? {} : { library: options.library } }).run()
  }
  return report
}

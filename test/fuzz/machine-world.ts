/**
 * Who lives on the host beside an attacker: a victim that runs its own code, a partner that shares frames by grants, an heir
 * that takes whatever frame gets free. After each slice the invariants are checked, what processors remember among them;
 * nothing of the victim's and the heir's may have changed.
 */
import { GTF, GrantEntryV1 } from '../../src/abi/index.ts'
import { XEN_SLOTS } from '../../src/hypervisor/guests/direct-paging/table-slots.ts'
import { SeededRandom, below, type DomId, type GrantRef, type Mfn } from '../../src/util/index.ts'
import { SLEEPER } from '../support/hypervisor-host.ts'
import { type Library, MachineGuest, MachineHost, SOURCE } from '../support/machine-host.ts'
import { Draws } from './draws.ts'
import { PLACE, PLAY } from './machine-values.ts'

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

/** How a case is run. */
export interface FuzzOptions {
  readonly library?: Library
  readonly report?: FuzzReport
}

/** And what differs between kinds. */
export interface WorldOptions extends FuzzOptions {
  readonly logs: 'all' | 'all but bits of entries'
}

/** A turn of a processor that counts work is so much longer: most of it is paid for decoding. */
const WORK_SCALE = 6
/** Portions after which hypercalls pause, by case: what is half done then meets what the guest does next. */
const PORTIONS: readonly { readonly portion?: number }[] = [{}, { portion: 1 }, {}, { portion: 700 }, {}]
/** References that partner and attacker grant each other. */
export const REFS = { first: 8, end: 16 } as const

/** A host with everybody but the attacker. */
export class World extends Draws {
  readonly host: MachineHost
  readonly report: FuzzReport
  readonly victim: MachineGuest
  readonly partner: DomId
  readonly partnerFrames: readonly Mfn[]
  /** How much longer turns are than in instructions alone. */
  readonly scale: number
  slices = 0
  private readonly heir: DomId
  private readonly seed: number
  private readonly digests = new Map<DomId, number>()
  /** While the attacker's writes are logged: its frames' numbers and contents when the log was last emptied. */
  private readonly logged = new Map<Mfn, { readonly pfn: number; readonly digest: number }>()
  /** One number for what the log has to tell of, of a frame. */
  private readonly digestOfLogged: (mfn: number) => number

  constructor(seed: number, options: WorldOptions) {
    super(new SeededRandom(seed))
    this.seed = seed
    this.report = options.report ?? new FuzzReport()
    this.digestOfLogged = options.logs === 'all' ? (mfn) => this.digestOfFrame(mfn, ~0) : (mfn) => this.digestOfTable(mfn)
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

  /** Where the case stands. */
  get where(): string {
    return `seed ${this.seed}, slice ${this.slices}`
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

  /** Throws when the victim has come to a standstill. */
  proveVictimRuns(): void {
    const before = this.counter
    this.host.hypervisor.run({ instructions: 3000 * this.scale * 4 })
    if (this.counter <= before) throw new Error(`${this.where}: the victim does not run any more`)
  }

  /** Each grants the other some frames; the attacker's by its own numbers. */
  exchangeGrants(attacker: DomId, frameOf: (i: number) => number): void {
    const { hypervisor, machine: { memory: { view } } } = this.host
    const table = hypervisor.port(this.partner).setupGrantTable(1)
    if (typeof table === 'number') throw new Error(`${this.where}: no grant table: ${table}`)
    for (let i = 0; i < REFS.end - REFS.first; i += 1) {
      const at = table[0]! * 4096 + (REFS.first + i) * GrantEntryV1.size
      GrantEntryV1.encode(view, at, { flags: GTF.permit_access, domid: attacker, frame: this.partnerFrames[i]! })
      hypervisor.seedGrant(attacker, REFS.first + i as GrantRef, { remote: this.partner, frame: frameOf(i) as Mfn })
    }
  }

  /** Another domain takes frames that are free, or gives its own back, while the attacker runs. */
  inherit(): void {
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
  writeByGrant(domid: DomId): void {
    const { hypervisor, machine: { memory } } = this.host
    const count = below(this.random, 4)
    for (let i = 0; i < count; i += 1) {
      const [frame, ref] = [this.pick(this.partnerFrames), REFS.first + below(this.random, REFS.end - REFS.first)]
      const offset = this.pick([0, 1, 0x40, 0x42, 4092])
      memory.view.setUint32(frame * 4096 + offset, this.random.next() >>> 0, true)
      hypervisor.port(this.partner).copyGrants([{
        source: { frame, offset }, destination: { domid, ref: ref as never, offset }, length: 4,
      }])
    }
  }

  /** Throws where a promise is broken. */
  check(): void {
    const problems = this.host.problems()
    if (problems.length > 0) throw new Error(`${this.where}: ${problems.slice(0, 4).join('; ')}`)
    const { hypervisor } = this.host
    const still = this.victim.frames.filter((_, i) => i !== PLACE.data)
    if (this.digest(still) !== this.digests.get(this.victim.domid)) throw new Error(`${this.where}: the victim's memory has changed`)
    const inherited = hypervisor.domainFrames(this.heir)
    if (this.digest(inherited) !== (this.digests.get(this.heir) ?? this.digest([]))) {
      throw new Error(`${this.where}: memory that another domain has inherited has changed`)
    }
  }

  /** What the processors of the attacker's two vCPUs remember, counted. */
  countCaches(): void {
    for (const processor of this.processors) {
      const { translations, jumps } = processor.inspect()
      this.report.translations += translations.length
      this.report.jumps += jumps.length
    }
  }

  /** Those of the attacker that was made last. */
  get processors(): MachineHost['processors'] {
    return this.host.processors.slice(-2)
  }

  /** Ends the case. */
  finish(): void {
    this.proveVictimRuns()
    this.report.cases += 1
    this.report.instructions += this.host.executed
    this.report.blocks += this.host.processors[0]!.inspectCode().blocks
  }

  /** Forgets what was logged. */
  startSlice(): void {
    this.slices += 1
    this.report.slices += 1
    this.logged.clear()
  }

  /** Has the attacker's writes logged from now on, as while a domain migrates. */
  logWrites(domid: DomId): void {
    const { hypervisor } = this.host
    hypervisor.enableLogDirty(domid)
    for (const mfn of hypervisor.domainFrames(domid)) {
      const pfn = hypervisor.machineToPhys(mfn)
      // An attacker may give its frames numbers that no log covers.
      if (pfn !== undefined && pfn < 2 ** 16) this.logged.set(mfn, { pfn, digest: this.digestOfLogged(mfn) })
    }
  }

  /** Whatever has changed meanwhile is in the log. */
  checkLog(domid: DomId): void {
    if (this.logged.size === 0) return
    const { hypervisor } = this.host
    const dirty = hypervisor.readLogDirty(domid)
    hypervisor.disableLogDirty(domid)
    const owned = new Set(hypervisor.domainFrames(domid))
    for (const [mfn, { pfn, digest }] of this.logged) {
      if (!owned.has(mfn) || hypervisor.machineToPhys(mfn) !== pfn || dirty.has(pfn)) continue
      if (this.digestOfLogged(mfn) === digest) continue
      throw new Error(`${this.where}: frame ${mfn} has been written, which the log does not say`)
    }
  }

  /** One number for the contents of frames; what the processor sets in entries of page tables is left out. */
  digest(frames: readonly number[]): number {
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
  private digestOfTable(mfn: number): number {
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
}

/**
 * The second tier of a machine's processors: samples tell which code is hot, regions of it are compiled a few at a time and
 * installed before the decoded blocks at their entries. Regions are never state: whatever is sampled, compiled or dropped,
 * and when, the same instructions are executed and counted.
 */
import { PAGE_SHIFT } from '../../../../x86/index.ts'
import { SeededRandom, below, signedFromParts } from '../../../../util/index.ts'
import { HostRefusal } from '../../../../wasm/index.ts'
import type { CompilerFigures } from '../../../interface/compiler.ts'
import type { RegionProfile } from '../../../interface/profile.ts'
import type { CodeCache, CodeFollower } from '../../code/code-cache.ts'
import type { Views } from '../../core/core.ts'
import { BLOCK } from '../../layout/record.ts'
import { ACCESS, State } from '../../layout/state.ts'
import type { CompilerSettings } from './defaults.ts'
import { EXIT_CAUSES, exitCause } from '../form/exit-causes.ts'
import { readExit } from '../form/exit-word.ts'
import { BlockTrace, traceLength } from './block-trace.ts'
import { HotPlaces } from './hot-places.ts'
import { Installer } from './installer.ts'
import type { FoundRegion, InstallerMakers, InstallerParts } from './installer.ts'
import { SeenLeads } from './leads.ts'
import type { LiveRegion } from './live-regions.ts'
import type { RegionMakers } from './makers.ts'
import type { BlockEnd, CodeSource, Refusal, Region, RegionBlock } from '../form/region.ts'
import type { Samples } from './samples.ts'

/** What of a processor is looked at. */
export type SampledCore = Views<'registers' | 'memory'>

/** What the compiler is made of. */
export interface CompilerParts extends Pick<InstallerParts, 'memory' | 'code'> {
  readonly settings: CompilerSettings
  /** Called for the first place that is hot: a machine that runs for a moment only does without what it makes. */
  readonly makers: () => CompilerMakers
}

/** What finds regions, and installs them. */
export type CompilerMakers = Pick<RegionMakers, 'find'> & InstallerMakers

const BUDGET = exitCause('budget')
const MAPPING = exitCause('mapping')
const MEMORY = exitCause('memory')
/** Samples behind exits for memory from which on a region may be made anew. */
const MOST_MISSED = 8
/**
 * Instructions that waiting regions have had executed, by their samples, for which a module is made: so many take about as
 * much longer in the interpreter as a module costs.
 */
const WORTH = 1_300_000

/** Ends of basic blocks behind which the next one may follow: that of a call, where it returns to. */
const FALLS_THROUGH: ReadonlySet<BlockEnd> = new Set(['next', 'conditional', 'call'])
/** So many times the instructions are taken where they have been executed while a processor was followed. */
const TRACED = 3
/** So many times the samples that a place is compiled after have to find its region left before that is made anew. */
const AGAIN = 8
/** Regions that are left once in more instructions are good enough. */
const RARE_LEADS = 300
/** Samples after which a processor that is followed is taken for gone. */
const LONGEST_TRACE = 16
/** Instructions below which a region without a loop is not made. */
const FEWEST = 8

/** What is to be compiled, and the way that was taken there: addresses of blocks. */
interface HotPlace {
  readonly block: number
  readonly entry: number
  readonly trace: readonly number[]
}

/** The compiling tier. */
export class RegionCompiler implements CodeFollower {
  private readonly code: CodeCache
  private readonly view: DataView
  private readonly makers: () => CompilerMakers
  private readonly settings: CompilerSettings
  private readonly places: HotPlaces
  private readonly leads = new SeenLeads()
  private tracing: BlockTrace | undefined
  private readonly installer: Installer
  /** Regions that wait for others to be compiled with, and samples of them. */
  private waiting: FoundRegion[] = []
  private worth = 0
  private readonly refused = new Map<string, number>()
  private readonly chance: SeededRandom | undefined
  private inRegions = 0
  private visits = 0
  /** Why the host compiles no more, in its words. */
  private refusal: string | undefined

  constructor(parts: CompilerParts) {
    const { settings } = parts
    this.code = parts.code
    this.view = parts.memory.view
    this.makers = parts.makers
    this.settings = settings
    this.places = new HotPlaces(settings.samples)
    this.installer = new Installer({ ...parts, makers: this.makers, mostModules: settings.modules, now: settings.now ?? (() => 0) })
    this.chance = settings.drop === undefined ? undefined : new SeededRandom(settings.drop.seed)
    this.code.follow(this)
  }

  /** Instructions from one sample to the next. */
  get slice(): number {
    return this.settings.slice
  }

  /** Generated code has come back; true when it left a region on the way. */
  noteReturn({ registers: { view, base } }: SampledCore): boolean {
    if (State.exitRecord.get(view, base) === 0) return false
    this.visits += 1
    return true
  }

  /**
   * Takes a sample: the processor's slice has ended before the block in State.record. Instructions until the next one: at
   * least as many as the block has.
   */
  sample(core: SampledCore, samples: Samples): number {
    const { view, base } = core.registers
    this.places.now += 1
    if (this.chance !== undefined) this.dropByChance(this.chance)
    const block = this.code.fronts.behind(State.record.get(view, base))
    const live = this.liveAt(core, block)
    const left = this.takeLead(core)
    const rip = core.registers.linearRip
    samples.add(live === undefined ? rip : live.entry, live === undefined ? 'interpreted' : 'compiled')
    if (live !== undefined) {
      this.inRegions += 1
      live.samples += 1
      live.lastSample = this.places.now
    }
    if (this.refusal === undefined) this.compileHot(core, live === undefined ? block : 0, left)
    const count = view.getUint32(block + BLOCK.count, true)
    if (this.isTracing(core)) {
      this.tracing!.note(rip)
      return count
    }
    // Slices that end at one block of a loop for ever would never end where it can be compiled.
    return Math.max(this.settings.slice + (this.places.isRefused(block) ? count : 0), count)
  }

  /** Whether the blocks of a processor are followed one by one: then `trace` is asked in place of `sample`. */
  isTracing(core: SampledCore): boolean {
    return this.tracing?.core === core
  }

  /** A processor that is followed has executed a block. Instructions until it is to come back: those of the next one, or of a slice. */
  trace(core: SampledCore): number {
    const { view, base } = core.registers
    const count = view.getUint32(this.code.fronts.behind(State.record.get(view, base)) + BLOCK.count, true)
    const { tracing } = this
    if (tracing?.note(core.registers.linearRip) !== true) return count
    this.tracing = undefined
    this.unlessRefused(() => {
      this.add(core, { ...tracing.start, trace: tracing.blocks })
      if (this.isDue()) this.compile()
    })
    return Math.max(this.settings.slice, count)
  }

  /** Compiles the code at a processor's rip, hot or not: what came of it. */
  compileAt(core: SampledCore): 'installed' | Refusal {
    const { linearRip } = core.registers
    const block = this.blockAt(core, linearRip)
    if (block === 0) return 'not-decoded'
    return this.unlessRefused(() => {
      const region = this.regionAt(core, { block, entry: linearRip, trace: [] })
      if (typeof region === 'string') return region
      const isInstalled = this.installer.install([{ region, block }], this.places.now)
      return isInstalled ? 'installed' : this.compileAt(core)
    }) ?? 'host'
  }

  /** Considers a block that the interpreter was at, if any, and a region that is to be made anew, and compiles what is due. */
  private compileHot(core: SampledCore, block: number, again: LiveRegion | undefined): void {
    this.unlessRefused(() => {
      if (again !== undefined && !this.waiting.some((found) => found.block === again.block)) this.beginTrace(core, again.block, again.entry)
      if (block !== 0) this.consider(core, block, core.registers.linearRip)
      if (this.isDue()) this.compile()
    })
  }

  /** What `body` gives; undefined where the host refuses to compile, which is the end of compiling. */
  private unlessRefused<T>(body: () => T): T | undefined {
    try {
      return body()
    } catch (error) {
      if (!(error instanceof HostRefusal)) throw error
      this.refusal = error.message
      this.waiting = []
      return undefined
    }
  }

  /** The region at work: it ended for want of budget, or the slice did at its entry. Counts others' exits. */
  private liveAt(core: SampledCore, block: number): LiveRegion | undefined {
    const { view, base } = core.registers
    const own = this.installer.live.at(block)
    const record = State.exitRecord.get(view, base)
    const left = record === 0 ? undefined : this.installer.live.ofRecord(record)
    if (left === undefined) return own
    const cause = State.exitCause.get(view, base)
    if (cause === BUDGET) return left
    left.leftBy[cause]! += 1
    if (cause === MEMORY) this.noteMissed(left)
    // One that declines here is of no use to whoever maps its code in this way.
    return own === left && cause === MAPPING ? undefined : own
  }

  /** Notes where a region was left for code that it has not; the region if it is to be made anew with that. */
  private takeLead({ registers: { view, base } }: SampledCore): LiveRegion | undefined {
    const times = State.leads.get(view, base)
    State.leads.set(view, base, 0)
    const live = times * RARE_LEADS < this.settings.slice ? undefined : this.installer.live.ofRecord(State.leadRecord.get(view, base))
    if (live === undefined) return undefined
    const { cause, rip } = readExit(State.leadWord.low(view, base), State.leadWord.high(view, base))
    if (cause === 'irreducible') return undefined
    const to = signedFromParts(State.leadTo.low(view, base), State.leadTo.high(view, base))
    return this.leads.note(live.block, { from: live.entry + rip, to }, this.settings.samples * AGAIN) ? live : undefined
  }

  /** A region that is left for memory more often than it works is made anew without windows, once. */
  private noteMissed(left: LiveRegion): void {
    const missed = left.leftBy[MEMORY]!
    if (missed < MOST_MISSED || missed <= left.samples || this.places.isNarrow(left.block)) return
    this.places.noteNarrow(left.block)
    this.installer.drop(left)
  }

  private consider(core: SampledCore, block: number, rip: number): void {
    if (this.waiting.some(({ region }) => covers(region, rip))) {
      this.worth += 1
      return
    }
    const mfn = this.view.getUint32(block + BLOCK.physical, true) >>> PAGE_SHIFT
    if (!this.places.count(block, mfn)) return
    this.places.forget(block)
    this.beginTrace(core, block, rip)
  }

  /** Follows a processor before a block is compiled; who has not come by for long is followed no more. */
  private beginTrace(core: SampledCore, block: number, entry: number): void {
    const { now } = this.places
    if (this.tracing !== undefined && now - this.tracing.start.since < LONGEST_TRACE) return
    const length = traceLength(this.settings.samples * this.settings.slice)
    if (length === 0) this.add(core, { block, entry, trace: [] })
    else this.tracing = new BlockTrace(core, { block, entry, since: now, length })
  }

  /** Has a place wait for others to be compiled with. */
  private add(core: SampledCore, place: HotPlace): void {
    const { block, entry, trace } = place
    const isThere = this.blockAt(core, entry) === block
    // The way led to where that code is not mapped, or is another by now: it is hot again, or it is not.
    if (!isThere && trace.length > 0) return
    const found = isThere ? this.foundAt(core, place) : 'not-decoded'
    if (typeof found === 'string') {
      this.refused.set(found, (this.refused.get(found) ?? 0) + 1)
      this.places.refuse(block)
      return
    }
    this.worth += this.settings.samples
    this.waiting.push(found)
  }

  /** What is worth compiling at a hot block; why nothing is. */
  private foundAt(core: SampledCore, place: HotPlace): FoundRegion | Refusal {
    const region = this.regionAt(core, place)
    if (typeof region === 'string') return region
    const found = this.fromLoop(core, region, place.trace) ?? { region, block: place.block }
    const isSmall = found.region.instructions < Math.min(FEWEST, this.settings.limit)
    return isSmall && !hasLoop(found.region) ? 'small' : found
  }

  /**
   * The region from where the jump that a region begins with leads back to, if that has no region yet: begun at the jump, each
   * round would have to ask what set the flags.
   */
  private fromLoop(core: SampledCore, { entry, blocks }: Region, trace: readonly number[]): FoundRegion | undefined {
    const first = blocks[0]
    if (first?.needsFlags !== true || first.target === undefined || first.target >= entry) return undefined
    const { target } = first
    const block = this.blockAt(core, target)
    if (block === 0 || this.installer.live.at(block) !== undefined) return undefined
    const region = this.regionAt(core, { block, entry: target, trace })
    return typeof region === 'string' || !covers(region, entry) ? undefined : { region, block }
  }

  private isDue(): boolean {
    const { length } = this.waiting
    return length >= this.settings.batch || (length > 0 && this.worth * this.settings.slice >= WORTH)
  }

  private compile(): void {
    const found = this.waiting
    this.waiting = []
    this.worth = 0
    // Where there was no room, there is now, and what is still hot will be sampled again.
    this.installer.install(found, this.places.now)
  }

  /** The decoded block at a linear address; 0 where there is none, or one that goes on in the next page. */
  private blockAt(core: SampledCore, rip: number): number {
    const host = core.memory.peek(rip, ACCESS.EXECUTE)
    return host === 0 ? 0 : this.code.blockAt(host, State.mode.get(core.registers.view, core.registers.base))
  }

  /** The region at an address, where that block was decoded. */
  private regionAt(core: SampledCore, { block, entry, trace }: HotPlace): Region | Refusal {
    const { view, base } = core.registers
    const mode = State.mode.get(view, base)
    const source: CodeSource = {
      mode,
      hostOf: (linear) => core.memory.peek(linear, ACCESS.EXECUTE),
      blockAt: (host) => this.code.blockAt(host, mode),
    }
    const { limit } = this.settings
    const region = this.makers().find(source, { entry, limit, trace, traced: limit * TRACED, leads: this.leads })
    return typeof region === 'string' || !this.places.isNarrow(block) ? region : { ...region, windows: 'narrow' }
  }

  private dropByChance(chance: SeededRandom): void {
    const { oneIn } = this.settings.drop!
    for (const live of [...this.installer.live.all()]) if (below(chance, oneIn) === 0) this.installer.drop(live)
  }

  codeDropped(mfn: number): void {
    const lost = this.installer.live.inFrame(mfn)
    for (const live of lost) this.installer.drop(live)
    const stays = this.waiting.filter(({ region }) => region.pages.every(({ host }) => host >>> PAGE_SHIFT !== mfn))
    if (lost.length > 0 || stays.length < this.waiting.length) this.places.noteWritten(mfn)
    this.waiting = stays
  }

  codeCleared(): void {
    this.installer.forgetAll()
    this.waiting = []
    this.tracing = undefined
    this.places.clear()
    this.leads.clear()
  }

  /** The regions that there are, the most sampled first. */
  regions(): RegionProfile[] {
    const regions = [...this.installer.live.all()].map(({ entry, instructions, codeBytes, samples, leftBy }) => ({
      entry, instructions, codeBytes, samples,
      exits: Object.fromEntries(EXIT_CAUSES.map((cause, index) => [cause, leftBy[index]!] as const).filter(([, count]) => count > 0)),
    }))
    return regions.sort((one, other) => other.samples - one.samples)
  }

  /** What has been done so far. */
  figures(): CompilerFigures {
    const { live, done } = this.installer
    let instructions = 0
    for (const region of live.all()) instructions += region.instructions
    return {
      samples: this.places.now, samplesInRegions: this.inRegions, visits: this.visits,
      regions: live.count, made: done.regions, dropped: done.dropped, refused: Object.fromEntries(this.refused),
      modules: live.moduleCount, modulesMade: done.modules, instructions, moduleBytes: live.moduleBytes,
      codeBytes: this.code.bytes, frontBytes: this.code.fronts.bytes, writing: done.writing, compiling: done.compiling,
      ...(this.refusal === undefined ? {} : { refusedByHost: this.refusal }),
    }
  }
}

/** True when some way through a region comes back to where it has been. */
function hasLoop({ blocks }: Region): boolean {
  const behind = (block: RegionBlock): RegionBlock[] =>
    blocks.filter(({ rip }) => rip === block.target || (rip === block.next && FALLS_THROUGH.has(block.end)))
  return blocks.some((block) => {
    const reached = new Set(behind(block))
    for (const one of reached) for (const next of behind(one)) reached.add(next)
    return reached.has(block)
  })
}

/** True when an address lies at the beginning of one of a region's basic blocks. */
const covers = (region: Region, rip: number): boolean => region.blocks.some((block) => block.rip === rip)

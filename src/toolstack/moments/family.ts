/**
 * The moments of one host and of all that branched from it: their pages in one pool, within a limit, and machines of
 * branches that are gone, which hold most of the next branch's pages already, brought to where the next one most likely begins, with
 * all of a host that is below what its user sees.
 */
import type { GuestProgram } from '../../guest/index.ts'
import { PagePool, type PageIndex } from '../../machine/index.ts'
import { hashParts, isInstance, settle, XenError, type Part, type SavedTree } from '../../util/index.ts'
import type { HostFrame } from '../boot/boot-host.ts'
import { machineFor } from '../boot/ground.ts'
import type { ResolvedHostOptions } from '../boot/host-options.ts'
import { GroundImages, type GroundImage } from './ground-images.ts'
import { DEFLATE } from '../moment-file/compression.ts'
import type { FileContent } from '../moment-file/content.ts'
import { writeMomentFile } from '../moment-file/write-moment.ts'
import type { ByteOutput } from '../stream/index.ts'
import { Moment, momentOf, MOST_SPARE, type BranchOptions, type MomentFacts, type MomentKeeper, type MomentSaveOptions } from './moment.ts'

/** What a moment is made of. */
export interface Kept {
  readonly ground: GroundImage
  /** All parts but memory and frame table. */
  readonly tree: SavedTree
  /** Programs of the guests in TypeScript, by domain. */
  readonly programs: ReadonlyMap<number, GuestProgram>
  readonly options: ResolvedHostOptions
  /** What disks that lie outside were known by, by how each is opened; of a file nothing is known. */
  readonly stamps: ReadonlyMap<string, string>
  /** False for what came from a file, until a host has been stood up from it. */
  trusted: boolean
}

/** A host that is loaded with a moment up to dom0, and stands: what is left of a branch is what its user sees. */
export interface Ahead {
  readonly frame: HostFrame
  /** Its parts up to dom0. */
  readonly lower: readonly Part[]
  /** Lets it run. */
  readonly goOn: Promise<() => void>
}

/** Makes the hosts of branches. */
export interface Brancher<H> {
  branch(moment: Moment<H>, kept: Kept, options: BranchOptions, family: Family<H>): Promise<H>
  /** Makes what a branch begins as, on a ground that has been brought to a moment which is trusted. */
  ahead(kept: Kept, images: GroundImages): Ahead
}

const PAGES_PER_MEBIBYTE = 256

/** A ground for a branch to come. `made`: it is at this moment, with what a branch of it with no options but a seed begins as. */
interface Spare {
  readonly images: GroundImages
  made?: { readonly of: Kept; readonly ahead: Ahead } | undefined
}

/** Keeps moments. */
export class Family<H> implements MomentKeeper<H> {
  readonly pool = new PagePool()
  private readonly options: ResolvedHostOptions['moments']
  private readonly brancher: Brancher<H>
  /** In the order in which they were taken. */
  private readonly kept = new Map<Moment<H>, Kept>()
  private readonly spare: Spare[] = []

  constructor(options: ResolvedHostOptions['moments'], brancher: Brancher<H>) {
    this.options = options
    this.brancher = brancher
  }

  /** Moments that there are, in the order in which they were taken. */
  list(): readonly Moment<H>[] {
    return [...this.kept.keys()]
  }

  /**
   * Captures an image within the limit: moments make room for it, where the rule allows that. Throws OUT_OF_MEMORY, and
   * nothing has changed.
   */
  capture(images: GroundImages, silent: Uint32Array): GroundImage {
    for (;;) {
      const limit = this.options.memory * PAGES_PER_MEBIBYTE
      const ground = images.capture({ silent, room: Math.max(0, limit - this.pool.pages) })
      if (ground !== undefined) return ground
      // Machines for branches to come hold pages, too.
      const unused = this.spare.pop()
      if (unused !== undefined) unused.images.end()
      else if (!this.evict()) {
        const details = { limit: this.options.memory, held: Math.round(this.pool.pages / PAGES_PER_MEBIBYTE), moments: this.kept.size }
        throw new XenError('OUT_OF_MEMORY', `moments may take ${details.limit} MiB, and ${details.moments} of them have ${details.held}`, { details })
      }
    }
  }

  /** Keeps a moment. */
  keep(facts: MomentFacts<H>, kept: Kept): Moment<H> {
    const moment = momentOf<H>(this, facts)
    this.kept.set(moment, kept)
    return moment
  }

  /**
   * Makes the machines ready that branches of a host's first moment take: most of what the first would cost is memory that the process has
   * not touched before. Where there is none to be had, the branch is who finds out.
   */
  makeReady(moment: Moment<H>): void {
    const { ready } = this.options
    if (ready === 0 || this.kept.size > 1 || this.spare.length > 0) return
    try {
      this.prepare(moment, ready)
    } catch (error) {
      if (!XenError.is(error, 'OUT_OF_MEMORY')) throw error
    }
  }

  /** What a moment is made of. Throws CLOSED for one that is gone, and INVALID_ARGUMENT for one of other hosts. */
  find(moment: Moment<H>): Kept {
    const kept = this.kept.get(moment)
    if (kept !== undefined) return kept
    if (!isInstance(moment, Moment) || !moment.isOf(this)) {
      throw new XenError('INVALID_ARGUMENT', 'the moment is none of this host, nor of one that it shares moments with', { details: { moment } })
    }
    throw new XenError('CLOSED', 'the moment does not exist any more', { details: { label: moment.label } })
  }

  /** True where the machine of a host that is gone is kept. */
  get keepsMachines(): boolean {
    return this.kept.size > 0 && this.spare.length < MOST_SPARE
  }

  /** The ground of a host that is gone, for the next branch: most likely one of the moment that it has been at last. */
  recycle(images: GroundImages, moment?: Moment<H>): void {
    if (!this.keepsMachines) return images.end()
    const spare: Spare = { images }
    this.spare.push(spare)
    const kept = moment && this.kept.get(moment)
    if (kept !== undefined) this.makeAhead(spare, kept)
  }

  /** Brings a ground to a moment, and makes what a branch begins as. Of a file nothing is, until a host has been stood up from it. */
  private makeAhead(spare: Spare, kept: Kept): void {
    const { images } = spare
    const { ground, options, trusted, tree } = kept
    spare.made = undefined
    images.restore(ground, NONE)
    // The wall does not wait.
    if (!trusted || options.clock !== 'virtual') return
    settle(tree)
    spare.made = { of: kept, ahead: this.brancher.ahead(kept, images) }
  }

  /**
   * A ground of its own for another host, brought to a moment: one that a branch before had, where there is one; and what has been made on it,
   * where that is wanted and is there.
   */
  takeGround(kept: Kept, { wantsAhead }: { readonly wantsAhead: boolean }): { readonly images: GroundImages; readonly ahead: Ahead | undefined } {
    const ready = this.spare.findIndex(({ made }) => made?.of === kept)
    const [{ images, made } = { images: new GroundImages(machineFor(kept.options), this.pool), made: undefined }] = this.spare.splice(ready, 1)
    const ahead = made?.of === kept && wantsAhead ? made.ahead : undefined
    // Nobody writes there meanwhile; who does all the same is not heard. The processors of what has been made stay.
    if (ahead === undefined) images.restore(kept.ground, NONE)
    else images.rewind(kept.ground, NONE)
    return { images, ahead }
  }

  // As moments see it

  /** Brings so many machines to a moment, which are made where there are fewer; the next branches take them. */
  prepare(moment: Moment<H>, count: number): void {
    const kept = this.find(moment)
    while (this.spare.length < count) this.spare.push({ images: new GroundImages(machineFor(kept.options), this.pool) })
    for (const spare of this.spare.slice(-count)) {
      if (spare.made?.of !== kept) this.makeAhead(spare, kept)
      spare.images.machine.prepare()
    }
  }

  isKept(moment: Moment<H>): boolean {
    return this.kept.has(moment)
  }

  childrenOf(moment: Moment<H>): readonly Moment<H>[] {
    return this.list().filter(({ parent }) => parent === moment)
  }

  branch(moment: Moment<H>, options: BranchOptions): Promise<H> {
    const kept = this.find(moment)
    // Nobody else has it.
    settle(kept.tree)
    return this.brancher.branch(moment, kept, options, this)
  }

  hashes(moment: Moment<H>): Readonly<Record<string, string>> {
    const { ground, tree } = this.find(moment)
    return hashesOf(ground, tree)
  }

  memoryOf(moment: Moment<H>): PageIndex {
    return this.find(moment).ground.memory.pages
  }

  save(moment: Moment<H>, target: ByteOutput, { compression = DEFLATE, apart }: MomentSaveOptions): Promise<void> {
    const { ground, tree, options } = this.find(moment)
    // It may be disposed of meanwhile.
    const held = ground.share()
    const { memory, rows } = held
    const head = { label: moment.label, time: moment.time, options: plainOptions(options), pages: memory.pages.length, rows: rows.length }
    const facts = { silent: memory.silent, handedOut: memory.handedOut, clean: memory.clean }
    return writeMomentFile(target, { head, memory: memory.pages, rows, facts, tree }, { pool: this.pool, compression, apart }).finally(() => held.release())
  }

  /**
   * Takes in what was read of a file into its pool, with a machine that a branch of it will have; what of it is still in the file is read into that one.
   * Rejects with INVALID_STATE, and with INVALID_STREAM and IO where it is.
   */
  async adopt({ head, memory, rows, facts, tree, held }: FileContent, more: Pick<Kept, 'options' | 'programs' | 'trusted'>): Promise<Moment<H>> {
    const images = new GroundImages(machineFor(more.options), this.pool)
    const ground = images.adopt({ pages: memory, ...facts }, rows)
    const filled = held?.fill(images.machine.memory)
    // Whatever it takes to read, processors take a while, too.
    if (filled !== undefined) images.machine.prepare()
    try {
      await filled
    } catch (error) {
      ground.release()
      images.end()
      throw error
    }
    if (filled !== undefined) images.restoreFilled(ground)
    this.spare.push({ images })
    return this.keep({ label: head.label, time: head.time, parent: undefined, newPages: ground.newPages, written: new Uint32Array(0) }, { ground, tree, stamps: new Map(), ...more })
  }

  dispose(moment: Moment<H>): void {
    const kept = this.kept.get(moment)
    if (kept === undefined) return
    this.kept.delete(moment)
    kept.ground.release()
    for (const spare of this.spare) if (spare.made?.of === kept) spare.made = undefined
    if (this.kept.size === 0) for (const { images } of this.spare.splice(0)) images.end()
  }

  /** Lets the oldest moment without a label go, where moments may be; false where there is none. */
  private evict(): boolean {
    if (this.options.whenFull !== 'evict') return false
    const oldest = this.list().find(({ label }) => label === undefined)
    if (oldest === undefined) return false
    this.dispose(oldest)
    return true
  }
}

const NONE = /* @__PURE__ */ new Uint32Array(0)

/** A hash of each part: those of the tree, memory, and the frame table by the name that it has in a hypervisor. */
export function hashesOf(ground: GroundImage, tree: SavedTree): Readonly<Record<string, string>> {
  const { memory, frames } = ground.hashes()
  return { ...hashParts(tree), memory, 'hypervisor.frames': frames }
}

/** What a host was booted with, as far as a file can say it; the rest is given by whoever reads the file. */
function plainOptions({ dom0, memory, dom0Memory, grubConf, clock, seed, instructionsPerSecond, cpu, cpus, bootTime }: ResolvedHostOptions): object {
  // Which kernel it was lies in its memory.
  const own = dom0 === undefined ? {} : { dom0: { memory: dom0.memory, vcpus: dom0.vcpus } }
  return { ...own, memory, dom0Memory, grubConf, clock, seed, instructionsPerSecond, cpu, cpus, bootTime: bootTime.getTime() }
}

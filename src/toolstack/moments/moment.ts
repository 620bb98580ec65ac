/**
 * A moment: a whole host as it stood between two instructions, which never changes. What it is made of lies with its keeper;
 * this is what users hold.
 */
import { record, byteArray, checkArgument, checkOptions, having, listOf, oneOf, shown, whole, XenError } from '../../util/index.ts'
import type { PageIndex } from '../../machine/index.ts'
import type { Compression } from '../moment-file/compression.ts'
import type { HostInterference } from '../run/host-interference.ts'
import { byteOutput, type ByteOutput } from '../stream/index.ts'

/** A moment among those that came of it. */
export interface MomentTree<H> {
  readonly moment: Moment<H>
  readonly children: readonly MomentTree<H>[]
}

/** How a branch begins. */
export interface BranchOptions {
  /** Everything random goes on from here, in host and guests, instead of from where it was. */
  readonly seed?: number | undefined
  /** `'realtime'`: time follows the wall from here on, as for somebody at a terminal; an idle host waits. Default: as the moment's host. */
  readonly clock?: 'virtual' | 'realtime' | undefined
  /** What comes between the parts of the branch, for tests; a branch has none of its moment's host. */
  readonly interference?: HostInterference | undefined
}

/** How a moment is written. */
export interface MomentSaveOptions {
  /** How it is packed. Default: `DEFLATE`, which every platform has. */
  readonly compression?: Compression | undefined
  /**
   * Bytes that the file leaves out and names by their SHA-256, because whoever reads it has them and gives them again: kernels and
   * ramdisks, half of what a packed file would be. Default: none.
   */
  readonly apart?: readonly Uint8Array[] | undefined
}

/** Facts of a moment. */
export interface MomentFacts<H> {
  /** Pages that were copied for it. */
  readonly newPages: number
  /** Frames that may have been written since the parent, ascending. */
  readonly written: Uint32Array
  readonly label: string | undefined
  /** Host time in nanoseconds. */
  readonly time: number
  /** The moment that the host had come from last. */
  readonly parent: Moment<H> | undefined
}

/** In what two moments differ. */
export interface MomentDifference {
  /** Paths of parts, as `host.stateHash()` names them, ascending. */
  readonly parts: readonly string[]
  /** Frames of memory, ascending; the first of very many. */
  readonly frames: readonly number[]
}

/** Machines of branches that are gone, or were prepared, which are kept for the next ones. */
export const MOST_SPARE = 4

/** Who keeps moments. */
export interface MomentKeeper<H> {
  prepare(moment: Moment<H>, count: number): void
  isKept(moment: Moment<H>): boolean
  childrenOf(moment: Moment<H>): readonly Moment<H>[]
  branch(moment: Moment<H>, options: BranchOptions): Promise<H>
  hashes(moment: Moment<H>): Readonly<Record<string, string>>
  memoryOf(moment: Moment<H>): PageIndex
  save(moment: Moment<H>, target: ByteOutput, options: MomentSaveOptions): Promise<void>
  dispose(moment: Moment<H>): void
}

/** Makes a moment; not published. */
export let momentOf: <H>(keeper: MomentKeeper<H>, facts: MomentFacts<H>) => Moment<H>

/** A host as it stood. */
export class Moment<H> {
  /** What it was called when it was taken. */
  readonly label: string | undefined
  /** Host time in nanoseconds at which the host stood. */
  readonly time: number
  /** The moment that its host had been taken at, or brought back to, last before; undefined for the first. */
  readonly parent: Moment<H> | undefined
  /** Pages of 4 KiB that were copied for it; the others it shares. */
  readonly newPages: number
  /** Frames that may have been written since its parent, whatever they hold, ascending; all that there are of a first moment. A frame that is not among them was not. */
  readonly written: Uint32Array
  private readonly keeper: MomentKeeper<H>

  static {
    momentOf = (keeper, facts) => new Moment(keeper, facts)
  }

  private constructor(keeper: MomentKeeper<H>, { label, time, parent, newPages, written }: MomentFacts<H>) {
    this.newPages = newPages
    this.written = written
    this.keeper = keeper
    this.label = label
    this.time = time
    this.parent = parent
  }

  /** False once it was disposed of, or had to make room for newer ones. */
  get exists(): boolean {
    return this.keeper.isKept(this)
  }

  /** True where it was this keeper's, whether it exists or not. */
  isOf(keeper: object): boolean {
    return this.keeper === keeper
  }

  /** It and the moments that came of it and exist. */
  tree(): MomentTree<H> {
    return { moment: this, children: this.keeper.childrenOf(this).map((child) => child.tree()) }
  }

  /**
   * A new host that goes on from here, with memory of its own: nothing that it does reaches the host that the moment was
   * taken of, nor a file. Rejects with CLOSED for a moment that does not exist any more.
   *
   * @example
   * const [left, right] = await Promise.all([moment.branch({ seed: 1 }), moment.branch({ seed: 2 })])
   */
  async branch(options: BranchOptions = {}): Promise<H> {
    checkOptions('branch', options, { seed: whole(0, 0xffff_ffff), clock: oneOf('virtual', 'realtime'), interference: record })
    this.check('branch')
    return this.keeper.branch(this, options)
  }

  /**
   * Makes machines ahead for the next `count` branches, at most 4, which then need not copy the moment's memory: most of what a branch
   * costs where none before it has left its machine. Each takes a host's memory until a branch takes it or the last moment goes.
   * Throws CLOSED.
   *
   * @example
   * moment.prepare(2)
   * const [left, right] = await Promise.all([moment.branch({ seed: 1 }), moment.branch({ seed: 2 })])
   */
  prepare(count = 1): void {
    checkArgument('the number of machines', count, whole(1, MOST_SPARE))
    this.check('prepare')
    this.keeper.prepare(this, count)
  }

  /** A hash of each part by the part's path, as `host.stateHash()` gives them. Throws CLOSED. */
  hashes(): Readonly<Record<string, string>> {
    this.check('hashes')
    return this.keeper.hashes(this)
  }

  /**
   * In what another moment, of this host or of any, differs: the parts, and the frames of memory, so that what was not the same in
   * two runs has a name. Throws CLOSED.
   */
  differences(other: Moment<H>, options: { readonly most?: number } = {}): MomentDifference {
    checkArgument('the other moment', other, (value) => (value instanceof Moment ? undefined : `must be a moment, got ${shown(value)}`))
    checkOptions('differences', options, { most: whole(0, 2 ** 32) })
    const { most = 16 } = options
    for (const moment of [this, other]) moment.check('differences')
    const [own, theirs] = [this.hashes(), other.hashes()]
    const parts = [...new Set([...Object.keys(own), ...Object.keys(theirs)])].filter((part) => own[part] !== theirs[part]).sort()
    return { parts, frames: this.keeper.memoryOf(this).differences(other.keeper.memoryOf(other), most) }
  }

  /**
   * Writes it as a file, from which `Host.loadMoment` makes it again, in this process or another; see docs/moment-format.md. Rejects
   * with CLOSED, and with IO when the target does not take it.
   */
  async save(target: ByteOutput, options: MomentSaveOptions = {}): Promise<void> {
    checkOptions('save', options, { compression: having('pack', 'unpack'), apart: listOf(byteArray) })
    this.check('save')
    checkArgument('the target of save', target, byteOutput)
    return this.keeper.save(this, target, options)
  }

  /** Lets it go with what it alone keeps; hosts and moments that came of it stay. */
  dispose(): void {
    this.keeper.dispose(this)
  }

  /** What is shown where it is printed: not what it keeps. */
  toJSON(): { readonly label: string | undefined; readonly time: number; readonly exists: boolean } {
    return { label: this.label, time: this.time, exists: this.exists }
  }

  /** The same for Node's `console.log`. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Moment ${JSON.stringify(this)}`
  }

  /** The same, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  private check(call: string): void {
    if (!this.exists) throw new XenError('CLOSED', `${call} of a moment that does not exist any more`, { details: { label: this.label } })
  }
}

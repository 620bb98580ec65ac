/**
 * Moments of one host: it is checkpointed while nothing is under way in it, and brought back to one. Where the same domains, ports
 * and devices are there, each part that has changed is brought back in place, and what its users hold goes on with it; where not, the
 * host is stood up anew, and what they held - domains, consoles, the store, ports of bridges - is closed: it rejects with CLOSED, and
 * the host gives new ones. What was awaited rejects with CLOSED either way.
 */
import type { GuestProgram } from '../../guest/index.ts'
import { abortSignal, checkOptions, onceFor, text, XenError, type Part, type Rewind, type SavedTree, tryRead } from '../../util/index.ts'
import { frameOn, type HostParts } from '../boot/boot-host.ts'
import type { ClockKind, ResolvedHostOptions } from '../boot/host-options.ts'
import { hashesOf, type Ahead, type Family, type Kept } from '../moments/family.ts'
import { GroundImages } from '../moments/ground-images.ts'
import type { BranchOptions, Moment } from '../moments/moment.ts'
import { reseeded } from '../moments/reseed.ts'
import type { Operation, OperationContext, OperationOptions } from '../run/operation.ts'
import { turn } from '../run/run-loop.ts'
import type { Guests } from './guests.ts'
import { hostTree, lowerPartsOnImage, upperParts, whileQuiet, type HostInsides } from './host-state.ts'
import { checkContents, openedBefore } from './reopen.ts'
import { retire } from './retire.ts'
import { standUp, standUpLower, standUpUpper } from './stand-up.ts'
import type { ToolstackState } from './toolstack-state.ts'

/** How a moment is taken. */
export interface CheckpointOptions {
  /** What it is called. A moment with a label makes room for no other. */
  readonly label?: string | undefined
}

/** Steps of taking a moment. */
export type CheckpointProgress =
  /** The host stands, and nothing is under way in it. */
  | { readonly type: 'standing'; readonly time: number }
  /** The moment is there. */
  | { readonly type: 'taken'; readonly newPages: number }

/** The host as its moments see it. */
export interface MomentSeat {
  insides(): HostInsides
  /** Goes on as what was stood up. */
  install(parts: HostParts): Guests
}

/** Turns of JavaScript that stores are given to answer what they were asked, before a host is brought back. */
const TURNS = 1000

/** Moments of one host; `H` is what its users hold. */
export class HostMoments<H> {
  private readonly seat: MomentSeat
  private readonly family: Family<H>
  private images: GroundImages | undefined
  private current: Moment<H> | undefined
  /** What its parts were when they were saved or brought back last. */
  private tree: SavedTree | undefined
  /** What the host was booted with, whatever it was brought back with. */
  private options: Kept['options'] | undefined
  private isMoving = false
  /** Frames that were written since the host was at a moment, as far as a look at hashes has taken note of them. */
  private readonly written = new Set<number>()

  /** `branched`: the ground of a host that is a branch, and where it comes from. */
  constructor(seat: MomentSeat, family: Family<H>, branched?: { readonly images: GroundImages; readonly moment: Moment<H> }) {
    this.seat = seat
    this.family = family
    this.images = branched?.images
    this.current = branched?.moment
  }

  /** Takes a moment at the next at which nothing is under way. Rejects with BUSY, NOT_SUPPORTED, OUT_OF_MEMORY. */
  checkpoint(options: CheckpointOptions & OperationOptions, onTaken: (moment: Moment<H>) => void): Operation<Moment<H>, CheckpointProgress> {
    const insides = this.seat.insides()
    const check = (): void => checkOptions('checkpoint', options, { label: text, signal: abortSignal })
    const settings = { name: 'a checkpoint', signal: tryRead(() => options?.signal), isApart: true, check }
    return insides.guests.operations.start<Moment<H>, CheckpointProgress>(settings, async (context) => {
      const moment = await this.take(insides, options, context)
      onTaken(moment)
      return moment
    })
  }

  private take(insides: HostInsides, { label }: CheckpointOptions, context: OperationContext<CheckpointProgress>): Promise<Moment<H>> {
    return this.alone('a checkpoint', () => whileQuiet(insides, () => {
      const { parts } = insides
      context.report({ type: 'standing', time: parts.clock.now() })
      // What follows happens at once, and either wholly or not at all.
      context.commit()
      this.images ??= new GroundImages(parts.machine, this.family.pool, parts.control.frameRows)
      insides.guests.devices.holdOutside()
      const tree = this.treeOf(insides)
      const ground = this.family.capture(this.images, silentFrames(parts))
      const kept: Kept = { ground, tree, programs: programsOf(insides), options: this.options ?? parts.options, stamps: insides.guests.devices.stamps(), trusted: true }
      this.current = this.family.keep({ label, time: parts.clock.now(), parent: this.current, newPages: ground.newPages, written: this.writtenSince() }, kept)
      this.family.makeReady(this.current)
      context.report({ type: 'taken', newPages: ground.newPages })
      return this.current
    }, context.check))
  }

  /** Frames that were written since the host was at a moment, over looks at hashes between. */
  private writtenSince(): Uint32Array {
    const now = this.images?.written ?? new Uint32Array(0)
    if (this.written.size === 0) return now
    const all = new Set([...this.written, ...now])
    this.written.clear()
    return Uint32Array.from(all).sort()
  }

  /** All parts; what is as it was at the last moment is kept once. */
  private treeOf(insides: HostInsides): SavedTree {
    // A tree saves a tree.
    this.tree = wholeTree(insides).save(this.tree) as SavedTree
    return this.tree
  }

  /** A hash of each part at the next moment at which nothing is under way; of memory only what was written since the last is looked at. */
  async hashes(): Promise<Readonly<Record<string, string>>> {
    const insides = this.seat.insides()
    return whileQuiet(insides, () => {
      const { parts } = insides
      this.images ??= new GroundImages(parts.machine, this.family.pool, parts.control.frameRows)
      // There is room for anything.
      const ground = this.images.capture({ silent: silentFrames(parts), room: Infinity })!
      for (const frame of this.images.written) this.written.add(frame)
      const hashes = hashesOf(ground, this.treeOf(insides))
      ground.release()
      return hashes
    })
  }

  /** Brings the host back. Rejects with BUSY, CLOSED, INVALID_ARGUMENT; then it goes on as it was. */
  async reset(moment: Moment<H>): Promise<void> {
    const kept = this.family.find(moment)
    return this.alone('a reset', async () => {
      const insides = this.seat.insides()
      const { images } = this
      if (images === undefined) throw new XenError('INVALID_ARGUMENT', 'the host has no moment yet')
      const goBack = await stand(insides)
      const rewinds = kept.trusted ? this.rewindsTo(kept, insides, goBack) : undefined
      if (rewinds !== undefined) {
        this.rewind(kept, { images, rewinds })
        this.current = moment
        this.tree = kept.tree
        this.written.clear()
        return goBack()
      }
      const options = await openedBefore(kept).catch((error: unknown) => {
        goBack()
        throw error
      })
      this.options = kept.options
      retire(insides, new XenError('CLOSED', 'the host was brought back to a moment: ask it anew'))
      images.restore(kept.ground, silentFrames(insides.parts))
      const goOn = await standUpOn({ ...kept, options }, { images, interference: insides.parts.options.interference }, (parts) => this.seat.install(parts))
      await insides.guests.devices.releaseOutside(this.seat.insides().guests.devices.outside())
      this.current = moment
      this.tree = kept.tree
      this.written.clear()
      goOn()
    })
  }

  /** What brings the host back in place; undefined where it has to be stood up anew. Throws INVALID_STATE, and the host goes on. */
  private rewindsTo(kept: Kept, insides: HostInsides, goBack: () => void): readonly Rewind[] | undefined {
    try {
      const rewinds = rewindsOf(insides, kept.tree)
      if (rewinds !== undefined && kept.stamps.size > 0) checkContents(kept, insides.guests.devices.stamps())
      return rewinds
    } catch (error) {
      goBack()
      throw error
    }
  }

  /** Brings back in place what has changed since, as long as all of it can be. */
  private rewind({ ground, tree, options }: Kept, { images, rewinds }: { readonly images: GroundImages; readonly rewinds: readonly Rewind[] }): void {
    const { parts, guests } = this.seat.insides()
    images.rewind(ground, silentNow(parts))
    for (const rewind of rewinds) rewind()
    // What is trusted is a toolstack's state.
    guests.rewound((tree.parts['toolstack'] as { readonly state: ToolstackState }).state)
    parts.loop.dismiss('was brought back to a moment')
    this.options = options
  }

  /** True where the machine will be a branch's once the host is gone. */
  get isRecycled(): boolean {
    return this.images !== undefined && this.family.keepsMachines
  }

  /** The host is gone: its machine may be a branch's. */
  end(): void {
    if (this.images === undefined) return
    if (!this.isRecycled) return this.images.end()
    const insides = this.seat.insides()
    const { parts: { machine } } = insides
    for (const mfn of silentFrames(insides.parts)) machine.memory.markWritten(mfn)
    retire(insides, new XenError('CLOSED', 'the host is shut down'))
    machine.endCoverage()
    this.family.recycle(this.images, this.current)
    this.images = undefined
  }

  private async alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    if (this.isMoving) throw new XenError('BUSY', `${what}: a moment of this host is being taken, or it is being brought back to one`)
    this.isMoving = true
    try {
      return await work()
    } finally {
      this.isMoving = false
    }
  }
}

/** A host that follows the wall, where its moment's did not, waits for whoever is at it. */
const patience = ({ clock: before }: ResolvedHostOptions, clock: ClockKind): Partial<ResolvedHostOptions> =>
  clock === 'realtime' && before !== clock ? { idle: Infinity } : {}

/** What a host is made of on a ground that has been brought to its moment, with nothing loaded. */
function frameFor({ programs, tree, trusted }: Kept, images: GroundImages, options: ResolvedHostOptions): Pick<Ahead, 'frame' | 'lower'> {
  const frame = frameOn({ machine: images.machine, before: images.rows }, options)
  for (const [domid, program] of programs) frame.programs.give(domid, program)
  const lower = lowerPartsOnImage(frame, { trusted })
  if (!trusted) hostTree(lower, upperParts(frame, () => { throw new Error('the guests are not there yet') })).check(tree)
  return { frame, lower }
}

/** Stands a host up that a moment is made of, on a ground that has been brought there. Rejects with INVALID_STATE for what came from a file and is no host. */
function standUpOn(
  kept: Kept, { images, seed, clock = kept.options.clock, interference }: { readonly images: GroundImages } & BranchOptions, install: (parts: HostParts) => Guests,
): Promise<() => void> {
  const { frame, lower } = frameFor(kept, images, { ...kept.options, ...patience(kept.options, clock), clock, interference })
  return standUp({ state: stateFrom(kept, seed), frame, lower }, install)
}

const stateFrom = ({ tree }: Kept, seed: number | undefined): SavedTree => (seed === undefined ? tree : reseeded(tree, seed))

/** Makes what a branch begins as, where its options are its moment's. */
export function makeAhead(kept: Kept, images: GroundImages): Ahead {
  const made = frameFor(kept, images, { ...kept.options, interference: undefined })
  return { ...made, goOn: standUpLower({ state: kept.tree, ...made }) }
}

/** Goes on with what was made ahead, from another seed where one is given; undefined where a part of it cannot be brought there. */
async function goOnWith(kept: Kept, { frame, lower, goOn }: Ahead, seed: number | undefined, install: (parts: HostParts) => Guests): Promise<(() => void) | undefined> {
  const state = stateFrom(kept, seed)
  const rewinds = seed === undefined ? [] : lower.map((one) => one.rewind(state.parts[one.name]!))
  if (rewinds.includes(undefined)) return undefined
  for (const rewind of rewinds.flat()) rewind!()
  return standUpUpper({ state, frame: { ...frame, options: { ...kept.options, interference: undefined } }, lower }, await goOn, install)
}

/**
 * Stands a branch up, on a ground of its own: resolves with what lets it run. Rejects with INVALID_STATE for what came from a file and is
 * no host, and where disks outside are others than at the moment.
 */
export async function standUpBranch<H>(
  kept: Kept, { family, options }: { readonly family: Family<H>; readonly options: BranchOptions }, install: (parts: HostParts, images: GroundImages) => Guests,
): Promise<() => void> {
  const wantsAhead = options.interference === undefined && (options.clock === undefined || options.clock === kept.options.clock)
  const { images, ahead } = family.takeGround(kept, { wantsAhead })
  // What came from a file is looked at when it is stood up; what its disks were is not known.
  const opened = !kept.trusted ? kept.options : await openedBefore(kept).catch((error: unknown) => {
    family.recycle(images)
    throw error
  })
  try {
    const own = { ...kept, options: opened }
    const installOn = (parts: HostParts): Guests => install(parts, images)
    const goOn = ahead && await goOnWith(own, ahead, options.seed, installOn)
    if (ahead !== undefined && goOn === undefined) images.restore(kept.ground, new Uint32Array(0))
    const result = goOn ?? await standUpOn(own, { images, ...options }, installOn)
    kept.trusted = true
    return result
  } catch (error) {
    images.end()
    throw error
  }
}

/** Lets nothing run, and stores answer what they were asked; gives what lets it run on. Throws BUSY, and the host goes on. */
async function stand({ parts, guests }: HostInsides): Promise<() => void> {
  const busy = (what: string): XenError => new XenError('BUSY', `the host cannot be brought back now: ${what}`, { details: { what } })
  const operation = guests.underWay()
  if (operation !== undefined) throw busy(operation)
  const goOn = await parts.loop.halt()
  for (let turns = 0; guests.devices.awaited() !== undefined; turns += 1) {
    if (turns >= TURNS) {
      goOn()
      throw busy(guests.devices.awaited() ?? 'a disk')
    }
    await turn()
  }
  return goOn
}

/** The tree of a host's parts, made once for each that is stood up. */
const wholeTree = ({ parts, guests }: HostInsides): Part => treeFor(guests)(parts)
const treeFor = /* @__PURE__ */ onceFor((guests: Guests) =>
  onceFor((parts: HostParts) => hostTree(lowerPartsOnImage(parts, { trusted: true }), upperParts(parts, () => guests))))

/** Frames that are written without a word, in any order, and some more than once. */
function silentNow({ control, plan, programs }: HostParts): readonly number[] {
  const frames = control.silentFrames()
  for (const mfn of plan.silentFrames()) frames.push(mfn)
  for (const mfn of programs.silentFrames()) frames.push(mfn)
  return frames
}

/** Ascending, and each once. */
const silentFrames = (parts: HostParts): Uint32Array => Uint32Array.from(new Set(silentNow(parts))).sort()

function programsOf({ parts, guests }: HostInsides): ReadonlyMap<number, GuestProgram> {
  const programs = new Map<number, GuestProgram>()
  for (const { id, config: { kernel } } of guests.list()) {
    const program = parts.programs.programOf(id) ?? (typeof kernel === 'function' ? kernel : undefined)
    if (program !== undefined) programs.set(id, program)
  }
  return programs
}

/**
 * What brings a host that stands back in place; undefined where it has to be stood up anew: for work in flight, which nothing
 * brings back, for what has come or gone since - domains, devices, connections - and where time follows the wall.
 */
function rewindsOf({ parts, guests }: HostInsides, tree: SavedTree): readonly Rewind[] | undefined {
  const { plan, programs, wall } = parts
  const workers = [guests, guests.devices, plan, programs]
  if (wall !== undefined || plan.unsavable() !== undefined || programs.unsavable() !== undefined) return undefined
  if (workers.some((worker) => worker.underWay() !== undefined)) return undefined
  return wholeTree({ parts, guests }).rewind(tree)
}

/**
 * What a fault of the catalogue is: where it comes between, what it does there, with which parameters, and what a right peer makes of it.
 * The rows are all that there is to know: checks, the injector and docs/faults.md come from them.
 */
import type { FolderEffect, FolderRequestKind, InputEffect, InputFacts, UpdateFacts } from '../../drivers/index.ts'
import type { EventFacts, GrantFacts, HypercallFacts, InterferenceSeat } from '../../hypervisor/index.ts'
import type { Host } from '../../toolstack/index.ts'
import type { Check, Random } from '../../util/index.ts'
import type { StoreIntervention, StoreRequestFacts } from '../../xenstore/index.ts'
import type { FaultParameters } from './fault-spec.ts'

/** A request to a disk. */
export interface DiskFacts {
  readonly domid: number
  readonly disk: string
  readonly kind: 'read' | 'write' | 'flush' | 'discard'
  /** Bytes. */
  readonly offset: number
  readonly length: number
}

/** A message about a folder. */
export interface FolderFacts {
  readonly domid: number
  /** Its tag. */
  readonly folder: string
  readonly kind: FolderRequestKind
}

/** What becomes of a request to a disk. */
export interface DiskEffect {
  /** It fails with this. */
  readonly error?: string
  /** Of a write only so many bytes arrive. */
  readonly arrives?: number
  /** The bit of what was read that is flipped. */
  readonly flip?: number
  /** Nanoseconds by which its answer comes later. */
  readonly delay?: number
}

/** A frame that enters a bridge. */
export interface FrameOpportunity {
  readonly bridge: string
  readonly port: number
  readonly source: string
  readonly destination: string
  readonly length: number
}

/** What becomes of a frame: one forwarding for each delay in nanoseconds, none for one that is lost. */
export interface NetEffect {
  readonly delays: readonly number[]
  /** The bit that is flipped. */
  readonly flip?: number
}

/** A migration that begins. */
export interface MigrationFacts {
  readonly domid: number
}

/** What is at hand at each seam. */
export interface SeamFacts {
  readonly hypercall: HypercallFacts
  readonly event: EventFacts
  readonly grant: GrantFacts
  readonly allocation: { readonly domid: number; readonly frames: number }
  readonly store: StoreRequestFacts
  readonly wait: { readonly domid: number }
  readonly disk: DiskFacts
  readonly net: FrameOpportunity
  readonly folder: FolderFacts
  readonly keyboard: InputFacts
  readonly framebuffer: UpdateFacts
  readonly migration: MigrationFacts
}

/** What a fault makes of it. */
export interface SeamEffects {
  /** The result. */
  readonly hypercall: number
  /** Nanoseconds after which the event is raised, once for each; it may have changed memory before. */
  readonly event: readonly number[]
  /** A GNTST status; undefined lets it go on. */
  readonly grant: number | undefined
  readonly allocation: true
  readonly store: StoreIntervention
  /** Nanoseconds. */
  readonly wait: number
  readonly disk: DiskEffect
  readonly net: NetEffect
  readonly folder: FolderEffect
  readonly keyboard: InputEffect
  readonly framebuffer: true
  /** Bytes behind which the pipe is cut. */
  readonly migration: number
}

/** Name of a seam. */
export type Seam = keyof SeamFacts

/** What a fault has at hand beside the facts. */
export interface FaultContext {
  readonly host: Host
  readonly seat: InterferenceSeat
  /** The rule's own chance. */
  readonly random: Random
  readonly now: number
  /** What the rule keeps between its firings. */
  readonly memory: Map<string, number>
  /** The domain that the rule is about; undefined where it is about none. */
  readonly domid: number | undefined
  /** Does something later, unless the host is gone or was brought back meanwhile. */
  later(nanoseconds: number, act: () => void): void
  /** Clocks of guests, and what keeps XenStore from answering. */
  readonly clocks: {
    /** Moves a domain's clocks by nanoseconds, at another rate, or over a span of time. */
    change(domid: number, change: { readonly by?: number; readonly rate?: number; readonly over?: number }): void
  }
  /** XenStore answers nobody for so long. */
  stopStore(nanoseconds: number): void
}

/** A parameter. */
export interface FaultParameter {
  readonly name: string
  /** What it means and what it may be, for people. */
  readonly text: string
  readonly check: Check
  /** A length of time, given as such and handed to the fault in nanoseconds. */
  readonly isDuration?: true
  /** Where it is left out; without one it has to be given. */
  readonly otherwise?: number | string
  /** May be left out without having a value then. */
  readonly isOptional?: true
}

interface RowBase {
  readonly name: string
  /** The heading that it stands under. */
  readonly family: string
  /** The seam and what it does there, for people. */
  readonly where: string
  readonly parameters: readonly FaultParameter[]
  /** What a right peer makes of it. */
  readonly peer: string
}

/** A fault that comes between at a seam. */
export interface SeamRow<S extends Seam> extends RowBase {
  readonly seam: S
  /** Whether it is an opportunity. Default: each is. */
  accepts?(facts: SeamFacts[S], parameters: FaultParameters, context: FaultContext): boolean
  /** What is done in its place, and what it is called for people. */
  act(facts: SeamFacts[S], parameters: FaultParameters, context: FaultContext): { readonly effect: SeamEffects[S]; readonly text: string }
}

/** A fault that acts by itself, at a host time. */
export interface TimedRow extends RowBase {
  readonly seam: 'time'
  /** What it did, for people; undefined where there was nothing that it could be done to. */
  act(parameters: FaultParameters, context: FaultContext): string | undefined
}

/** A row of the catalogue. */
export type FaultRow = { [S in Seam]: SeamRow<S> }[Seam] | TimedRow

/** Says of a row which seam it is for, so that its functions have their types. */
export const atSeam = <S extends Seam>(seam: S, row: Omit<SeamRow<S>, 'seam'>): SeamRow<S> => ({ ...row, seam })

/** A row that acts by itself. */
export const atTime = (row: Omit<TimedRow, 'seam'>): TimedRow => ({ ...row, seam: 'time' })

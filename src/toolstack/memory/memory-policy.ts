/**
 * Who gives memory up so that a domain can be made: a pure function of how memory lies, that a host's owner may replace. It
 * decides and does nothing; make-room.ts asks it and carries it out.
 * Reference: tools/xl/xl_vmcontrol.c, freemem.
 */
import { checkOptions, whole } from '../../util/index.ts'

/** A domain as a policy sees it, in MiB. */
export interface MemoryDomain {
  readonly domid: number
  readonly name: string
  /** What it has. */
  readonly memory: number
  /** What it is to have. */
  readonly target: number
  /** What it may have at most. */
  readonly maximum: number
  /** It was asked for some before, and has given nothing. */
  readonly refused: boolean
}

/** How a host's memory lies, in MiB. */
export interface MemoryView {
  readonly total: number
  /** What nobody has, and nobody has claimed. */
  readonly free: number
  readonly claimed: number
  /** What is to be free. */
  readonly needed: number
  /** All domains, dom0 first. */
  readonly domains: readonly MemoryDomain[]
}

/** What a domain is to have. */
export interface MemoryChange {
  readonly domid: number
  readonly mebibytes: number
}

/** Says which domains are to have other targets so that there is enough room; undefined where there is no way. */
export type MemoryPolicy = (view: MemoryView) => readonly MemoryChange[] | undefined

/** MiB that dom0 keeps where nobody says anything: what its kernel and back-ends live well with. */
const DOM0_LEAST = 16

/**
 * The usual policy: dom0 gives up what is missing, down to `least` MiB, and guests keep what they have.
 *
 * @example
 * const host = await Host.boot({ autoballoon: true, memoryPolicy: balloonDom0({ least: 32 }) })
 */
export function balloonDom0(options: { readonly least?: number } = {}): MemoryPolicy {
  checkOptions('balloonDom0', options, { least: whole(1, Number.MAX_SAFE_INTEGER) })
  const { least = DOM0_LEAST } = options
  return ({ free, needed, domains }) => {
    const dom0 = domains.find(({ domid }) => domid === 0)
    if (dom0 === undefined || dom0.refused) return undefined
    const mebibytes = Math.floor(dom0.memory - (needed - free))
    return mebibytes >= least ? [{ domid: 0, mebibytes }] : undefined
  }
}

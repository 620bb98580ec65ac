/**
 * The half of a translated domain that its kind of guest owns: where its frames lie in its own numbering, and what its tools
 * set of it as a whole. A domain whose frame numbers are the host's has none.
 */
import type { Part } from '../../util/index.ts'
import type { PhysicalMap } from '../frames/physical-map.ts'

/** A translated domain as its kind keeps it. Numbers that are answered are 0 or more, or negative error numbers. */
export interface GuestDomain {
  readonly physmap: PhysicalMap
  /** Has frames come when they are first asked for, at so many places from one on: 0, -EINVAL, -EBUSY with nothing changed. */
  populateOnDemand(firstGfn: number, count: number): number
  /** How many frames the domain is to have, those that come on demand among them: 0, or -ENOMEM. */
  setOnDemandTarget(pages: number): number
  /**
   * Takes back what the guest gives at one of its numbers, where it need not go to the host: a frame that was still to come, or one
   * that goes to those in store while more are to come. False where it has to be released.
   */
  giveBack(gfn: number): boolean
  /** HVMOP_get_param for tools: the value, or a negative error number. */
  parameter(index: number): bigint | number
  /** HVMOP_set_param for tools. */
  setParameter(index: number, value: bigint): number
  /** XEN_DOMCTL_gethvmcontext. The domain should not run meanwhile. */
  context(): Uint8Array
  /** XEN_DOMCTL_sethvmcontext: brings up the vCPUs whose registers it holds. 0, or -EINVAL with nothing changed. */
  setContext(bytes: Uint8Array): number
  /** Frequency of its time-stamp counters in kHz: its host's, or that of the host that it comes from. */
  readonly tscKilohertz: number
  /** XEN_DOMCTL_settscinfo, before the counters' values are set: 0, or -EINVAL. */
  setTscKilohertz(kilohertz: number): number
  /** All that it is, beside what its vCPUs keep. */
  readonly state: Part
}

/** Whether frames that the host takes to be all zero are: all of a domain's, by their bytes. */
import type { DomId } from '../../src/util/index.ts'
import type { Host } from '../../src/toolstack/index.ts'

/** How many frames of a domain count as zero, and those of them that are not. */
export function blankFrames({ hypervisor }: Host, domid: number): { readonly count: number; readonly wrong: readonly number[] } {
  const all = hypervisor.domainFrames(domid as DomId)
  const blank = hypervisor.blankFrames(domid as DomId, Uint32Array.from(all))
  const frames = all.filter((_, i) => blank[i] === 1)
  return { count: frames.length, wrong: frames.filter((frame) => hypervisor.frameBytes(domid as DomId, frame).some((byte) => byte !== 0)) }
}

/**
 * Loading segment registers of a PV vCPU on the guest's behalf, with the checks the processor would make for ring 3.
 * Reference: Intel SDM volume 3, 5.5; AMD64 APM volume 2, 4.8.
 */
import type { SegmentState } from '../../../machine/index.ts'
import { FLAT } from '../../../abi/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { FLAT_CODE_32, FLAT_CODE_64, FLAT_DATA, type PvVcpu } from './pv-vcpu.ts'
import { NULL_SEGMENT, segmentFromDescriptor } from '../paravirtual/segment-registers.ts'

const PRESENT = 1 << 15
const NOT_SYSTEM = 1 << 12
const CODE = 1 << 11
const WRITABLE = 1 << 9
const DPL_SHIFT = 13
const LONG = 1 << 21
const SIZE_32 = 1 << 22

/** Finds the hidden parts of selectors. One object serves all vCPUs. */
export class SegmentLoader {
  private readonly tables: DescriptorTables
  private readonly descriptor = new Uint32Array(2)

  constructor(tables: DescriptorTables) {
    this.tables = tables
  }

  /** Code segment for ring 3, or undefined when the processor would fault. */
  code(domain: Domain, pv: PvVcpu, selector: number): SegmentState | undefined {
    if (selector === FLAT.KERNEL_CS64) return FLAT_CODE_64
    if (selector === FLAT.USER_CS32) return FLAT_CODE_32
    if ((selector & 0xfffc) === 0 || !this.tables.read(domain, pv, selector, this.descriptor)) return undefined
    const high = this.descriptor[1]!
    const isCode = (high & (PRESENT | NOT_SYSTEM | CODE)) === (PRESENT | NOT_SYSTEM | CODE)
    const isSound = isCode && (high >>> DPL_SHIFT & 3) === 3 && (high & (LONG | SIZE_32)) !== (LONG | SIZE_32)
    return isSound ? segmentFromDescriptor(selector, this.descriptor[0]!, high) : undefined
  }

  /** Stack segment for ring 3; an empty one is allowed in 64-bit code. Undefined when the processor would fault. */
  stack(domain: Domain, pv: PvVcpu, selector: number): SegmentState | undefined {
    if (selector === FLAT.KERNEL_SS) return FLAT_DATA
    // 64-bit ring 3 cannot have an empty stack segment with privilege level 3.
    if ((selector & 0xfffc) === 0) return undefined
    if (!this.tables.read(domain, pv, selector, this.descriptor)) return undefined
    const high = this.descriptor[1]!
    const isData = (high & (PRESENT | NOT_SYSTEM | CODE | WRITABLE)) === (PRESENT | NOT_SYSTEM | WRITABLE)
    if (!isData || (high >>> DPL_SHIFT & 3) !== 3) return undefined
    return segmentFromDescriptor(selector, this.descriptor[0]!, high)
  }

  /** Data segment; empty when the selector is null or the processor would fault. */
  data(domain: Domain, pv: PvVcpu, selector: number): SegmentState {
    if (selector === FLAT.KERNEL_SS) return FLAT_DATA
    if ((selector & 0xfffc) === 0) return { ...NULL_SEGMENT, selector }
    if (!this.tables.read(domain, pv, selector, this.descriptor)) return NULL_SEGMENT
    const high = this.descriptor[1]!
    if ((high & (PRESENT | NOT_SYSTEM)) !== (PRESENT | NOT_SYSTEM)) return NULL_SEGMENT
    return segmentFromDescriptor(selector, this.descriptor[0]!, high)
  }
}

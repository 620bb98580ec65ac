/**
 * Loading segment registers of a 32-bit PV vCPU on the guest's behalf, with the checks that the processor makes on the way
 * to one of the guest's rings; and what selectors a guest may name for its kernel.
 * Reference: Intel SDM volume 2, IRET, MOV; xen/arch/x86/include/asm/desc.h, fixup_guest_code_selector.
 */
import type { Registers, SegmentState } from '../../../machine/index.ts'
import { COMPAT_FLAT } from '../../../abi/index.ts'
import { ATTRIBUTE, SEGMENT, dplOf, isConforming } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { NULL_SEGMENT, segmentFromDescriptor } from '../paravirtual/segment-registers.ts'
import type { Pv32Vcpu } from './pv32-vcpu.ts'

/** Flat code of the guest's kernel, in ring 1. */
export const FLAT_CODE: SegmentState = { selector: COMPAT_FLAT.KERNEL_CS, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0bb }
/** Flat data and stack of the guest's kernel. */
export const FLAT_STACK: SegmentState = { selector: COMPAT_FLAT.KERNEL_SS, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0b3 }

/** A selector as a guest may have it: none asks for the hypervisor's ring. */
export const fixSelector = (selector: number): number => ((selector & 3) === 0 ? (selector & 0xfffc) | 1 : selector & 0xffff)

const DATA_TYPE = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE | ATTRIBUTE.WRITABLE
const WRITABLE_DATA = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE
const CODE_TYPE = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE

/** Finds the hidden parts of selectors. One object serves all vCPUs. */
export class CompatSegments {
  private readonly tables: DescriptorTables
  private readonly descriptor = new Uint32Array(2)

  constructor(tables: DescriptorTables) {
    this.tables = tables
  }

  private find(domain: Domain, pv: Pv32Vcpu, selector: number): SegmentState | undefined {
    if ((selector & 0xfffc) === 0 || !this.tables.read(domain, pv, selector, this.descriptor)) return undefined
    return segmentFromDescriptor(selector, this.descriptor[0]!, this.descriptor[1]!)
  }

  /** Code for the ring that the selector names, or undefined when the processor would fault. */
  code(domain: Domain, pv: Pv32Vcpu, selector: number): SegmentState | undefined {
    const segment = this.find(domain, pv, selector)
    const ring = selector & 3
    if (segment === undefined || ring === 0 || (segment.attributes & CODE_TYPE) !== CODE_TYPE) return undefined
    const dpl = dplOf(segment.attributes)
    return (isConforming(segment.attributes) ? dpl <= ring : dpl === ring) ? segment : undefined
  }

  /** The stack of a ring, or undefined when the processor would fault. */
  stack(domain: Domain, pv: Pv32Vcpu, selector: number, ring: number): SegmentState | undefined {
    const segment = this.find(domain, pv, selector)
    if (segment === undefined || (segment.attributes & DATA_TYPE) !== WRITABLE_DATA) return undefined
    return (selector & 3) === ring && dplOf(segment.attributes) === ring ? segment : undefined
  }

  /** A data segment as the hypervisor itself may load it; empty for no selector, undefined when the processor would fault. */
  data(domain: Domain, pv: Pv32Vcpu, selector: number): SegmentState | undefined {
    if ((selector & 0xfffc) === 0) return { ...NULL_SEGMENT, selector }
    const segment = this.find(domain, pv, selector)
    if (segment === undefined) return undefined
    const { attributes } = segment
    const isCode = (attributes & ATTRIBUTE.CODE) !== 0
    if ((attributes & (ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT)) !== (ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT)) return undefined
    if (isCode && (attributes & ATTRIBUTE.READABLE) === 0) return undefined
    return isConforming(attributes) || (selector & 3) <= dplOf(attributes) ? segment : undefined
  }
}

/** Data segments that a ring may not keep are emptied on the way out to it. */
export function dropInnerSegments(registers: Registers, ring: number): void {
  for (const index of [SEGMENT.es, SEGMENT.ds, SEGMENT.fs, SEGMENT.gs]) {
    const attributes = registers.attributes(index)
    const isNull = (registers.selector(index) & 0xfffc) === 0
    if (!isNull && !isConforming(attributes) && dplOf(attributes) < ring) registers.setSegment(index, NULL_SEGMENT)
  }
}

/** Linear address of `bytes` bytes at an offset of a data segment; -1 when they do not lie in it. */
export function linearAddress(segment: SegmentState, offset: number, bytes: number): number {
  const { attributes, limit, baseLow } = segment
  const last = offset + bytes - 1
  const top = (attributes & ATTRIBUTE.BIG) !== 0 ? 0xffff_ffff : 0xffff
  const isDown = (attributes & (ATTRIBUTE.CODE | ATTRIBUTE.EXPAND_DOWN)) === ATTRIBUTE.EXPAND_DOWN
  const isInside = isDown ? offset > limit && last <= top : last <= limit
  return offset >= 0 && isInside ? (baseLow + offset) % 0x1_0000_0000 : -1
}

/**
 * What direct paging keeps of a virtual CPU that runs on a processor: the frames of its page tables and descriptor tables.
 * Kinds of guests build theirs on it, and say which table is in force when.
 * Reference: xen/arch/x86/include/asm/domain.h, struct arch_vcpu, struct pv_vcpu.
 */
import { PAGE_SHIFT } from '../../../x86/index.ts'
import type { Processor } from '../../../machine/index.ts'
import type { Vcpu } from '../../domains/domain.ts'

/** A vCPU whose processor walks tables that its guest writes. */
export abstract class PagedVcpu {
  readonly processor: Processor
  /** Frame of the table from which its kernel's addresses are walked; 0 for none. */
  abstract readonly kernelTable: number
  /** Frame of the table in force, from which its processor walks; 0 for none. */
  abstract readonly root: number
  /** The guest's kernel is running, and not one of its processes. */
  abstract readonly inKernel: boolean
  /** Type of the top-level tables that the guest has. */
  abstract readonly topType: number
  /** Frame of the top-level table that the guest has named for its kernel, and of the one for its processes; 0 for none. */
  abstract topTable: number
  userTable = 0
  /** Descriptor tables: frames of the GDT with entries in use, virtual address of the LDT with its entries. */
  readonly gdtFrames: Int32Array = new Int32Array(16)
  gdtEntries = 0
  ldtBase = 0
  ldtEntries = 0
  /** Frames of LDT pages in use, which hold a segdesc type each; 0 for none. */
  readonly ldtFrames: Int32Array = new Int32Array(16)
  /** TLB time of the last full flush. */
  flushedAt = 0

  constructor(processor: Processor) {
    this.processor = processor
  }

  /** Drops all translations that its processor has remembered; the TLB clock is to know of it. */
  flushTlb(): void {
    this.processor.flushTlb()
  }

  /** Loads the page tables of the present mode. */
  loadRoot(): void {
    this.processor.registers.setControl(3, (this.root << PAGE_SHIFT) >>> 0, this.root >>> 20)
  }
}

/** What direct paging keeps of a vCPU; undefined for one without page tables, and for one that has no registers yet. */
export const pagedOf = ({ guest }: Vcpu): PagedVcpu | undefined => (guest instanceof PagedVcpu ? guest : undefined)

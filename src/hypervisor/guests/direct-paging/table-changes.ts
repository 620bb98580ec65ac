/**
 * Tells the processors of a domain that its page tables change: they keep the translations of tables that they have left, and these have to be what
 * a walk would give (machine/cpu/core/translations.ts). Only a domain's own processors walk its tables, as a table holds tables of its owner alone.
 *
 * Who has to tell, before it is done: whoever writes over an entry that is present, in a table that is checked; whoever ends a top-level table's
 * being checked. A lower table that ends was reached by an entry that has gone, or under a top-level table that has. What takes rights away without an entry
 * (a frame that is watched, or decoded from) is the machine's own affair or flushes. Setting accessed and dirty bits takes nothing away.
 *
 * hot path: guests change most entries one by one.
 */
import { PAGE_SHIFT, PTE } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import { FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import { pagedOf } from './paged-vcpu.ts'

/** What is looked at. */
export interface TableChangeParts {
  readonly memory: { readonly words: Uint32Array }
  readonly frames: FrameTable
  readonly domains: { get(id: number): Domain | undefined }
}

/** Tells processors of changes. */
export class TableChanges {
  private readonly parts: TableChangeParts
  private readonly words: Uint32Array

  constructor(parts: TableChangeParts) {
    this.parts = parts
    this.words = parts.memory.words
  }

  /** The entry at word index `at` is about to be another. */
  entry(at: number): void {
    if ((this.words[at]! & PTE.PRESENT) === 0) return
    const mfn = at >>> 10
    if (this.parts.frames.type[mfn] !== FRAME_TYPE.L1) {
      this.tables(mfn)
      return
    }
    const highBefore = this.words[at + 1]!
    const index = (at & 1023) >> 1
    for (const vcpu of this.vcpusOf(mfn)) pagedOf(vcpu)?.processor.tables.entryChanged(index, highBefore)
  }

  /** Anything about the tables of a table's owner is. */
  tables(mfn: number): void {
    for (const vcpu of this.vcpusOf(mfn)) pagedOf(vcpu)?.processor.tables.tablesChanged()
  }

  /** A top-level table is about to be none any more. */
  root(mfn: number): void {
    for (const vcpu of this.vcpusOf(mfn)) pagedOf(vcpu)?.processor.tables.tablesChanged((mfn << PAGE_SHIFT) >>> 0)
  }

  private vcpusOf(mfn: number): Domain['vcpus'] {
    const { frames, domains } = this.parts
    return domains.get(frames.owner[mfn]!)?.vcpus ?? []
  }
}
